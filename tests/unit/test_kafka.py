"""Kafka's names, addresses, settings and partitions: what can be seen without a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import eventually
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit import Action, EventStream, servers
from labkit.broker import NewEntry
from labkit.brokers.kafka.mock import MockKafka
from labkit.brokers.kafka.names import LONGEST_TOPIC, from_topic, to_topic
from labkit.brokers.kafka.partitioner import partition_of
from labkit.brokers.kafka.settings import BUFFER_MESSAGES
from labkit.errors import (
    BatchError,
    BrokerUnavailable,
    ConfigurationError,
    NotSupported,
    ServerError,
)
from labkit.servers.kafka_server import _new_cluster_id


@pytest.fixture
def lab() -> Iterator[Any]:
    with labkit.connect("kafka+embedded://?partitions=4") as lab:
        yield lab


def test_a_producer_of_ones_own_takes_callbacks(lab: Any) -> None:
    told: list[str] = []
    settings = {"stats_cb": told.append, "statistics_interval_ms": 20}
    with lab.kafka.producer(**settings) as producer:
        eventually(lambda: producer.poll(0.05) or told)
    assert '"type": "producer"' in told[0]


def test_a_buffer_that_stays_full_is_told_with_what_was_not_sent() -> None:
    with labkit.connect("kafka+embedded://", timeout=2.0) as lab:
        stream = lab.open_stream("gates")
        stream.append([NewEntry(b"open")])
        lab.faults.broker_down()
        entries = [NewEntry(b"gate")] * (BUFFER_MESSAGES + 2)
        with pytest.raises(BatchError, match=r"buffer is full.*append less at once") as caught:
            stream.append(entries)
    assert caught.value.unsent == (BUFFER_MESSAGES, BUFFER_MESSAGES + 1)
    assert len(caught.value.unknown) == BUFFER_MESSAGES


@given(st.text(min_size=1, max_size=20))
def test_every_name_is_a_legal_topic_and_comes_back(name: str) -> None:
    if name in {".", ".."}:
        return
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    topic = to_topic("ada:", name)
    assert set(topic) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    if not topic.startswith("ada.labkit."):
        assert from_topic("ada:", topic) == name


def test_a_legal_name_stays_as_it_is() -> None:
    assert to_topic("", "flights.JFK_delayed-2") == "flights.JFK_delayed-2"
    assert from_topic("", "__consumer_offsets") is None


def test_a_name_that_no_topic_can_have_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=str(LONGEST_TOPIC)):
        to_topic("", "x" * 250)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("kafka://", "names a host"),
        ("kafka+embedded://?brokers=0", "brokers is a number from 1"),
        ("kafka+embedded://?partitions=many", "partitions is a number"),
        ("kafka+embedded://?colour=red", "not 'colour'"),
        ("kafka://u:p@127.0.0.1:1?sasl=GSSAPI", "PLAIN"),
    ],
)
def test_a_url_that_cannot_work_says_what_is_right(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        labkit.connect(url)


def test_nobody_answers_and_no_password_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokerUnavailable, match=r"start_kafka\(\)") as caught:
        labkit.connect("kafka://ada:secret@127.0.0.1:1", connect_timeout=0.5)
    assert "secret" not in str(caught.value)
    assert capfd.readouterr().err == ""  # librdkafka would write there


def test_every_setting_has_a_reason_and_the_safe_ones_are_on(lab: Any) -> None:
    settings = lab.settings()
    assert all(setting.why.endswith(".") for setting in settings)
    assert settings["acks"].value == "all"
    assert settings["enable.idempotence"].value is True
    assert settings["enable.auto.commit"].value is False
    assert settings["auto.offset.reset"].value == "earliest"
    assert "enable.auto.commit = false (default true)" in repr(settings)
    assert "linger.ms" in settings._repr_html_()
    assert len(settings.to_frame()) == len(list(settings))


@pytest.mark.parametrize("partitioner", ["consistent_random", "murmur2_random"])
def test_a_key_goes_where_librdkafka_sends_it(lab: Any, partitioner: str) -> None:
    lab.kafka.create_topic("flights", 7)
    landed: dict[str, int] = {}
    with lab.kafka.producer(partitioner=partitioner) as producer:
        for n in range(60):
            key = f"B6 {n}" * (n % 5 + 1)
            producer.produce(
                lab.kafka.topic("flights"),
                b"x",
                key.encode(),
                on_delivery=lambda _, record, key=key: landed.update({key: record.partition()}),
            )
    assert len(landed) == 60
    for key, partition in landed.items():
        assert lab.kafka.partition_of("flights", key, partitioner) == partition


def test_java_clients_agree_on_murmur2() -> None:
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    for key, signed in known.items():
        assert partition_of(key, 1_000, "murmur2") == (signed & 0x7FFFFFFF) % 1_000


def test_an_unknown_partitioner_names_the_known_ones(lab: Any) -> None:
    EventStream(lab, "flights").append(1)
    with pytest.raises(ConfigurationError, match="murmur2_random"):
        lab.kafka.partition_of("flights", "k", "fair")
    with pytest.raises(ConfigurationError, match="no topic 'nowhere'"):
        lab.kafka.partition_of("nowhere", "k")


def test_what_the_mock_cluster_lacks_is_refused_with_the_reason(lab: Any) -> None:
    asked = {
        "transactions": lambda: lab.kafka.transaction("t").__enter__(),
        "topic administration": lambda: lab.kafka.delete_topic("x"),
        "read from a time": lambda: lab.kafka.offsets_at("x", 0.0),
    }
    for name, ask in asked.items():
        assert lab.capabilities[name].support == "absent"
        with pytest.raises(NotSupported, match=lab.capabilities[name].why[:20]):
            ask()
    for name in ("retention", "compaction", "trim"):
        assert lab.capabilities[name].support == "absent"


def test_two_labs_share_a_mock_cluster_by_its_name() -> None:
    with (
        labkit.connect("kafka+embedded://shop") as one,
        labkit.connect("kafka+embedded://shop") as other,
        labkit.connect("kafka+embedded://") as stranger,
    ):
        one.open_stream("x").append([labkit.broker.NewEntry(b"1")])
        assert [entry.body for entry in other.open_stream("x").read({}, 9, 0.0)] == [b"1"]
        assert stranger.open_stream("x").read({}, 9, 0.0) == []


def test_a_rebalance_is_in_the_trace(lab: Any) -> None:
    stream = EventStream(lab, "flights")
    stream.append(1, key="k")
    with stream.group("boards").join("ada") as ada:
        assert len(ada.poll(timeout=10.0)) == 1
    given = [e for e in lab.trace if e.actor == "ada" and e.action == Action.SUBSCRIBED]
    assert given[0].detail == "rebalance: partitions 0, 1, 2, 3"


def test_a_closed_mock_cluster_says_so(lab: Any) -> None:
    cluster = MockKafka()
    assert "MockKafka of 1" in repr(cluster)
    cluster.close()
    cluster.close()
    with pytest.raises(ServerError, match="has ended"):
        cluster.broker_down()
    assert lab.faults.brokers == 1


def test_a_machine_without_kafka_is_told_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))
    assert servers.find_kafka() is None
    with pytest.raises(ServerError, match=r"fetch_kafka\.py"):
        servers.start_kafka()


def test_no_cluster_id_looks_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_bytes", lambda count: b"\xfb" * count)  # "-" in Base64
    assert not _new_cluster_id().startswith("-")
    assert len(_new_cluster_id()) == 22


def test_importing_labkit_does_not_load_confluent_kafka() -> None:
    code = "import labkit, labkit.servers, sys; print('confluent_kafka' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False"
