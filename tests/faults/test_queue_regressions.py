"""Work queues when something odd happens: faults that were mended, and must not come back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import queue_handlers
from helpers import eventually

import labkit
from labkit import Backoff, NewTask, Reject, SystemClock, Task, Worker, WorkerPool, WorkQueue
from labkit.broker import Delivery, Depth
from labkit.errors import BrokerUnavailable
from labkit.patterns.work_queue import pool as pool_module
from labkit.servers import RedisServer

LONG_S = 30.0
"""A lease that no stalled machine outlasts."""

SHORT_S = 0.3
"""A lease whose end is waited for."""

HOUR_S = 3600.0


@pytest.fixture
def server(start_server: Callable[..., RedisServer]) -> RedisServer:
    return start_server(append_only=True, appendfsync="always")


@pytest.fixture
def lab(server: RedisServer) -> Iterator[Any]:
    with labkit.connect(server.url, reconnect=Backoff(first=0.01, cap=0.1)) as lab:
        yield lab


@pytest.fixture(params=["stream", "list"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def queue(lab: Any, kind: str) -> WorkQueue:
    return WorkQueue(lab, "rebooking", lease=LONG_S, kind=kind)


@pytest.fixture
def brief(lab: Any, kind: str) -> WorkQueue:
    """The same queue, with short leases."""
    return WorkQueue(lab, "rebooking", lease=SHORT_S, kind=kind)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the handlers of worker processes write down what they did."""
    monkeypatch.setenv(queue_handlers.FOLDER, str(tmp_path))
    return tmp_path


@contextmanager
def nothing_left() -> Iterator[None]:
    """No process and no thread of ours is there at the end that was not there before."""

    def threads() -> set[threading.Thread]:
        return {t for t in threading.enumerate() if t.name.startswith("labkit ")}

    def processes() -> set[psutil.Process]:
        # Ours alone: a server that other tests share has children that come and go.
        return set(psutil.Process().children())

    threads_before, processes_before = threads(), processes()
    try:
        yield
        eventually(
            lambda: threads() <= threads_before and processes() <= processes_before, timeout=10
        )
    finally:
        for process in processes() - processes_before:
            process.kill()


def nothing(_: Task) -> None:
    """The handler that does nothing, well."""


def contents(queue: WorkQueue) -> list[Any]:
    """Take all that is ready, and do it; what it was."""
    seen: list[Any] = []
    with Worker(queue, lambda task: seen.append(task.content), name="reader") as worker:
        worker.run()
    return seen


class Busy:
    """A handler that is at work until it may go on."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, _: Task) -> None:
        self.begun.set()
        assert self.go.wait(90)


# --- in the middle of taking ----------------------------------------------------------------------


def test_what_reaches_a_worker_that_has_just_died_goes_to_another(
    queue: WorkQueue, brief: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker had given it a task, and then it was killed: its heart must not beat for it."""
    queue.put("B6 739")
    done: list[Any] = []
    ada = Worker(brief, lambda task: done.append(task.content), name="ada")
    take = brief.tasks.take

    def take_and_die(*arguments: Any) -> list[Delivery]:
        found = take(*arguments)
        if found:
            ada.crash()
        return found

    monkeypatch.setattr(brief.tasks, "take", take_and_die)
    assert ada.run_one(timeout=10) is None
    assert done == []
    [back] = eventually(queue.recover)
    assert (back.worker, back.attempt) == ("ada", 1)
    assert contents(queue) == ["B6 739"]


def test_workers_that_die_while_they_wait_take_nothing_with_them(
    queue: WorkQueue, brief: WorkQueue
) -> None:
    """Redis may give a task to a command that nobody listens to any more."""
    for number in range(10):
        ada = Worker(brief, nothing, name="ada").start()
        eventually(lambda: "ada" in queue.leases())
        putting = threading.Thread(target=queue.put, args=(number,))
        putting.start()
        ada.crash()
        putting.join()
    seen: set[int] = set()
    with Worker(brief, lambda task: seen.add(task.content), name="bob") as bob:
        eventually(lambda: bob.run_one() is None and queue.depth() == Depth(0, 0, 0, 0))
    assert seen <= set(range(10))
    assert queue.stats().messages == 10


def test_an_answer_that_was_cut_off_on_its_way_is_asked_for_again(
    queue: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker lives, so that no lease would ever bring the task back."""
    cuts: list[int] = []
    block = queue.tasks._block

    def cut_off(*arguments: Any) -> Any:
        rows = block(*arguments)
        if rows and not cuts:
            cuts.append(1)
            raise BrokerUnavailable("cut off", sent=True)
        return rows

    monkeypatch.setattr(queue.tasks, "_block", cut_off)
    with Worker(queue, nothing, name="ada") as ada:
        ada.start()
        for number in range(1000):  # until one comes while it waits in Redis
            queue.put(number)
            assert ada.wait_for(number + 1, timeout=60)
            if cuts:
                break
        assert cuts
        assert ada.stats().redelivered == 0
    assert queue.depth() == Depth(0, 0, 0, 0)


def test_connections_that_are_cut_again_and_again_lose_no_task(
    server: RedisServer, queue: WorkQueue
) -> None:
    seen: set[int] = set()
    with (
        labkit.connect(server.url) as cutter,
        Worker(queue, lambda task: seen.add(task.content), name="ada", prefetch=3) as ada,
    ):
        ada.start()
        me = cutter.native.client_id()
        tasks = [NewTask(n, id=f"t{n}") for n in range(100)]
        for task in tasks:
            eventually(lambda: put_once(queue, task))  # noqa: B023
            for client in cutter.native.client_list():
                if int(client["id"]) != me:
                    cutter.native.client_kill_filter(_id=client["id"])
        eventually(lambda: queue.depth() == Depth(0, 0, 0, 0))
        assert ada.running
    assert seen == set(range(100))


def put_once(queue: WorkQueue, task: NewTask) -> bool:
    """Its id keeps it from being in twice when a broken connection leaves it open."""
    try:
        queue.put_many([task])
    except labkit.errors.LabkitError:
        return False
    return True


# --- giving back ----------------------------------------------------------------------------------


def test_a_broker_that_is_away_while_a_worker_stops_gives_back_what_it_held(
    server: RedisServer, queue: WorkQueue, brief: WorkQueue
) -> None:
    queue.put_many(range(5))
    busy = Busy()
    ada = Worker(brief, busy, name="ada", prefetch=5).start()
    assert busy.begun.wait(30)
    server.kill()
    busy.go.set()
    assert ada.stop(drain=False)
    assert not ada.running
    server.start()
    seen: list[int] = []
    with Worker(brief, lambda task: seen.append(task.content), name="bob") as bob:
        eventually(lambda: bob.run_one() is None and not queue.depth().unfinished)
    assert sorted(set(seen)) == list(range(5))


@pytest.mark.parametrize("told", [True, False], ids=["answer lost", "order lost"])
def test_a_line_that_breaks_while_tasks_are_given_back_loses_none(
    queue: WorkQueue, brief: WorkQueue, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    queue.put_many(range(5))
    ada = Worker(brief, nothing, name="ada", prefetch=5)
    assert ada.run_one() is not None
    release = brief.tasks.release

    def break_off(deliveries: Any) -> list[bool]:
        if told:
            release(deliveries)
        raise BrokerUnavailable("the line broke", sent=told)

    monkeypatch.setattr(brief.tasks, "release", break_off)
    assert ada.stop()
    assert "the line broke" in ada.stats().errors[-1].error
    seen: list[int] = []
    with Worker(brief, lambda task: seen.append(task.content), name="bob") as bob:
        eventually(lambda: bob.run_one() is None and not queue.depth().unfinished)
    assert sorted(seen) == [1, 2, 3, 4]


# --- purging --------------------------------------------------------------------------------------


def test_purging_leaves_no_task_in_any_key(lab: Any, queue: WorkQueue, kind: str) -> None:
    """Ready, delayed, dead and in hand; a list queue keeps ids and bodies apart."""
    queue.put("dead", id="dead")
    with Worker(queue, lambda _: Reject("no"), name="eve") as eve:
        eve.run()
    queue.put_many([NewTask(n, id=f"t{n}", priority=n % 3) for n in range(6)])
    queue.put("later", delay=1000, id="later")
    with Worker(queue, nothing, name="ada", prefetch=2) as ada:
        assert ada.take() is not None
        assert queue.depth() == Depth(4, 2, 1, 1)
        assert queue.purge() == 8
        left = {key.decode().rpartition(":")[2] for key in lab.native.keys("*")}
        if kind == "list":
            assert left <= {"numbers", "workers"}
        else:
            assert left <= {"low", "normal", "high", "workers"}
            assert [lab.native.xlen(place) for place in queue.tasks.places] == [0, 0, 0]
        assert ada.run() == 2  # they are too late
        assert ada.stats().late_acks == 2
    assert queue.recover() == []
    assert {key.decode().rpartition(":")[2] for key in lab.native.keys("*")} <= left
    assert queue.depth() == Depth(0, 0, 0, 0)
    assert queue.put("again", id="t1").accepted


# --- somebody sets the clock ----------------------------------------------------------------------


class WrongClock(SystemClock):
    """The clock of a machine on which somebody sets the time."""

    wrong_s = 0.0

    def now(self) -> float:
        return super().now() + self.wrong_s


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
def test_a_step_of_somebodys_clock_ends_no_lease_and_no_delay(
    server: RedisServer, kind: str, step_s: float
) -> None:
    clock = WrongClock()
    with labkit.connect(server.url, clock=clock) as mine, labkit.connect(server.url) as other:
        ours, theirs = (
            WorkQueue(lab, "rebooking", lease=LONG_S, kind=kind) for lab in (mine, other)
        )
        ours.put_many(["in hand", "in theirs"])
        ours.put("later", delay=HOUR_S / 2)
        with Worker(ours, nothing, name="ada") as ada, Worker(theirs, nothing, name="bob") as bob:
            assert ada.take() is not None
            assert bob.take() is not None
            clock.wrong_s = step_s
            ours.tasks.renew(ada._holdings.identity)
            for queue in (ours, theirs):
                assert queue.recover() == []
                for name in ("ada", "bob"):
                    assert 0 < queue.leases()[name] <= LONG_S
            assert (ada.run(), bob.run()) == (1, 1)
            assert ada.stats().late_acks == bob.stats().late_acks == 0
        assert theirs.depth() == Depth(0, 0, 1, 0)


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S])
def test_the_lease_of_a_dead_worker_ends_on_a_machine_with_another_time(
    server: RedisServer, kind: str, step_s: float
) -> None:
    clock = WrongClock()
    with labkit.connect(server.url, clock=clock) as lab:
        queue = WorkQueue(lab, "rebooking", lease=SHORT_S, kind=kind)
        queue.put("B6 739")
        ada = Worker(queue, nothing, name="ada")
        assert ada.take() is not None
        clock.wrong_s = step_s
        ada.crash()
        assert [back.worker for back in eventually(queue.recover)] == ["ada"]


# --- the heart ------------------------------------------------------------------------------------


def test_a_heart_beats_on_after_the_broker_was_away(
    server: RedisServer, brief: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[str] = []
    renew = brief.tasks.renew

    def count(*who: Any) -> None:
        try:
            renew(*who)
        except BrokerUnavailable:
            beats.append("failed")
            raise
        beats.append("renewed")

    monkeypatch.setattr(brief.tasks, "renew", count)
    brief.put("long")
    busy = Busy()
    with Worker(brief, busy, name="ada") as ada:
        ada.start()
        eventually(lambda: "renewed" in beats)
        server.kill()
        eventually(lambda: beats.count("failed") >= 3)
        server.start()
        beats.clear()
        eventually(lambda: beats.count("renewed") >= 3)
        eventually(lambda: brief.leases()["ada"] > 0)
        busy.go.set()
        assert ada.wait_for(1)
        assert ada.stats().late_acks == 0


def test_an_error_that_nobody_thought_of_does_not_stop_a_heart(
    brief: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    renew = brief.tasks.renew

    def stumble(*who: Any) -> None:
        calls.append(1)
        if len(calls) <= 2:
            raise RuntimeError("nobody thought of it")
        renew(*who)

    monkeypatch.setattr(brief.tasks, "renew", stumble)
    brief.put("long")
    busy = Busy()
    with Worker(brief, busy, name="ada") as ada:
        ada.start()
        eventually(lambda: len(calls) >= 6)
        eventually(lambda: brief.leases()["ada"] > 0)
        busy.go.set()
        assert ada.wait_for(1)
        assert "RuntimeError: nobody thought of it" in [e.error for e in ada.stats().errors]
        assert ada.stats().late_acks == 0


# --- pools ----------------------------------------------------------------------------------------


@nothing_left()
def test_threads_that_are_busy_are_left_when_the_time_is_up(
    queue: WorkQueue, brief: WorkQueue
) -> None:
    """A stop without end would never come back: nobody lets the handler go on before."""
    queue.put("long")
    busy = Busy()
    pool = WorkerPool(brief, busy, 2).start()
    assert busy.begun.wait(30)
    assert not pool.stop(timeout=0.05)
    assert queue.depth() == Depth(0, 1, 0, 0)  # the task stays its own
    busy.go.set()
    eventually(lambda: queue.depth() == Depth(0, 0, 0, 0))


@nothing_left()
def test_processes_that_are_busy_are_ended_when_the_time_is_up(
    queue: WorkQueue, brief: WorkQueue, folder: Path
) -> None:
    queue.put(HOUR_S, id="t")
    pool = WorkerPool(brief, queue_handlers.slow, 2, processes=True).start()
    eventually((folder / "effects").exists)
    pids = pool.pids
    assert len(pids) == 2
    assert not pool.stop(timeout=0.05)
    assert not any(map(psutil.pid_exists, pids))
    assert [back.id for back in eventually(queue.recover)] == ["t"]


@nothing_left()
def test_a_process_gets_as_much_time_as_stop_gives(
    queue: WorkQueue, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "DEFAULT_STOP_S", 0.05)
    queue.put(1.0, id="t")
    pool = WorkerPool(queue, queue_handlers.slow, 1, processes=True).start()
    eventually((folder / "effects").exists)
    assert pool.stop(timeout=60)
    assert pool.stats().done == 1
    assert queue.depth() == Depth(0, 0, 0, 0)


@pytest.mark.usefixtures("folder")
@nothing_left()
@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
def test_a_pool_may_be_stopped_twice_and_at_once(queue: WorkQueue, processes: bool) -> None:
    pool = WorkerPool(queue, queue_handlers.note, 2, processes=processes)
    assert pool.stop()  # before it was started
    pool.start()
    queue.put_many(range(3))
    assert queue.wait_until_done(30)
    answers: list[bool] = []
    stops = [threading.Thread(target=lambda: answers.append(pool.stop())) for _ in range(2)]
    for thread in stops:
        thread.start()
    for thread in stops:
        thread.join()
    assert answers == [True, True]
    assert pool.stop()
    assert (pool.alive, pool.pids) == (0, [])
    assert pool.stats().done == 3


@pytest.mark.usefixtures("folder")
@nothing_left()
@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
def test_a_pool_that_is_stopped_while_it_starts_leaves_nothing(
    queue: WorkQueue, processes: bool
) -> None:
    pool = WorkerPool(queue, queue_handlers.note, 3, processes=processes)
    ended: list[object] = []

    def start() -> None:
        try:
            ended.append(pool.start())
        except labkit.errors.LabkitError as error:  # "was stopped" is an answer, too
            ended.append(error)

    starting = threading.Thread(target=start)
    starting.start()
    eventually(lambda: pool.alive or ended)
    pool.stop()
    starting.join(60)
    assert len(ended) == 1
    pool.stop()  # what was started after the first one
    assert pool.alive == 0


def test_what_handlers_read_from_standard_input_is_nobodys(queue: WorkQueue, folder: Path) -> None:
    """Neither what the program is told there, nor the orders that the pool gives its workers."""
    with WorkerPool(queue, queue_handlers.read_stdin, 1, processes=True) as pool:
        queue.put("go", id="t")
        eventually((folder / "effects").exists)
        assert pool.stop()
    assert (folder / "read").read_bytes() == b""


PROGRAM = """
import sys, labkit, queue_handlers
from labkit import WorkerPool, WorkQueue

queue = WorkQueue(labkit.connect(sys.stdin.readline().strip()), "rebooking", kind=sys.argv[1])
with WorkerPool(queue, queue_handlers.read_stdin, 2, processes=True) as pool:
    queue.put("go", id="t")
    assert queue.wait_until_done(60)
print(sys.stdin.read(), end="", flush=True)
"""


def test_a_pool_does_not_eat_what_its_program_is_told(
    server: RedisServer, kind: str, folder: Path
) -> None:
    orders = "".join(f"order {n}\n" for n in range(5000))  # more than Python reads ahead
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind],
        input=f"{server.url}\n{orders}",
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        text=True,
        timeout=100,
        check=True,
    )
    assert told.stdout == orders
    assert (folder / "read").read_bytes() == b""
