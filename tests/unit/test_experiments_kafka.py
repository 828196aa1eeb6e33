"""The helpers of lab 10 on the mock cluster: what they count and what they skip."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import labkit
from labkit.data import stormy_day
from labkit.errors import LabkitError
from labkit.experiments import kafka_lab
from labkit.experiments.kafka_day import watch_lag
from labkit.experiments.kafka_lab import (
    consumer,
    count_records,
    fresh_topic,
    next_offset,
    take,
)
from labkit.experiments.rebalancing import watch_rebalances


@pytest.fixture
def lab() -> Iterator[Any]:
    with labkit.connect("kafka+embedded://") as opened:
        yield opened


@pytest.fixture
def no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)


def test_take_ends_at_the_end_of_the_topic_or_after_so_many(lab: Any) -> None:
    stream = fresh_topic(lab, "gates", 3)
    stream.append_many(range(20))

    with consumer(lab, "gates", "board") as reader:
        assert len(take(reader, 5)) == 5
        assert len(take(reader, 100)) == 15
    assert count_records(stream) == 20


def test_take_knows_the_end_that_an_earlier_call_was_told(lab: Any) -> None:
    fresh_topic(lab, "gates", 2).append_many(range(20))

    with consumer(lab, "gates", "board") as reader:
        assert len(take(reader, 20)) == 20
        assert take(reader, 1) == []
        assert take(reader, 1) == []  # librdkafka tells the end of a partition once


def test_members_share_all_partitions_each_time_they_have_settled(lab: Any) -> None:
    fresh_topic(lab, "gates", 2)
    steps = [("both join", ["Bob", "Ann"]), ("Ann dies", ["-Ann"])]

    assert watch_rebalances(lab, "gates", steps) == [
        ("both join", {"Bob": [1], "Ann": [0]}),
        ("Ann dies", {"Bob": [0, 1]}),
    ]


def test_the_next_consumer_begins_where_the_first_has_committed(lab: Any) -> None:
    fresh_topic(lab, "tasks").append_many(range(7))

    def commit(reader: Any, record: Any) -> None:
        reader.commit(message=record, asynchronous=False)

    assert next_offset(lab, "tasks", "commits", commit) == 5
    assert next_offset(lab, "tasks", "nothing") == 0
    assert next_offset(lab, "tasks", "at the end", auto_offset_reset="largest") == 7


def test_owners_with_little_time_fall_behind_in_the_partitions_that_have_most(lab: Any) -> None:
    day = stormy_day(types=["flight.departed"], start="06:00", end="09:00")
    stream = fresh_topic(lab, "by-airport", 6)

    samples = watch_lag(lab, stream, day, key="origin", each=20)

    assert [hour for hour, _ in samples] == [7, 8, 9]
    ends = {extent.partition: extent.length for extent in stream.log.extents()}
    assert sum(ends.values()) == len(day)
    for place in samples[-1][1]["board"].places:
        expected = 0
        for hour in range(6, 9):
            keys = [h.message.content["origin"] for h in day if h.time.hour == hour]
            here = [k for k in keys if lab.kafka.partition_of(stream.name, k) == place.partition]
            expected = max(0, expected + len(here) - 20)
        assert place.lag == expected
    assert any(place.lag for place in samples[-1][1]["board"].places)


@pytest.mark.usefixtures("no_client")
def test_without_the_client_each_further_cell_says_that_it_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = SimpleNamespace(input_transformers_post=[])
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))

    assert kafka_lab.open_kafka() is None
    assert kafka_lab.open_kafka() is None  # run again: still one
    [skip] = shell.input_transformers_post
    assert skip(["lab.kafka.topics()\n"]) == [f"print({kafka_lab.SKIPPED!r})\n"]
    assert skip(["lab = open_kafka()\n"]) == ["lab = open_kafka()\n"]
    assert "pip install 'messaging-lab[kafka]'" in capsys.readouterr().out


@pytest.mark.usefixtures("no_client")
def test_without_the_client_and_without_a_notebook_it_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))

    with pytest.raises(LabkitError, match="pip install"):
        kafka_lab.open_kafka()
