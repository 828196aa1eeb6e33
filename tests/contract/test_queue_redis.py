"""Work queues on the embedded broker, on Debian's Redis and on Valkey: the same promises."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from contract.pubsub_contract import step_options
from contract.queue_contract import (
    SHORT_LEASE_S,
    LetPass,
    QueueContract,
    deterministic_story,
    nothing,
)
from contract.real_server import OnRedis, OnServer, OnValkey, own_namespace
from helpers import eventually

import labkit
from labkit import StepClock, Task, Worker, WorkerPool, WorkQueue
from labkit.broker import Delivery, Depth, QueueBroker
from labkit.errors import NotSupported
from labkit.servers import RedisServer


class TestEmbedded(QueueContract):
    @pytest.fixture
    def lab(self) -> Iterator[Any]:
        with labkit.connect(clock=StepClock(tick=0.0001)) as lab:
            yield lab

    @pytest.fixture
    def live(self) -> Iterator[Any]:
        with labkit.connect() as lab:
            yield lab

    @pytest.fixture
    def let_pass(self, lab: Any) -> LetPass:
        return lambda seconds: lab.clock.advance(seconds)

    def test_other_processes_cannot_reach_it_and_that_is_said(self, live: QueueBroker) -> None:
        with pytest.raises(NotSupported, match="threads"):
            WorkerPool(WorkQueue(live, "rebooking"), nothing, processes=True)


class RealRedis(OnServer, QueueContract):
    @pytest.fixture
    def live(self, lab: Any) -> Any:
        return lab

    @pytest.fixture
    def let_pass(self) -> LetPass:
        return time.sleep  # a real lease takes real time

    def test_namespaces_do_not_meet(self, lab: QueueBroker, server: RedisServer) -> None:
        with labkit.connect(server.url, namespace="other:") as other:
            WorkQueue(lab, "rebooking").put("ours")
            assert WorkQueue(other, "rebooking").depth() == Depth(0, 0, 0, 0)

    def test_what_somebody_else_put_into_the_stream_ends_nothing(
        self, lab: Any, make: Any, kind: str
    ) -> None:
        queue = make()
        key = queue.tasks.places[1]
        if kind == "stream":
            lab.native.xadd(key, {"hello": "world", b"\xff": b"\x00"})
            lab.native.xadd(key, {"i": "x", "b": b"no message", "a": "many", "e": "{", "u": "?"})
        else:
            lab.native.lpush(key, "hello world", b"\xff\x00")
        queue.put("good")
        seen: list[Task] = []
        with Worker(queue, seen.append, name="ada", prefetch=5) as ada:
            ada.run()
        assert [task.content for task in seen] == ["good"]
        assert ada.stats().unreadable == 2
        letters = queue.dead_letters()
        assert len(letters) == 2
        assert b"world" in letters[0].body
        assert queue.redrive() == 2
        assert queue.depth() == Depth(2, 0, 0, 0)

    def test_rubbish_of_a_dead_worker_is_recovered(self, lab: Any, make: Any, kind: str) -> None:
        queue = make(lease=SHORT_LEASE_S, max_deliveries=1)
        key = queue.tasks.places[2]
        if kind == "stream":
            lab.native.xadd(key, {"i": "x", "b": b"\xff", "a": "many", "e": "{"})
        else:
            lab.native.lpush(key, b"\xff\x00")
        worker = Worker(queue, nothing, name='a"d\\a')
        assert worker.take() is not None
        worker.crash()
        eventually(queue.recover)
        assert len(queue.dead_letters()) == 1

    def test_the_server_forgets_everything_under_a_worker(self, lab: Any, make: Any) -> None:
        queue = make()
        queue.put("in hand", id="t")
        with Worker(queue, nothing, name="ada") as ada:
            assert ada.take() is not None
            for key in lab.native.keys(f"{lab.namespace}*"):
                lab.native.delete(key)
            outcome = ada.run_one()
            assert outcome is not None
            assert outcome.what == "late ack"
            assert ada.run_one() is None
            assert queue.depth() == Depth(0, 0, 0, 0)
            queue.put("new", id="t")
            assert ada.run() == 1

    def test_purging_under_a_waiting_worker(self, make: Any) -> None:
        queue = make()
        with Worker(queue, nothing, name="ada") as ada:
            ada.start()
            eventually(lambda: "ada" in queue.leases())
            for n in range(5):
                queue.purge()
                queue.put(n)
                assert ada.wait_for(n + 1)
            assert ada.stats().outages == 0

    def test_one_in_each_priority_at_once_is_still_one_at_a_time(self, make: Any) -> None:
        """A wait for several streams may bring one of each: what is too much goes back."""
        queue = make()
        seen: list[int] = []
        with Worker(queue, lambda task: seen.append(task.content), name="ada") as ada:
            ada.start()
            for round_number in range(20):
                queue.put_many([labkit.NewTask(n, priority=n) for n in range(3)])
                assert ada.wait_for(3 * round_number + 3)
        assert sorted(seen) == sorted([0, 1, 2] * 20)
        assert queue.depth() == Depth(0, 0, 0, 0)

    def test_an_answer_that_was_lost_is_asked_for_again(
        self, lab: Any, make: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The broker has given us the tasks, and we never heard of it."""
        queue = make()
        queue.put_many(range(3))
        with Worker(queue, nothing, name="ada", prefetch=2) as ada:
            client = lab._client
            exchange, calls = client.exchange, []

            def lose_answer(*commands: Any, shown: Any = None) -> list[Any]:
                replies = exchange(*commands, shown=shown)
                if commands[-1][1:2] == (queue.tasks.scripts.take.sha,):
                    calls.append(1)
                    raise KeyboardInterrupt
                return list(replies)

            monkeypatch.setattr(client, "exchange", lose_answer)
            with pytest.raises(KeyboardInterrupt):
                ada.run_one()
            monkeypatch.undo()
            assert calls == [1]
            assert queue.depth() == Depth(1, 2, 0, 0)
            assert ada.run() == 3
            assert ada.stats().redelivered == 0
        assert queue.depth() == Depth(0, 0, 0, 0)

    def test_a_task_given_to_one_whose_lease_has_gone_is_not_forgotten(
        self, lab: Any, make: Any, kind: str
    ) -> None:
        """It was stopped between two lines, and given up; then its wait brought a task; it died."""
        queue = make(lease=SHORT_LEASE_S)
        queue.put("a")
        taken: list[Delivery] = queue.tasks.take("ghost/1", 1, 0.0)
        assert len(taken) == 1
        if kind == "stream":
            lab.native.zrem(queue.tasks.keys[6], "ghost/1")
        eventually(lambda: [task.worker for task in queue.recover()] == ["ghost"])
        assert queue.depth() == Depth(1, 0, 0, 0)

    def test_dead_workers_leave_no_consumers(self, lab: Any, make: Any, kind: str) -> None:
        if kind != "stream":
            pytest.skip("lists have no consumers")
        queue = make(lease=SHORT_LEASE_S)
        for n in range(5):
            queue.put(n)
            worker = Worker(queue, nothing, name="ada")
            worker.take()
            worker.crash()
        eventually(lambda: queue.recover() and queue.depth().in_flight == 0)
        consumers = lab.native.xinfo_consumers(queue.tasks.places[1], "workers")
        assert consumers == []


class TestRedis(OnRedis, RealRedis):
    pass


class TestValkey(OnValkey, RealRedis):
    pass


def test_a_lesson_runs_the_same_on_every_broker_and_kind(every_broker: list[str]) -> None:
    stories = []
    for url in ("embedded://", *every_broker):
        for kind in ("stream", "list"):
            with labkit.connect(url, namespace=own_namespace(), **step_options()) as lab:
                stories.append(deterministic_story(lab, kind))
    assert len(stories[0]) >= 40
    assert all(story == stories[0] for story in stories)
