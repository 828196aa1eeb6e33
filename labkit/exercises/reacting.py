"""What exercise 7.2 finds out about a function that acts on events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labkit.exercises.framework import Wrong


def two(parts: Any) -> tuple[Any, Any]:
    """apply and react, as the function returned them."""
    if not (isinstance(parts, tuple) and len(parts) == 2 and all(map(callable, parts))):
        raise Wrong(
            f"The function returned {parts!r}, not two functions.",
            "Define apply(cancelled, event) and react(event) inside, and: return apply, react",
        )
    return parts


def give(react: Callable[[Any], Any], event: Any) -> None:
    """Hand it an event, of which it wants to keep something in a set."""
    try:
        react(event)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        raise Wrong(
            f"react cannot put the event itself into a set: {error}.",
            "An event holds a dict, which can change. Mark event.id, its name for ever: "
            "event.id not in mailed, mailed.add(event.id).",
        ) from None


def judge_mails(mails: list[str]) -> None:
    """After the first delivery of each event."""
    if not mails:
        raise Wrong(
            "react was called for every event, and nobody got a mail.",
            "For a flight.cancelled that is not in mailed yet: send(event.key), and add the mark.",
        )
    if "B6 1" in mails:
        raise Wrong(
            "Passengers of B6 1 got a mail, and it was not cancelled.",
            'Look at event.type first: only "flight.cancelled" is mailed.',
        )
    if mails == ["MQ 1", "MQ 2"]:
        raise Wrong(
            "MQ 1 was cancelled twice (in between it was put on again), and mailed once.",
            "Mark event.id, not event.key: it is the event that is mailed once, not the flight.",
        )
    if sorted(mails) != ["MQ 1", "MQ 1", "MQ 2"]:
        raise Wrong(f"The mails went to {mails!r}.", "send(event.key), once for each cancellation.")


def judge_again(events: Any, react: Any, mails: list[str]) -> None:
    """All events come a second time."""
    for event in events:
        give(react, event)
    if len(mails) > 3:
        raise Wrong(
            f"The same events came a second time, and {len(mails) - 3} mails went again.",
            "At least once: an event may come twice. Remember event.id in mailed.",
        )


def judge_failure(make_parts: Callable[..., Any], event: Any) -> None:
    """The first mail fails, and the event comes again."""
    tries: list[str] = []

    def fails_first(flight: str) -> None:
        tries.append(flight)
        if len(tries) == 1:
            raise ConnectionError("the mail server does not answer")

    _, react = two(make_parts(fails_first, set()))
    for _ in range(2):
        try:
            react(event)
        except ConnectionError:
            continue
    if len(tries) < 2:
        raise Wrong(
            "The mail server failed once, and that passenger never got a mail.",
            "Send first, and set the mark when that has worked. (A death in between sends twice; "
            "the other way round it sends never.)",
        )
