"""Round trips of request/reply, beside a bare one and beside kombu's.

    python benchmarks/request_reply.py [--quick] [--json FILE]

The responder is a process of its own and echoes 100 bytes. Times are from asking to having the
answer, in microseconds. "1 in flight" asks again when the answer is there; "100 in flight" asks 100
things at once and takes their answers. Rounds of the programs alternate, so that a busy moment hits
them alike; a figure is the median of the rounds'.

What the peers leave out: the bare round trip (redis-py: RPUSH, BLPOP at either end) has no
envelope, correlation ids, time-outs, deadlines, counts or errors, and does not know whether
anybody serves. labkit's trace is off here, as it is where one measures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from _bench import (
    Row,
    arguments,
    compare,
    given_url,
    installed,
    machine,
    median,
    percentile,
    program,
    report,
)

BODY = "x" * 100
MANY = 100
SCRIPT = Path(__file__).resolve()

Figures = dict[tuple[str, int, str], float]
"""Microseconds by program, number in flight and percentile."""

Ask = Callable[[int], list[float]]
"""Asks so many things at once; for each the seconds until its answer."""


# --- labkit ---------------------------------------------------------------------------------------


def serve_labkit(url: str) -> None:
    import math

    import labkit

    with labkit.connect(url, trace=False) as lab:
        responder = labkit.Responder(lab, "bench", lambda request: request.content)
        with responder:
            print("ready", flush=True)
            responder.serve(timeout=math.inf)


@contextmanager
def labkit_asks(url: str) -> Iterator[Ask]:
    import labkit

    with labkit.connect(url, trace=False) as lab, labkit.Requester(lab) as requester:

        def ask(count: int) -> list[float]:
            if count == 1:
                began = time.perf_counter()
                requester.request("bench", BODY)
                return [time.perf_counter() - began]
            replies = requester.request_many("bench", [BODY] * count, timeout=10)
            return [reply.seconds for reply in replies]

        yield ask


# --- bare redis-py --------------------------------------------------------------------------------


def serve_bare(url: str) -> None:
    import redis

    client = redis.Redis.from_url(url, socket_timeout=None)
    print("ready", flush=True)
    while True:
        _, body = client.blpop("bare:requests")  # type: ignore[misc]
        client.rpush("bare:replies", body)


@contextmanager
def bare_asks(url: str) -> Iterator[Ask]:
    import redis

    client = redis.Redis.from_url(url)

    def ask(count: int) -> list[float]:
        began = time.perf_counter()
        if count == 1:
            client.rpush("bare:requests", BODY)
        else:
            pipeline = client.pipeline(transaction=False)
            for _ in range(count):
                pipeline.rpush("bare:requests", BODY)
            pipeline.execute()
        took = []
        for _ in range(count):
            assert client.blpop("bare:replies", timeout=2) is not None
            took.append(time.perf_counter() - began)
        return took

    yield ask
    client.close()


# --- kombu ----------------------------------------------------------------------------------------


def serve_kombu(url: str) -> None:
    from kombu import Connection, Consumer, Producer, Queue

    with Connection(url) as connection, connection.channel() as channel:
        producer = Producer(channel)

        def answer(body: Any, message: Any) -> None:
            producer.publish(
                body,
                routing_key=message.properties["reply_to"],
                correlation_id=message.properties["correlation_id"],
            )
            message.ack()

        queue = Queue("kombu-requests", channel=channel, routing_key="kombu-requests")
        with Consumer(channel, [queue], callbacks=[answer]):
            print("ready", flush=True)
            while True:
                connection.drain_events()


@contextmanager
def kombu_asks(url: str) -> Iterator[Ask]:
    from kombu import Connection, Consumer, Producer, Queue, uuid

    with Connection(url) as connection, connection.channel() as channel:
        producer = Producer(channel)
        inbox = Queue(uuid(), channel=channel, exclusive=True, auto_delete=True)
        inbox.declare()
        answered: dict[str, float] = {}

        def take(_: Any, message: Any) -> None:
            answered[message.properties["correlation_id"]] = time.perf_counter()
            message.ack()

        with Consumer(channel, [inbox], callbacks=[take]):

            def ask(count: int) -> list[float]:
                answered.clear()
                ids = [uuid() for _ in range(count)]
                began = time.perf_counter()
                for one in ids:
                    producer.publish(
                        BODY, routing_key="kombu-requests", reply_to=inbox.name, correlation_id=one
                    )
                while len(answered) < count:
                    connection.drain_events(timeout=5)
                return [answered[one] - began for one in ids]

            yield ask


# --- measuring ------------------------------------------------------------------------------------

SERVERS = {"labkit": serve_labkit, "bare": serve_bare, "kombu": serve_kombu}
ASKS = {"labkit": labkit_asks, "bare": bare_asks, "kombu": kombu_asks}


def measure(url: str, names: list[str], rounds: int, trips: int) -> Figures:
    samples: dict[tuple[str, int, str], list[float]] = {}
    with ExitStack() as stack:
        asks = {}
        for name in names:
            stack.enter_context(program(SCRIPT, "--serve", name, url=url))
            asks[name] = stack.enter_context(ASKS[name](url))
            for _ in range(50):
                asks[name](1)
            asks[name](MANY)
        for _ in range(rounds):
            for in_flight in (1, MANY):
                for name, ask in asks.items():
                    took = [s * 1e6 for _ in range(trips // in_flight) for s in ask(in_flight)]
                    for label, quantile in (("p50", 0.50), ("p99", 0.99)):
                        key = (name, in_flight, label)
                        samples.setdefault(key, []).append(percentile(took, quantile))
    return {key: median(values) for key, values in samples.items()}


def rows_of(figures: Figures) -> list[Row]:
    rows = []
    for peer, peer_name in (("bare", "bare two-BLPOP round trip"), ("kombu", "kombu")):
        for in_flight in (1, MANY):
            for label in ("p50", "p99"):
                name = f"round trip {label}, {in_flight} in flight"
                ours, theirs = (figures.get((who, in_flight, label)) for who in ("labkit", peer))
                rows.append(compare(name, ours or 0.0, theirs, peer_name, "µs"))
    return [row for row in rows if row.peer is not None]


def main() -> int:
    if sys.argv[1:2] == ["--serve"]:
        SERVERS[sys.argv[2]](given_url())
        return 0
    options = arguments(__doc__, "3 rounds of 1,000 round trips, not 9 of 3,000")
    from labkit.servers import start_redis

    rounds, trips = (3, 1_000) if options.quick else (9, 3_000)
    names = ["labkit", "bare", *(["kombu"] if installed("kombu") else [])]
    with start_redis() as server:
        rows = rows_of(measure(server.url, names, rounds, trips))
        heading = f"{server.binary.product} {server.binary.version}, {machine('redis', 'kombu')}"
    report(rows, heading, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
