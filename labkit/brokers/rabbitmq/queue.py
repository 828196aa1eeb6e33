"""A work queue on RabbitMQ; the contract is `labkit.broker.BrokerQueue`.

What comes back is published again, with what happened in its headers, confirmed, and only then is
the old message acknowledged: between the two a task may be there twice, and never not at all.

RabbitMQ 3 writes down within two seconds that a queue exists (its log is buffered): a crash in the
first two seconds of a queue's life may take it, with tasks that were confirmed (seen in 3.10.8).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence

from labkit.broker import (
    DeadItem,
    Delivery,
    Depth,
    QueueItem,
    QueueOptions,
    Recovered,
)
from labkit.brokers.rabbitmq.core import Core
from labkit.brokers.rabbitmq.hands import Hand, Hands, Held
from labkit.brokers.rabbitmq.letters import Letters
from labkit.brokers.rabbitmq.shelves import Shelves
from labkit.brokers.rabbitmq.task_message import TaskMessage


class RabbitQueue:
    """One named queue. Its methods may be called from several threads."""

    def __init__(self, core: Core, name: str, options: QueueOptions, hands: Hands) -> None:
        self.name = name
        self.options = options
        self.hands = hands
        self.shelves = Shelves(core, name, options)
        self.letters = Letters(core, self.shelves)
        self._core = core

    def put(self, items: Sequence[QueueItem]) -> list[bool]:
        """Publish, persistent and mandatory, with one wait for all confirms."""
        return self.shelves.put(items, self._in_flight())

    def take(self, worker: str, count: int, timeout: float) -> list[Delivery]:
        """At most `count` tasks for this worker; waits for the first."""
        self._core.require_open()
        self.shelves.declare()
        with self.hands.moving:  # else it may be forgotten just now, because it was late
            hand = self._renewed(worker)
        deadline = time.monotonic() + timeout
        queues = self.shelves.layout.queues
        found = hand.look(queues, count)
        left = deadline - time.monotonic()
        if not found and left > 0:
            found = hand.wait(queues, count, left)
        found = self._not_too_often(hand, found)
        if found:
            self.shelves.tell()
            self._log_taken(found)
        return found

    def interrupt(self, worker: str) -> None:
        """End its wait. Waits are long, so that few tasks are on their way as one ends."""
        self.hands.of(worker).interrupt()

    def ack(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """basic.ack on the channel of the delivery. RabbitMQ does not answer it."""
        with self.hands.moving:
            held = [self._find(delivery) for delivery in deliveries]
            for hand, ours in self._by_hand(held).items():
                hand.settle(ours)
        done = [one for one in held if one is not None]
        if done:
            self._core.log("<ack>: basic.ack", count=len(done))
        self.shelves.free([one.task.id for _, one in done if one.task.unique])
        return [one is not None for one in held]

    def ack_and_take(
        self, done: Sequence[Delivery], worker: str, count: int
    ) -> tuple[list[bool], list[Delivery]]:
        """`ack`, then `take` without waiting."""
        acked = self.ack(done) if done else []
        return acked, self.take(worker, count, 0.0)

    def retry(self, delivery: Delivery, delay: float, error: str) -> bool:
        """Publish it again, by way of a queue whose tasks expire after `delay`; ack the old one."""
        with self.hands.moving:
            found = self._find(delivery)
            if found is None:
                return False
            hand, held = found
            again = TaskMessage.again(delivery, counts=True, error=error, unique=held.task.unique)
            self.shelves.put_back([again], delay)
            hand.settle([held])
            return True

    def bury(self, delivery: Delivery, reason: str, error: str) -> bool:
        """Publish it to the dead letters; ack the old one."""
        with self.hands.moving:
            found = self._find(delivery)
            if found is None:
                return False
            hand, held = found
            self._bury([(hand, held)], reason, error)
            return True

    def release(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Publish again what was not begun, as if it had not been taken; ack the old ones."""
        with self.hands.moving:
            found = [self._find(delivery) for delivery in deliveries]
            ours = [one for one in found if one is not None]
            self.shelves.put_back(
                [
                    TaskMessage.again(
                        held.delivery, counts=False, error="", unique=held.task.unique
                    )
                    for _, held in ours
                ]
            )
            for hand, those in self._by_hand(ours).items():
                hand.settle(those)
        return [one is not None for one in found]

    def renew(self, worker: str, seconds: float | None = None) -> None:
        """The worker is alive; its lease is never made shorter."""
        self._core.require_open()
        self._renewed(worker, seconds)

    def leave(self, worker: str) -> None:
        """The worker goes; what it still holds is for `recover`, at once."""
        hand = self.hands.known(worker)
        if hand is None:
            return
        hand.until = -math.inf
        if not hand.count:
            self.hands.forget(hand)

    def recover(self) -> list[Recovered]:
        """Take from those of this program whose lease has run out.

        RabbitMQ itself does it for programs that are gone.
        """
        recovered = []
        for hand in self.hands.all():
            if hand.overdue:
                with self.hands.moving:
                    if hand.overdue:
                        recovered += self._recover(hand)
        return recovered

    def depth(self) -> Depth:
        """queue.declare tells how many wait; what is in hand, this program knows of its workers."""
        return self.shelves.depth(self._in_flight())

    def dead(self, limit: int = 100) -> list[DeadItem]:
        """The dead letters, oldest first: consumed, and put back in their places."""
        return self.letters.read(limit)

    def redrive(self, items: Sequence[DeadItem]) -> int:
        """Publish dead letters again, as if new; ack those."""
        return self.letters.redrive(items)

    def purge(self) -> int:
        """Forget every task that waits, is delayed, dead, or in hand here."""
        with self.hands.moving:
            count = 0
            for hand in self.hands.all():
                held = hand.all()
                hand.settle(held)
                count += len(held)
            return count + self.shelves.purge()

    def leases(self) -> dict[str, float]:
        """For each worker of this program, the seconds that its lease still runs."""
        now = time.monotonic()
        met = (hand for hand in self.hands.all() if hand.until)  # not one that never took anything
        return {hand.worker: hand.until - now for hand in met}

    # --- inside -------------------------------------------------------------------------------

    def _log_taken(self, found: Sequence[Delivery]) -> None:
        """From which of the queues, one a priority, it was."""
        tasks = self.shelves.layout.tasks
        for queue, count in Counter(tasks[delivery.priority] for delivery in found).items():
            self._core.log("<take>: basic.consume", queue=queue, prefetch=count, got=count)

    def _in_flight(self) -> int:
        return sum(hand.count for hand in self.hands.all())

    def _renewed(self, worker: str, seconds: float | None = None) -> Hand:
        hand = self.hands.of(worker)
        until = time.monotonic() + (self.options.lease if seconds is None else seconds)
        hand.until = max(hand.until, until)
        return hand

    def _find(self, delivery: Delivery) -> tuple[Hand, Held] | None:
        hand = self.hands.known(delivery.worker)
        held = None if hand is None else hand.find(delivery)
        return None if hand is None or held is None else (hand, held)

    @staticmethod
    def _by_hand(found: Sequence[tuple[Hand, Held] | None]) -> dict[Hand, list[Held]]:
        sorted_out: dict[Hand, list[Held]] = {}
        for one in found:
            if one is not None:
                sorted_out.setdefault(one[0], []).append(one[1])
        return sorted_out

    def _not_too_often(self, hand: Hand, found: list[Delivery]) -> list[Delivery]:
        """Our count goes on where the broker's begins anew, with each copy."""
        most = self.options.max_deliveries
        if most is None or all(delivery.attempt <= most for delivery in found):
            return found
        for delivery in found:
            held = hand.find(delivery)
            if delivery.attempt > most and held is not None:
                reason = f"delivered {delivery.attempt - 1} times, and its worker died"
                self._bury([(hand, held)], reason, "", counts=False)
        return [delivery for delivery in found if delivery.attempt <= most]

    def _bury(
        self,
        found: Sequence[tuple[Hand, Held]],
        reason: str,
        error: str,
        *,
        counts: bool = True,
    ) -> None:
        letters = [
            TaskMessage.again(held.delivery, counts=counts, error=error, unique=held.task.unique)
            for _, held in found
        ]
        self.letters.write(letters, reason)
        for hand, ours in self._by_hand(found).items():
            hand.settle(ours)

    def _recover(self, hand: Hand) -> list[Recovered]:
        held = hand.all()
        name = hand.worker.rsplit("/", 1)[0]
        error = f"worker {name} died with it"
        most = self.options.max_deliveries
        dying = [one for one in held if most is not None and one.delivery.attempt >= most]
        living = [one for one in held if one not in dying]
        if living:
            self.shelves.put_back(
                [
                    TaskMessage.again(
                        one.delivery, counts=True, error=error, unique=one.task.unique
                    )
                    for one in living
                ]
            )
            hand.settle(living)
        for one in dying:
            reason = f"delivered {one.delivery.attempt} times, and its worker died"
            self._bury([(hand, one)], reason, error)
        self.hands.forget(hand)
        return [
            Recovered(one.delivery.id, hand.worker, one.delivery.attempt, one in dying)
            for one in held
        ]
