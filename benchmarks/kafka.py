"""labkit's streams on Kafka, beside confluent-kafka alone; rebalance on the mock cluster.

    python benchmarks/kafka.py [--quick] [--json FILE]

A real Kafka is started for this where there is one (python tools/fetch_kafka.py), else the mock
cluster inside librdkafka is measured. Both sides use the same settings: acks=all, idempotence, no
linger, 100-byte bodies with one of 50 keys. A figure is the median of several rounds, in which the
two take turns, each with a topic of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import confluent_kafka as ck

import labkit
from benchmarks._bench import Row, arguments, compare, machine, median, report
from labkit import servers
from labkit.broker import NewEntry

BATCH = 1_000
BODY = b"x" * 100
KEYS = [f"k{n}" for n in range(50)]


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def append_ours(lab: Any, topic: str, count: int) -> None:
    stream = lab.open_stream(topic)
    entries = [NewEntry(BODY, KEYS[n % 50]) for n in range(BATCH)]
    for _ in range(count // BATCH):
        stream.append(entries)


def append_bare(lab: Any, topic: str, count: int) -> None:
    """As in the examples of confluent-kafka, with each report looked at, and a flush a batch."""
    errors: list[object] = []

    def reported(error: object, _: object) -> None:
        if error is not None:
            errors.append(error)

    with lab.kafka.producer() as producer:
        for _ in range(count // BATCH):
            for n in range(BATCH):
                producer.produce(topic, BODY, KEYS[n % 50], on_delivery=reported)
                producer.poll(0)
            producer.flush()
    assert not errors


def read_ours(lab: Any, topic: str, count: int) -> None:
    stream, found, cursor = lab.open_stream(topic), 0, {}
    while found < count:
        entries = stream.read(cursor, BATCH, 5.0)
        cursor = cursor | {entry.position.partition: entry.position for entry in entries}
        found += len(entries)


def looked_at(records: list[Any]) -> list[tuple[Any, ...]]:
    """What labkit reads of a record, too: where it is, key, headers, value."""
    return [
        (m.partition(), m.offset(), (m.key() or b"").decode(), m.headers(), m.value())
        for m in records
        if m.error() is None
    ]


def read_bare(lab: Any, topic: str, count: int) -> None:
    """The quickest that confluent-kafka has: consume in batches, and look at each record."""
    consumer = lab.kafka.consumer("bare")
    consumer.assign([ck.TopicPartition(topic, n, 0) for n in range(lab.kafka.topics()[topic])])
    found = 0
    while found < count:
        found += len(looked_at(consumer.consume(BATCH, 0.1)))
    consumer.close()


def poll_ours(lab: Any, topic: str, count: int) -> None:
    found = 0
    member = lab.open_stream(topic).open_group("ours", {}).join("ada")
    while found < count:
        entries = member.poll(BATCH, 5.0).entries
        member.commit({entry.position.partition: entry.position for entry in entries})
        found += len(entries)
    member.close()


def poll_bare(lab: Any, topic: str, count: int) -> None:
    consumer = lab.kafka.consumer("bare")
    consumer.subscribe([topic])
    found = 0
    while found < count:
        records = looked_at(consumer.consume(BATCH, 0.1))
        if records:
            last = {record[0]: record[1] + 1 for record in records}
            places = [ck.TopicPartition(topic, part, offset) for part, offset in last.items()]
            consumer.commit(offsets=places, asynchronous=False)
            found += len(records)
    consumer.close()


def rebalance() -> float:
    """From a second member's joining until both have partitions, on the mock cluster."""
    with labkit.connect("kafka+embedded://?partitions=4") as lab:
        stream = lab.open_stream("flights")
        stream.append([NewEntry(b"1", key) for key in KEYS])
        group = stream.open_group("boards", {})
        ada = group.join("ada")
        while not ada.parts:
            ada.poll(100, 0.01)
        started = time.perf_counter()
        bob = group.join("bob")
        while not (ada.parts and bob.parts):
            ada.poll(100, 0.01)
            bob.poll(100, 0.01)
        took = time.perf_counter() - started
        ada.close()
        bob.close()
        return took


def measure(lab: Any, rounds: int, count: int) -> list[Row]:
    works = {
        "append": (append_ours, append_bare, "produce, poll, flush each 1,000"),
        "read": (read_ours, read_bare, "assign, consume 1,000"),
        "poll and commit": (poll_ours, poll_bare, "subscribe, consume 1,000, commit"),
    }
    rates: dict[tuple[str, int], list[float]] = {}
    for number in range(rounds + 1):
        for side in (number % 2, 1 - number % 2):
            topic = f"round-{number}-{side}"
            lab.kafka.create_topic(topic, 4)
            for name, functions in works.items():
                took = seconds(lambda f=functions[side], t=topic: f(lab, t, count))  # type: ignore[misc]
                if number:  # the first round warms up
                    rates.setdefault((name, side), []).append(count / took)
    return [
        compare(f"{name}, entries", median(rates[name, 0]), median(rates[name, 1]), words, "/s")
        for name, (_, _, words) in works.items()
    ]


def main() -> None:
    options = arguments(__doc__, "fewer and shorter rounds")
    rounds, count = (2, 10_000) if options.quick else (11, 30_000)
    real = servers.find_kafka() is not None
    if real:
        with servers.start_kafka() as server, labkit.connect(server.url, trace=False) as lab:
            rows, what = measure(lab, rounds, count), server.home.name
    else:
        with labkit.connect("kafka+embedded://", trace=False) as lab:
            rows, what = measure(lab, rounds, count), lab.name
    took = [rebalance() for _ in range(5 if options.quick else 25)]
    for name, found in (("median", median(took)), ("worst", max(took))):
        rows.append(compare(f"rebalance, mock, {name}", found * 1000, 1000.0, "the goal", "ms"))
    report(rows, f"{what}, {machine('confluent-kafka')}", options.json)


if __name__ == "__main__":
    main()
