"""A stream as seen by whoever appends to it, reads it, and looks after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from labkit.broker import Appended, Cursor, Doomed, Position, StreamBroker
from labkit.errors import ConfigurationError, TrimRefused
from labkit.message import DEFAULT_MAX_BYTES
from labkit.patterns.event_stream.appending import Appender, check_stream_name
from labkit.patterns.event_stream.event import Event, Events, UnreadableEvent
from labkit.patterns.event_stream.follower import Follower
from labkit.patterns.event_stream.group import Group
from labkit.patterns.event_stream.ledger import Ledger
from labkit.patterns.event_stream.places import (
    End,
    Start,
    cursor_before,
    cursor_until,
    reached,
    within,
)
from labkit.patterns.event_stream.statistics import StreamStatistics
from labkit.patterns.event_stream.tables import Positions
from labkit.trace import Action

BATCH_SIZE = 1000
"""Entries read in one round trip; so many are in memory at once."""


class EventStream:
    """A log of events: each stays, and can be read again, until it is trimmed.

    May be used from several threads.

    Args:
        lab: an open broker, from `labkit.connect()`.
        name: names the stream.
        sender: the name in the events.
        max_bytes: largest encoded event.
    """

    def __init__(
        self,
        lab: StreamBroker,
        name: str,
        *,
        sender: str = "writer",
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        check_stream_name("A stream", name)
        check_stream_name("A sender", sender)
        self.lab = lab
        self.name = name
        self.sender = sender
        self.max_bytes = max_bytes
        self.log = lab.open_stream(name)
        self._ledger = Ledger(sender, name, lab, max_bytes)
        self._appender = Appender(lab, self.log, name, sender, self._ledger, max_bytes)

    # --- writing ------------------------------------------------------------------------------

    def append(
        self,
        content: Any,
        *,
        key: str | None = None,
        type: str | None = None,
        version: int | None = None,
        metadata: dict[str, Any] | None = None,
        expected: int | None = None,
    ) -> Appended:
        """Add one event at the end; what the arguments mean stands at `NewEvent`.

        Args:
            expected: how many events of this key there should be so far; 0 for none.

        Raises:
            ValidationError: it cannot be written down; nothing was sent.
            Conflict: there are more, or fewer, than expected; nothing was appended.
            BrokerUnavailable: its `sent` tells whether the event may be in. With `expected`, asking
                again is safe: a `Conflict` then says that it was.
        """
        new = self._appender.new(content, key, type, version, metadata)
        return self._appender.append_one(new, expected)

    def append_many(self, items: Iterable[Any], *, expected: int | None = None) -> list[Appended]:
        """Add many events in few round trips, in order. An item is a content or a `NewEvent`.

        With `expected` all are of one key, and all are appended in one step or none.

        Raises:
            Conflict: as in `append`.
            BatchError: says which are in, which are not, and which may be. If one of them cannot
                be written down, none is sent.
        """
        return self._appender.append_all(list(items), expected)

    def revision(self, key: str) -> int:
        """How many events of this key were appended so far, trimmed ones included."""
        return self.log.revision(key)

    # --- reading ------------------------------------------------------------------------------

    def read(
        self,
        start: Start = "first",
        end: End = None,
        *,
        count: int | None = None,
        key: str | None = None,
    ) -> Events:
        """Events from `start` to `end`, of what there is now, as a list.

        Args:
            start: "first", "last", a position (that one first), a time, an event, or a cursor.
            end: the last position, or a time to stop before; default the end.
            count: at most so many.
            key: only events of this key. The broker has no index of keys: all are read.
        """
        if count is not None and count < 0:
            raise ConfigurationError(f"count is how many to read, 0 or more, got {count}.")
        found, unreadable = Events(), []
        for event in self.scan(start, end, batch=min(BATCH_SIZE, count or BATCH_SIZE)):
            if count is not None and len(found) >= count:
                break
            if isinstance(event, UnreadableEvent):
                unreadable.append(event)
            elif key is None or event.key == key:
                found.append(event)
        if self._ledger.tracing:
            self._ledger.about_us(Action.READ, f"{len(found):,} events")
        return Events(found, unreadable)

    def scan(
        self, start: Start = "first", end: End = None, *, batch: int = BATCH_SIZE
    ) -> Iterator[Event | UnreadableEvent]:
        """The same one after the other, in flat memory, with what is unreadable in its place."""
        for events, _ in self.batches(cursor_before(self.log, start), end, batch):
            yield from events

    def batches(
        self, cursor: Cursor, end: End = None, batch: int = BATCH_SIZE
    ) -> Iterator[tuple[Sequence[Event | UnreadableEvent], Cursor]]:
        """What comes behind `cursor`, a round trip at a time, and where one stands after it."""
        goal = cursor_until(self.log, end)
        while not reached(cursor, goal):
            entries = self.log.read(cursor, batch, 0.0)
            ends = {entry.position.partition: entry.position for entry in entries}
            found = self._ledger.read_in_place(within(entries, ends, goal))
            cursor = {**cursor, **ends}
            self._ledger.tally.add(self.name, read=len(found))
            if found:
                yield found, cursor
            if not entries:
                return

    def follow(
        self, start: Start = "end", *, timeout: float | None = None, batch: int = 100
    ) -> Follower:
        """Events as they come, from `start` on: `for event in stream.follow(timeout=5): …`.

        It ends when `timeout` seconds pass without an event (None: never), or with `stop()`.
        """
        cursor = cursor_before(self.log, start)
        return Follower(self.log, self.name, cursor, self._ledger, timeout=timeout, batch=batch)

    # --- groups and looking after ---------------------------------------------------------------

    def group(self, name: str, start: Start = "first") -> Group:
        """The group of that name. A new one begins at `start`; one that is there stays as it is.

        A group that begins at "end" skips what is there already.
        """
        check_stream_name("A group", name)
        cursor = None if start == "end" else cursor_before(self.log, start)
        return Group(self, name, self.log.open_group(name, cursor))

    def positions(self) -> Positions:
        """Where each group stands, as a table."""
        return Positions(self.name, self.log.extents(), self.log.groups())

    def trim(
        self,
        *,
        keep: int | None = None,
        before: Position | str | Event | None = None,
        force: bool = False,
    ) -> Doomed:
        """Destroy the oldest events: all but the last `keep` ones, or those `before` a place.

        Returns:
            how many went, and of them, for each group, how many it had not read or not committed.

        Raises:
            TrimRefused: a group has not done with some of them, unless `force`; nothing is gone.
        """
        if (keep is None) == (before is None):
            raise ConfigurationError("trim takes one of keep=… and before=….")
        if keep is not None and keep < 0:
            raise ConfigurationError(f"keep is how many stay, 0 or more, got {keep}.")
        cut = self.log.cut(keep) if keep is not None else cursor_before(self.log, before or "")
        try:
            gone = self.log.trim(cut, force=force)
        except TrimRefused as error:
            self._ledger.raised(error)
            raise
        self._ledger.tally.add(self.name, trimmed=gone.entries)
        self._ledger.about_us(Action.TRIMMED, f"{gone.entries:,} events")
        return gone

    def delete(self) -> int:
        """Forget the stream and its groups; returns how many events there were."""
        return self.log.delete()

    def stats(self) -> StreamStatistics:
        """What was done here, up to now."""
        tally = self._ledger.tally
        errors = tuple(tally.decode_errors)
        return tally.fill(StreamStatistics, self.name, decode_errors=errors)

    def __len__(self) -> int:
        return sum(extent.length for extent in self.log.extents())

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<EventStream {self.name!r}, {self.lab.name}>"
