"""Consumer groups on a log: who was given what, and what of it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from labkit.broker import Cursor, GroupState, Holding, Place, Position
from labkit.brokers.redis import log_rows
from labkit.brokers.redis.client import Command, RedisClient, Reply
from labkit.brokers.redis.log_calls import Forgotten, ask, run_script
from labkit.brokers.redis.log_member import RedisMember
from labkit.brokers.redis.log_rows import Pending
from labkit.brokers.redis.log_scripts import COUNT, STATE
from labkit.brokers.redis.scripts import Argument, Script
from labkit.errors import BrokerRefused, ConfigurationError

PAGE = 500
"""Pending entries looked at in one round trip."""


class RedisGroup:
    """One consumer group; the contract is `labkit.broker.StreamGroup`."""

    def __init__(self, client: RedisClient, key: str, name: str) -> None:
        self._client = client
        self.key = key
        self.name = name

    def create(self, start: str) -> bool:
        """XGROUP CREATE; False if it was there."""
        command = ("XGROUP", "CREATE", self.key, self.name, start, "MKSTREAM")
        try:
            ask(self._client, command, quiet=False)
        except BrokerRefused as error:
            if "BUSYGROUP" in str(error):
                return False
            raise
        return True

    def join(self, member: str) -> RedisMember:
        """XGROUP CREATECONSUMER, so that it is seen before it reads."""
        try:
            self.ask("XGROUP", "CREATECONSUMER", self.key, self.name, member)
        except Forgotten:
            self.create(log_rows.BEGINNING)
        return RedisMember(self._client, self, member)

    def state(self) -> GroupState:
        """One script, so that all is of one moment."""
        reply = None
        with contextlib.suppress(Forgotten):
            reply = self.run(STATE, self.name)
        if reply is None:
            raise ConfigurationError(
                f"There is no group {self.name!r} on {self.key!r}: it was deleted, or the broker "
                "has forgotten it. Open it again with stream.group(…)."
            )
        delivered, unread, pending, before, flat = reply
        if unread is None:
            unread = self._count_from(f"({delivered.decode()}")
        committed = before if pending else delivered
        names = zip(flat[::2], flat[1::2], strict=True)
        place = Place(
            partition=0,
            delivered=log_rows.position_or_none(delivered),
            committed=log_rows.position_or_none(committed),
            unread=int(unread),
            pending=int(pending),
            lag=int(unread) + int(pending),
        )
        held = {name.decode(): int(count) for name, count in names}
        return GroupState(self.name, (place,), dict(sorted(held.items())))

    def holdings(self, limit: int) -> list[Holding]:
        """XPENDING, an entry a row."""
        found: list[Holding] = []
        for row in self._pending("-", "+"):
            if len(found) == limit:
                break
            place = Position(row.id)
            found.append(Holding(row.member, 0, place, row.attempt, row.idle_ms / 1000))
        return found

    def reset(self, cursor: Cursor) -> None:
        """Made anew at another place: XGROUP SETID would leave what is pending pending."""
        start = log_rows.after(cursor)
        self.delete()
        self.create(start)

    def delete(self) -> None:
        """XGROUP DESTROY."""
        with contextlib.suppress(Forgotten):
            self.ask("XGROUP", "DESTROY", self.key, self.name)

    # --- for the stream and the members -------------------------------------------------------

    def delivered(self) -> str:
        """The last id that any member was given."""
        reply = self.run(STATE, self.name)
        return log_rows.BEGINNING if reply is None else reply[0].decode()

    def pending_between(self, first: str, cut: str) -> Iterator[Pending]:
        """What is pending there; before the first entry it would be of entries that are gone."""
        return self._pending(first, cut)

    def pending_of(self, member: str) -> Iterator[Pending]:
        """What one member was given and has not committed."""
        return self._pending("-", "+", member)

    def pending_of_others(self, member: str) -> Iterator[Pending]:
        """What all the others were."""
        return (row for row in self._pending("-", "+") if row.member != member)

    def ask(self, *command: Argument) -> Reply:
        """A command on the stream; told among the commands."""
        return ask(self._client, command, quiet=False)

    def run(self, script: Script, *arguments: Argument, quiet: bool = True) -> Reply:
        """A script on the stream."""
        return run_script(self._client, script, [self.key], arguments, quiet=quiet)

    def _pending(self, start: str, end: str, *member: str) -> Iterator[Pending]:
        while True:
            command: Command = ("XPENDING", self.key, self.name, start, end, PAGE, *member)
            rows = ask(self._client, command)
            for entry_id, owner, idle, attempt in rows:
                yield Pending(entry_id.decode(), owner.decode(), int(idle), int(attempt))
            if len(rows) < PAGE:
                return
            start = f"({rows[-1][0].decode()}"

    def _count_from(self, start: str) -> int:
        total = 0
        while True:
            found, last = self.run(COUNT, start, "+", PAGE * 10)
            total += int(found)
            if found < PAGE * 10:
                return total
            start = f"({last.decode()}"
