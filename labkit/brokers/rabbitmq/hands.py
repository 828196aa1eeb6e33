"""What this program's workers have in hand: the leases that RabbitMQ does not know of.

RabbitMQ gives a worker's tasks to others as soon as its connection is gone; that covers programs
that die. It does not cover a worker that stops while its program lives on, so each worker here has
a channel of its own and a lease, and `recover` takes away what one whose lease has run out holds.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labkit.broker import Delivery
from labkit.brokers.rabbitmq.channel import Channel
from labkit.brokers.rabbitmq.core import Core
from labkit.brokers.rabbitmq.getting import counts, get
from labkit.brokers.rabbitmq.sweep import Consumers
from labkit.brokers.rabbitmq.task_message import TaskMessage
from labkit.errors import BrokerUnavailable

_FEW = 3
"""So many are fetched one by one; from there on a consumer is quicker."""

_QUIET_S = 0.25
"""Nothing more is on its way after so long; others have taken what was counted."""

_serial = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Held:
    """A task in hand."""

    number: int
    task: TaskMessage
    delivery: Delivery


class Hand:
    """One worker: its channel, its lease, what it holds."""

    def __init__(self, core: Core, worker: str) -> None:
        self.worker = worker
        self.until = 0.0
        self._core = core
        self._asking = threading.Lock()  # no channel is closed in the middle of a question
        self._taking = threading.RLock()  # one take at a time; what is held changes beside it
        self._serial = 0
        self._held: dict[str, Held] = {}
        self._arrived: deque[tuple[Any, Any, bytes]] = deque()
        self._changed = threading.Condition()
        self._channel: Channel | None = None
        self._interrupted = False

    @property
    def count(self) -> int:
        """How many tasks it holds, taken or on their way to be taken."""
        return len(self._held) + len(self._arrived)

    @property
    def overdue(self) -> bool:
        """Whether its lease has run out."""
        return self.until <= time.monotonic()

    def find(self, delivery: Delivery) -> Held | None:
        """What it knows of this delivery; None if it is no longer its own."""
        channel = self._channel
        if channel is None or channel.lost is not None:
            return None
        return self._held.get(delivery.tag)

    def all(self) -> list[Held]:
        """Everything it holds."""
        self._take_in(len(self._arrived))
        with self._changed:
            return list(self._held.values())

    def settle(self, held: list[Held]) -> None:
        """Acknowledge; they are no longer ours."""
        with self._changed:  # since they were found the channel may have become another one
            channel = self._channel
            ours = [one for one in held if self._held.pop(one.delivery.tag, None) is not None]
            numbers = sorted(one.number for one in ours)
            others = [one.number for one in self._held.values()]
            others += [method.delivery_tag for method, _, _ in self._arrived]
        if channel is None or not numbers:
            return
        together = all(number > numbers[-1] for number in others)
        if together:
            channel.acknowledge(numbers[-1], multiple=True)
        else:
            channel.acknowledge(*numbers)

    def look(self, queues: tuple[str, ...], count: int) -> list[Delivery]:
        """What is there now, from the first queue first."""
        with self._taking:
            found = self._take_in(count)
            if len(found) >= count:
                return found
            channel = self._open()
            with self._asking:
                waiting = counts(channel, queues)
                left = count - len(found)
                for queue, there in zip(queues, waiting, strict=True):
                    self._fetch(channel, queue, min(there, left))
                    left -= min(there, left)
            return found + self._take_in(count - len(found))

    def _fetch(self, channel: Channel, queue: str, count: int) -> None:
        """So many of a queue, or fewer, where others take some at the same time."""
        arrive = self._arrive_on(channel)
        if count <= _FEW:
            if count:
                get(channel, queue, count, arrive)
            return
        before = len(self._arrived)
        consumers = Consumers(channel, (queue,), count, arrive)
        consumers.begin()
        with self._changed:
            seen = -1
            while seen < len(self._arrived) < before + count and channel.lost is None:
                seen = len(self._arrived)
                full = lambda: len(self._arrived) >= before + count or channel.lost  # noqa: E731
                self._changed.wait_for(full, _QUIET_S)
        if channel.lost is None:
            consumers.end()

    def wait(self, queues: tuple[str, ...], count: int, timeout: float) -> list[Delivery]:
        """The first that come, to whichever queue, within `timeout` seconds.

        One that is on its way when the time is up is put back, and RabbitMQ counts it as delivered.
        """
        with self._taking:
            channel = self._open()
            self._consume(channel, queues, timeout)
            if channel.lost is not None:
                raise channel.error or BrokerUnavailable(
                    f"The connection broke: {channel.lost}. What was in hand goes to others."
                )
            found = self._take_in(count)
            return found + self.look(queues, count - len(found)) if found else found

    def _consume(self, channel: Channel, queues: tuple[str, ...], timeout: float) -> None:
        """Until the first one has arrived, for at most `timeout` seconds."""
        consumers = Consumers(channel, queues, 1, self._arrive_on(channel))
        try:
            with self._asking:
                consumers.begin()
            try:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._arrived or self._interrupted or channel.lost is not None,
                        timeout,
                    )
            finally:
                with self._asking:
                    if channel.lost is None:
                        consumers.end()
        finally:
            self._interrupted = False

    def close(self) -> None:
        """Let go of the channel; what is held goes back to its queue."""
        with self._changed:
            channel, self._channel = self._channel, None
            self._held.clear()
            self._arrived.clear()
        if channel is not None and not self._core.closed:
            with self._asking:
                channel.close()
            self.wake()

    def interrupt(self) -> None:
        """End the wait that is on, or else the next one."""
        self._interrupted = True
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look at what has changed."""
        with self._changed:
            self._changed.notify_all()

    def _open(self) -> Channel:
        if self._channel is None or self._channel.lost is not None:
            with self._changed:  # RabbitMQ gives them to others
                self._held.clear()
                self._arrived.clear()
            self._serial = next(_serial)
            self._channel = self._core.channel(
                on_lost=lambda _: self.wake(),
                # RabbitMQ ends a consumer whose queue somebody deletes
                setup=lambda native: native.add_on_cancel_callback(lambda _: self.interrupt()),
            )
        return self._channel

    def _arrive_on(self, channel: Channel) -> Callable[..., None]:
        def arrive(_: Any, method: Any, properties: Any, body: bytes) -> None:
            with self._changed:
                if channel is self._channel:
                    self._arrived.append((method, properties, body))
                    self._changed.notify_all()

        return arrive

    def _take_in(self, count: int) -> list[Delivery]:
        found: list[Delivery] = []
        with self._changed:
            while self._arrived and len(found) < count:
                method, properties, body = self._arrived.popleft()
                number = method.delivery_tag
                tag = f"{self._serial}.{number}"
                task = TaskMessage.read(method, properties, body, f"message-{tag}")
                delivery = task.delivery(self.worker, tag)
                self._held[tag] = Held(number, task, delivery)
                found.append(delivery)
        return found


class Hands:
    """All workers of one queue in this program."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._hands: dict[str, Hand] = {}
        self._lock = threading.Lock()
        self.moving = threading.RLock()
        """Held while tasks are taken from a worker, so that it cannot end them meanwhile."""

    def of(self, worker: str) -> Hand:
        """This worker's; a new one the first time."""
        with self._lock:
            hand = self._hands.get(worker)
            if hand is None:
                hand = self._hands[worker] = Hand(self._core, worker)
            return hand

    def known(self, worker: str) -> Hand | None:
        """This worker's, if there is one."""
        return self._hands.get(worker)

    def forget(self, hand: Hand) -> None:
        """The worker is gone."""
        with self._lock:
            if self._hands.get(hand.worker) is hand:
                del self._hands[hand.worker]
        hand.close()

    def all(self) -> list[Hand]:
        """Every worker that is known."""
        with self._lock:
            return list(self._hands.values())
