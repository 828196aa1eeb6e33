"""What the picture of a log shows: each event of a partition, and how each group stands to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from labkit.broker import Holding, Place, Position
from labkit.patterns.event_stream import EventStream

MOST_EVENTS = 60
"""Events drawn of a partition: the newest ones."""


class Standing(Enum):
    """How a group stands to an event."""

    DONE = "committed"
    PENDING = "pending"
    UNREAD = "unread"


@dataclass(frozen=True, slots=True)
class Row:
    """One group, and the events drawn.

    Attributes:
        standings: one an event.
        holders: the member that holds it, by the event's index.
        given: how many of the events drawn come up to the last one that any member was given.
        unread, pending: events of the whole partition.
        destroyed: pending ones whose event somebody has trimmed.
    """

    group: str
    standings: Sequence[Standing]
    holders: Mapping[int, str]
    given: int
    unread: int
    pending: int
    destroyed: int


@dataclass(frozen=True, slots=True)
class Log:
    """One partition.

    Attributes:
        partition: its number.
        removed: events that were trimmed.
        earlier: older events that are not drawn.
        places: where the events drawn are.
    """

    partition: int
    removed: int
    earlier: int
    places: Sequence[Position]
    rows: list[Row] = field(default_factory=list)

    @property
    def length(self) -> int:
        """How many events there are."""
        return self.earlier + len(self.places)


def read_logs(stream: EventStream) -> list[Log]:
    """Every partition of the stream, as it is now."""
    positions = stream.positions()
    kept: dict[int, list[Position]] = {extent.partition: [] for extent in positions.extents}
    for entry in stream.scan():
        kept.setdefault(entry.position.partition, []).append(entry.position)
    removed = {extent.partition: extent.removed or 0 for extent in positions.extents}
    held = {state.name: stream.group(state.name).owners() for state in positions.groups}
    logs = []
    for partition, places in kept.items():
        drawn = places[-MOST_EVENTS:]
        log = Log(partition, removed.get(partition, 0), len(places) - len(drawn), drawn)
        for state in positions.groups:
            for place in state.places:
                if place.partition == partition:
                    log.rows.append(row_of(state.name, place, places, drawn, held[state.name]))
        logs.append(log)
    return logs


def row_of(
    group: str,
    place: Place,
    places: Sequence[Position],
    drawn: Sequence[Position],
    holdings: Sequence[Holding],
) -> Row:
    holder = {
        row.position: row.member
        for row in holdings
        if row.position is not None and row.partition == place.partition
    }
    """How a group stands to the events drawn, of all that are in its partition."""
    given = [p for p in drawn if place.delivered is not None and p <= place.delivered]
    standings = [_standing(p, place, holder) for p in drawn]
    unread = sum(place.delivered is None or p > place.delivered for p in places)
    pending = max(0, place.lag - unread) if place.pending is None else place.pending
    return Row(
        group=group,
        standings=standings,
        holders={i: holder[p] for i, p in enumerate(drawn) if p in holder},
        given=len(given),
        unread=unread,
        pending=pending,
        destroyed=len(set(holder) - set(places)),
    )


def _standing(event: Position, place: Place, holder: Mapping[Position, str]) -> Standing:
    if event in holder:
        return Standing.PENDING
    if place.delivered is None or event > place.delivered:
        return Standing.UNREAD
    done = place.committed is not None and event <= place.committed
    return Standing.DONE if done or place.pending is not None else Standing.PENDING
