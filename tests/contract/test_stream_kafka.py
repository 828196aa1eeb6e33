"""Streams on librdkafka's mock cluster and on a real Kafka: the same promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from contract.real_server import OnKafka, own_namespace
from contract.stream_contract import StreamContract, contents, poll_all
from helpers import eventually

import labkit
from labkit.broker import StreamBroker
from labkit.brokers.kafka import settings
from labkit.errors import NotConnected
from labkit.patterns.event_stream import Event, Group
from labkit.servers import KafkaServer


class KafkaStreams(StreamContract):
    quiet_s = 2.0  # joining a group that somebody has just left takes a rebalance

    def settle(self, group: Group, *members: Any) -> None:
        def each_has_some() -> bool:
            for member in members:
                member.poll(timeout=0.02)
            return {row.member for row in group.owners()} == {member.name for member in members}

        eventually(each_has_some)

    def test_a_member_that_crashes_says_nothing_and_keeps_what_it_has(
        self, lab: StreamBroker, group: Group, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Kafka gives its partitions to others by itself, once its session has ended."""
        monkeypatch.setattr(settings, "SESSION_MS", 1_500)
        ada = group.join("ada")
        events = poll_all(ada, 6)
        ada.commit(events[1])
        with group.join("bob") as bob:
            ada.crash()
            ada.crash()
            for call in (ada.poll, ada.commit):
                with pytest.raises(NotConnected, match="'ada' has crashed"):
                    call()
            ada.close()
            assert "crashed" in repr(ada)
            assert group.state().pending == {"ada": 4, "bob": 0}
            assert {row.member for row in group.owners()} == {"ada"}
            assert contents(poll_all(bob, 4)) == [2, 3, 4, 5]
            assert bob.commit() == 4
            assert {row.member for row in group.owners()} == {"bob"}
            assert group.state().pending == {"bob": 0}
        assert group.lag() == 0
        assert lab.trace.count("crashed", actor="ada") == 1

    def test_what_a_crashed_member_still_works_on_is_not_committed(
        self, group: Group, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settings, "SESSION_MS", 1_500)
        ada, seen = group.join("ada"), []

        def handler(event: Event) -> None:
            seen.append(event.content)
            if event.content == 3:
                ada.crash()

        # one at a time: a batch on Kafka holds what has come so far
        assert ada.run(handler, count=1, timeout=30.0) == 4
        assert seen == [0, 1, 2, 3]
        assert group.state().pending == {"ada": 1}
        assert group.lag() == 3
        with group.join("bob") as bob:
            assert contents(poll_all(bob, 3)) == [3, 4, 5]


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
