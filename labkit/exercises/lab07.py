"""Checks of lab 07: rebuild the past."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

from labkit import EventStream, NewEvent, Projection
from labkit.broker import Lab
from labkit.errors import PoisonEvent
from labkit.exercises.framework import Wrong, exercise
from labkit.exercises.racing import Raced, call, judge_appended, refuses, states_of, tell
from labkit.exercises.reacting import give, judge_again, judge_failure, judge_mails, two

_DAY = (
    ("flight.scheduled", "B6 1", "JetBlue", None),
    ("flight.delayed", "B6 1", "JetBlue", 15),
    ("flight.delayed", "B6 1", "JetBlue", 60),
    ("flight.departed", "B6 1", "JetBlue", 70),
    ("flight.departed", "B6 2", "JetBlue", -4),
    ("flight.cancelled", "MQ 3", "Envoy", None),
    ("flight.departed", "DL 4", "Delta", 20),
    ("flight.arrived", "DL 4", "Delta", 5),
)
"""Type, flight, carrier, minutes late."""

_RIGHT = {"JetBlue": {"departed": 2, "minutes": 70}, "Delta": {"departed": 1, "minutes": 20}}


# --- 7.1 -----------------------------------------------------------------------------------------


@exercise(
    "7.1",
    "What the delays come to",
    expects="function",
    correct="A read model: a function of state and event, and nothing else.",
)
def check_apply_delay(apply_delay: Callable[[dict[str, Any], Any], Any], lab: Lab) -> None:
    """A small day, then the same again from the first event."""
    stream = EventStream(lab, "small day")
    stream.append_many([_event(*facts) for facts in _DAY])
    projection = Projection(dict, apply_delay, name="delay per carrier")
    got = copy.deepcopy(_rebuilt(projection, stream))
    if _rebuilt(projection, stream) != got:  # first: it would spoil what is found below
        raise Wrong(
            "A rebuild gives another result than the first run did.",
            "Keep everything in the state that you are given; a variable outside of the function "
            "survives the rebuild.",
        )
    if not isinstance(got, dict):
        raise Wrong(
            f"After the first events the state is {got!r}, no dict any more.",
            "What apply returns becomes the state. Change the dict, and return nothing.",
        )
    if not got:
        raise Wrong(
            "The state is still empty after three departures.",
            'A type is spelled "flight.departed". A new row must get into carriers: '
            'carriers.setdefault(name, {"departed": 0, "minutes": 0}) puts it there.',
        )
    _judge_types(got)
    _judge_rows(got)


def _rebuilt(projection: Projection[Any], stream: EventStream) -> Any:
    try:
        return projection.rebuild(stream)
    except PoisonEvent as error:
        stopped = f"The projection stopped after {projection.applied} events: {error.reason}."
        if error.reason.startswith("KeyError"):
            raise Wrong(
                stopped,
                "The first event of a carrier finds no row, and a cancellation has no delay. Look "
                "at event.type before you look into event.content.",
            ) from None
        raise Wrong(
            stopped, "apply is called with the state, a dict, and an event with type and content."
        ) from None


def _judge_types(got: dict[str, Any]) -> None:
    if "Envoy" in got:
        raise Wrong(
            "Envoy has a row, and nothing of Envoy has departed.",
            "Return early from every event that is no departure.",
        )
    if not all(isinstance(row, dict) and set(row) == set(_RIGHT["Delta"]) for row in got.values()):
        raise Wrong(
            f"The rows are {got!r}.",
            'One row a carrier, with two keys: {"departed": 0, "minutes": 0} before the first.',
        )


def _judge_rows(got: dict[str, Any]) -> None:
    jetblue, delta = got.get("JetBlue"), got.get("Delta")
    if jetblue is None or delta is None:
        raise Wrong(
            f"The rows are of {', '.join(map(repr, got))}, not of JetBlue and Delta.",
            'A row is named by event.content["carrier"].',
        )
    if delta["minutes"] == 25 or delta["departed"] == 2:
        raise Wrong(
            "Delta's one flight counts twice: it departed, and it arrived.",
            'Take "flight.departed" alone: an arrival has a delay of its own.',
        )
    if jetblue["minutes"] in (145, 141) or jetblue["departed"] > 2:
        raise Wrong(
            f"JetBlue has {jetblue['departed']} departures with {jetblue['minutes']} minutes.",
            '"flight.delayed" announces what "flight.departed" tells in the end: take the latter.',
        )
    if jetblue["minutes"] == 66:
        raise Wrong(
            "JetBlue has 66 minutes: a flight that left early made up for a late one.",
            "max(0, minutes): a passenger of the late one has waited all the same.",
        )
    if jetblue["departed"] == 1:
        raise Wrong(
            "JetBlue has 1 departure; the one that left early is missing.",
            "It counts as a departure, with 0 minutes.",
        )
    if got != _RIGHT:
        raise Wrong(
            f"The state is {got!r}, not {_RIGHT!r}.",
            "For each departure add 1 to departed, and its delay to minutes.",
        )


# --- 7.2 -----------------------------------------------------------------------------------------


@exercise(
    "7.2",
    "Rebuild without mails",
    expects="function",
    correct="Rebuild as often as you like: no mail goes again. (To die between sending and marking "
    "sends twice: lab 03.)",
)
def check_make_parts(
    make_parts: Callable[[Callable[[str], None], set[str]], Any], lab: Lab
) -> None:
    """Rebuilds, deliveries that come again, a restart, and a mail that fails at first."""
    stream = EventStream(lab, "small day")
    cancelled = [_event("flight.cancelled", name, "Envoy", None) for name in ("MQ 1", "MQ 2")]
    stream.append_many([_event(*_DAY[0]), *cancelled, cancelled[0]])
    mails: list[str] = []
    mailed: set[str] = set()
    apply, react = two(make_parts(mails.append, mailed))
    projection = Projection(list, apply, name="cancelled")
    state = projection.rebuild(stream)
    projection.rebuild(stream)
    if mails:
        raise Wrong(
            f"Two rebuilds sent {len(mails)} mails.",
            "apply only changes the state. Move send(…) into react.",
        )
    if state != ["MQ 1", "MQ 2", "MQ 1"]:
        raise Wrong(
            f"After the rebuild the state is {state!r}.",
            "apply appends event.key to the list, for each flight.cancelled.",
        )
    events = stream.read()
    for event in events:
        give(react, event)
    judge_mails(mails)
    judge_again(events, react, mails)
    _, after_restart = two(make_parts(mails.append, mailed))
    for event in events:
        give(after_restart, event)
    if len(mails) > 3:
        raise Wrong(
            f"After a restart the passengers got {len(mails) - 3} mails again.",
            "Your own memory is gone then. Put the marks into mailed, which is kept.",
        )
    judge_failure(make_parts, events[1])


# --- 7.3 -----------------------------------------------------------------------------------------


@exercise(
    "7.3",
    "A command that may be refused",
    expects="function",
    correct="Decided on what is known, appended if that is still true, decided anew if not.",
    may_raise=True,
)
def check_depart(depart: Callable[[EventStream, str, int], Any], lab: Lab) -> None:
    """Allowed, forbidden, and with somebody else in between."""
    stream = Raced(lab, "departures")
    tell(stream, "OK 1", "scheduled", "delayed")
    call(depart, stream, "OK 1", "scheduled and delayed")
    judge_appended(stream)
    refuses(depart, stream, "NO 1", (), "that nobody has scheduled")
    refuses(depart, stream, "NO 2", ("scheduled", "cancelled"), "that is cancelled")
    refuses(depart, stream, "NO 3", ("scheduled", "departed"), "that has departed")
    refuses(depart, stream, "NO 4", ("scheduled", "departed", "arrived"), "that has arrived")
    tell(stream, "RACE 1", "scheduled")
    stream.rival = lambda: tell(stream, "RACE 1", "cancelled")
    with contextlib.suppress(ValueError):
        call(depart, stream, "RACE 1", "scheduled", rival=True)
    if "departed" in (states := states_of(stream, "RACE 1")):
        if stream.stats().conflicts:
            raise Wrong(
                "RACE 1 was cancelled meanwhile; after the Conflict you append its departure.",
                "A Conflict says that what you decided on is old: do not only append again, look "
                "again whether it may depart.",
            )
        raise Wrong(
            f"Between your look and your append somebody cancelled RACE 1: {', '.join(states)}.",
            "stream.revision(…) may know more than your look has seen: take len(history)."
            if stream.asked
            else "expected=len(history): the append is refused if somebody was quicker. After a "
            "Conflict read again, and decide again.",
        )
    tell(stream, "RACE 2", "scheduled")
    stream.rival = lambda: tell(stream, "RACE 2", "delayed")
    try:
        call(depart, stream, "RACE 2", "scheduled", rival=True)
    except ValueError as error:
        raise Wrong(
            f"Somebody delayed RACE 2 meanwhile, and you refuse its departure: {error}.",
            "A delayed flight may depart: after a Conflict, begin again with reading.",
        ) from None
    if (states := states_of(stream, "RACE 2")) != ["scheduled", "delayed", "departed"]:
        raise Wrong(
            f"Somebody delayed RACE 2 meanwhile; its events are now: {', '.join(states)}.",
            "Put reading, deciding and appending into a loop, and leave it when appended.",
        )


def _event(kind: str, flight: str, carrier: str, minutes: int | None) -> NewEvent:
    content = {"flight": flight, "carrier": carrier}
    late = {} if minutes is None else {"delay_minutes": minutes}
    return NewEvent({**content, **late}, key=flight, type=kind)
