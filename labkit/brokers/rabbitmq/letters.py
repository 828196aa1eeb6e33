"""Dead letters: written with their reason, looked at without being taken, put back."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any

from labkit.broker import DeadItem
from labkit.brokers.rabbitmq.channel import Channel
from labkit.brokers.rabbitmq.confirms import Fate, Outgoing
from labkit.brokers.rabbitmq.core import Core
from labkit.brokers.rabbitmq.shelves import Shelves
from labkit.brokers.rabbitmq.sweep import begin_consuming
from labkit.brokers.rabbitmq.task_message import (
    DIED,
    LETTER,
    REASON,
    TaskMessage,
    dead_item,
)
from labkit.errors import BrokerRefused

_MOST_AT_ONCE = 10_000
_QUIET_S = 1.0

Letter = tuple[int, DeadItem, TaskMessage]
"""Delivery tag, what it is, and the task in it."""


class Letters:
    """The queue of dead letters."""

    def __init__(self, core: Core, shelves: Shelves) -> None:
        self._core = core
        self._shelves = shelves
        self._queue = shelves.layout.dead

    def write(self, tasks: Sequence[TaskMessage], reason: str) -> None:
        """Add tasks that have died just now, each with its reason.

        Raises:
            BrokerUnavailable, BrokerRefused: one of them is not there, for certain or perhaps.
        """
        self._shelves.declare()
        now_ms = round(self._core.options.clock.now() * 1000)  # pika writes no floats
        items = [
            Outgoing(
                "",
                self._queue,
                task.body,
                task.properties(**{REASON: reason, DIED: now_ms, LETTER: secrets.token_hex(8)}),
            )
            for task in tasks
        ]
        batch = self._shelves.send(items)
        if batch.broken:
            raise batch.failure(self._core.url)
        if batch.having(Fate.REFUSED):
            raise BrokerRefused("RabbitMQ refused a dead letter (basic.nack); its log says why.")

    def read(self, limit: int) -> list[DeadItem]:
        """The oldest ones. While they are looked at, nobody else sees them."""
        self._shelves.declare()
        channel = self._core.channel()
        try:
            found = self._all(channel, limit)
            _give_back(channel, self._queue, [tag for tag, _, _ in found])
        finally:
            channel.close()
        return [item for _, item, _ in found]

    def redrive(self, items: Sequence[DeadItem]) -> int:
        """Publish them as new tasks, confirmed; then acknowledge the letters."""
        self._shelves.declare()
        wanted = {item.tag for item in items}
        channel = self._core.channel()
        try:
            found = self._all(channel, _MOST_AT_ONCE)
            going = [one for one in found if one[1].tag in wanted]
            self._shelves.put_back([task for _, _, task in going])
            done = {tag for tag, _, _ in going}
            _each(channel, sorted(done), lambda native, tag: native.basic_ack(tag))
            left = [tag for tag, _, _ in found if tag not in done]
            _give_back(channel, self._queue, left)
        finally:
            channel.close()
        return len(going)

    def _all(self, channel: Channel, limit: int) -> list[Letter]:
        """As many as there are; a sweep would end before RabbitMQ, in parts, has sent them all."""
        most = min(
            max(1, limit), _MOST_AT_ONCE, self._core.declare_queue(self._queue, {}, shown=False)
        )
        found: list[Letter] = []
        if not most:
            return found
        arrived = threading.Event()

        def arrive(_: Any, method: Any, properties: Any, body: bytes) -> None:
            item = dead_item(method, properties, body)
            read = TaskMessage.read(method, properties, body, item.id)
            fresh = TaskMessage(item.id, body, read.priority, unique=read.unique)
            found.append((method.delivery_tag, item, fresh))
            if len(found) >= most:
                arrived.set()

        def begin(_: Any, done: Callable[..., None]) -> None:
            begin_consuming(channel, self._queue, most, arrive, lambda _: done())

        channel.ask(begin)
        count = -1
        while not arrived.wait(_QUIET_S) and len(found) > count:  # somebody else may take some
            count = len(found)
        return found[:most]


def _give_back(channel: Channel, queue: str, tags: Sequence[int]) -> None:
    """To their places in the queue: a classic one keeps them. Returns once they are there.

    Rejected, because from RabbitMQ 4.3 on a nack is no failed delivery of a quorum queue's.
    """
    _each(channel, tags, lambda native, tag: native.basic_reject(tag, requeue=True))
    channel.ask(lambda native, done: native.queue_declare(queue, passive=True, callback=done))


def _each(channel: Channel, tags: Sequence[int], act: Callable[[Any, int], None]) -> None:
    def all_of_them(native: Any) -> None:
        for tag in tags:
            act(native, tag)

    channel.tell(all_of_them)
