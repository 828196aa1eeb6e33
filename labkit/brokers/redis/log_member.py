"""One member of a consumer group: what Redis gave it, and what it has not committed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from labkit.broker import Committed, Cursor, Entry, Given, Position, together
from labkit.brokers.redis import log_rows
from labkit.brokers.redis.client import Command, RedisClient
from labkit.brokers.redis.log_ahead import rows_ahead
from labkit.brokers.redis.log_calls import Forgotten, ask
from labkit.brokers.redis.log_held import Held, order
from labkit.brokers.redis.log_rows import Pending, position
from labkit.brokers.redis.log_scripts import COMMIT, LEAVE, TAKE
from labkit.brokers.redis.log_wait import wait_for
from labkit.brokers.redis.scripts import Argument
from labkit.errors import BrokerRefused, BrokerUnavailable, NotConnected

if TYPE_CHECKING:
    from labkit.brokers.redis.log_group import RedisGroup

PAGE = 500
"""Entries committed in one round trip."""

SHOWN_IDS = 8
"""Of those, so many are told in `broker.commands()`."""


class RedisMember:
    """One consumer; the contract is `labkit.broker.GroupMember`."""

    def __init__(self, client: RedisClient, group: RedisGroup, name: str) -> None:
        self._client = client
        self._group = group
        self._name = name
        self._held = Held()
        self._unsure = True  # it may hold what never arrived here, or what one of its name held
        self._maybe_done: set[str] = set()  # a commit of these got no answer
        self._closed = False

    def poll(self, count: int, timeout: float) -> Given:
        """XCLAIM of what it is owed, else XREADGROUP."""
        return together(list(self.poll_in_parts(count, timeout)))

    def poll_in_parts(self, count: int, timeout: float) -> Iterator[Given]:
        """The same; while the caller looks at one part, Redis reads the next."""
        if self._closed:
            raise NotConnected("This member has left its group. Call group.join() again.")
        try:
            if self._unsure and (owed := self._owed(count)):
                yield owed
                return
            parts = []
            for entries in self._read_new(count, timeout):
                parts.append(Given(entries))
                yield parts[-1]
            for part in parts:  # all have been taken: from now on it has them
                self._keep(part)
        except Forgotten:
            self._held.clear()
            self._unsure = True
            self._group.create(log_rows.BEGINNING)
            yield Given(forgotten=True)
        except BaseException:
            self._unsure = True
            raise

    def commit(self, cursor: Cursor) -> Committed:
        """XACK of all that it was given up to there."""
        if 0 not in cursor:
            return Committed(0)
        return self._commit(self._held.up_to(cursor[0]), ours=True)

    def acknowledge(self, positions: Sequence[Position]) -> Committed:
        """XACK of these."""
        ids = sorted({place.text for place in positions}, key=order)
        return self._commit(ids, ours=all(entry_id in self._held for entry_id in ids))

    def claim_stale(self, idle: float, count: int) -> Given:
        """XPENDING to find them, XCLAIM to have them."""
        idle_ms = max(0, round(idle * 1000))
        rows = self._group.pending_of_others(self._name)
        try:
            return self._keep(self._take((r for r in rows if r.idle_ms >= idle_ms), idle_ms, count))
        except Forgotten:
            return Given(forgotten=True)
        except BaseException:
            self._unsure = True
            raise

    def crash(self) -> None:
        """Nothing goes to Redis: a connection says nothing about who holds what."""
        self._closed = True

    def close(self) -> None:
        """XGROUP DELCONSUMER, if it holds nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._group.run(LEAVE, self._group.name, self._name)
        except (Forgotten, BrokerUnavailable, BrokerRefused, NotConnected):
            return  # its name stays in the list of members; its entries can be claimed

    # --- inside -------------------------------------------------------------------------------

    def _read_new(self, count: int, timeout: float) -> Iterator[list[Entry]]:
        """New entries, in parts; an empty list where there are none."""
        found = False
        for rows in rows_ahead(self._client, self._read, count):
            found = True
            yield log_rows.entries(rows, attempt=1)
        if not found:
            yield self._wait(count, timeout) if timeout > 0 else []

    def _wait(self, count: int, timeout: float) -> list[Entry]:
        def read(*block: Argument) -> list[Entry]:
            command = self._read(count, *block)
            reply = ask(self._client, command)
            if not reply:
                return []
            self._client.log(command)
            return log_rows.entries(reply[0][1], attempt=1)

        return wait_for(self._client, read, lambda ms: read("BLOCK", ms), timeout)

    def _read(self, count: int, *block: Argument) -> Command:
        group = self._group
        start = ("XREADGROUP", "GROUP", group.name, self._name, "COUNT", count)
        return (*start, *block, "STREAMS", group.key, ">")

    def _owed(self, count: int) -> Given | None:
        """What Redis says is ours, and we do not have; None for nothing."""
        rows = (r for r in self._group.pending_of(self._name) if r.id not in self._held)
        given = self._take(rows, 0, count)
        if len(given.entries) + len(given.gone) < count:
            self._unsure = False
        return self._keep(given) if given.entries or given.gone else None

    def _take(self, rows: Iterator[Pending], idle_ms: int, count: int) -> Given:
        ids = [row.id for row, _ in zip(rows, range(count), strict=False)]
        taken: list[Entry] = []
        gone: list[Position] = []
        for start in range(0, len(ids), PAGE):
            page = ids[start : start + PAGE]
            arguments: tuple[Argument, ...] = (self._group.name, self._name, idle_ms, *page)
            found, attempts, destroyed = self._group.run(TAKE, *arguments, quiet=False)
            taken += (
                Entry(e.position, e.body, e.key, e.revision, int(attempt), e.more)
                for e, attempt in zip(log_rows.entries(found), attempts, strict=True)
            )
            gone += map(position, destroyed)
        return Given(taken, gone)

    def _keep(self, given: Given) -> Given:
        self._held.add(given.entries)
        return given

    def _commit(self, ids: Sequence[str], *, ours: bool) -> Committed:
        """`ids` in the stream's order; `ours` if it holds them all."""
        late: list[Position] = []
        for start in range(0, len(ids), PAGE):
            page = ids[start : start + PAGE]
            held = len(self._held) if ours and not self._unsure else -1
            try:
                answer = self._group.run(COMMIT, self._group.name, self._name, held, *page)
            except Forgotten:
                answer = [entry.encode() for entry in page]
            except BaseException:
                self._maybe_done.update(page)
                raise
            self._client.log(COMMIT.shown(self._group.name, self._name, *page[:SHOWN_IDS]))
            late += (place for place in map(position, answer) if place.text not in self._maybe_done)
            if self._maybe_done:
                self._maybe_done.difference_update(page)
            if ours and len(page) == len(self._held):
                self._held.clear()
            else:
                self._held.discard(page)
        return Committed(len(ids) - len(late), tuple(late))
