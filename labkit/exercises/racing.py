"""For the check of a command handler: a stream at which somebody else is quicker, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from labkit import EventStream, NewEvent
from labkit.broker import Appended
from labkit.errors import Conflict
from labkit.exercises.framework import Wrong


class Raced(EventStream):
    """Runs `rival` before the next append or the next question for a revision.

    Attributes:
        rival: what somebody else does between a look and an append; once.
        asked: somebody has asked for a revision.
    """

    rival: Callable[[], None] | None = None
    asked = False

    def revision(self, key: str) -> int:
        """Asked for after a look, it is no longer what the look has seen."""
        self.asked = True
        self._let_the_rival()
        return super().revision(key)

    def append(self, content: Any, **options: Any) -> Appended:
        """As of any stream, after the rival's."""
        self._let_the_rival()
        return super().append(content, **options)

    def append_many(self, items: Iterable[Any], **options: Any) -> list[Appended]:
        """The same for many."""
        self._let_the_rival()
        return super().append_many(items, **options)

    def _let_the_rival(self) -> None:
        rival, self.rival = self.rival, None
        if rival is not None:
            rival()


def call(
    depart: Callable[..., Any], stream: Raced, flight: str, status: str, *, rival: bool = False
) -> None:
    """Let the answer command a departure that is allowed."""
    try:
        depart(stream, flight, 20)
    except Conflict:
        if not rival:
            raise Wrong(
                f"{flight} is {status}, and your own append of its departure is a conflict.",
                "expected is how many events of this key there are: len(history).",
            ) from None
        raise Wrong(
            "Somebody was quicker, and your function raises Conflict.",
            "except Conflict: go round again. Read, decide, append.",
        ) from None
    except ValueError as error:
        if rival:
            raise
        raise Wrong(
            f"{flight} is {status}, and you refuse its departure: {error}.",
            'history[-1].type must be "flight.scheduled" or "flight.delayed": then it may depart.',
        ) from None


def judge_appended(stream: Raced) -> None:
    """What became of the first one, which nobody disturbed."""
    states = states_of(stream, "OK 1")
    if states == ["scheduled", "delayed"]:
        raise Wrong(
            "OK 1 may depart, and nothing was appended.",
            'stream.append({"delay_minutes": minutes}, key=flight, type="flight.departed", …)',
        )
    if states != ["scheduled", "delayed", "departed"]:
        raise Wrong(
            f"The events of OK 1 are now: {', '.join(states)}.",
            'One command is one event here, of type "flight.departed", with key=flight.',
        )
    content = stream.read(key="OK 1")[-1].content
    if content != {"delay_minutes": 20}:
        raise Wrong(
            f"The departure of OK 1 says {content!r}.",
            'Its content is {"delay_minutes": minutes}.',
        )


def refuses(
    depart: Callable[..., Any], stream: Raced, flight: str, states: tuple[str, ...], what: str
) -> None:
    """Let it command one that is not: it must raise ValueError, and append nothing."""
    tell(stream, flight, *states)
    try:
        depart(stream, flight, 20)
    except ValueError as error:
        if not str(error):
            raise Wrong(
                f"You refuse a flight {what}, and do not say why.",
                'raise ValueError(f"{flight} cannot depart: …"), with the reason in words.',
            ) from None
        return
    except IndexError:
        raise Wrong(
            "A flight that nobody has scheduled has no last event: IndexError.",
            "The history may be empty; ask for that first.",
        ) from None
    if len(states_of(stream, flight)) > len(states):
        raise Wrong(
            f"You let a flight depart {what}.",
            'Only after "flight.scheduled" or "flight.delayed" may it depart; else ValueError.',
        )
    raise Wrong(
        f"A flight {what} cannot depart, and the caller hears nothing of that.",
        "raise ValueError(…): a command that is refused must say so, and why.",
    )


def tell(stream: EventStream, flight: str, *states: str) -> None:
    """Append what has happened to a flight."""
    events = [NewEvent({}, key=flight, type=f"flight.{state}") for state in states]
    stream.append_many(events)


def states_of(stream: EventStream, flight: str) -> list[str]:
    """What has happened to it, in words."""
    return [event.type.rpartition(".")[2] for event in stream.read(key=flight)]
