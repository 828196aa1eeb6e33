"""A work queue on Kafka: a topic of tasks, one for those that wait for another try, one for dead.

A record cannot be given back: what failed is appended again, with its attempt in a header, and then
counts as done where it was. A task goes to the end of its own partition that way.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from labkit.broker import DeadItem, Delivery, Depth, Priority, QueueItem, QueueOptions, Recovered
from labkit.brokers.kafka import queue_record
from labkit.brokers.kafka.capabilities import refuse
from labkit.brokers.kafka.client import SLICE_S, KafkaClient, Part
from labkit.brokers.kafka.member import set_back
from labkit.brokers.kafka.names import INTERNAL, to_topic
from labkit.brokers.kafka.producing import Record, append
from labkit.brokers.kafka.queue_dead import DeadLetters
from labkit.brokers.kafka.queue_feed import feed_of
from labkit.brokers.kafka.queue_record import Item
from labkit.errors import BatchError, BrokerRefused


class KafkaQueue:
    """One queue; the contract is `labkit.broker.BrokerQueue`."""

    def __init__(self, client: KafkaClient, name: str, options: QueueOptions) -> None:
        if options.max_length is not None:
            refuse("bounded queue")
        self._client = client
        self._options = options
        self.topic = to_topic(client.options.namespace, name, f"{INTERNAL}queue.")
        self.retries = f"{self.topic}.retry"
        self.group = self.topic
        self._feed = feed_of(client, self.group, [self.topic, self.retries])
        self._dead = DeadLetters(client, f"{self.topic}.dead")

    def put(self, items: Sequence[QueueItem]) -> list[bool]:
        """Append; the id is the key."""
        for item in items:
            if item.delay > 0:
                refuse("delayed tasks")
            if item.priority != Priority.NORMAL:
                refuse("priorities")
        self._prepare()
        append(self._client, [queue_record.record(self.topic, i.id, i.body) for i in items])
        return [True] * len(items)

    def take(self, worker: str, count: int, timeout: float) -> list[Delivery]:
        """What has been read ahead; else what comes, or all that is there for a `timeout` of 0."""
        self._prepare(quiet=True)
        self._prolong(worker, self._options.lease)
        self._feed.join(self._options.lease)
        deadline = time.monotonic() + timeout
        patience = deadline + self._client.options.timeout
        ends: dict[Part, int] | None = None
        while self._feed.waiting(self._client.now()) < count:
            if ends is None:
                ends = self._ends()
            now = time.monotonic()
            if self._feed.has_read(ends):
                if self._feed.waiting(self._client.now()) or now >= deadline:
                    break
            elif now > max(patience, deadline):
                break  # the partitions are others', or a rebalance takes its time
            self._feed.pump(SLICE_S if now >= deadline else min(SLICE_S, deadline - now))
        found = self._feed.hand_out(worker, count)
        if found:
            self._prolong(worker, self._options.lease)  # joining the group has taken its time
            self._feed.tell_joined()  # looking in vain is nothing to be told
            shown = ", ".join(item.tag.rpartition(":")[0] for item in found[:5])
            self._client.log(f"consumer.poll()  # <take> {self.topic} {shown}")
        return found

    def ack(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Commit up to the first that is not done."""
        if not deliveries:
            return []
        self._client.log(f"# <ack> of {len(deliveries):,} in {self.topic}")
        return self._feed.done(deliveries)

    def ack_and_take(
        self, done: Sequence[Delivery], worker: str, count: int
    ) -> tuple[list[bool], list[Delivery]]:
        """One after the other: Kafka has no step that does both."""
        return self.ack(done), self.take(worker, count, 0.0)

    def retry(self, delivery: Delivery, delay: float, error: str) -> bool:
        """Append it again: to its own topic, or where tasks wait for their next try."""
        item = self._feed.held(delivery)
        if item is None:
            return False
        return self._move([(delivery, self._again(item, error, delay))])[0]

    def bury(self, delivery: Delivery, reason: str, error: str) -> bool:
        """To the dead letters, with its whole history."""
        item = self._feed.held(delivery)
        if item is None:
            return False
        return self._move([(delivery, self._letter(item, reason, error))])[0]

    def release(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Nothing is told to Kafka: what is not committed is not done."""
        return [self._feed.give_back(delivery) for delivery in deliveries]

    def renew(self, worker: str, seconds: float | None = None) -> None:
        """Move the end of the worker's lease, never to an earlier time; and serve the group."""
        self._prolong(worker, self._options.lease if seconds is None else seconds)
        self._feed.pump(0.0)

    def leave(self, worker: str) -> None:
        """End the worker's lease; the last worker of a lab leaves the group."""
        with self._feed.lock:
            self._feed.leases.pop(worker, None)
            if self._feed.held_by([worker]):
                self._feed.leases[worker] = 0.0
        self._feed.leave_if_idle()

    def recover(self) -> list[Recovered]:
        """Append again what dead workers of this lab hold; of other labs Kafka does it itself."""
        now = self._client.now()
        with self._feed.lock:
            dead = [worker for worker, ends in self._feed.leases.items() if ends <= now]
            held = self._feed.held_by(dead)
        if not dead:
            return []
        most = self._options.max_deliveries
        moves, found = [], []
        for delivery in held:
            item = self._feed.held(delivery)
            if item is None:
                continue
            worker = delivery.worker.rpartition("/")[0] or delivery.worker
            error = f"worker {worker} died with it"
            over = most is not None and delivery.attempt >= most
            reason = f"delivered {delivery.attempt:,} times, and its worker died"
            record = self._letter(item, reason, error) if over else self._again(item, error, 0.0)
            moves.append((delivery, record))
            found.append(Recovered(delivery.id, delivery.worker, delivery.attempt, over))
        moved = self._move(moves)
        with self._feed.lock:
            for worker in dead:
                self._feed.leases.pop(worker, None)
        self._feed.leave_if_idle()
        return [task for task, ours in zip(found, moved, strict=True) if ours]

    def depth(self) -> Depth:
        """Ends of the partitions, less what is committed; in flight is what we hold."""
        self._prepare(quiet=True)
        ends = self._ends()
        left = self._backlog(ends)
        held, done = self._feed.in_hand(self.topic)
        held_later, done_later = self._feed.in_hand(self.retries)
        ready = sum(n for part, n in left.items() if part[0] == self.topic) - held - done
        later = sum(n for part, n in left.items() if part[0] == self.retries)
        delayed = later - held_later - done_later
        return Depth(max(0, ready), held + held_later, max(0, delayed), self._dead.count())

    def dead(self, limit: int = 100) -> list[DeadItem]:
        """The topic of dead letters, from its beginning."""
        return self._dead.read(limit)

    def redrive(self, items: Sequence[DeadItem]) -> int:
        """Append them to the tasks, as if new; a crash in between leaves two, never none."""
        there = self._dead.still_there(items)
        try:
            append(self._client, [queue_record.record(self.topic, i.id, i.body) for i in there])
        except BatchError as error:
            self._dead.strike_out([there[index] for index in error.sent])
            raise
        self._dead.strike_out(there)
        return len(there)

    def purge(self) -> int:
        """Commit the end of every partition, and strike all dead letters out."""
        depth = self.depth()
        ends = self._ends()
        if not self._feed.skip_to(ends):
            try:
                set_back(self._client, self.group, [self.topic, self.retries], ends)
            except BrokerRefused as error:
                raise BrokerRefused(
                    f"{error} A queue is purged while no other process has workers on it."
                ) from None
        self._dead.strike_out(self._dead.read(depth.dead))
        return depth.unfinished + depth.dead

    def leases(self) -> dict[str, float]:
        """Of this lab's workers, the seconds that each has left."""
        now = self._client.now()
        with self._feed.lock:
            return {worker: ends - now for worker, ends in self._feed.leases.items()}

    # --- inside -------------------------------------------------------------------------------

    def _prolong(self, worker: str, seconds: float) -> None:
        ends = self._client.now() + seconds
        with self._feed.lock:
            self._feed.leases[worker] = max(ends, self._feed.leases.get(worker, ends))

    def _prepare(self, *, quiet: bool = False) -> None:
        self._client.require_open()
        for topic in (self.topic, self.retries):
            self._client.ensure(topic, quiet=quiet)

    def _ends(self) -> dict[Part, int]:
        return self._client.ends(self._parts())

    def _parts(self) -> list[Part]:
        return [
            (topic, number)
            for topic in (self.topic, self.retries)
            for number in range(self._client.partitions(topic))
        ]

    def _backlog(self, ends: dict[Part, int]) -> dict[Part, int]:
        committed = self._client.committed(self.group, list(ends))
        fresh = self._client.starts([part for part in ends if committed[part][0] < 0])
        return {part: end - fresh.get(part, committed[part][0]) for part, end in ends.items()}

    def _again(self, item: Item, error: str, delay: float) -> Record:
        errors = (*item.errors, error) if error else item.errors
        return queue_record.record(
            self.retries if delay > 0 else self.topic,
            item.id,
            item.body,
            attempt=item.attempt + 1,
            errors=errors,
            due=self._client.now() + delay if delay > 0 else 0.0,
        )

    def _letter(self, item: Item, reason: str, error: str) -> Record:
        errors = (*item.errors, error) if error else item.errors
        self._dead.prepare()
        return queue_record.dead_record(self._dead.topic, item, errors, reason, self._client.now())

    def _move(self, moves: Sequence[tuple[Delivery, Record]]) -> list[bool]:
        """Append copies, then commit: a crash in between leaves two of them, never none."""
        pairs = [(delivery, self._feed.held(delivery), record) for delivery, record in moves]
        new = [(item, record) for _, item, record in pairs if item is not None and not item.moved]
        try:
            append(self._client, [record for _, record in new])
        except BatchError as error:
            for index in error.sent:
                new[index][0].moved = True
            raise
        for item, _ in new:
            item.moved = True
        return self._feed.done([delivery for delivery, _ in moves]) if moves else []
