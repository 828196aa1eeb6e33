"""A work queue on Redis streams: one stream a priority, one consumer group, leases of our own.

Redis' consumer groups know how long an entry has been pending, but not whether its worker lives.
Here each worker has a lease in a sorted set, renewed by its heart-beat, so that a task may take as
long as it takes. Every change of place (to a worker, back, to the dead letters) is one script.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import redis

from labkit.broker import DeadItem, Delivery, Depth, Priority, QueueItem, QueueOptions, Recovered
from labkit.brokers.redis import stream_scripts as lua
from labkit.brokers.redis.client import Command, ExchangeBroken, RedisClient, Reply
from labkit.brokers.redis.scripts import Argument, Script, run, run_many
from labkit.errors import BatchError, BrokerRefused, BrokerUnavailable, QueueFull

GROUP = "workers"
BATCH_SIZE = 500
"""Commands in one round trip."""

LONGEST_BLOCK_S = 1.0
"""Longest single wait in Redis: below the socket's time-out, and above the cost of asking again."""

EMBEDDED_PAUSE_S = 0.005
"""Between two looks at the embedded broker, which cannot block."""


class StreamQueue:
    """One queue; the contract is `labkit.broker.BrokerQueue`."""

    def __init__(self, client: RedisClient, name: str, options: QueueOptions) -> None:
        self._client = client
        self._options = options
        prefix = f"{client.options.namespace}labkit:queue:{{{name}}}:"
        self._streams = [f"{prefix}{priority.name.lower()}" for priority in Priority]
        places = ("delayed", "parked", "ids", "workers", "dead")
        self.keys = [*self._streams, *(prefix + place for place in places)]
        self._delayed, self._parked, self._ids, self._workers, self._dead = self.keys[3:]
        self._make_groups()

    def put(self, items: Sequence[QueueItem]) -> list[bool]:
        """XADD, or a script where the task is unique, delayed, or the queue is bounded."""
        now = self._client.now() if any(item.delay for item in items) else 0.0
        accepted: list[bool] = []
        for start in range(0, len(items), BATCH_SIZE):
            chunk = items[start : start + BATCH_SIZE]
            try:
                replies = self._put_chunk(chunk, now)
            except ExchangeBroken as broken:
                done = start + len(broken.replies)
                raise BatchError(
                    str(broken.cause),
                    sent=range(done),
                    unknown=range(done, start + len(chunk)),
                    unsent=range(start + len(chunk), len(items)),
                ) from None
            except BrokerUnavailable as error:
                raise BatchError(
                    str(error), sent=range(start), unsent=range(start, len(items))
                ) from None
            accepted += self._accepted(replies, start, len(items))
        return accepted

    def take(self, worker: str, count: int, timeout: float) -> list[Delivery]:
        """XREADGROUP, the highest priority first; waits in Redis where Redis can block."""
        deadline = time.monotonic() + timeout
        while True:
            next_due, found = self._take_ready(worker, count)
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            if self._client.embedded:
                time.sleep(min(left, EMBEDDED_PAUSE_S))
                continue
            block_s = min(left, LONGEST_BLOCK_S, self._options.lease / 3)
            if next_due is not None:
                block_s = min(block_s, next_due - self._client.now())
            if block_s > 0.001 and (found := self._wait(worker, count, block_s)):
                return found

    def ack(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """XACK and XDEL, for all in one step."""
        if not deliveries:
            return []
        arguments: list[Argument] = []
        for delivery in deliveries:
            stream, entry, unique = delivery.tag.split()
            arguments += [stream, entry, delivery.id if unique == "1" else ""]
        return [reply == 1 for reply in self._run(lua.ACK, *arguments)]

    def retry(self, delivery: Delivery, delay: float, error: str) -> bool:
        """To the end of its stream, or into the delayed ones."""
        due = self._client.now() + delay if delay > 0 else 0.0
        errors = json.dumps([*delivery.errors, error])
        return self._run(lua.RETRY, *_place(delivery), delivery.attempt, errors, due) == 1

    def bury(self, delivery: Delivery, reason: str, error: str) -> bool:
        """To the dead letters, with its whole history."""
        errors = json.dumps([*delivery.errors, error])
        now = self._client.now()
        return self._run(lua.BURY, *_place(delivery), delivery.attempt, errors, reason, now) == 1

    def release(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Back to the stream, as if never taken."""
        calls = [
            (
                lua.RETRY,
                (*_place(delivery), delivery.attempt - 1, json.dumps(delivery.errors), 0.0),
            )
            for delivery in deliveries
        ]
        try:
            return [reply == 1 for reply in run_many(self._client, calls, self.keys)]
        except ExchangeBroken as broken:
            raise broken.cause from None

    def renew(self, worker: str, seconds: float | None = None) -> None:
        """Move the end of the worker's lease."""
        ends = self._client.now() + (self._options.lease if seconds is None else seconds)
        self._client.call("ZADD", self._workers, ends, worker)

    def leave(self, worker: str) -> None:
        """End the worker's lease now, so that `recover` takes what it holds."""
        self._client.call("ZADD", self._workers, "XX", 0, worker)

    def recover(self) -> list[Recovered]:
        """Take what dead workers hold, and give it back, or to the dead letters."""
        found: list[Recovered] = []
        while True:
            most = self._options.max_deliveries or 0
            more, rows = self._run(lua.RECOVER, self._client.now(), most)
            for task_id, worker, attempt, dead in rows:
                found.append(Recovered(_text(task_id), _text(worker), int(attempt), dead == 1))
            if not more:
                return found

    def depth(self) -> Depth:
        """How many tasks are where, at one moment."""
        return Depth(*map(int, self._run(lua.DEPTH)))

    def dead(self, limit: int = 100) -> list[DeadItem]:
        """XRANGE of the dead letters."""
        return [
            _dead_item(tag, fields)
            for tag, fields in self._client.call("XRANGE", self._dead, "-", "+", "COUNT", limit)
        ]

    def redrive(self, items: Sequence[DeadItem]) -> int:
        """Back to the streams they came from, with no attempts."""
        return int(self._run(lua.REDRIVE, *(item.tag for item in items))) if items else 0

    def purge(self) -> int:
        """DEL of everything, with the number of tasks that were there."""
        return int(self._run(lua.PURGE))

    def waits(self) -> dict[str, float]:
        """The leases."""
        now = self._client.now()
        flat = self._client.call("ZRANGE", self._workers, 0, -1, "WITHSCORES")
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {_text(worker): float(ends) - now for worker, ends in pairs}

    # --- inside -------------------------------------------------------------------------------

    def _make_groups(self) -> None:
        """A group on each stream, from the beginning: what was put before counts, too."""
        commands = [
            ("XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM") for stream in self._streams
        ]
        try:
            replies = self._client.exchange(*commands)
        except ExchangeBroken as broken:
            raise broken.cause from None
        for reply in replies:
            if isinstance(reply, redis.ResponseError) and "BUSYGROUP" not in str(reply):
                raise BrokerRefused(f"Redis refused XGROUP: {reply}.")

    def _run(self, script: Script, *arguments: Argument) -> Reply:
        """Run a script; a server that lost everything gets its groups again."""
        try:
            return run(self._client, script, self.keys, *arguments)
        except BrokerRefused as error:
            if "NOGROUP" not in str(error):
                raise
            self._make_groups()
            return run(self._client, script, self.keys, *arguments)

    def _put_chunk(self, chunk: Sequence[QueueItem], now: float) -> list[Reply]:
        if self._options.max_length is None and not any(i.unique or i.delay for i in chunk):
            commands: list[Command] = [
                ("XADD", self._streams[item.priority], "*", "i", item.id, "b", item.body)
                for item in chunk
            ]
            return self._client.exchange(*commands)
        calls: list[tuple[Script, Sequence[Argument]]] = [
            (
                lua.PUT,
                (
                    self._options.max_length or "",
                    item.priority + 1,
                    item.id,
                    item.body,
                    int(item.unique),
                    now + item.delay if item.delay else 0,
                ),
            )
            for item in chunk
        ]
        return run_many(self._client, calls, self.keys)

    def _accepted(self, replies: Sequence[Reply], start: int, total: int) -> list[bool]:
        for index, reply in enumerate(replies, start):
            if reply == -1:
                raise QueueFull(
                    f"The queue holds {self._options.max_length:,} tasks and no more. Wait until "
                    "workers have done some, or give it a larger max_length.",
                    sent=range(index),
                    unsent=range(index, total),
                )
            if isinstance(reply, redis.ResponseError):
                raise BatchError(
                    f"Redis refused: {reply}.", sent=range(index), unsent=range(index, total)
                )
        return [reply != 0 for reply in replies]

    def _take_ready(self, worker: str, count: int) -> tuple[float | None, list[Delivery]]:
        now = self._client.now()
        due, rows = self._run(lua.TAKE, now, self._options.lease, worker, count)
        return (float(due) if due else None), [_delivery(worker, *row) for row in rows]

    def _wait(self, worker: str, count: int, seconds: float) -> list[Delivery]:
        """Block until something is put into any of the streams."""
        reply = self._client.call(
            *("XREADGROUP", "GROUP", GROUP, worker, "COUNT", count),
            *("BLOCK", max(1, int(seconds * 1000)), "STREAMS", *self._streams, ">", ">", ">"),
        )
        number = {stream.encode(): index for index, stream in enumerate(self._streams, 1)}
        found = [
            _delivery(worker, number[stream], entry, fields)
            for stream, entries in reply or []
            for entry, fields in entries
        ]
        return sorted(found, key=lambda delivery: -delivery.priority)


def _place(delivery: Delivery) -> tuple[Argument, ...]:
    """What a script must know to move a delivery: stream, entry, unique, id, body."""
    return (*delivery.tag.split(), delivery.id, delivery.body)


def _delivery(worker: str, stream: int, entry: bytes, fields: list[bytes]) -> Delivery:
    known = dict(zip(fields[::2], fields[1::2], strict=True))
    unique = "1" if known.get(b"u") == b"1" else "0"
    return Delivery(
        id=_text(known.get(b"i", b"?")),
        body=known.get(b"b", b""),
        attempt=int(known.get(b"a", 0)) + 1,
        worker=worker,
        priority=Priority(int(stream) - 1),
        errors=tuple(json.loads(known.get(b"e", b"[]"))),
        tag=f"{int(stream)} {_text(entry)} {unique}",
    )


def _dead_item(tag: bytes, fields: list[bytes]) -> DeadItem:
    known = dict(zip(fields[::2], fields[1::2], strict=True))
    return DeadItem(
        id=_text(known.get(b"i", b"?")),
        body=known.get(b"b", b""),
        attempts=int(known.get(b"a", 0)),
        errors=tuple(json.loads(known.get(b"e", b"[]"))),
        reason=_text(known.get(b"r", b"")),
        died=float(known.get(b"t", 0)),
        tag=_text(tag),
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
