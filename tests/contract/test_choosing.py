"""Lab 11's engine on real servers, which it starts, kills and stops itself."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from conftest import missing

from labkit import servers
from labkit.experiments.choosing import Brokers, compare, open_brokers
from labkit.experiments.choosing.guide import guide
from labkit.experiments.choosing.jobs import JOBS
from labkit.experiments.choosing.poison import poison
from labkit.experiments.choosing.restart import kill_servers

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=["redis", "rabbitmq", "kafka"])
def brokers(request: pytest.FixtureRequest) -> Iterator[Brokers]:
    kind: str = request.param
    if kind == "redis" and servers.find_redis() is None:
        missing("redis-server")
    if kind == "rabbitmq":
        pytest.importorskip("pika", reason="pika is not installed")
        if servers.find_rabbitmq() is None:
            missing("rabbitmq-server")
    if kind == "kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
        if servers.find_kafka() is None:
            missing("Kafka (python tools/fetch_kafka.py, and Java 17)")
    with open_brokers(kind) as found:
        yield found


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_killed_worker_loses_nothing_and_its_task_is_begun_twice(brokers: Brokers) -> None:
    run = compare(brokers, JOBS[1:2])

    [row] = run.figures.to_dict("records")
    assert (row["lost"], row["twice"]) == (0, 1)
    assert row["throughput"] > 0
    assert 0 <= row["back_after_s"] < 20
    [broker] = run.brokers.to_dict("records")
    assert broker["idle_mb"] > 5
    assert broker["busy_mb"] > 5
    assert guide(run).unfounded(run) == []


def test_poison_then_a_kill_and_the_lab_can_go_on(brokers: Brokers) -> None:
    [row] = poison(brokers)
    logs = {"RabbitMQ": None}.get(brokers[0].name, 2)
    assert (row.log_done, row.queue_done, row.queue_dead) == (logs, 9, 1)

    [left] = kill_servers(brokers)
    default = {"Kafka": 100}.get(brokers[0].name, 0)
    assert (left.default, left.kept) == (default, 100)

    [again] = poison(brokers)
    assert (again.log_done, again.queue_done, again.queue_dead) == (logs, 9, 1)


def test_a_server_ends_with_its_brokers_also_after_an_exception(brokers: Brokers) -> None:
    pid = brokers[0].server.pid
    with pytest.raises(RuntimeError), brokers:
        raise RuntimeError("in the middle of a lesson")
    assert gone(pid)
    brokers.close()  # twice is fine
