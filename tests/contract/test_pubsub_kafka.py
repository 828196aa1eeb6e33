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
