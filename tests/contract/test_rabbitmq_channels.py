"""What all patterns on RabbitMQ stand on: confirms, many threads on one connection, its queues."""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pika
import pytest
from contract.rabbit_peer import management
from contract.real_server import own_namespace
from helpers import eventually

import labkit
from labkit import Requester, Responder, WorkQueue
from labkit.broker import Received
from labkit.errors import BrokerRefused
from labkit.servers import RabbitServer


@pytest.fixture
def lab(rabbitmq_server: RabbitServer) -> Iterator[Any]:
    with labkit.connect(
        rabbitmq_server.url, namespace=own_namespace(), timeout=20, connect_timeout=20
    ) as lab:
        yield lab


def test_threads_publish_on_one_connection_and_no_frame_is_torn(lab: Any) -> None:
    """Some bodies are larger than a frame, and much larger than what this socket takes at once."""
    writers, each = 6, 40
    subscription = lab.open_subscription()
    subscription.add("news.*", pattern=True)

    transport = lab._core.line("publishing").connection._transport
    transport._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)

    def publish(writer: int) -> None:
        for number in range(each):
            size = 150_000 if number % 10 == 0 else 10
            lab.publish(f"news.{writer}", f"{number}:".encode() + bytes([writer]) * size)

    with ThreadPoolExecutor(writers) as pool:
        futures = [pool.submit(publish, writer) for writer in range(writers)]
        seen: dict[int, list[int]] = defaultdict(list)
        for _ in range(writers * each):
            thing = eventually(lambda: subscription.poll(1))
            assert isinstance(thing, Received)
            writer = int(thing.channel.removeprefix("news."))
            number, _, rest = thing.body.partition(b":")
            assert set(rest) == {writer}
            assert len(rest) == (150_000 if int(number) % 10 == 0 else 10)
            seen[writer].append(int(number))
        for future in futures:
            future.result()
    assert seen == {writer: list(range(each)) for writer in range(writers)}
    subscription.close()


def test_a_refused_message_does_not_touch_what_others_publish(lab: Any) -> None:
    """RabbitMQ closes a channel for it: that one is not theirs, and the connection stays."""
    lab.publish("news", b"first")
    line = lab._core.line("publishing")
    over = threading.Event()

    def dare() -> int:
        refused = 0
        while not over.is_set():
            with pytest.raises(BrokerRefused, match="404 NOT_FOUND"):
                lab.publish_to("nowhere", "a", b"")
            refused += 1
        return refused

    with ThreadPoolExecutor(2) as pool:
        daring = [pool.submit(dare) for _ in range(2)]
        try:
            for _ in range(200):
                lab.publish("news", b"still here")
        finally:
            over.set()
        assert all(future.result() for future in daring)
    assert lab._core.line("publishing") is line


def test_nothing_is_written_behind_the_end_of_a_channel(lab: Any) -> None:
    """RabbitMQ closes one channel; an acknowledgement after that would end the connection."""
    channel = lab._core.channel()
    native, ending = channel.native, channel.native._transition_to_closed

    def late() -> None:
        channel.acknowledge(7)
        ending()

    native._transition_to_closed = late
    with pytest.raises(BrokerRefused, match="404 NOT_FOUND"):
        channel.ask(lambda native, done: native.queue_declare("no", passive=True, callback=done))
    for _ in range(3):
        lab.ping()
    assert channel.line.lost is None


def test_the_management_interface_counts_the_confirms(
    lab: Any, rabbitmq_server: RabbitServer
) -> None:
    queue = WorkQueue(lab, "rebooking")
    queue.put_many(range(70))

    def confirmed() -> list[int]:
        rows = management(rabbitmq_server, "/api/channels")
        counts = [row.get("message_stats", {}) for row in rows if row.get("confirm")]
        return [row.get("confirm") for row in counts if row.get("publish") == 70]

    eventually(lambda: confirmed() == [70])


def test_pika_itself_is_there_and_opens_nothing_before_it_is_used(lab: Any) -> None:
    with Requester(lab), Responder(lab, "seats", lambda request: request.content):
        assert isinstance(lab.native, pika.BlockingConnection)
        assert not lab.native.begun
    channel = lab.native.channel()
    channel.queue_declare("", exclusive=True)
    assert lab.native.is_open
    lab.native._impl._transport._sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(pika.exceptions.AMQPError):
        lab.native.process_data_events(1)
    assert lab.native.channel().is_open  # another one
    lab.native._impl._transport._sock.shutdown(socket.SHUT_RDWR)
    lab.close()  # whatever became of it


def test_every_queue_is_durable_or_exclusive(lab: Any, rabbitmq_server: RabbitServer) -> None:
    """RabbitMQ 4 has no others; and its quorum queues have a limit of 20 where none is set."""
    queue = WorkQueue(lab, "rebooking")
    queue.put("now")
    queue.put("later", delay=30)
    queue.put("once", id="t")
    subscription = lab.open_subscription()
    subscription.add("news")
    with Requester(lab), Responder(lab, "seats", lambda request: request.content):
        rows = [
            row
            for row in management(rabbitmq_server, "/api/queues")
            if row["name"].startswith(lab.namespace)
        ]
    assert len(rows) == 9, [row["name"] for row in rows]
    for row in rows:
        assert row["durable"] or row["exclusive"], row["name"]
        if row["arguments"].get("x-queue-type") == "quorum":
            assert "x-delivery-limit" in row["arguments"], row["name"]
    subscription.close()
