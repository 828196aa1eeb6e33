"""Work queues when things break, on a real Redis: nothing is lost, nothing is stuck."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import queue_handlers
from helpers import eventually

import labkit
from labkit import (
    Backoff,
    NewTask,
    OnceStore,
    RetryPolicy,
    StepClock,
    Task,
    Trace,
    Worker,
    WorkerPool,
    WorkQueue,
)
from labkit.broker import Depth, QueueBroker
from labkit.errors import BatchError, BrokerRefused, BrokerUnavailable, ConfigurationError
from labkit.servers import RedisServer

StartServer = Callable[..., RedisServer]
LEASE_S = 0.5


@pytest.fixture
def server(start_server: StartServer) -> RedisServer:
    return start_server(append_only=True, appendfsync="always")


@pytest.fixture
def lab(server: RedisServer) -> Iterator[Any]:
    trace = Trace(capacity=200_000)
    with labkit.connect(server.url, reconnect=Backoff(first=0.01, cap=0.2), trace=trace) as lab:
        yield lab


@pytest.fixture(params=["stream", "list"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def queue(lab: QueueBroker, kind: str) -> WorkQueue:
    return WorkQueue(lab, "rebooking", lease=LEASE_S, kind=kind)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the handlers of worker processes write down what they did."""
    monkeypatch.setenv(queue_handlers.FOLDER, str(tmp_path))
    return tmp_path


def effects(folder: Path) -> list[tuple[str, int, int]]:
    """Task, process and attempt of every effect, in order."""
    path = folder / "effects"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [line.split("|") for line in lines]
    return [(task, int(pid), int(attempt)) for task, pid, attempt in rows]


def nothing(_: Task) -> None:
    """The handler that does nothing, well."""


# --- the great test -------------------------------------------------------------------------------


@pytest.mark.timeout(180)
def test_ten_thousand_tasks_survive_killed_workers_and_a_killed_server(
    server: RedisServer, lab: QueueBroker, kind: str, folder: Path
) -> None:
    """0 lost; each duplicate has its cause; with an OnceStore each effect exactly once."""
    many, seed = 10_000, 2013
    dice = random.Random(seed)
    moments = sorted(dice.sample(range(many // 20, many * 9 // 10), 23))
    server_dies = set(dice.sample(moments, 3))
    queue = WorkQueue(lab, "rebooking", lease=LEASE_S, max_deliveries=None, kind=kind)
    queue.put_many([NewTask(n, id=f"t{n}") for n in range(many // 2)])
    putting = threading.Thread(target=put_the_rest, args=(queue, range(many // 2, many)))
    killed: list[int] = []
    with WorkerPool(queue, queue_handlers.rebook, 4, processes=True, prefetch=10) as pool:
        putting.start()
        for moment in moments:
            wait_for_effects(folder, moment)
            if moment in server_dies:
                server.kill()
                server.start()
            else:
                victim = dice.randrange(4)
                killed.append(pool._members[f"worker-{victim}"].pid)
                pool.kill(victim)
                pool.start()
        putting.join(60)
        assert queue.wait_until_done(60)
        assert pool.stop()
        stats = pool.stats()
    assert queue.depth() == Depth(0, 0, 0, 0)

    done = effects(folder)
    wanted = {f"t{n}" for n in range(many)}
    assert {task for task, _, _ in done} == wanted  # 0 lost
    duplicates = explain_duplicates(done, killed, lab.trace)
    print(f"{kind}: {len(done) - many} duplicates: {dict(duplicates)}; {stats}")
    assert sum(duplicates.values()) == len(done) - many
    assert duplicates["without a cause"] == 0
    with OnceStore(folder / "once.db") as store:
        assert store.count() == many
        rows = store.connection.execute("SELECT flight FROM rebookings").fetchall()
    assert Counter(flight for (flight,) in rows) == Counter(wanted)


def put_the_rest(queue: WorkQueue, numbers: range) -> None:
    """Put under fire: what may be in is put again, and its id keeps it from being in twice."""
    todo = [NewTask(n, id=f"t{n}") for n in numbers]
    while todo:
        try:
            queue.put_many(todo[:100])
            todo = todo[100:]
        except BatchError:
            time.sleep(0.02)


def wait_for_effects(folder: Path, count: int) -> None:
    """Wait until so many effects are written; sizes of lines differ, so they are counted."""
    eventually(lambda: len(effects(folder)) >= count, timeout=60, every=0.02)


def explain_duplicates(
    done: list[tuple[str, int, int]], killed: list[int], trace: Trace
) -> Counter[str]:
    """Why each effect but the last of its task did not keep the task from being done again."""
    by_task = defaultdict(list)
    for task, pid, attempt in done:
        by_task[task].append((pid, attempt))
    late = {event.message_id for event in trace.select("late ack")}
    put_again = {event.message_id for event in trace.select("accepted")}
    accepted = Counter(event.message_id for event in trace.select("accepted", "send failed"))
    causes: Counter[str] = Counter()
    for task, attempts in by_task.items():
        for pid, _ in attempts[:-1]:
            if pid in killed:
                causes["its worker was killed before it could acknowledge"] += 1
            elif task in late:
                causes["its acknowledgement came too late"] += 1
            elif task in put_again and accepted[task] > 1:
                causes["it was put again after it was done"] += 1
            else:
                causes["without a cause"] += 1
    return causes


# --- one thing breaks -----------------------------------------------------------------------------


def test_a_killed_worker_process_gives_its_task_to_another(queue: WorkQueue, folder: Path) -> None:
    queue.put(30, id="t")
    with WorkerPool(queue, queue_handlers.slow, 1, processes=True) as pool:
        eventually(lambda: effects(folder))
        pool.kill(0)
        assert pool.alive == 0
        assert "0 of 1 processes run" in repr(pool)
        with Worker(queue, queue_handlers.note, name="ada") as ada:
            assert ada.run_one(timeout=20) is not None
    assert [(task, attempt) for task, _, attempt in effects(folder)] == [("t", 1), ("t", 2)]
    story = [str(e.action) for e in queue.lab.trace.select(message_id="t")]
    assert story == ["sent", "accepted", "delivered", "recovered", "redelivered", "acked"]
    assert queue.lab.trace.count("crashed", actor="worker-0") == 1


def test_a_process_that_is_only_frozen_finds_out_that_it_is_late(
    queue: WorkQueue, folder: Path
) -> None:
    queue.put(0.3, id="t")
    with WorkerPool(queue, queue_handlers.slow, 1, processes=True) as pool:
        eventually(lambda: effects(folder))
        [pid] = pool.pids
        os.kill(pid, signal.SIGSTOP)
        try:
            with Worker(queue, nothing, name="ada") as ada:
                assert ada.run_one(timeout=20) is not None
        finally:
            os.kill(pid, signal.SIGCONT)
        eventually(lambda: pool.stats().late_acks == 1)
        queue.put(0, id="next")
        eventually(lambda: pool.stats().done == 1)


def test_workers_survive_restarts_and_count_them(server: RedisServer, queue: WorkQueue) -> None:
    with Worker(queue, nothing, name="ada", prefetch=5) as ada:
        ada.start()
        for number in range(3):
            queue.put_many(range(20))
            assert ada.wait_for(20 * (number + 1))
            server.kill()
            eventually(lambda: ada.stats().outages == number + 1)  # noqa: B023
            server.start()
        queue.put("last")
        assert ada.wait_for(61)
        assert ada.running
        stats = ada.stats()
    assert (stats.outages, stats.retried, stats.late_acks) == (3, 0, 0)
    story = [str(e.action) for e in queue.lab.trace.select("connection lost", "reconnected")]
    assert story == ["connection lost", "reconnected"] * 3


def test_an_end_that_the_broker_could_not_be_told_is_told_later(
    server: RedisServer, queue: WorkQueue
) -> None:
    def handler(task: Task) -> None:
        server.kill()
        if task.content == "fail":
            raise OSError("no line")

    policy = RetryPolicy(attempts=2, first=0.01, cap=0.01)
    for content in ("fail", "do"):
        queue.put(content)
        with Worker(queue, handler, name="ada", retry=policy) as ada:
            with pytest.raises(BrokerUnavailable):
                ada.run_one()
            server.start()
            assert ada.run(max_tasks=0) == 0  # nothing more, but what is owed
            stats = ada.stats()
            assert (stats.done, stats.retried, stats.late_acks) == (
                (0, 1, 0) if content == "fail" else (1, 0, 0)
            )
        if content == "fail":
            assert queue.purge() == 1
    assert queue.depth() == Depth(0, 0, 0, 0)


def test_an_acknowledgement_whose_answer_was_lost_is_called_unsure(
    lab: Any, queue: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.put("a")
    with Worker(queue, nothing, name="ada") as ada:
        assert ada.take() is not None
        ack = queue.tasks.ack

        def ack_and_lose(deliveries: Any) -> list[bool]:
            ack(deliveries)
            raise BrokerUnavailable("the line went dead", sent=True)

        monkeypatch.setattr(queue.tasks, "ack", ack_and_lose)
        with pytest.raises(BrokerUnavailable):
            ada.run_one()
        monkeypatch.undo()
        assert ada.run() == 0
        stats = ada.stats()
    assert (stats.done, stats.late_acks, stats.unsure_acks) == (0, 0, 1)
    assert queue.depth() == Depth(0, 0, 0, 0)
    assert lab.trace.select("late ack")[0].detail == "the answer to the first one was lost"


def test_flushall_under_a_worker(lab: Any, queue: WorkQueue) -> None:
    begun, go = threading.Event(), threading.Event()

    def handler(_: Task) -> None:
        begun.set()
        go.wait(10)

    queue.put("gone")
    with Worker(queue, handler, name="ada") as ada:
        ada.start()
        assert begun.wait(10)
        lab.native.flushall()
        lab.native.script_flush()
        go.set()
        eventually(lambda: ada.stats().late_acks == 1)
        queue.put("new", id="new")
        assert ada.wait_for(1)
        lab.native.flushall()  # while it waits
        queue.put("newer", id="new")
        assert ada.wait_for(2)
    assert queue.depth() == Depth(0, 0, 0, 0)


def test_a_put_that_broke_in_the_middle_says_that_it_may_be_in(
    server: RedisServer, kind: str
) -> None:
    with labkit.connect(server.url, timeout=0.4) as lab:
        queue = WorkQueue(lab, "rebooking", kind=kind)
        queue.depth()  # connected
        server.pause()
        try:
            with pytest.raises(BrokerUnavailable, match="may have arrived or not") as caught:
                queue.put("a", id="a")
            with pytest.raises(BatchError) as batch:
                queue.put_many(["b"])
        finally:
            server.resume()
        assert caught.value.sent
        assert batch.value.unknown == (0,) or batch.value.unsent == (0,)
        queue.put("a", id="a")  # an id makes it safe to ask again
        assert queue.stats().failed == 2
        with Worker(queue, nothing, name="ada") as ada:
            ada.run()
        assert ada.stats().done <= 2


def test_a_batch_that_broke_in_the_middle_says_which_are_in(
    server: RedisServer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with labkit.connect(server.url, timeout=0.5) as lab:
        queue = WorkQueue(lab, "rebooking", kind=kind)
        client = queue.tasks._client
        exchange = client.exchange

        def once(*commands: Any, **more: Any) -> Any:
            replies = exchange(*commands, **more)
            if len(replies) > 1 or replies[0] != b"NOSCRIPT":
                server.pause()
                monkeypatch.setattr(client, "exchange", exchange)
            return replies

        queue.put("warm up", id="w")  # so that the scripts are known, which put one and many
        queue.put_many(["warm up"] * 30)
        monkeypatch.setattr(client, "exchange", once)
        try:
            with pytest.raises(BatchError) as caught:
                queue.put_many(range(1200))
        finally:
            server.resume()
        error = caught.value
        assert error.sent == tuple(range(500))
        assert error.unknown == tuple(range(500, 1000))
        assert error.unsent == tuple(range(1000, 1200))
        eventually(lambda: queue.depth().ready >= 531)


def test_a_batch_for_a_dead_broker_was_not_put(server: RedisServer, queue: WorkQueue) -> None:
    server.kill()
    with pytest.raises(BatchError, match="0 sent, 0 unknown, 2 not sent"):
        queue.put_many(["a", "b"])
    with pytest.raises(BrokerUnavailable, match="labkit up") as caught:
        queue.put("a")
    assert not caught.value.sent


def test_what_the_server_forbids_is_said_in_its_words(server: RedisServer, lab: Any) -> None:
    lab.native.acl_setuser(
        "guest", enabled=True, passwords=["+pw"], categories=["+@all"], keys=["open:*"]
    )
    with (
        labkit.connect(server.url, username="guest", password="pw", namespace="shut:") as guests,
        pytest.raises(BrokerRefused, match="XGROUP"),
    ):
        WorkQueue(guests, "rebooking")
    with labkit.connect(server.url, username="guest", password="pw", namespace="open:") as guests:
        queue = WorkQueue(guests, "rebooking")
        queue.put("fine")
        lab.native.acl_setuser("guest", commands=["-xadd"], keys=["open:*"])
        with pytest.raises(BrokerRefused, match="no permissions"):
            queue.put("a")
        with pytest.raises(BatchError, match="no permissions") as caught:
            queue.put_many(["a", "b"])
        assert caught.value.unsent == (0, 1)


# --- signals and processes ------------------------------------------------------------------------

PROGRAM = """
import sys, time
import labkit
from labkit import Worker, WorkQueue

def handler(task):
    print("begun", task.content, flush=True)
    time.sleep(0.4)
    print("finished", task.content, flush=True)

lab = labkit.connect(sys.stdin.readline().strip())
queue = WorkQueue(lab, "rebooking", lease=30, kind=sys.argv[1])
with Worker(queue, handler, name="ada", prefetch=3) as ada:
    ada.run(timeout=None)
print("not reached", flush=True)
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)]
)
def test_a_signal_finishes_the_task_in_hand_and_gives_back_the_rest(
    server: RedisServer, queue: WorkQueue, kind: str, number: int, code: int
) -> None:
    queue.put_many(range(3))
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(server.url + "\n")
    program.stdin.flush()
    assert program.stdout.readline() == "begun 0\n"
    program.send_signal(number)
    told, _ = program.communicate(timeout=20)
    assert told == "finished 0\n"
    assert program.returncode == code
    assert queue.depth() == Depth(2, 0, 0, 0)


def test_a_pool_ends_with_its_parent(server: RedisServer, folder: Path, kind: str) -> None:
    program = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, labkit, queue_handlers\n"
            "from labkit import WorkerPool, WorkQueue\n"
            "queue = WorkQueue(labkit.connect(sys.stdin.readline().strip()), 'q')\n"
            "pool = WorkerPool(queue, queue_handlers.note, 2, processes=True).start()\n"
            "print(*pool.pids, flush=True)\n"
            "time.sleep(60)\n",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    del kind, folder
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(server.url + "\n")
    program.stdin.flush()
    pids = [int(pid) for pid in program.stdout.readline().split()]
    assert len(pids) == 2
    program.kill()
    program.wait()
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_the_password_is_where_nobody_else_can_read_it(
    server: RedisServer, queue: WorkQueue, folder: Path
) -> None:
    assert server.password is not None
    with WorkerPool(queue, queue_handlers.shout, 1, processes=True) as pool:
        queue.put("hello")
        eventually(lambda: effects(folder))
        [pid] = pool.pids
        process = psutil.Process(pid)
        assert not any(server.password in part for part in process.cmdline())
        assert server.password not in repr(process.environ())
        eventually(lambda: pool.stats().done == 1)
    assert not psutil.pid_exists(pid)
    assert server.password not in repr(queue.lab.handover())


def test_a_handler_that_no_process_can_import_is_refused(queue: WorkQueue) -> None:
    class Strange:
        def __call__(self, task: Task) -> None: ...

    for handler in (lambda _: None, Strange(), _inner()):
        with pytest.raises(ConfigurationError, match="cannot be imported"):
            WorkerPool(queue, handler, processes=True)
    with (
        labkit.connect(clock=StepClock()) as lesson,
        pytest.raises(ConfigurationError, match="clock"),
    ):
        WorkerPool(WorkQueue(lesson, "q"), queue_handlers.note, processes=True)


def _inner() -> Callable[[Task], None]:
    def inner(_: Task) -> None: ...

    return inner


def test_threads_share_the_work_and_one_that_is_killed_is_replaced(
    queue: WorkQueue, folder: Path
) -> None:
    del folder
    busy = threading.Event()

    def handler(task: Task) -> None:
        if task.content == "long":
            busy.set()
            time.sleep(0.2)

    with WorkerPool(queue, handler, 3, name="desk", retry=RetryPolicy(seed=1)) as pool:
        queue.put("long")
        assert busy.wait(10)
        for index in range(3):
            pool.kill(index)
        assert pool.alive == 0
        pool.start()
        queue.put_many(range(100))
        assert queue.wait_until_done(30)
        eventually(lambda: pool.stats().done == 101)
        assert set(pool.stats().channels) <= {"desk-0", "desk-1", "desk-2"}
    assert pool.alive == 0
    with pytest.raises(ConfigurationError, match="Call start"):
        pool.kill(0)
    with pytest.raises(ConfigurationError, match="1 worker or more"):
        WorkerPool(queue, handler, 0)


def test_a_process_that_cannot_start_says_why(server: RedisServer, queue: WorkQueue) -> None:
    pool = WorkerPool(queue, queue_handlers.note, 1, processes=True)
    server.kill()
    with pytest.raises(ConfigurationError, match=r"did not start: BrokerUnavailable: No broker"):
        pool.start()
    assert pool.alive == 0
