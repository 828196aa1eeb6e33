"""Publish/subscribe on librdkafka's mock cluster and on a real Kafka: the same promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from contract.pubsub_contract import PubSubContract
from contract.real_server import OnKafka

import labkit
from labkit.broker import PubSubBroker


class KafkaContract(PubSubContract):
    commands = ("incremental_assign", "produce")


class TestEmbeddedKafka(KafkaContract):
    @pytest.fixture
    def lab(self) -> Iterator[PubSubBroker]:
        with labkit.connect("kafka+embedded://") as lab:
            yield lab


class TestKafka(OnKafka, KafkaContract):
    pass


def test_a_new_channel_is_heard_at_once() -> None:
    """By itself librdkafka looks for the leaders of new partitions only once in a second."""
    soon = 0
    with labkit.connect("kafka+embedded://") as lab:
        subscription = lab.open_subscription()
        for n in range(6):
            subscription.add(f"news-{n}")
            lab.publish(f"news-{n}", b"1")
            soon += subscription.poll(0.4) is not None
    assert soon >= 5
