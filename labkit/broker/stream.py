"""The contract of the log: what happened stays, and each reader has a place of its own in it.

An append puts an entry at the end; reading takes nothing away. A *group* of readers shares one
stream, **at least once**: what a member was given and has not committed is given again, to it or to
another. A log may have several *partitions*; order holds within one, and a key always goes to the
same one. A place is a `Position`; where one stands in a whole stream is a `Cursor`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from labkit.broker.base import Broker
from labkit.broker.entry import Appended, Cursor, Entry, Extent, NewEntry, Position


@dataclass(frozen=True, slots=True)
class Place:
    """Where a group stands in one partition.

    Attributes:
        delivered: the last entry that any member was given; None for none.
        committed: the last one up to which everything is committed; None for none.
        unread: entries that nobody was given yet; None where the broker does not know.
        pending: entries given and not committed; None where the broker does not know.
        lag: entries that are not committed: what is still to be done.
    """

    partition: int
    delivered: Position | None
    committed: Position | None
    unread: int | None
    pending: int | None
    lag: int


@dataclass(frozen=True, slots=True)
class Holding:
    """What one member is responsible for: an entry, or (without a position) a partition.

    Attributes:
        idle_s: seconds since it was given; None where the broker does not know.
    """

    member: str
    partition: int
    position: Position | None
    attempt: int | None
    idle_s: float | None


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group at one moment.

    Attributes:
        places: one a partition.
        pending: for each member, how many entries it was given and has not committed; None where
            the broker does not know.
    """

    name: str
    places: tuple[Place, ...]
    pending: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Given:
    """What a member was given.

    Attributes:
        entries: in order within each partition.
        gone: what it still held and somebody trimmed: the bodies are destroyed.
        forgotten: the broker had forgotten the group, which was made anew, at the beginning.
    """

    entries: Sequence[Entry] = ()
    gone: Sequence[Position] = ()
    forgotten: bool = False


def together(parts: Sequence[Given]) -> Given:
    """What came in parts as one."""
    if len(parts) == 1:
        return parts[0]
    return Given(
        [entry for part in parts for entry in part.entries],
        [place for part in parts for place in part.gone],
        any(part.forgotten for part in parts),
    )


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a commit.

    Attributes:
        entries: how many were committed by it.
        late: those that another member had claimed meanwhile, and handles, or has.
    """

    entries: int
    late: Sequence[Position] = ()


@dataclass(frozen=True, slots=True)
class Doomed:
    """What a trim would destroy, or has.

    Attributes:
        entries: how many in all.
        unread: for each group that had not read some of them, how many.
        pending: for each group that had read and not committed some of them, how many.
    """

    entries: int
    unread: Mapping[str, int]
    pending: Mapping[str, int]


class GroupMember(Protocol):
    """One reader of a group. It belongs to one thread at a time."""

    def poll(self, count: int, timeout: float) -> Given:
        """At most `count` entries for this member alone; waits for the first.

        First what it, or one of its name that died, was given and has not committed.
        """

    def commit(self, cursor: Cursor) -> Committed:
        """All that this member was given up to there is done, in each partition."""

    def acknowledge(self, positions: Sequence[Position]) -> Committed:
        """These alone are done; earlier ones may not be.

        Raises:
            NotSupported: the broker knows only how far one has got.
        """

    def claim_stale(self, idle: float, count: int) -> Given:
        """Take over what other members were given `idle` seconds ago or earlier.

        Raises:
            NotSupported: the broker gives a dead member's entries to others by itself.
        """

    def close(self) -> None:
        """This member goes. What it has not committed stays for others. Closing twice is fine."""

    def crash(self) -> None:
        """Fall silent as a killed process does: tell nobody, leave what it holds in its name."""


@runtime_checkable
class InParts(Protocol):
    """A `GroupMember` that hands on the first entries of a poll while the others are on the way."""

    def poll_in_parts(self, count: int, timeout: float) -> Iterator[Given]:
        """The same as `poll`, in parts. If it is not read to its end, all of it is given again."""


class StreamGroup(Protocol):
    """A group of readers that share one stream."""

    def join(self, member: str) -> GroupMember:
        """A new member. One that takes up the name of a dead one gets what that one held."""

    def state(self) -> GroupState:
        """Where it stands."""

    def holdings(self, limit: int) -> list[Holding]:
        """Who is responsible for what, at most `limit` rows."""

    def reset(self, cursor: Cursor) -> None:
        """Read again, or skip: what comes next is what comes after there; nothing is held."""

    def delete(self) -> None:
        """Forget the group and where it stood."""


class BrokerStream(Protocol):
    """One named stream. Its methods may be called from several threads."""

    def append(self, entries: Sequence[NewEntry]) -> list[Appended]:
        """Add entries at the end, in order, in few round trips.

        Raises:
            BatchError: the connection broke; says which are in, which are not, which may be.
            BrokerUnavailable, BrokerRefused: the same, for a single one.
        """

    def append_expected(self, entries: Sequence[NewEntry], expected: int) -> list[Appended]:
        """Add entries of one key, all or none, if there were `expected` of that key so far.

        Raises:
            Conflict: there were more or fewer; nothing was added.
            NotSupported: the broker cannot look and append in one step.
        """

    def revision(self, key: str) -> int:
        """How many entries of this key were appended so far, trimmed ones included.

        Raises:
            NotSupported: the broker does not count them.
        """

    def read(self, after: Cursor, count: int, timeout: float) -> list[Entry]:
        """At most `count` entries behind `after`; waits up to `timeout` seconds for the first.

        Takes nothing away. Nothing with a timeout of 0 means that there is nothing: a broker that
        fetches in the background waits for its answer.
        """

    def extents(self) -> list[Extent]:
        """How much there is, in each partition."""

    def at(self, seconds: float) -> Cursor:
        """Just before the first entry from that moment on, seconds since 1970."""

    def before(self, position: Position) -> Cursor:
        """Just before that place: reading on from there gives it first, if it is still there."""

    def cut(self, keep: int) -> Cursor:
        """Behind the entries that would have to go for `keep` to stay, in each partition."""

    def doomed(self, cursor: Cursor) -> Doomed:
        """What `trim(cursor)` would destroy."""

    def trim(self, cursor: Cursor, *, force: bool) -> Doomed:
        """Destroy what is at or before there.

        Raises:
            TrimRefused: a group has work there, unless `force`.
        """

    def open_group(self, name: str, start: Cursor | None) -> StreamGroup:
        """The group of that name; a new one begins after `start` (None: at the end)."""

    def groups(self) -> list[GroupState]:
        """Where each group stands, by name."""

    def delete(self) -> int:
        """Forget everything, groups included; returns how many entries there were."""


@runtime_checkable
class StreamBroker(Broker, Protocol):
    """Streams: a log that is kept, read from anywhere, and shared by groups."""

    def open_stream(self, name: str) -> BrokerStream:
        """The stream of that name; it exists as soon as somebody appends."""
