"""Take what waits in a queue now, and nothing that comes later.

A consumer would be given messages that nobody asked for; and to cancel one of a quorum queue while
messages are on their way makes RabbitMQ put those back and count it as an attempt (seen in 3.10.8).
So: ask how many wait in each queue. A few are fetched by `basic.get`, one after another without
waiting in between (pika has one under way at a time, so that the frames are sent here). Many come
by a consumer whose prefetch is their very number: when it is full none is on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pika import spec

from labkit.brokers.rabbitmq.channel import Channel

Arrive = Callable[..., None]
"""Gets pika's channel, method, properties, body; in the connection's thread."""


def counts(channel: Channel, queues: Sequence[str]) -> list[int]:
    """How many messages wait in each, in one round trip.

    Raises:
        BrokerRefused: one of the queues is not there; the channel is closed then.
        BrokerUnavailable: the connection broke.
    """
    found: list[int] = channel.ask(lambda native, done: _counts(native, queues, done))
    return found


def get(channel: Channel, queue: str, count: int, arrive: Arrive) -> None:
    """At most `count` messages, in one round trip; all have been handed to `arrive` then."""
    channel.ask(lambda native, done: _get(native, [queue] * count, arrive, done))


def _counts(native: Any, queues: Sequence[str], done: Callable[..., None]) -> None:
    """How many messages wait in each."""
    found: list[int] = []

    def told(answer: Any) -> None:
        found.append(answer.method.message_count)
        if len(found) == len(queues):
            native.callbacks.remove(native.channel_number, spec.Queue.DeclareOk, told)
            done(found)

    native.add_callback(told, [spec.Queue.DeclareOk], one_shot=False)
    for queue in queues:
        native._send_method(spec.Queue.Declare(queue=queue, passive=True))


def _get(native: Any, queues: Sequence[str], arrive: Arrive, done: Callable[..., None]) -> None:
    left = len(queues)

    def one_less() -> None:
        nonlocal left
        left -= 1
        if left:
            native._on_getok_callback = here
            return
        native._on_getok_callback = None
        native.callbacks.remove(native.channel_number, spec.Basic.GetEmpty, gone)
        done(None)

    def here(*message: Any) -> None:
        arrive(*message)
        one_less()

    def gone(_: Any) -> None:  # somebody else was quicker
        one_less()

    native._on_getok_callback = here
    native.add_callback(gone, [spec.Basic.GetEmpty], one_shot=False)
    for queue in queues:
        native._send_method(spec.Basic.Get(queue=queue))
