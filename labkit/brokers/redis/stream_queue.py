"""A work queue on Redis streams: one stream a priority, and one consumer group on each."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.broker import QueueItem
from labkit.brokers.redis.client import REFUSALS, Command, ExchangeBroken
from labkit.brokers.redis.queue import RedisQueue
from labkit.brokers.redis.queue_rows import Row
from labkit.brokers.redis.stream_scripts import SCRIPTS
from labkit.errors import BrokerRefused

GROUP = "workers"

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
                raise BrokerRefused(f"Redis refused XGROUP: {reply}.")

    def _put_commands(self, items: Sequence[QueueItem]) -> list[Command] | None:
        return [
            ("XADD", self.places[item.priority], "*", "i", item.id, "b", item.body)
            for item in items
        ]

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
            raise BrokerRefused(f"Redis refused XREADGROUP: {reply}.")
        if reply:
            self._client.log(group + block)
        place = {stream.encode(): number for number, stream in enumerate(self.places, 1)}
        return [
            (place[stream], entry, fields)
            for stream, entries in reply or []
            for entry, fields in entries
        ]
