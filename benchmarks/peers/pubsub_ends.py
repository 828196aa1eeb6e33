"""Both ends of publish/subscribe, for labkit and for its peers: bodies, and envelopes in JSON.

A publishing end is a context manager that gives a function of (how many); it returns once the
broker has answered to all. A subscribing end is a generator of counts: so many more have arrived.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from peers import pubsub_others as others

BODY_BYTES = 100
CONNECT_TIMEOUT_S = 30.0
"""A busy machine is no reason to stop measuring."""

BATCH = 1_000
"""Messages handed over at once."""

Send = Callable[[int], object]


def open_lab(url: str) -> Any:
    import labkit

    return labkit.connect(url, trace=False, connect_timeout=CONNECT_TIMEOUT_S)


def body_of(size: int) -> bytes:
    return b"x" * size


def content_of(size: int) -> str:
    return "x" * size


def batches(count: int) -> Iterator[int]:
    for start in range(0, count, BATCH):
        yield min(BATCH, count - start)


# --- labkit, bodies through the contract ----------------------------------------------------------


@contextmanager
def labkit_bodies(url: str, channel: str, size: int) -> Iterator[Send]:

    with open_lab(url) as lab:
        item = (channel, body_of(size))

        def send(count: int) -> None:
            for some in batches(count):
                lab.publish_many([item] * some)

        yield send


def labkit_takes_bodies(url: str, channel: str) -> Iterator[int]:

    with open_lab(url) as lab:
        subscription = lab.open_subscription()
        subscription.add(channel)
        yield 0
        while True:
            bodies = [item.body for item in subscription.poll_many(1.0)]  # as a user would
            yield len(bodies)


# --- labkit, Publisher and Subscriber -------------------------------------------------------------


@contextmanager
def labkit_messages(url: str, channel: str, size: int) -> Iterator[Send]:
    import labkit

    with (
        open_lab(url) as lab,
        labkit.Publisher(lab) as publisher,
    ):
        item = (channel, content_of(size))

        def send(count: int) -> None:
            for some in batches(count):
                publisher.publish_multiple([item] * some)

        yield send


def labkit_takes_messages(url: str, channel: str) -> Iterator[int]:
    import labkit

    with (
        open_lab(url) as lab,
        labkit.Subscriber(lab) as subscriber,
    ):
        subscriber.subscribe(channel)
        yield 0
        before = 0
        while True:
            messages = subscriber.drain(timeout=1.0)
            stats = subscriber.stats()
            assert stats.lost == stats.missed_before == 0, stats
            assert stats.handled == before + len(messages)
            before = stats.handled
            yield len(messages)


# --- bare redis-py --------------------------------------------------------------------------------


@contextmanager
def _redis_py(url: str, channel: str, make: Callable[[], Any]) -> Iterator[Send]:
    import redis

    client = redis.Redis.from_url(url)

    def send(count: int) -> None:
        for some in batches(count):
            pipeline = client.pipeline(transaction=False)
            for _ in range(some):
                pipeline.publish(channel, make())
            pipeline.execute()

    yield send
    client.close()


def redis_py_bodies(url: str, channel: str, size: int) -> Any:
    body = body_of(size)
    return _redis_py(url, channel, lambda: body)


def redis_py_json(url: str, channel: str, size: int) -> Any:
    content = content_of(size)

    def make() -> str:
        return json.dumps(
            {
                "type": "message",
                "content": content,
                "timestamp": time.time(),
                "sender": "bench",
                "metadata": {},
            }
        )

    return _redis_py(url, channel, make)


def _redis_py_takes(url: str, channel: str, read: Callable[[bytes], object]) -> Iterator[int]:
    import redis

    listener = redis.Redis.from_url(url).pubsub(ignore_subscribe_messages=True)
    listener.subscribe(channel)
    while listener.get_message(timeout=0.1) is not None or not listener.subscribed:
        pass
    yield 0
    while True:
        message = listener.get_message(timeout=1.0)
        if message is None:
            yield 0
        else:
            read(message["data"])
            yield 1


def redis_py_takes_bodies(url: str, channel: str) -> Iterator[int]:
    return _redis_py_takes(url, channel, lambda body: body)


def redis_py_takes_json(url: str, channel: str) -> Iterator[int]:
    return _redis_py_takes(url, channel, json.loads)


# --- a bare socket with hiredis at both ends: the limit -------------------------------------------


def _socket(url: str) -> Any:
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    line = socket.create_connection((parts.hostname, parts.port or 6379))
    if parts.password:
        login = [b"AUTH", *([parts.username.encode()] if parts.username else [])]
        line.sendall(_packed(*login, parts.password.encode()))
        assert line.recv(100).startswith(b"+OK")
    return line


def _packed(*parts: bytes) -> bytes:
    import hiredis

    return hiredis.pack_command(parts)  # type: ignore[no-any-return]


@contextmanager
def socket_bodies(url: str, channel: str, size: int) -> Iterator[Send]:
    import hiredis

    with _socket(url) as line:
        reader, name, body = hiredis.Reader(), channel.encode(), body_of(size)

        def send(count: int) -> None:
            for some in batches(count):
                line.sendall(b"".join([_packed(b"PUBLISH", name, body) for _ in range(some)]))
                while some:
                    reader.feed(line.recv(65536))
                    while reader.gets() is not False:
                        some -= 1

        yield send


def socket_takes(url: str, channel: str) -> Iterator[int]:
    import hiredis

    line, reader = _socket(url), hiredis.Reader()
    line.sendall(_packed(b"SUBSCRIBE", channel.encode()))
    reader.feed(line.recv(1000))
    reader.gets()
    yield 0
    while True:
        reader.feed(line.recv(65536))
        bodies = []
        while (reply := reader.gets()) is not False:
            bodies.append(reply[2])
        yield len(bodies)


SENDS = {
    "labkit bodies": labkit_bodies,
    "redis-py bodies": redis_py_bodies,
    "socket": socket_bodies,
    "labkit": labkit_messages,
    "redis-py JSON": redis_py_json,
    "FastStream": others.faststream_messages,
    "kombu": others.kombu_messages,
}
TAKES = {
    "labkit bodies": labkit_takes_bodies,
    "redis-py bodies": redis_py_takes_bodies,
    "socket": socket_takes,
    "labkit": labkit_takes_messages,
    "redis-py JSON": redis_py_takes_json,
    "FastStream": others.faststream_takes,
    "kombu": others.kombu_takes,
}
