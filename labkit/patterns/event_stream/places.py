"""Where to read from: a word, a place, a time, or a cursor that was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from labkit.broker import BrokerStream, Cursor, Position
from labkit.errors import ConfigurationError
from labkit.patterns.event_stream.event import Event

Start = str | Position | Event | datetime | Mapping[int, Position]
"""Where to begin: "first", "last" (the newest event), "end" (behind it: only what comes), an event
or a position (that one first), a time (the first from then on), or a cursor (behind it)."""

End = str | Position | Event | datetime | None
"""Where to stop: after this event or position, before this time; None: what there is now."""


def cursor_before(stream: BrokerStream, start: Start) -> Cursor:
    """The cursor from which reading on begins at `start`.

    Raises:
        ConfigurationError: it is no place.
    """
    if isinstance(start, Mapping):
        return start
    if isinstance(start, Event):
        return stream.before(start.position)
    if isinstance(start, Position):
        return stream.before(start)
    if isinstance(start, datetime):
        return stream.at(_seconds(start))
    if start == "first":
        return {}
    if start == "end":
        return the_end(stream)
    if start == "last":
        cursor: dict[int, Position] = {}
        for extent in stream.extents():
            if extent.last is not None:
                cursor |= stream.before(extent.last)
        return cursor
    return stream.before(_parsed(start))


def cursor_until(stream: BrokerStream, end: End) -> Cursor:
    """The last positions to be read, of what there is now."""
    now = {e.partition: e.last for e in stream.extents() if e.last is not None}
    if end is None:
        return now
    if isinstance(end, datetime):
        limit = stream.at(_seconds(end))
        return {p: min(last, limit[p]) for p, last in now.items() if p in limit}
    place = end.position if isinstance(end, Event) else end
    place = _parsed(place) if isinstance(place, str) else place
    return {p: min(last, place) for p, last in now.items() if p == place.partition}


def the_end(stream: BrokerStream) -> Cursor:
    """Behind everything that was ever appended."""
    return {e.partition: e.end for e in stream.extents() if e.end is not None}


def lost_partitions(stream: BrokerStream, cursor: Cursor) -> list[int]:
    """Where the broker has lost what we have read: it ends before, or begins anew after it."""
    extents = {extent.partition: extent for extent in stream.extents()}
    lost = []
    for partition, place in cursor.items():
        extent = extents.get(partition)
        if extent is None or extent.end is None or extent.end < place:
            lost.append(partition)
        elif extent.removed == 0 and extent.first is not None and place < extent.first:
            lost.append(partition)  # what was there is gone, and nothing was ever trimmed
    return lost


def missed_before(
    cursor: Cursor, seen: Mapping[int, int], stream: BrokerStream
) -> dict[int, int] | None:
    """In each partition how many entries went before a reader that has seen so many saw them.

    None: the stream is not the one that the reader stands in.
    """
    if lost_partitions(stream, cursor):
        return None
    missed = {}
    for extent in stream.extents():
        before = seen.get(extent.partition, 0)
        if extent.removed is None:
            continue
        if before > extent.removed + extent.length:
            return None
        if extent.removed > before:
            missed[extent.partition] = extent.removed - before
    return missed


def reached(cursor: Cursor, goal: Cursor) -> bool:
    """Whether everything up to `goal` is behind us."""
    return all(p in cursor and not cursor[p] < last for p, last in goal.items())


class Placed(Protocol):
    """What has a position."""

    @property
    def position(self) -> Position:
        """Where it is."""


Item = TypeVar("Item", bound=Placed)


def within(entries: Sequence[Item], ends: Mapping[int, Position], goal: Cursor) -> Sequence[Item]:
    """Those up to `goal`; `ends` has the last one of each partition."""
    if all(p in goal and not goal[p] < last for p, last in ends.items()):
        return entries
    return up_to(entries, goal)


def up_to(entries: Sequence[Item], goal: Cursor) -> list[Item]:
    """Those up to `goal`, each looked at."""
    places = ((entry, entry.position, goal.get(entry.position.partition)) for entry in entries)
    return [entry for entry, place, last in places if last is not None and not last < place]


def _parsed(text: object) -> Position:
    try:
        return Position.parse(text)  # type: ignore[arg-type]
    except ConfigurationError:
        raise ConfigurationError(
            f'{text!r} is no place in a stream. Say "first", "last", "end", an event, its '
            "position, or a datetime."
        ) from None


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
