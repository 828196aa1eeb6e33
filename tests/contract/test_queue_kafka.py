"""Work queues on librdkafka's mock cluster and on a real Kafka: the same promises."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from contract.queue_contract import LetPass, QueueContract
from contract.real_server import OnKafka

import labkit


class KafkaQueues(QueueContract):
    put_commands: ClassVar = {"stream": "produce"}

    @pytest.fixture(params=["stream"])  # Kafka has no choice
    def kind(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def live(self, lab: Any) -> Any:
        return lab

    @pytest.fixture
    def let_pass(self) -> LetPass:
        return time.sleep


class TestEmbeddedKafka(KafkaQueues):
    @pytest.fixture
    def lab(self) -> Iterator[Any]:
        with labkit.connect("kafka+embedded://?partitions=1") as lab:
            yield lab


class TestKafka(OnKafka, KafkaQueues):
    pass
