"""Streams on librdkafka's mock cluster and on a real Kafka: the same promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from contract.real_server import OnKafka, own_namespace
from contract.stream_contract import StreamContract
from helpers import eventually

import labkit
from labkit.patterns.event_stream import Group
from labkit.servers import KafkaServer


class KafkaStreams(StreamContract):
    quiet_s = 2.0  # joining a group that somebody has just left takes a rebalance

    def settle(self, group: Group, *members: Any) -> None:
        def each_has_some() -> bool:
            for member in members:
                member.poll(timeout=0.02)
            return {row.member for row in group.owners()} == {member.name for member in members}

        eventually(each_has_some)


class TestEmbeddedKafka(KafkaStreams):
    @pytest.fixture
    def lab(self) -> Iterator[Any]:
        with labkit.connect("kafka+embedded://") as lab:
            yield lab


class TestKafka(OnKafka, KafkaStreams):
    @pytest.fixture
    def lab(self, server: KafkaServer) -> Iterator[Any]:
        with labkit.connect(server.url, namespace=own_namespace()) as lab:
            yield lab
