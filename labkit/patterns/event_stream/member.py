"""One reader of a group: polls, works, commits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Self

from labkit.broker import Committed, Given, GroupMember, InParts, Position, together
from labkit.errors import (
    BrokerUnavailable,
    ConfigurationError,
    NotConnected,
)
from labkit.patterns.event_stream.event import Event, Events, UnreadableEvent
from labkit.patterns.event_stream.ledger import Ledger
from labkit.patterns.event_stream.statistics import MemberStatistics
from labkit.patterns.outage import Outage
from labkit.trace import Action

if TYPE_CHECKING:
    from labkit.patterns.event_stream.stream import EventStream

LONGEST_POLL_S = 0.5
"""Longest single wait in `run`: so late may a stop be noticed."""


class Member:
    """One reader of a group, **at least once**: what it has not committed comes again.

    It belongs to one thread at a time. Made by `Group.join`.
    """

    def __init__(self, stream: EventStream, group: str, name: str, member: GroupMember) -> None:
        self.stream = stream
        self.group = group
        self.name = name
        self._member = member
        self._ledger = Ledger(name, stream.name, stream.lab, stream.max_bytes)
        self._given: dict[int, Position] = {}  # the last one of each partition
        self._crashed = False
        self._outage = Outage(self._ledger.broker_lost, self._ledger.broker_back)

    def poll(self, count: int = 100, timeout: float = 0.0) -> Events:
        """At most `count` events that no other member is given; waits for the first.

        First comes what it was given before and has not committed, if it has died or lost its
        connection since. Entries that are no events are in `.unreadable` of the result; a commit
        of all covers them, too.

        Raises:
            BrokerUnavailable: call again; nothing is lost.
        """
        if count < 1:
            raise ConfigurationError(f"count is how many at most, 1 or more, got {count}.")
        self._require_alive()
        parts, events = [], Events()
        try:
            for given in self._parts(count, timeout):  # read while the next part is on its way
                parts.append(given)
                events.add(self._ledger.read(given.entries))
        except BrokerUnavailable as error:
            self._outage.since(error)
            raise
        self._outage.over()
        return self._taken(together(parts), events)

    def commit(self, upto: Event | UnreadableEvent | None = None) -> int:
        """Everything that it was given, up to this event in its partition, is done.

        Args:
            upto: the last one that is done; default all that `poll` has given so far.

        Returns:
            how many were committed. Those that another member had claimed meanwhile are not among
            them: they are counted as `late`, and may be done twice.
        """
        self._require_alive()
        cursor = self._given if upto is None else {upto.position.partition: upto.position}
        return self._settled(self._member.commit(cursor))

    def acknowledge(self, events: Event | UnreadableEvent | Iterable[Event]) -> int:
        """Only these are done; earlier ones may not be. Returns how many were committed.

        Raises:
            NotSupported: the broker knows only how far one has got.
        """
        self._require_alive()
        chosen = [events] if isinstance(events, Event | UnreadableEvent) else list(events)
        return self._settled(self._member.acknowledge([event.position for event in chosen]))

    def claim_stale(self, idle: float, count: int = 100) -> Events:
        """Take over what others were given `idle` seconds ago (by the broker's clock) or earlier.

        A claim is a delivery: `attempt` goes up. Whoever had it may still be at work on it.

        Raises:
            NotSupported: the broker gives a dead member's events to others by itself.
        """
        self._require_alive()
        given = self._member.claim_stale(idle, count)
        return self._taken(given, self._ledger.read(given.entries), claimed=True)

    def run(
        self,
        handler: Callable[[Event], object],
        *,
        timeout: float | None = 0.0,
        count: int = 100,
        stop: threading.Event | None = None,
    ) -> int:
        """Poll, handle, commit, over and over; returns how many events were handled.

        A batch is committed when all of it is handled: what a handler that raises, or a crash,
        leaves of it comes again. A broker that goes away is waited for, within `timeout`.

        Args:
            handler: called with each event.
            timeout: ends when so many seconds pass without an event; None for never.
            count: at most so many in a batch.
            stop: ends it after the batch in hand.

        Raises:
            BrokerUnavailable: it was away when `timeout` had passed.
        """
        stop = stop or threading.Event()
        handled, owed = 0, False
        quiet_since = time.monotonic()
        while not (stop.is_set() or self._crashed):
            left = LONGEST_POLL_S if timeout is None else quiet_since + timeout - time.monotonic()
            try:
                if not owed:
                    events = self.poll(count, min(max(0.0, left), LONGEST_POLL_S))
                    for event in events:
                        handler(event)
                        handled += 1
                    owed = bool(events or events.unreadable)
                if owed and not self._crashed:
                    self.commit()
                    owed, quiet_since = False, time.monotonic()
                    continue
            except BrokerUnavailable as error:
                self._outage.since(error)
                if left <= 0:
                    raise
                stop.wait(min(LONGEST_POLL_S, self._outage.pause()))
            if left <= 0:
                break
        return handled

    def stats(self) -> MemberStatistics:
        """What it did, up to now."""
        tally = self._ledger.tally
        return tally.fill(
            MemberStatistics,
            self.name,
            decode_errors=tuple(tally.decode_errors),
            latency=self._ledger.latency(),
        )

    @property
    def crashed(self) -> bool:
        """Whether `crash()` was called."""
        return self._crashed

    def crash(self) -> None:
        """Die like a killed process: tell nobody, and keep what is in hand.

        It stays pending in this member's name, until somebody claims it or takes up the name; on
        Kafka until the session ends. A handler that `run` has called is not stopped, but what comes
        of it is not committed.
        """
        if self._crashed:
            return
        self._crashed = True
        self._member.crash()
        self._ledger.about_us(Action.CRASHED)

    def close(self) -> None:
        """Leave the group. What is not committed stays there for others."""
        if not self._crashed:
            self._member.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = " (crashed)" if self._crashed else ""
        where = f"of group {self.group!r} on stream {self.stream.name!r}"
        return f"<Member {self.name!r}{state} {where}>"

    # --- inside -------------------------------------------------------------------------------

    def _require_alive(self) -> None:
        if self._crashed:
            raise NotConnected(f"Member {self.name!r} has crashed. Call group.join() again.")

    def _parts(self, count: int, timeout: float) -> Iterable[Given]:
        if isinstance(self._member, InParts):
            return self._member.poll_in_parts(count, timeout)
        return (self._member.poll(count, timeout),)

    def _taken(self, given: Given, events: Events, *, claimed: bool = False) -> Events:
        if given.forgotten:
            self._ledger.tally.add(self.stream.name, forgotten=1)
            self._ledger.about_us(
                Action.LOST, "the broker had forgotten the group; it begins again at the beginning"
            )
            self._given.clear()
        if given.gone:
            self._ledger.tally.add(self.stream.name, destroyed=len(given.gone))
            for place in given.gone:
                self._ledger.about_us(Action.LOST, f"trimmed before it was committed: {place}")
        ends = {entry.position.partition: entry.position for entry in given.entries}
        for partition, place in ends.items():  # in order, so that the last is the furthest
            last = self._given.get(partition)
            if last is None or last < place:
                self._given[partition] = place
        self._ledger.delivered(given.entries, events, claimed=claimed)
        return events

    def _settled(self, answer: Committed) -> int:
        self._ledger.tally.add(self.stream.name, committed=answer.entries, late=len(answer.late))
        if self._ledger.tracing:
            if answer.entries:
                self._ledger.about_us(Action.COMMITTED, f"{answer.entries:,} events")
            for place in answer.late:
                self._ledger.about_us(Action.LATE_ACK, f"{place}: another member has it")
        return answer.entries
