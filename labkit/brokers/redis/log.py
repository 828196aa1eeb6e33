"""A log on Redis: one stream, read by anybody, and consumer groups on it.

The stream has the name that the caller gave it, so that `XRANGE name - +` shows what is in it: the
fields `key`, `revision` and `body`. How many entries of each key there were is in a hash beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from labkit.broker import (
    Appended,
    Capability,
    Cursor,
    Doomed,
    Entry,
    Extent,
    GroupState,
    NewEntry,
    Position,
    Support,
)
from labkit.brokers.redis import log_rows
from labkit.brokers.redis.client import Command, RedisClient, Reply
from labkit.brokers.redis.log_append import append, append_expected
from labkit.brokers.redis.log_calls import Forgotten, ask, run_script
from labkit.brokers.redis.log_group import RedisGroup
from labkit.brokers.redis.log_rows import position
from labkit.brokers.redis.log_scripts import COUNT, TRIM
from labkit.brokers.redis.log_wait import wait_for
from labkit.errors import TrimRefused

COUNT_AT_ONCE = 5_000
"""Entries that one script counts: others wait meanwhile."""


class RedisStream:
    """One stream; the contract is `labkit.broker.BrokerStream`."""

    def __init__(self, client: RedisClient, name: str) -> None:
        self._client = client
        self.key = client.options.namespace + name
        self.revisions = f"{client.options.namespace}labkit:{{{self.key}}}:revisions"
        self._keys = [self.key, self.revisions]

    def append(self, entries: Sequence[NewEntry]) -> list[Appended]:
        """One script a batch: a batch is in, or it is not."""
        return append(self._client, self._keys, entries)

    def append_expected(self, entries: Sequence[NewEntry], expected: int) -> list[Appended]:
        """The same script, which looks first."""
        return append_expected(self._client, self._keys, entries, expected)

    def revision(self, key: str) -> int:
        """HGET."""
        return int(ask(self._client, ("HGET", self.revisions, key), quiet=False) or 0)

    def read(self, after: Cursor, count: int, timeout: float) -> list[Entry]:
        """XRANGE, and XREAD BLOCK where there is nothing yet."""
        start = log_rows.after(after)

        def look() -> list[Entry]:
            command: Command = ("XRANGE", self.key, f"({start}", "+", "COUNT", count)
            return log_rows.entries(self._ask(command))

        def block(ms: int) -> list[Entry]:
            command: Command = ("XREAD", "COUNT", count, "BLOCK", ms, "STREAMS", self.key, start)
            reply = self._ask(command)
            return log_rows.entries(reply[0][1]) if reply else []

        return wait_for(self._client, look, block, timeout)

    def extents(self) -> list[Extent]:
        """XINFO STREAM."""
        try:
            info = ask(self._client, ("XINFO", "STREAM", self.key))
        except Forgotten:
            return [Extent(0, 0, None, None, None)]
        facts = dict(zip(info[::2], info[1::2], strict=True))
        first, last = (facts[name] for name in (b"first-entry", b"last-entry"))
        length, added = int(facts[b"length"]), facts.get(b"entries-added")
        return [
            Extent(
                partition=0,
                length=length,
                first=position(first[0]) if first else None,
                last=position(last[0]) if last else None,
                end=log_rows.position_or_none(facts[b"last-generated-id"]),
                removed=None if added is None else int(added) - length,
            )
        ]

    def at(self, seconds: float) -> Cursor:
        """An id is a time: milliseconds since 1970, by the clock of the server."""
        return log_rows.cursor(log_rows.id_before(f"{max(0, round(seconds * 1000))}-0"))

    def before(self, position: Position) -> Cursor:
        """The id before it."""
        return log_rows.cursor(log_rows.id_before(log_rows.after({0: position})))

    def cut(self, keep: int) -> Cursor:
        """Count from the beginning what has to go."""
        [extent] = self.extents()
        _, last = self._count("-", "+", max(0, extent.length - keep))
        return {} if last is None else {0: position(last)}

    def doomed(self, cursor: Cursor) -> Doomed:
        """What is there, and what of it each group has not read, or not committed."""
        cut = log_rows.after(cursor)
        entries, _ = self._count("-", cut)
        [extent] = self.extents()
        first = str(extent.first or log_rows.BEGINNING)
        unread, pending = {}, {}
        for name in self._group_names():
            group = RedisGroup(self._client, self.key, name)
            delivered = group.delivered()
            if missed := self._count(f"({delivered}", cut)[0]:
                unread[name] = missed
            if held := sum(1 for _ in group.pending_between(first, cut)):
                pending[name] = held
        return Doomed(entries, unread, pending)

    def trim(self, cursor: Cursor, *, force: bool) -> Doomed:
        """XTRIM MINID, in a script that asks the groups first."""
        cut = log_rows.after(cursor)
        doomed = self.doomed(cursor)
        if (doomed.unread or doomed.pending) and not force:
            raise TrimRefused(self.key, doomed.unread, doomed.pending)
        arguments = (cut, log_rows.id_after(cut), int(force))
        gone = int(run_script(self._client, TRIM, [self.key], arguments, quiet=False))
        if gone < 0:  # it was given to somebody between our two looks
            again = self.doomed(cursor)
            raise TrimRefused(self.key, again.unread, again.pending)
        return Doomed(gone, doomed.unread, doomed.pending)

    def open_group(self, name: str, start: Cursor | None) -> RedisGroup:
        """XGROUP CREATE, unless it is there."""
        group = RedisGroup(self._client, self.key, name)
        group.create("$" if start is None else log_rows.after(start))
        return group

    def groups(self) -> list[GroupState]:
        """One script a group."""
        return [RedisGroup(self._client, self.key, name).state() for name in self._group_names()]

    def delete(self) -> int:
        """UNLINK of the stream and of what was counted."""
        length = int(ask(self._client, ("XLEN", self.key)))
        ask(self._client, ("UNLINK", *self._keys), quiet=False)
        return length

    def _group_names(self) -> list[str]:
        try:
            rows = ask(self._client, ("XINFO", "GROUPS", self.key))
        except Forgotten:
            return []
        return sorted(dict(zip(r[::2], r[1::2], strict=True))[b"name"].decode() for r in rows)

    def _ask(self, command: Command) -> Reply:
        """A command that is shown only if it found something."""
        try:
            reply = ask(self._client, command)
        except Forgotten:  # deleted while we waited
            return []
        if reply:
            self._client.log(command)
        return reply

    def _count(self, start: str, end: str, most: int | None = None) -> tuple[int, bytes | None]:
        """Entries between two ids, at most `most` of them; and the last one."""
        return count_entries(self._client, self.key, start, end, most)


def count_entries(
    client: RedisClient, key: str, start: str, end: str, most: int | None = None
) -> tuple[int, bytes | None]:
    """Entries between two ids, at most `most` of them; and the last one. Counted in steps."""
    total, last = 0, None
    while most is None or total < most:
        step = COUNT_AT_ONCE if most is None else min(COUNT_AT_ONCE, most - total)
        found, reached = run_script(client, COUNT, [key], (start, end, step))
        if not found:
            break
        total, last = total + int(found), reached
        start = f"({reached.decode()}"
        if found < step:
            break
    return total, last


CAPABILITIES: tuple[Capability, ...] = (
    Capability(
        "stream",
        Support.NATIVE,
        "A Redis stream keeps its entries until they are trimmed; reading takes nothing away.",
    ),
    Capability(
        "consumer groups",
        Support.NATIVE,
        "XREADGROUP gives each entry to one member of a group, and keeps it pending until XACK.",
    ),
    Capability(
        "partitions",
        Support.ABSENT,
        "A stream is one log with one order; members share it entry by entry, so that two may hold "
        "entries of one key at once.",
    ),
    Capability(
        "acknowledge one by one",
        Support.NATIVE,
        "XACK names an entry; those before it may still be pending.",
    ),
    Capability(
        "negative acknowledgement",
        Support.ABSENT,
        "XACK has no opposite: an entry stays pending until its member commits it, or another "
        "claims it.",
    ),
    Capability(
        "claim of stale entries",
        Support.NATIVE,
        "XCLAIM takes over what has been pending for long; each claim counts as a delivery.",
    ),
    Capability(
        "expected revision",
        Support.EMULATED,
        "A hash counts the entries of each key; a script compares and appends in one step.",
    ),
    Capability(
        "read from a time",
        Support.NATIVE,
        "An entry's id begins with the server's time in milliseconds.",
    ),
    Capability(
        "stream deletion",
        Support.NATIVE,
        "DEL takes the stream with its groups.",
    ),
    Capability(
        "trim",
        Support.NATIVE,
        "XTRIM destroys the oldest entries and asks nobody; labkit's script asks the groups first.",
    ),
)
