"""Consumers that end soon, and the answer that ends a stream of deliveries.

A classic queue answers the cancel of a consumer after all that it has sent to it. So a consumer
that is cancelled in the same breath is given what is there at this moment, and what was sent to
another consumer of the same channel before has arrived by then, too. (A quorum queue gives no such
promise; see `getting`.)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from pika import spec

from labkit.brokers.rabbitmq.channel import Channel

_tags = itertools.count(1)

Arrive = Callable[..., None]
"""Gets pika's channel, method, properties, body; in the connection's thread."""


def sweep(channel: Channel, queue: str, count: int, arrive: Arrive) -> None:
    """At most `count` messages of a queue; returns when all of them have been handed to `arrive`.

    Raises:
        BrokerRefused: there is no such queue, say; the channel is closed then.
        BrokerUnavailable: the connection broke.
    """

    def begin(_: Any, done: Callable[..., None]) -> None:
        begin_consuming(
            channel, queue, count, arrive, lambda tag: end_consuming(channel, tag, done)
        )

    channel.ask(begin)


def begin_consuming(
    channel: Channel, queue: str, count: int, arrive: Arrive, begun: Callable[[str], None]
) -> None:
    """In the connection's thread: at most `count` of a queue's messages unacknowledged.

    pika rejects what comes for a consumer that it has begun to cancel, and here that is wanted. So
    the consumer stays registered with it, and only the frames are sent.

    Args:
        begun: called with the consumer's tag when RabbitMQ has answered. To cancel earlier would
            crash its channel; so would a tag used again while a message of its first life is
            unacknowledged, on a quorum queue (both seen in 3.10.8).
    """
    native = channel.native
    tag = f"sweep-{next(_tags)}"
    if not channel.sweeps:
        native.add_callback(_ignore, [spec.Basic.QosOk], one_shot=False)
        channel.sweeps = True
    native._consumers[tag] = arrive
    if channel.prefetch != count:
        channel.prefetch = count
        native._send_method(spec.Basic.Qos(prefetch_count=count))
    native.callbacks.add(
        native.channel_number,
        spec.Basic.ConsumeOk,
        lambda _: begun(tag),
        arguments={"consumer_tag": tag},
    )
    native._send_method(spec.Basic.Consume(queue=queue, consumer_tag=tag))


def end_consuming(channel: Channel, tag: str, done: Callable[..., None]) -> None:
    """In the connection's thread: no more; `done` is called when no more can come."""
    native = channel.native
    if not native.is_open:  # it is being closed: RabbitMQ would take a frame for a mistake
        return

    def cancelled(frame: Any) -> None:
        native._consumers.pop(tag, None)
        done(frame)

    native.callbacks.add(
        native.channel_number, spec.Basic.CancelOk, cancelled, arguments={"consumer_tag": tag}
    )
    native._send_method(spec.Basic.Cancel(consumer_tag=tag))


class Consumers:
    """One consumer on each of some queues, for as long as somebody waits.

    Args:
        channel: theirs.
        queues: their names.
        count: how many unacknowledged messages each may have.
        arrive: gets what comes.
    """

    def __init__(self, channel: Channel, queues: Sequence[str], count: int, arrive: Arrive) -> None:
        self._channel = channel
        self._queues = queues
        self._count = count
        self._arrive = arrive
        self._tags: set[str] = set()
        self._unwanted = False

    def begin(self) -> None:
        """Returns when RabbitMQ has answered; one that begins after that was given up is ended.

        Raises:
            BrokerRefused, BrokerUnavailable: as `Channel.ask`.
        """
        try:
            self._channel.ask(self._begin)
        except BaseException:
            self._unwanted = True
            self._channel.tell(lambda _: self._end(None, _ignore))
            raise

    def end(self) -> None:
        """Returns when nothing more can come."""
        self._channel.ask(self._end)

    def _begin(self, _: Any, done: Callable[..., None]) -> None:
        def begun(tag: str) -> None:
            self._tags.add(tag)
            if self._unwanted:
                self._end(None, _ignore)
            elif len(self._tags) == len(self._queues):
                done()

        for queue in self._queues:
            begin_consuming(self._channel, queue, self._count, self._arrive, begun)

    def _end(self, _: Any, done: Callable[..., None]) -> None:
        ending, self._tags = self._tags, set()
        left = set(ending)

        def ended(frame: Any) -> None:
            left.discard(frame.method.consumer_tag)
            if not left:
                done()

        for tag in ending:
            end_consuming(self._channel, tag, ended)


def _ignore(*_: Any) -> None:
    """An answer that tells nothing new."""
