"""The write model of the operations room: commands are checked, and become events.

A flight is scheduled → delayed → departed → arrived, or cancelled before it departs. What is asked
of the desk is a *command*, which may be refused; what it appends is an *event*, which has happened.
Nothing is read from here to be shown: for that there are the read models of `flight_views`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labkit.broker import Appended, Cursor
from labkit.data import Happening
from labkit.errors import Conflict, LabkitError
from labkit.message import Message
from labkit.patterns.event_stream import Event, EventStream, NewEvent

STREAM = "flight-events"
ATTEMPTS = 5
"""How often a command is decided anew, when others write about the same flight."""

_MOVES: dict[str, tuple[str, ...]] = {
    "": ("scheduled",),
    "scheduled": ("delayed", "departed", "cancelled"),
    "delayed": ("delayed", "departed", "cancelled"),
    "departed": ("arrived",),
    "arrived": (),
    "cancelled": (),
}
"""From each status, what may come next; "" is a flight that nobody has heard of."""

_STATES = {
    "": "nobody has scheduled it",
    "scheduled": "it is scheduled and has not departed",
    "delayed": "it is delayed and has not departed",
    "departed": "it has departed",
    "arrived": "it has arrived",
    "cancelled": "it is cancelled",
}
_VERBS = {
    "scheduled": "be scheduled",
    "delayed": "be delayed",
    "departed": "depart",
    "arrived": "arrive",
    "cancelled": "be cancelled",
}


class CommandRefused(LabkitError):
    """A command that may not be: nothing has happened.

    Attributes:
        flight: which flight.
        asked: what it should have become.
        status: what it is.
    """

    def __init__(self, flight: str, asked: str, status: str) -> None:
        self.flight = flight
        self.asked = asked
        self.status = status
        may = [_VERBS[move] for move in _MOVES[status]]
        *most, last = may or [""]
        now = f"{', '.join(most)} or {last}" if most else last
        then = f"it can only {now} now" if may else "nothing more happens to it"
        super().__init__(f"{flight} cannot {_VERBS[asked]}: {_STATES[status]}; {then}.")


@dataclass(frozen=True, slots=True)
class FlightState:
    """What the desk must know of a flight to decide; nothing else.

    Attributes:
        status: "", "scheduled", "delayed", "departed", "arrived" or "cancelled".
        revision: how many events there are of it.
        facts: carrier, origin, destination and planned departure, as it was scheduled.
    """

    status: str = ""
    revision: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    def after(self, kind: str, content: Mapping[str, Any]) -> FlightState:
        """The state when this has happened, too."""
        status = kind.rpartition(".")[2]
        facts = dict(content) if status == "scheduled" else self.facts
        return FlightState(status, self.revision + 1, facts)


class FlightDesk:
    """Takes commands about flights; several desks may work on one stream.

    Each command is decided on the flight's own events and appended with the revision that it was
    decided on: if another desk was quicker, the command is decided anew.
    """

    def __init__(self, stream: EventStream) -> None:
        self.stream = stream
        self.conflicts = 0
        self._flights: dict[str, FlightState] = {}
        self._cursor: Cursor = {}

    def schedule(self, flight: str, **facts: Any) -> Appended:
        """Put a flight on the day's plan: carrier, origin, destination, scheduled."""
        return self._command(flight, "scheduled", {"flight": flight, **facts})

    def delay(self, flight: str, minutes: int) -> Appended:
        """It will leave so many minutes late."""
        return self._command(flight, "delayed", {"delay_minutes": minutes})

    def depart(self, flight: str, delay_minutes: int = 0) -> Appended:
        """It has left, so many minutes after the plan (negative: before it)."""
        return self._command(flight, "departed", {"delay_minutes": delay_minutes})

    def arrive(self, flight: str, delay_minutes: int | None = None) -> Appended:
        """It has arrived."""
        late = {} if delay_minutes is None else {"delay_minutes": delay_minutes}
        return self._command(flight, "arrived", late)

    def cancel(self, flight: str) -> Appended:
        """It will not leave."""
        return self._command(flight, "cancelled", {})

    def tell(self, happened: Iterable[Happening]) -> int:
        """The day's happenings as commands, in order; returns how many events came of them."""
        count = 0
        for happening in happened:
            command = _command_of(happening.message)
            if command is not None:
                self._command(*command, happening.message)
                count += 1
        return count

    def status(self, flight: str) -> str:
        """What a flight is, as far as this desk knows: to decide, not to show."""
        return self._flights.get(flight, FlightState()).status

    # --- inside ---------------------------------------------------------------------------------

    def _command(
        self, flight: str, status: str, facts: Mapping[str, Any], as_of: Message | None = None
    ) -> Appended:
        """Decide; append, if nobody has appended meanwhile."""
        if status not in _MOVES[self.status(flight)]:
            self._catch_up()  # perhaps it is we who do not know yet
        for attempt in range(ATTEMPTS):
            known = self._flights.get(flight, FlightState())
            if status not in _MOVES[known.status]:
                raise CommandRefused(flight, status, known.status)
            kind, content = f"flight.{status}", {**known.facts, **facts}
            try:
                appended = self.stream.append(
                    _event(kind, content, flight, as_of), expected=known.revision
                )
            except Conflict:
                self.conflicts += 1
                if attempt == ATTEMPTS - 1:
                    raise
                self._catch_up()
            else:
                self._flights[flight] = known.after(kind, content)
                return appended
        raise AssertionError("unreachable")

    def _catch_up(self) -> None:
        """Read what other desks have appended."""
        for found, cursor in self.stream.batches(self._cursor):
            for event in found:
                if isinstance(event, Event) and event.key is not None:
                    self._take(event)
            self._cursor = cursor

    def _take(self, event: Event) -> None:
        known = self._flights.get(event.key or "", FlightState())
        if event.revision == known.revision + 1 and event.type.startswith("flight."):
            self._flights[event.key or ""] = known.after(event.type, event.content)


def _event(kind: str, content: Mapping[str, Any], flight: str, as_of: Message | None) -> NewEvent:
    """What has happened; told by somebody else, with their name and time."""
    if as_of is None:
        return NewEvent(dict(content), key=flight, type=kind)
    message = Message(kind, dict(content), as_of.timestamp, as_of.sender, {})
    return NewEvent(message, key=flight)


def _command_of(message: Message) -> tuple[str, str, dict[str, Any]] | None:
    """Flight, what it is to become, and with which facts; None for what is no matter of ours."""
    facts = message.content
    if message.type == "system.alert":
        if "flight" not in facts:
            return None
        return facts["flight"], "delayed", {"delay_minutes": facts["delay_minutes"]}
    if not message.type.startswith("flight."):
        return None
    return facts["flight"], message.type.removeprefix("flight."), dict(facts)
