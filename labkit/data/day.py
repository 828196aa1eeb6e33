"""The day as messages, in the order in which things happened.

| type             | channel     | when                                                          |
|------------------|-------------|---------------------------------------------------------------|
| flight.scheduled | flights.JFK | two hours before the planned departure: it is on the board    |
| flight.cancelled | flights.JFK | at the planned departure                                      |
| system.alert     | alerts.info | 15 minutes after it (60: .warning, 180: .critical), if the    |
|                  |             | flight has not left by then                                   |
| flight.departed  | flights.JFK | planned departure + delay                                     |
| flight.arrived   | flights.JFK | departure + the time in between                               |

The file does not say when a flight was put on the board or when it was known to be cancelled; the
two hours and the planned departure are this course's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from labkit.channels import by_level
from labkit.clock import Clock, SystemClock
from labkit.data.flights import NEW_YORK, Flight, load_flights
from labkit.errors import ConfigurationError
from labkit.families import AlertLevel, system_alert
from labkit.message import Message, format_timestamp

ON_BOARD_BEFORE = timedelta(hours=2)
ALERTS_AFTER_MINUTES: tuple[tuple[int, AlertLevel], ...] = (
    (15, "info"),
    (60, "warning"),
    (180, "critical"),
)
SENDER = "tower"
_DATE = datetime(2013, 3, 8, tzinfo=NEW_YORK)


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened: when (New York's time), and the message that tells of it."""

    time: datetime
    channel: str
    message: Message


def stormy_day(
    *,
    origins: Iterable[str] = ("EWR", "JFK", "LGA"),
    start: str | None = None,
    end: str | None = None,
    types: Iterable[str] | None = None,
    limit: int | None = None,
) -> list[Happening]:
    """What happened on 8 March 2013, or a slice of it, in order.

    Args:
        origins: airports to take.
        start: first moment, "HH:MM" in New York; default the beginning.
        end: moment to stop before, "HH:MM"; default the last arrival, on the next morning.
        types: message types to keep, such as "flight.departed"; default all.
        limit: at most so many.

    Raises:
        ConfigurationError: an airport, a time or a type that the day does not have, a negative
            limit.
    """
    if limit is not None and limit < 0:
        raise ConfigurationError(f"limit is how many to take, 0 or more, got {limit}.")
    chosen = _known("airport", origins, {"EWR", "JFK", "LGA"})
    kinds = None if types is None else _known("type", types, _TYPES)
    first, last = _moment(start), _moment(end)
    found = [
        happening
        for flight in load_flights()
        if flight.origin in chosen
        for happening in happenings(flight)
        if (kinds is None or happening.message.type in kinds)
        and (first is None or happening.time >= first)
        and (last is None or happening.time < last)
    ]
    found.sort(key=lambda happening: happening.time)  # stable: file order within a minute
    return found[:limit]


def happenings(flight: Flight) -> Iterator[Happening]:
    """What happens to one flight, in order."""
    channel = by_level("flights", flight.origin)

    def tell(kind: str, when: datetime, **facts: object) -> Happening:
        content = {
            "flight": flight.name,
            "carrier": flight.carrier,
            "origin": flight.origin,
            "destination": flight.destination,
            "scheduled": f"{flight.scheduled:%H:%M}",
            **facts,
        }
        stamp = format_timestamp(when.timestamp())
        return Happening(when, channel, Message.new(kind, content, sender=SENDER, timestamp=stamp))

    yield tell("flight.scheduled", flight.scheduled - ON_BOARD_BEFORE)
    if flight.departed is None:
        yield tell("flight.cancelled", flight.scheduled)
        return
    yield from _alerts(flight)
    yield tell("flight.departed", flight.departed, delay_minutes=flight.delay_minutes)
    if flight.arrived is not None:
        yield tell("flight.arrived", flight.arrived, delay_minutes=flight.arrival_delay_minutes)


def replay(
    happened: Iterable[Happening],
    publish: Callable[[str, Message], object],
    *,
    speed: float = 60.0,
    clock: Clock | None = None,
) -> int:
    """Publish what happened, `speed` times as fast as it did; returns how many.

    The pauses follow the day's own times, so that a slow `publish` does not shift the later ones.

    Args:
        happened: in order, from `stormy_day`.
        publish: called with channel and message: a publisher's `publish`.
        speed: 60 plays an hour in a minute; infinity does not pause.
        clock: where pauses are spent; default the real one.
    """
    if not speed > 0:
        raise ConfigurationError(f"A speed is above 0 (60 plays an hour in a minute), got {speed}.")
    pace = clock if clock is not None else SystemClock()
    began_ns = pace.monotonic_ns()
    first: datetime | None = None
    count = 0
    for happening in happened:
        first = first or happening.time
        due_s = (happening.time - first).total_seconds() / speed
        early_s = due_s - (pace.monotonic_ns() - began_ns) / 1e9
        if early_s > 0:
            pace.wait(early_s)
        publish(happening.channel, happening.message)
        count += 1
    return count


_TYPES = {
    "flight.scheduled",
    "flight.departed",
    "flight.cancelled",
    "flight.arrived",
    "system.alert",
}


def _alerts(flight: Flight) -> Iterator[Happening]:
    for minutes, level in ALERTS_AFTER_MINUTES:
        if (flight.delay_minutes or 0) < minutes:
            return
        when = flight.scheduled + timedelta(minutes=minutes)
        alert = system_alert(
            level,
            f"{flight.name} to {flight.destination} is {minutes} minutes late and has not left",
            service=f"departures-{flight.origin}",
            sender=SENDER,
            timestamp=format_timestamp(when.timestamp()),
            flight=flight.name,
            origin=flight.origin,
            delay_minutes=minutes,
        )
        yield Happening(when, by_level("alerts", level), alert)


def _known(what: str, given: Iterable[str], known: set[str]) -> set[str]:
    chosen = {given} if isinstance(given, str) else set(given)
    if unknown := chosen - known:
        names, has = ", ".join(sorted(unknown)), ", ".join(sorted(known))
        raise ConfigurationError(f"The day has no {what} {names}; it has {has}.")
    return chosen


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        clock_time = datetime.strptime(text, "%H:%M")
    except ValueError:
        raise ConfigurationError(f'A time of the day is "HH:MM", got {text!r}.') from None
    return _DATE.replace(hour=clock_time.hour, minute=clock_time.minute)
