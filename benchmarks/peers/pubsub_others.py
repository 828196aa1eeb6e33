"""FastStream and kombu on Redis, publishing and taking the same contents one by one.

kombu's fan-out exchange is PUBLISH underneath, as FastStream's channels are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Send = Callable[[int], object]

SETTLE_S = 0.5
"""Neither of them waits until its subscription is confirmed."""


@contextmanager
def faststream_messages(url: str, channel: str, size: int) -> Iterator[Send]:
    import asyncio

    from faststream.redis import RedisBroker

    loop = asyncio.new_event_loop()
    broker = RedisBroker(url, logger=None)
    loop.run_until_complete(broker.connect())

    async def publish(count: int) -> None:
        message = {"content": "x" * size}
        for _ in range(count):
            await broker.publish(message, channel=channel)

    yield lambda count: loop.run_until_complete(publish(count))
    loop.run_until_complete(broker.stop())
    loop.close()


def faststream_takes(url: str, channel: str) -> Iterator[int]:
    import asyncio

    from faststream.redis import RedisBroker

    loop = asyncio.new_event_loop()
    broker = RedisBroker(url, logger=None)
    arrived = 0

    @broker.subscriber(channel)
    async def take(_: dict[str, str]) -> None:
        nonlocal arrived
        arrived += 1

    loop.run_until_complete(broker.start())
    loop.run_until_complete(asyncio.sleep(SETTLE_S))
    yield 0
    while True:
        loop.run_until_complete(asyncio.sleep(0.001))
        some, arrived = arrived, 0
        yield some


@contextmanager
def kombu_messages(url: str, channel: str, size: int) -> Iterator[Send]:
    from kombu import Connection, Exchange, Producer

    with Connection(url) as connection, connection.channel() as native:
        exchange = Exchange(channel, type="fanout", durable=False)
        producer = Producer(native, exchange)
        message = {"content": "x" * size}

        def send(count: int) -> None:
            for _ in range(count):
                producer.publish(message)

        yield send


def kombu_takes(url: str, channel: str) -> Iterator[int]:
    from kombu import Connection, Consumer, Exchange, Queue

    with Connection(url) as connection, connection.channel() as native:
        arrived = 0

        def take(_: Any, message: Any) -> None:
            nonlocal arrived
            arrived += 1
            message.ack()

        exchange = Exchange(channel, type="fanout", durable=False)
        queue = Queue("", exchange, exclusive=True, durable=False)
        with Consumer(native, [queue], callbacks=[take], no_ack=False):
            with suppress(TimeoutError):
                connection.drain_events(timeout=SETTLE_S)  # subscribes
            yield 0
            while True:
                with suppress(TimeoutError):
                    connection.drain_events(timeout=1.0)
                some, arrived = arrived, 0
                yield some
