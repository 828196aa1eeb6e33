"""RabbitMQ when things break: a node that dies, workers that are killed, a line cut, an alarm."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import psutil
import pytest
import queue_handlers
from conftest import start_rabbitmq_or_skip
from helpers import eventually

import labkit
from labkit import (
    Backoff,
    NewTask,
    Requester,
    Responder,
    Subscriber,
    Task,
    Worker,
    WorkerPool,
    WorkQueue,
)
from labkit.broker import Depth, Gap, Received
from labkit.errors import (
    BatchError,
    BrokerUnavailable,
    NoResponder,
    NotConnected,
    RequestTimeout,
    ServerError,
)
from labkit.servers import RabbitServer

BACKOFF = Backoff(first=0.05, cap=0.5)


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    """A node of these tests' own, killed at will; each test finds it running."""
    with start_rabbitmq_or_skip(management=False) as server:
        yield server


@pytest.fixture
def lab(server: RabbitServer, request: pytest.FixtureRequest) -> Iterator[Any]:
    server.resume()
    server.start()
    space = f"{abs(hash(request.node.name)):x}:"
    with labkit.connect(
        server.url, namespace=space, timeout=30, connect_timeout=20, reconnect=BACKOFF
    ) as lab:
        yield lab


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the handlers of worker processes write down what they did."""
    monkeypatch.setenv(queue_handlers.FOLDER, str(tmp_path))
    return tmp_path


def effects(folder: Path) -> list[str]:
    """The task of every effect, in order."""
    path = folder / "effects"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split("|")[0] for line in lines]


def put_all(queue: WorkQueue, numbers: range) -> None:
    """Put under fire: what is not certain to be in is put again, 500 at a time."""
    todo = [NewTask(n, id=f"t{n}") for n in numbers]
    while todo:
        batch = todo[:500]
        try:
            queue.put_many(batch)
            todo = todo[500:]
        except BatchError as error:
            again = [batch[index] for index in sorted((*error.unknown, *error.unsent))]
            todo = again + todo[500:]
            time.sleep(0.05)


@pytest.mark.timeout(600)
def test_ten_thousand_tasks_survive_killed_workers_and_a_killed_node(
    server: RabbitServer, lab: Any, folder: Path
) -> None:
    """0 lost; duplicates are counted, and few."""
    many, prefetch, kills = 10_000, 10, 20
    dice = random.Random(2013)
    moments = sorted(dice.sample(range(many // 20, many * 9 // 10), kills + 3))
    node_dies = set(dice.sample(moments, 3))
    queue = WorkQueue(lab, "rebooking", lease=30, max_deliveries=None)
    put_all(queue, range(many // 2))
    putting = threading.Thread(target=put_all, args=(queue, range(many // 2, many)))
    with WorkerPool(queue, queue_handlers.note, 3, processes=True, prefetch=prefetch) as pool:
        putting.start()
        for moment in moments:
            eventually(lambda: len(effects(folder)) >= moment, timeout=200, every=0.1)  # noqa: B023
            if moment in node_dies:
                server.kill()
                server.start()
            else:
                pool.kill(dice.randrange(3))
                pool.start()
        putting.join(200)
        assert not putting.is_alive()
        wanted = {f"t{n}" for n in range(many)}
        eventually(lambda: wanted <= set(effects(folder)), timeout=200, every=0.2)
        assert pool.stop()
    eventually(lambda: queue.depth() == Depth(0, 0, 0, 0))
    done = Counter(effects(folder))
    duplicates = sum(done.values()) - many
    print(f"{many - len(done)} lost, {duplicates} duplicates")
    assert set(done) == wanted
    # a killed worker repeats what it held, a killed node what all held, and a batch is put twice
    assert duplicates <= kills * prefetch * 2 + 3 * (3 * prefetch * 2 + 500)


class Cutter:
    """A line to the node that lets so many bytes through, then is cut for good."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.left: int | None = None
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._open += [near, far]
            for source, sink, counts in ((near, far, True), (far, near, False)):
                threading.Thread(
                    target=self._pump, args=(source, sink, counts), daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        try:
            while data := source.recv(4096):
                if counts and self.left is not None:
                    self.left -= len(data)
                    if self.left <= 0:
                        break
                sink.sendall(data)
        except OSError:
            pass
        self.cut()

    def cut(self) -> None:
        """Reset every connection."""
        for one in self._open:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self) -> None:
        """Let go of the port, too."""
        self._listener.close()
        self.cut()


def test_a_line_cut_in_a_batch_says_which_messages_are_unconfirmed(
    server: RabbitServer, lab: Any
) -> None:
    """What it calls sent is there; what it calls unsent is not; the rest is called unknown."""
    cutter = Cutter(server.port)
    url = server.url.replace(f":{server.port}/", f":{cutter.port}/")
    queue = WorkQueue(lab, "rebooking", max_deliveries=None)
    queue.depth()
    with labkit.connect(url, namespace=lab.namespace, timeout=30, connect_timeout=20) as far:
        theirs = WorkQueue(far, "rebooking", max_deliveries=None)
        theirs.put("first")
        cutter.left = 4_000_000
        with pytest.raises(BatchError) as caught:
            theirs.put_many([NewTask("x" * 500) for _ in range(12_000)])
    error = caught.value
    cutter.close()
    sent, unknown, unsent = map(len, (error.sent, error.unknown, error.unsent))
    assert sent + unknown + unsent == 12_000
    assert sent > 0
    assert unknown > 0
    assert unsent > 0
    inside = eventually(lambda: queue.depth().ready) - 1
    assert sent <= inside <= sent + unknown


def test_an_alarm_blocks_publishers_visibly_and_they_go_on(server: RabbitServer, lab: Any) -> None:
    queue = WorkQueue(lab, "rebooking")
    queue.put("before")
    assert lab.blocked is None
    server.control("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        done = threading.Semaphore(0)
        big = ["x" * 200_000] * 60  # more than the line itself holds
        # one that is on the line makes the broker say that it reads no more
        one = threading.Thread(target=lambda: (queue.put("during"), done.release()), daemon=True)
        one.start()
        eventually(lambda: lab.blocked == "low on memory")
        many = threading.Thread(target=lambda: (queue.put_many(big), done.release()), daemon=True)
        many.start()
        assert "publishers blocked: low on memory" in repr(lab)
        assert not done.acquire(blocking=False)
        with Worker(queue, lambda _: None, name="ada") as ada:  # consuming goes on
            assert ada.run_one(timeout=20) is not None
        assert not done.acquire(blocking=False)
    finally:
        server.control("set_vm_memory_high_watermark", "absolute", "512MB")
    assert done.acquire(timeout=60)
    assert done.acquire(timeout=60)
    assert lab.blocked is None
    assert queue.depth().ready == 61


def test_a_killed_node_is_a_gap_and_the_subscription_comes_back(
    server: RabbitServer, lab: Any
) -> None:
    """So does who asks, and who answers."""
    subscription = lab.open_subscription()
    subscription.add("news")
    subscription.add("flights.*", pattern=True)
    desk = Responder(lab, "seats", lambda request: request.content).connect().start()
    gate = Requester(lab).connect()
    assert gate.request("seats", "12A", timeout=20).content == "12A"
    server.kill()
    first = eventually(lambda: subscription.poll(0.1))
    assert isinstance(first, Gap)
    assert first.ended is None
    assert first.channels == ("flights.*", "news")
    assert not subscription.connected
    with pytest.raises(BrokerUnavailable, match="No RabbitMQ answers"):
        lab.publish("news", b"nobody there")
    server.start()
    second = eventually(lambda: subscription.poll(0.5), timeout=60)
    assert isinstance(second, Gap)
    assert second.seconds is not None
    lab.publish("flights.JFK", b"again")
    assert eventually(lambda: subscription.poll(0.5)) == Received(
        "flights.JFK", b"again", "flights.*"
    )
    subscription.close()

    def asked() -> bool:
        with contextlib.suppress(NoResponder, RequestTimeout, BrokerUnavailable):
            return gate.request("seats", "12B", timeout=0.5).content == "12B"
        return False

    eventually(asked)
    gate.disconnect()
    desk.disconnect()


def test_a_long_handler_keeps_its_connection(server: RabbitServer) -> None:
    """Heartbeats are answered beside the work. A plain client that works as long is cut off."""
    url = server.start().url + "?heartbeat=1"
    plain = pika.BlockingConnection(pika.URLParameters(url))
    with labkit.connect(url, namespace="long:", timeout=30, connect_timeout=20) as lab:
        queue = WorkQueue(lab, "rebooking")
        queue.put("long")

        attempts = []

        def busy(task: Task) -> None:
            attempts.append(task.attempt)
            until = time.monotonic() + 4
            while time.monotonic() < until:
                sum(range(1000))

        with Worker(queue, busy, name="ada") as ada:
            outcome = ada.run_one()
        assert outcome is not None
        assert outcome.what == "done"
        assert queue.depth() == Depth(0, 0, 0, 0)
    assert attempts == [1]
    with pytest.raises(pika.exceptions.AMQPError):
        plain.channel()


def test_a_subscriber_and_a_worker_end_with_their_lab(server: RabbitServer) -> None:
    before = set(threading.enumerate())
    lab = labkit.connect(server.start().url, namespace="end:", connect_timeout=20)
    board = Subscriber(lab).connect()
    board.subscribe("news")
    board.listen()
    lab.close()
    with pytest.raises(NotConnected, match="closed"):
        board.stop()
    eventually(lambda: not {t for t in threading.enumerate() if t.is_alive()} - before)


# --- the node itself ------------------------------------------------------------------------------


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_a_node_listens_on_loopback_only_and_keeps_its_secrets(server: RabbitServer) -> None:
    server.start()
    assert server.pid is not None
    processes = family(server.pid)
    listening = {
        address.laddr.ip
        for process in processes
        for address in process.net_connections("tcp")
        if address.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::1"}
    command_lines = " ".join(part for process in processes for part in process.cmdline())
    assert server.password not in command_lines
    assert server.password not in repr(server)
    for name in ("rabbitmq.conf", ".erlang.cookie"):
        assert (server.folder / name).stat().st_mode & 0o077 == 0
    assert server.folder.stat().st_mode & 0o077 == 0


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["stop", "SIGKILL of the program"])
def test_a_node_ends_with_its_epmd_and_its_folder(how: str) -> None:
    program = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from labkit import servers; import sys\n"
            "server = servers.start_rabbitmq(timeout=100)\n"
            "print(server.pid, server.folder, flush=True)\n"
            "sys.stdin.readline(); server.stop(); print('stopped', flush=True)\n"
            "sys.stdin.readline()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdin is not None
    assert program.stdout is not None
    pid, folder = program.stdout.readline().split()
    processes = family(int(pid))
    assert any("epmd" in process.name() for process in processes)
    if how == "stop":
        program.stdin.write("\n")
        program.stdin.flush()
        assert program.stdout.readline() == "stopped\n"
    else:
        os.kill(program.pid, signal.SIGKILL)
    eventually(lambda: gone(processes))
    eventually(lambda: not Path(folder).exists())
    program.kill()
    program.wait()


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"Port {port}"):
            start_rabbitmq_or_skip(management=False, port=port)
