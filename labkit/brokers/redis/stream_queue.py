"""A work queue on Redis streams: one stream a priority, and one consumer group on each."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.broker import Delivery, QueueItem
from labkit.brokers.redis import queue_rows
from labkit.brokers.redis.client import REFUSALS, Command, ExchangeBroken, Reply
from labkit.brokers.redis.queue import RedisQueue
from labkit.brokers.redis.queue_put import Outcome
from labkit.brokers.redis.queue_rows import Row
from labkit.brokers.redis.scripts import Argument, run_many
from labkit.brokers.redis.stream_scripts import ACK_AND_TAKE, PUT_PLAIN, SCRIPTS
from labkit.brokers.redis.words import refusal

GROUP = "workers"

MOST_ONE_BY_ONE = 20
"""So many tasks are put with XADD, which a reader of `commands()` knows; more with a script."""

MOST_AT_ONCE = 1000
"""Entries in one XACK: Lua can hand over a few thousand arguments."""

_GONE = ("NOGROUP", "UNBLOCKED")
"""How Redis says that the stream went while we waited for it."""


class StreamQueue(RedisQueue):
    """XADD, XREADGROUP, XACK and XDEL."""

    scripts = SCRIPTS

    def _prepare(self) -> None:
        """A group on each stream, from the beginning: what was put before counts, too."""
        commands: list[Command] = [
            ("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM") for stream in self.places
        ]
        try:
            replies = self._client.exchange(*commands)
        except ExchangeBroken as broken:
            raise broken.cause from None
        for reply in replies:
            if isinstance(reply, REFUSALS) and "BUSYGROUP" not in str(reply):
                raise refusal(self._client.url, "XGROUP", reply)

    def _put_plain(self, items: Sequence[QueueItem]) -> list[Outcome] | None:
        """A few with XADD, as anybody would; many of one priority with one command for all."""
        if len(items) > MOST_ONE_BY_ONE:
            place = items[0].priority
            if any(item.priority is not place for item in items):
                return None
            return self._put_at(self.places[place], items)
        commands: list[Command] = [
            ("XADD", self.places[item.priority], "*", "i", item.id, "b", item.body)
            for item in items
        ]
        replies = self._client.exchange(*commands)
        return [reply if isinstance(reply, REFUSALS) else True for reply in replies]

    def _put_at(self, place: str, items: Sequence[QueueItem]) -> list[Outcome]:
        """One answer for all of them spares more than half of the way."""
        arguments: list[Argument] = []
        for item in items:
            arguments += (item.id, item.body)
        [reply] = run_many(self._client, [(PUT_PLAIN, arguments)], [place], quiet=True)
        self._client.log(PUT_PLAIN.shown(*arguments[:2], f"... {len(items)} tasks"))
        return [reply] if isinstance(reply, REFUSALS) else [True] * len(items)

    def _ack_and_take(
        self, done: Sequence[Delivery], worker: str, count: int
    ) -> tuple[list[int], Reply]:
        entries = queue_rows.plain_entries(done) if len(done) <= MOST_AT_ONCE else []
        if not entries:
            return super()._ack_and_take(done, worker, count)
        now = self._client.now()
        arguments = (now, now + self._options.lease, worker, count)
        acked, taken = self._run(ACK_AND_TAKE, (*arguments, *entries), quiet=True)
        self._client.log(ACK_AND_TAKE.shown(*arguments, *entries[:2]))
        return ([1] * acked if isinstance(acked, int) else acked), taken

    def _block(self, worker: str, count: int, lease: Command, seconds: float) -> list[Row]:
        """XREADGROUP from all streams; it may bring `count` of each."""
        group: Command = ("XREADGROUP", "GROUP", GROUP, worker, "COUNT", count)
        block: Command = (
            "BLOCK",
            max(1, int(seconds * 1000)),
            "STREAMS",
            *self.places,
            ">",
            ">",
            ">",
        )
        _, reply = self._client.exchange(lease, group + block, shown=[])
        if isinstance(reply, REFUSALS):
            if str(reply).startswith(_GONE):
                return []
            raise refusal(self._client.url, "XREADGROUP", reply)
        if reply:
            self._client.log(group + block)
        place = {stream.encode(): number for number, stream in enumerate(self.places, 1)}
        return [
            (place[stream], entry, fields)
            for stream, entries in reply or []
            for entry, fields in entries
        ]
