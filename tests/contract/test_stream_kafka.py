"""Streams on librdkafka's mock cluster and on a real Kafka: the same promises."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from contract.real_server import OnKafka, own_namespace
from contract.stream_contract import StreamContract, contents, poll_all
from helpers import eventually

import labkit
from labkit.broker import BrokerStream, Entry, NewEntry, Position, StreamBroker
from labkit.brokers.kafka import settings
from labkit.brokers.kafka.reader import KEPT_OF_A_TOPIC
from labkit.errors import NotConnected
from labkit.patterns.event_stream import Event, Group
from labkit.servers import KafkaServer


@contextlib.contextmanager
def somebody_reads(group: Any) -> Iterator[tuple[Any, Counter[Position]]]:
    """Another member, who polls in a thread, and what it was given."""
    given, stop = Counter[Position](), threading.Event()
    member = group.join("bob")

    def read_on() -> None:
        while not stop.is_set():
            given.update(entry.position for entry in member.poll(100, 0.05).entries)

    thread = threading.Thread(target=read_on)
    thread.start()
    try:
        yield member, given
    finally:
        stop.set()
        thread.join()
        member.close()


class KafkaStreams(StreamContract):
    quiet_s = 2.0  # joining a group that somebody has just left takes a rebalance

    @pytest.fixture
    def shared(self, lab: StreamBroker) -> Any:
        """Forty entries in several partitions."""
        log = lab.open_stream("shared")
        log.append([NewEntry(str(n).encode(), str(n)) for n in range(40)])
        return log

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

    def test_whoever_reads_leaves_no_consumer_behind(
        self, lab: StreamBroker, shared: BrokerStream
    ) -> None:
        """A consumer that reads is native threads and connections."""

        def threads_after(reads: int) -> int:
            for _ in range(reads):
                assert len(lab.open_stream(shared.name).read({}, 100, 5.0)) == 40
            return psutil.Process().num_threads()

        at_first = threads_after(KEPT_OF_A_TOPIC + 4)
        assert threads_after(20) < at_first + 20

    def test_who_reads_on_in_many_topics_makes_no_new_consumers(self, lab: Any) -> None:
        logs = [lab.open_stream(f"s{n}") for n in range(20)]
        for log in logs:
            log.append([NewEntry(b"a")])
        places = [{(last := log.read({}, 10, 5.0)[-1].position).partition: last} for log in logs]
        made = [line for line in lab.commands(1_000) if "assign" in line]
        for log, place in zip(logs, places, strict=True):
            assert log.read(place, 10, 0.0) == []
        assert [line for line in lab.commands(1_000) if "assign" in line] == made

    def test_a_commit_after_a_rebalance_is_late_for_what_others_have(
        self, shared: BrokerStream
    ) -> None:
        group = shared.open_group("readers", {})
        ada = group.join("ada")
        given: list[Entry] = []
        eventually(lambda: given.extend(ada.poll(40, 0.1).entries) or len(given) == 40)
        with somebody_reads(group) as (bob, _):
            eventually(lambda: ada.poll(1, 0.02) and ada.parts and bob.parts)
            theirs = {number for _, number in bob.parts}
            done = ada.commit({entry.position.partition: entry.position for entry in given})
        late = [entry.position for entry in given if entry.position.partition in theirs]
        assert late
        assert Counter(done.late) == Counter(late)

    def test_what_was_collected_before_a_rebalance_is_not_given_after_it(
        self, shared: BrokerStream
    ) -> None:
        """It comes again, to whoever has its partition then."""
        group = shared.open_group("readers", {})
        ada = group.join("ada")
        mine, others, stack = Counter[Position](), [], contextlib.ExitStack()
        member, consumer = ada._member, ada._member._consumer

        class UnderWay:
            """ada's consumer: within one poll, once some are collected, bob gets his share."""

            def __getattr__(self, name: str) -> Any:
                return getattr(consumer, name)

            def poll(self, timeout: float) -> Any:
                if len(member._found) == 5 and not others:
                    others.append(stack.enter_context(somebody_reads(group)))
                while others and not others[0][0].parts:
                    if message := consumer.poll(0.1):
                        return message
                return consumer.poll(timeout)

        def all_came() -> bool:
            given = [entry.position for entry in ada.poll(100, 0.1).entries]
            mine.update(given)
            ada.commit({position.partition: position for position in given})
            return bool(others) and mine.total() + others[0][1].total() >= 40

        member._consumer = UnderWay()
        with stack:
            eventually(all_came)
            [(_, his)] = others
            assert his
            assert set((mine + his).values()) == {1}


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
