"""Confirmed publishing, consuming and round trips on RabbitMQ, beside bare pika and kombu.

    python benchmarks/rabbitmq.py [--quick] [--json FILE]

All use the same private node, started for this, and the same kind of queue: a quorum queue,
persistent messages of 100 bytes, each confirmed, each acknowledged. Bare pika publishes as its
documentation shows: a BlockingConnection that waits for the confirm of each message, and a
consumer with a prefetch of one; so does kombu. labkit puts and takes 500 at a time and waits for
the confirms together. The round trip is a request to a process of its own that echoes 100 bytes,
one at a time: bare pika is the RPC of RabbitMQ's tutorial, with an exclusive queue for replies;
once as it stands there, and once with what labkit has too: mandatory and confirmed, so that one who
asks knows whether anybody serves, and one who answers whether the asker is still there. Rounds
alternate; a figure is the median of the rounds'.

What the peers leave out: labkit's figures include the envelope, ids, attempts, errors and counts.
labkit's trace is off here, as it is where one measures.
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from _bench import Row, arguments, compare, installed, machine, median, percentile, program, report

BODY = "x" * 100
BATCH = 500
SCRIPT = Path(__file__).resolve()
URL = "LABKIT_BENCH_URL"
"""Children find the node, and its password, in their environment: others see command lines."""

QUORUM = {"x-queue-type": "quorum"}

Rates = dict[str, list[float]]
PutAndTake = Callable[[int], tuple[float, float]]
"""Messages a second: put, taken."""


# --- putting and taking ---------------------------------------------------------------------------


@contextmanager
def labkit_queue(url: str) -> Iterator[PutAndTake]:
    import labkit

    with labkit.connect(url, namespace="bench:", trace=False, timeout=30) as lab:
        queue = labkit.WorkQueue(lab, "work")

        def run(count: int) -> tuple[float, float]:
            began = time.perf_counter()
            for _ in range(0, count, BATCH):
                queue.put_many([BODY] * BATCH)
            put = time.perf_counter()
            with labkit.Worker(queue, lambda _: None, name="ada", prefetch=BATCH) as ada:
                assert ada.run() == count
            return count / (put - began), count / (time.perf_counter() - put)

        run(BATCH)
        yield run


@contextmanager
def pika_queue(url: str) -> Iterator[PutAndTake]:
    import pika

    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_qos(prefetch_count=1)
        channel.queue_declare("bare-work", durable=True, arguments=QUORUM)
        properties = pika.BasicProperties(delivery_mode=2)

        def run(count: int) -> tuple[float, float]:
            began = time.perf_counter()
            for _ in range(count):
                channel.basic_publish("", "bare-work", BODY.encode(), properties, mandatory=True)
            put = time.perf_counter()
            for done, (method, _, _) in enumerate(channel.consume("bare-work"), 1):
                channel.basic_ack(method.delivery_tag)
                if done == count:
                    break
            took = time.perf_counter() - put
            channel.cancel()
            return count / (put - began), count / took

        run(20)
        yield run


@contextmanager
def kombu_queue(url: str) -> Iterator[PutAndTake]:
    from kombu import Connection, Consumer, Producer, Queue

    options = {"confirm_publish": True}
    with Connection(url, transport_options=options) as connection, connection.channel() as channel:
        queue = Queue("kombu-work", channel=channel, durable=True, queue_arguments=QUORUM)
        queue.declare()
        producer = Producer(channel)
        left = 0

        def take(_: Any, message: Any) -> None:
            nonlocal left
            message.ack()
            left -= 1

        def run(count: int) -> tuple[float, float]:
            nonlocal left
            began = time.perf_counter()
            for _ in range(count):
                producer.publish(BODY, routing_key="kombu-work", delivery_mode=2, mandatory=True)
            put, left = time.perf_counter(), count
            with Consumer(channel, [queue], callbacks=[take], prefetch_count=1):
                while left:
                    connection.drain_events(timeout=20)
            return count / (put - began), count / (time.perf_counter() - put)

        run(20)
        yield run


# --- round trips ----------------------------------------------------------------------------------


def serve_labkit(url: str) -> None:
    import math

    import labkit

    with labkit.connect(url, namespace="bench:", trace=False, timeout=30) as lab:
        responder = labkit.Responder(lab, "bench", lambda request: request.content)
        with responder:
            print("ready", flush=True)
            responder.serve(timeout=math.inf)


@contextmanager
def labkit_asks(url: str) -> Iterator[Callable[[], None]]:
    import labkit

    with (
        labkit.connect(url, namespace="bench:", trace=False, timeout=30) as lab,
        labkit.Requester(lab) as requester,
    ):
        yield lambda: requester.request("bench", BODY, timeout=20)


def serve_pika(url: str, *, confirmed: bool = False) -> None:
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(_rpc_queue(confirmed))
    channel.basic_qos(prefetch_count=1)
    if confirmed:
        channel.confirm_delivery()

    def answer(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        back = pika.BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to, body, back, mandatory=confirmed)
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(_rpc_queue(confirmed), answer)
    print("ready", flush=True)
    channel.start_consuming()


def _rpc_queue(confirmed: bool) -> str:
    return "rpc_queue_confirmed" if confirmed else "rpc_queue"


@contextmanager
def pika_asks(url: str, *, confirmed: bool = False) -> Iterator[Callable[[], None]]:
    import uuid

    import pika

    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        if confirmed:
            channel.confirm_delivery()
        queue = _rpc_queue(confirmed)
        inbox = channel.queue_declare("", exclusive=True).method.queue
        answers: dict[str, bytes] = {}

        def take(_: Any, __: Any, properties: Any, body: bytes) -> None:
            answers[properties.correlation_id] = body

        channel.basic_consume(inbox, take, auto_ack=True)

        def ask() -> None:
            name = str(uuid.uuid4())
            properties = pika.BasicProperties(reply_to=inbox, correlation_id=name)
            channel.basic_publish("", queue, BODY.encode(), properties, mandatory=confirmed)
            while name not in answers:
                connection.process_data_events(time_limit=None)
            del answers[name]

        yield ask


SERVERS = {
    "labkit": serve_labkit,
    "pika": serve_pika,
    "pika, confirmed": partial(serve_pika, confirmed=True),
}
ASKERS = {
    "labkit": labkit_asks,
    "pika": pika_asks,
    "pika, confirmed": partial(pika_asks, confirmed=True),
}


# --- the measurement ------------------------------------------------------------------------------


def measure_queues(url: str, count: int, rounds: int) -> tuple[Rates, Rates]:
    programs = {"labkit": labkit_queue, "pika": pika_queue}
    if installed("kombu"):
        programs["kombu"] = kombu_queue
    put: Rates = defaultdict(list)
    taken: Rates = defaultdict(list)
    for _ in range(rounds):
        for name, open_queue in programs.items():
            with open_queue(url) as run:
                rates = run(count if name == "labkit" else count // 5)
            put[name].append(rates[0])
            taken[name].append(rates[1])
    return put, taken


def measure_round_trips(url: str, count: int, rounds: int) -> dict[tuple[str, int], list[float]]:
    """Microseconds by program and percentile, one a round."""
    figures: dict[tuple[str, int], list[float]] = defaultdict(list)
    with ExitStack() as stack:
        asks = {}
        for name, opened in ASKERS.items():
            stack.enter_context(program(SCRIPT, "serve", name))
            asks[name] = stack.enter_context(opened(url))
            for _ in range(50):
                asks[name]()
        for _ in range(rounds):
            for name, ask in asks.items():
                samples = []
                for _ in range(count):
                    began = time.perf_counter()
                    ask()
                    samples.append((time.perf_counter() - began) * 1e6)
                for share in (50, 99):
                    figures[name, share].append(percentile(samples, share / 100))
    return figures


def rows_of(put: Rates, taken: Rates, trips: dict[tuple[str, int], list[float]]) -> list[Row]:
    rows = []
    for what, rates in (("confirmed put", put), ("take and ack", taken)):
        for peer in ("pika", "kombu"):
            theirs = median(rates[peer]) if peer in rates else None
            how = f"{peer}, one at a time" if theirs else f"{peer} (not installed)"
            rows.append(compare(what, median(rates["labkit"]), theirs, how, "/s"))
    for share in (50, 99):
        ours = median(trips["labkit", share])
        for peer, how in (("pika", "pika RPC"), ("pika, confirmed", "pika RPC, confirmed")):
            theirs = median(trips[peer, share])
            rows.append(compare(f"round trip p{share}", ours, theirs, how, "µs"))
    return rows


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        SERVERS[sys.argv[2]](os.environ[URL])
        return
    options = arguments(__doc__, quick="2 rounds of 2,000 messages and 300 round trips")
    from labkit import servers

    count, trips, rounds = (2_000, 300, 2) if options.quick else (10_000, 2_000, 5)
    with servers.start_rabbitmq() as server:
        os.environ[URL] = server.url
        put, taken = measure_queues(server.url, count, rounds)
        figures = measure_round_trips(server.url, trips, rounds)
        name = server.binary.name
    heading = f"RabbitMQ: {machine('pika', 'kombu')}, {name}, bodies of 100 bytes"
    report(rows_of(put, taken, figures), heading, options.json)


if __name__ == "__main__":
    main()
