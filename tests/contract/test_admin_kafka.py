"""What only a real Kafka has: transactions, the first record from a moment on, administration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import confluent_kafka as ck
import pytest
from contract.real_server import own_namespace
from helpers import eventually

import labkit
from labkit.broker import NewEntry
from labkit.errors import BrokerRefused, ConfigurationError
from labkit.servers import KafkaServer

NOON_S = 1_700_000_000


@pytest.fixture
def lab(kafka_server: KafkaServer) -> Iterator[Any]:
    with labkit.connect(f"{kafka_server.url}?partitions=1", namespace=own_namespace()) as lab:
        yield lab


def bodies(lab: Any, name: str) -> list[bytes | None]:
    return [entry.body for entry in lab.open_stream(name).read({}, 100, 0.0)]


def test_records_of_a_transaction_appear_together_at_its_end(lab: Any) -> None:
    lab.kafka.create_topic("seats")
    lab.kafka.create_topic("bills")
    with lab.kafka.transaction("booking") as producer:
        producer.produce(lab.kafka.topic("seats"), b"12A")
        producer.produce(lab.kafka.topic("bills"), b"90 EUR")
        assert producer.flush(10.0) == 0  # they are in Kafka, and nobody is shown them
        assert bodies(lab, "seats") == bodies(lab, "bills") == []
    eventually(lambda: bodies(lab, "seats") == [b"12A"], 10)
    eventually(lambda: bodies(lab, "bills") == [b"90 EUR"], 10)


def test_records_of_a_transaction_that_failed_are_never_seen(lab: Any) -> None:
    lab.kafka.create_topic("seats")
    with pytest.raises(OSError, match="no line"), lab.kafka.transaction("booking") as producer:  # noqa: PT012
        producer.produce(lab.kafka.topic("seats"), b"12A")
        assert producer.flush(10.0) == 0
        raise OSError("no line")
    lab.open_stream("seats").append([NewEntry(b"14C")])
    eventually(lambda: bodies(lab, "seats") == [b"14C"], 10)
    with lab.kafka.transaction("booking") as producer:  # the name is free for the next
        producer.produce(lab.kafka.topic("seats"), b"15F")
    eventually(lambda: bodies(lab, "seats") == [b"14C", b"15F"], 10)


def test_an_uncommitted_reader_sees_what_was_taken_back(lab: Any) -> None:
    lab.kafka.create_topic("seats")
    topic = lab.kafka.topic("seats")
    with pytest.raises(OSError, match="no line"), lab.kafka.transaction("booking") as producer:  # noqa: PT012
        producer.produce(topic, b"12A")
        assert producer.flush(10.0) == 0
        raise OSError("no line")
    consumer = lab.kafka.consumer("careless", **{"isolation_level": "read_uncommitted"})
    try:
        consumer.assign([ck.TopicPartition(topic, 0, 0)])
        found = eventually(
            lambda: [m.value() for m in consumer.consume(10, 0.1) if m.error() is None]
        )
    finally:
        consumer.close()
    assert found == [b"12A"]


def test_offsets_are_committed_with_the_transaction_or_not_at_all(lab: Any) -> None:
    lab.open_stream("orders").append([NewEntry(b"1"), NewEntry(b"2")])
    lab.kafka.create_topic("bills")
    orders, bills = lab.kafka.topic("orders"), lab.kafka.topic("bills")
    consumer = lab.kafka.consumer("billing")

    def committed() -> int:
        return int(consumer.committed([ck.TopicPartition(orders, 0)], 10.0)[0].offset)

    try:
        consumer.subscribe([orders])
        eventually(lambda: [m for m in consumer.consume(1, 0.1) if m.error() is None])
        done, group = [ck.TopicPartition(orders, 0, 1)], consumer.consumer_group_metadata()
        with pytest.raises(OSError, match="no line"), lab.kafka.transaction("t", done, group) as p:  # noqa: PT012
            p.produce(bills, b"1")
            raise OSError("no line")
        assert committed() < 0
        with lab.kafka.transaction("t", done, group) as producer:
            producer.produce(bills, b"1")
        assert committed() == 1
    finally:
        consumer.close()
    eventually(lambda: bodies(lab, "bills") == [b"1"], 10)


def test_the_first_record_from_a_moment_on_is_found_in_each_partition(lab: Any) -> None:
    lab.kafka.create_topic("flights", 2)
    with lab.kafka.producer() as producer:
        for second in range(4):
            at_ms = (NOON_S + second) * 1000
            producer.produce(lab.kafka.topic("flights"), b"x", partition=0, timestamp=at_ms)
    assert lab.kafka.offsets_at("flights", NOON_S - 5) == {0: 0, 1: 0}
    assert lab.kafka.offsets_at("flights", NOON_S + 1.5) == {0: 2, 1: 0}
    assert lab.kafka.offsets_at("flights", NOON_S + 60) == {0: 4, 1: 0}  # none: the end


def test_topics_are_made_listed_and_deleted(lab: Any) -> None:
    lab.kafka.create_topic("flights", 3, {"cleanup.policy": "compact"})
    assert lab.kafka.topics() == {"flights": 3}
    with pytest.raises(BrokerRefused, match="already"):
        lab.kafka.create_topic("flights")
    with pytest.raises(ConfigurationError, match=r"1 to 1,000"):
        lab.kafka.create_topic("crowd", 0)
    with pytest.raises(BrokerRefused):
        lab.kafka.create_topic("gates", 1, {"no.such.setting": "1"})
    lab.kafka.delete_topic("flights")
    assert lab.kafka.topics() == {}


def test_what_is_appended_as_soon_as_a_topic_is_there_is_in_it(lab: Any) -> None:
    """A leader that was not at work yet refused a first batch, took the second, and lost one."""
    entries = [NewEntry(b"x" * 100, f"k{n % 50}") for n in range(1_000)]
    for number in range(100):
        name = f"new-{number}"
        lab.kafka.create_topic(name, 4)
        lab.open_stream(name).append(entries)
        assert sum(extent.length for extent in lab.open_stream(name).extents()) == 1_000
