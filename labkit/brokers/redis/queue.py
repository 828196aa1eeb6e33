"""A work queue on Redis: what the stream queue and the list queue have in common.

Redis' consumer groups know how long an entry has been pending, but not whether its worker lives.
Here each worker has a lease in a sorted set, renewed by its heart-beat, so that a task may take as
long as it takes. Every change of place (to a worker, back, to the dead letters) is one script.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

import redis

from labkit.broker import DeadItem, Delivery, Depth, QueueItem, QueueOptions, Recovered
from labkit.brokers.redis import queue_put, queue_rows
from labkit.brokers.redis.client import REFUSALS, Command, ExchangeBroken, RedisClient, Reply
from labkit.brokers.redis.queue_handed import Handed
from labkit.brokers.redis.queue_put import BATCH_SIZE, FULL, Outcome
from labkit.brokers.redis.queue_rows import Row, delivery, text
from labkit.brokers.redis.queue_scripts import COMMON_KEYS, QueueScripts
from labkit.brokers.redis.scripts import Argument, Script, run_many
from labkit.brokers.redis.words import refusal

LONGEST_BLOCK_S = 0.5
"""Longest single wait in Redis: so late may a task be that another client has delayed."""

EMBEDDED_PAUSE_S = (0.005, 0.05)
"""Between two looks at the embedded broker, which cannot block: at first, and after a while."""


class RedisQueue(ABC):
    """One queue; the contract is `labkit.broker.BrokerQueue`. A kind says how it keeps tasks."""

    scripts: QueueScripts
    more_keys: tuple[str, ...] = ()

    def __init__(self, client: RedisClient, name: str, options: QueueOptions) -> None:
        self._client = client
        self._options = options
        prefix = f"{client.options.namespace}labkit:{{{options.kind}-queue:{name}}}:"
        self.keys = [prefix + key for key in (*COMMON_KEYS, *self.more_keys)]
        self.places = self.keys[:3]
        self._workers, self._dead = self.keys[6:8]
        self._handed = Handed()
        self._prepare()

    def put(self, items: Sequence[QueueItem]) -> list[bool]:
        """Add tasks, a batch in one round trip."""
        return queue_put.put_in_batches(items, self._put_batch, self._options)

    def take(self, worker: str, count: int, timeout: float) -> list[Delivery]:
        """The highest priority first; waits in Redis where Redis can block."""
        deadline = time.monotonic() + timeout
        pause, longest_pause = EMBEDDED_PAUSE_S
        now = self._client.now()
        if found := self._never_told(worker, count):
            return found
        while True:
            with self._handed.told(worker):
                script, arguments = self._take_call(worker, count, now)
                next_due, taken = self._run(script, arguments, quiet=True)
                found = self._handed.out(worker, queue_rows.deliveries(worker, taken))
            if found:  # looking in vain, again and again, is nothing to be told
                self._client.log(script.shown(*arguments))
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            if self._client.embedded:
                time.sleep(min(left, pause))
                pause = min(2 * pause, longest_pause)
            else:
                due_s = float(next_due) - now if next_due else left
                if found := self._wait(worker, count, left, due_s):
                    return found
            if not self._client.options.clock.manual:  # whose every reading is an event
                now = self._client.now()

    def ack_and_take(
        self, done: Sequence[Delivery], worker: str, count: int
    ) -> tuple[list[bool], list[Delivery]]:
        """Both scripts in one round trip."""
        if not done or self._handed.unsure(worker):
            found = self.take(worker, count, 0.0)  # first: if it breaks, nothing is acknowledged
            with self._handed.told(worker, found):
                return self.ack(done), found
        with self._handed.told(worker):
            acked, taken = self._ack_and_take(done, worker, count)
            self._handed.back(done)
            found = self._handed.out(worker, queue_rows.deliveries(worker, taken))
            return [answer == 1 for answer in acked], found

    def ack(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """All in one step."""
        if not deliveries:
            return []
        replies = self._run(self.scripts.ack, queue_rows.ack_arguments(deliveries))
        self._handed.back(deliveries)
        return [reply == 1 for reply in replies]

    def retry(self, delivery: Delivery, delay: float, error: str) -> bool:
        """To the end of its place, or into the delayed ones."""
        due = self._client.now() + delay if delay > 0 else 0
        errors = queue_rows.errors_json(delivery, error)
        [moved] = self._move(self.scripts.retry, [(delivery, (delivery.attempt, errors, due))])
        return moved

    def bury(self, delivery: Delivery, reason: str, error: str) -> bool:
        """To the dead letters, with its whole history."""
        errors = queue_rows.errors_json(delivery, error)
        facts = (delivery.attempt, errors, reason, self._client.now())
        [moved] = self._move(self.scripts.bury, [(delivery, facts)])
        return moved

    def release(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """To the end of its place, as if never taken."""
        moves = [
            (item, (item.attempt - 1, queue_rows.errors_json(item, ""), 0)) for item in deliveries
        ]
        return self._move(self.scripts.retry, moves)

    def renew(self, worker: str, seconds: float | None = None) -> None:
        """Move the end of the worker's lease, never to an earlier time."""
        ends = self._client.now() + (self._options.lease if seconds is None else seconds)
        # leaves no line in `broker.commands()`, where it would stand between the reader's own
        self._run(self.scripts.renew, (worker, ends, "GT"), quiet=True)

    def leave(self, worker: str) -> None:
        """End the worker's lease now, so that `recover` takes what it holds."""
        self._handed.leave(worker)
        self._run(self.scripts.renew, (worker, 0, "XX"))

    def recover(self) -> list[Recovered]:
        """Take what dead workers hold, and give it back, or to the dead letters."""
        found: list[Recovered] = []
        now = self._client.now()
        most = self._options.max_deliveries or ""
        more = 1
        while more:
            arguments = (now, now + self._options.lease, most)
            more, rows = self._run(self.scripts.recover, arguments, quiet=True)
            if rows:
                self._client.log(self.scripts.recover.shown(*arguments))
            for task_id, worker, attempt, dead in rows:
                found.append(Recovered(text(task_id), text(worker), int(attempt), dead == 1))
                self._handed.forget(text(worker))
        return found

    def depth(self) -> Depth:
        """How many tasks are where, at one moment."""
        return Depth(*map(int, self._run(self.scripts.depth)))

    def dead(self, limit: int = 100) -> list[DeadItem]:
        """XRANGE of the dead letters."""
        rows = self._client.call("XRANGE", self._dead, "-", "+", "COUNT", limit)
        return [queue_rows.dead_item(tag, fields) for tag, fields in rows]

    def redrive(self, items: Sequence[DeadItem]) -> int:
        """To the places they came from, with no attempts."""
        moved = 0
        for start in range(0, len(items), BATCH_SIZE):
            tags = [item.tag for item in items[start : start + BATCH_SIZE]]
            moved += int(self._run(self.scripts.redrive, tags))
        return moved

    def purge(self) -> int:
        """UNLINK of everything, with the number of tasks that were there."""
        return int(self._run(self.scripts.purge))

    def leases(self) -> dict[str, float]:
        """For each worker, the seconds that it has left."""
        now = self._client.now()
        flat = self._client.call("ZRANGE", self._workers, 0, -1, "WITHSCORES")
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {text(worker): float(ends) - now for worker, ends in pairs}

    # --- what a kind says ---------------------------------------------------------------------

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the scripts need to be there."""

    def _put_plain(self, items: Sequence[QueueItem]) -> list[Outcome] | None:
        """Put tasks of which nothing must be looked up; None: leave those to the script, too."""
        del items
        return None

    @abstractmethod
    def _block(self, worker: str, count: int, lease: Command, seconds: float) -> list[Row]:
        """Renew the lease, and in the same breath wait in Redis for a task."""

    # --- inside -------------------------------------------------------------------------------

    def _run(
        self, script: Script, arguments: Sequence[Argument] = (), *, quiet: bool = False
    ) -> Reply:
        [reply] = self._run_all([(script, arguments)], quiet=quiet)
        return reply

    def _run_all(
        self, calls: Sequence[tuple[Script, Sequence[Argument]]], *, quiet: bool = False
    ) -> list[Reply]:
        """Run scripts in one round trip; a server that lost everything is prepared again."""
        try:
            replies = run_many(self._client, calls, self.keys, quiet=quiet)
            if any(queue_rows.unprepared(reply) for reply in replies):
                self._prepare()
                again = [i for i, reply in enumerate(replies) if queue_rows.unprepared(reply)]
                new = run_many(self._client, [calls[i] for i in again], self.keys)
                for i, reply in zip(again, new, strict=True):
                    replies[i] = reply
        except ExchangeBroken as broken:
            raise broken.cause from None
        for (script, _), reply in zip(calls, replies, strict=True):
            if isinstance(reply, REFUSALS):
                raise refusal(self._client.url, script.name, reply)
        return replies

    def _put_batch(self, batch: Sequence[QueueItem]) -> list[Outcome]:
        most = self._options.max_length
        if most is None and not any(item.unique or item.delay for item in batch):
            outcomes = self._put_plain(batch)
            if outcomes is not None:
                self._raise_if_loading(outcomes[0])
                return outcomes
        now = self._client.now() if any(item.delay for item in batch) else 0.0
        arguments = queue_put.put_arguments(batch, most, now)
        [reply] = run_many(self._client, [(self.scripts.put, arguments)], self.keys)
        self._raise_if_loading(reply)
        if isinstance(reply, REFUSALS):
            return [reply]
        return [FULL if answer < 0 else answer == 1 for answer in reply]

    def _raise_if_loading(self, reply: Reply) -> None:
        """Redis reads its files: it has done nothing, and will do it in a moment."""
        if isinstance(reply, redis.BusyLoadingError):
            raise self._client.unavailable(reply)

    def _take_call(self, worker: str, count: int, now: float) -> tuple[Script, Sequence[Argument]]:
        return self.scripts.take, (now, now + self._options.lease, worker, count)

    def _ack_and_take(
        self, done: Sequence[Delivery], worker: str, count: int
    ) -> tuple[list[int], Reply]:
        """Of each whether it was ours still, and what was taken."""
        ack = (self.scripts.ack, queue_rows.ack_arguments(done))
        take = self._take_call(worker, count, self._client.now())
        acked, (_, taken) = self._run_all([ack, take])
        return acked, taken

    def _never_told(self, worker: str, count: int) -> list[Delivery]:
        """What was given to the worker in an answer that never arrived."""
        if not self._handed.unsure(worker):
            return []
        holds = [delivery(worker, row) for row in self._holds(worker)]
        return self._handed.find(worker, holds, count)

    def _holds(self, worker: str) -> list[Row]:
        """What Redis says that the worker has; it is a known worker from then on, if it was not."""
        ends = self._client.now() + self._options.lease
        rows: list[Row] = self._run(self.scripts.holds, (worker, ends))
        return rows

    def _wait(self, worker: str, count: int, left: float, due_s: float) -> list[Delivery]:
        """Block until something is there, or for a while."""
        seconds = min(left, LONGEST_BLOCK_S, self._options.lease / 3)
        seconds = min(seconds, self._client.options.timeout / 2)
        if not self._client.options.clock.manual:
            seconds = min(seconds, due_s)
        if seconds < 0.001:  # Redis would wait for ever
            return []
        ends = self._client.now() + self._options.lease
        lease: Command = ("ZADD", self._workers, "GT", ends, worker)
        with self._handed.told(worker):
            try:
                rows = self._block(worker, count, lease, seconds)
            except ExchangeBroken as broken:
                raise broken.cause from None
            found = sorted((delivery(worker, r) for r in rows), key=lambda item: -item.priority)
            self.release(found[count:])  # one came in each of several streams at once
            return self._handed.out(worker, found[:count])

    def _move(
        self, script: Script, moves: Sequence[tuple[Delivery, tuple[Argument, ...]]]
    ) -> list[bool]:
        if not moves:
            return []
        calls = [(script, (*queue_rows.place_of(item), *facts)) for item, facts in moves]
        replies = self._run_all(calls)
        self._handed.back([item for item, _ in moves])
        return [reply == 1 for reply in replies]
