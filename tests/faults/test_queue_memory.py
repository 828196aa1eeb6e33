"""A work queue on a server that has no memory left, or has lost all of it: workers go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import find_server
from helpers import eventually

import labkit
from labkit import Backoff, RetryPolicy, Task, Worker, WorkQueue
from labkit.broker import Delivery, Depth, QueueBroker
from labkit.errors import BatchError, BrokerRefused
from labkit.servers import RedisServer, start_redis

LEASE_S = 0.6
AT_ONCE = RetryPolicy(attempts=3, first=1e-6, cap=1e-6)


@pytest.fixture(params=["Redis", "Valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with start_redis(find_server(request.param)) as server:
        yield server


@pytest.fixture
def lab(server: RedisServer) -> Iterator[Any]:
    with labkit.connect(server.url, reconnect=Backoff(first=0.01, cap=0.2)) as lab:
        yield lab


@pytest.fixture(params=["stream", "list"])
def queue(lab: QueueBroker, request: pytest.FixtureRequest) -> WorkQueue:
    return WorkQueue(lab, "rebooking", lease=LEASE_S, kind=request.param)


def no_memory_left(lab: Any) -> None:
    """From now on Redis refuses every command that may need some."""
    lab.native.config_set("maxmemory-policy", "noeviction")
    lab.native.config_set("maxmemory", "1")


def test_at_maxmemory_a_put_says_so_and_workers_empty_the_queue(lab: Any, queue: WorkQueue) -> None:
    queue.put_many(range(50))
    queue.put("unique", id="u")
    no_memory_left(lab)
    with pytest.raises(BrokerRefused, match="maxmemory"):
        queue.put("no room")
    with pytest.raises(BatchError, match="maxmemory") as caught:
        queue.put_many(["no", "room"])
    assert caught.value.unsent == (0, 1)
    with pytest.raises(BatchError, match="maxmemory") as caught:
        queue.put_many(range(700))
    assert caught.value.unsent == tuple(range(700))
    with Worker(queue, lambda _: None, name="ada", prefetch=7) as ada:
        ada.run()
        assert ada.stats().done == 51
        assert ada.stats().outages == 0
    assert queue.depth() == Depth(0, 0, 0, 0)


def test_at_maxmemory_leases_are_renewed_and_dead_workers_recovered(
    lab: Any, queue: WorkQueue
) -> None:
    queue.put_many(["kept", "dead"])
    no_memory_left(lab)
    ada = Worker(queue, lambda _: None, name="ada")
    assert ada.take() is not None
    bob = Worker(queue, lambda _: None, name="bob")
    assert bob.take() is not None
    bob.crash()
    eventually(lambda: [task.worker for task in queue.recover()] == ["bob"])
    assert queue.leases()["ada"] > 0  # her heart has beaten on
    assert ada.run() == 2
    ada.stop()
    assert ada.stats().late_acks == 0
    assert queue.depth() == Depth(0, 0, 0, 0)


def test_at_maxmemory_what_fails_is_tried_again_and_buried(lab: Any, queue: WorkQueue) -> None:
    def handler(_: Task) -> None:
        raise OSError("no seat")

    queue.put("B6 739")
    no_memory_left(lab)
    with Worker(queue, handler, name="ada", retry=AT_ONCE) as ada:
        ada.run(timeout=0.2)
    assert [letter.attempts for letter in queue.dead_letters()] == [3]


def test_at_maxmemory_a_worker_that_waits_reports_no_outage(lab: Any, queue: WorkQueue) -> None:
    no_memory_left(lab)
    with Worker(queue, lambda _: None, name="ada") as ada:
        assert ada.run(timeout=0.5) == 0
        assert ada.stats().outages == 0


def test_one_that_waited_while_the_server_forgot_all_is_known_with_what_it_got(
    lab: Any, queue: WorkQueue
) -> None:
    """It waits, the server is emptied, a task comes, it dies: the task goes to another one."""
    got: list[Delivery] = []
    waiting = threading.Thread(target=lambda: got.extend(queue.tasks.take("ghost/1", 1, 10.0)))
    waiting.start()
    eventually(lambda: _somebody_waits(lab))
    lab.native.flushall()
    queue.put("B6 739")
    waiting.join(10)
    assert [delivery.worker for delivery in got] == ["ghost/1"]
    assert "ghost" in queue.leases()
    eventually(lambda: [task.worker for task in queue.recover()] == ["ghost"])
    assert queue.depth() == Depth(1, 0, 0, 0)


def _somebody_waits(lab: Any) -> bool:
    return any("b" in client["flags"] for client in lab.native.client_list())
