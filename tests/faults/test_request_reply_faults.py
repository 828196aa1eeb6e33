"""Request/reply when things break, on a real Redis: nothing hangs, no answer is mixed up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import eventually

import labkit
from labkit import Backoff, Message, Requester, Responder
from labkit.broker import ReplyBroker
from labkit.errors import BrokerUnavailable, LabkitError, NoResponder, RequestTimeout
from labkit.patterns.request_reply import Reply
from labkit.servers import RedisServer

StartServer = Callable[..., RedisServer]
ROOT = Path(labkit.__file__).parent.parent

RESPONDER = """
import math, sys
import labkit

with labkit.connect(sys.argv[1]) as lab:
    desk = labkit.Responder(lab, "seats", lambda request: request.content, name=sys.argv[2])
    with desk:
        print("ready", flush=True)
        desk.serve(timeout=math.inf)
"""


@pytest.fixture
def server(start_server: StartServer) -> RedisServer:
    return start_server()


@pytest.fixture
def lab(server: RedisServer) -> Iterator[ReplyBroker]:
    with labkit.connect(server.url, reconnect=Backoff(first=0.01, cap=0.2)) as lab:
        yield lab


@pytest.fixture
def gate(lab: ReplyBroker) -> Iterator[Requester]:
    with Requester(lab, "gate") as requester:
        yield requester


@pytest.fixture
def desk(lab: ReplyBroker) -> Iterator[Responder]:
    with Responder(lab, "seats", lambda request: request.content, name="desk") as responder:
        yield responder.start()


@pytest.fixture
def start_responder(server: RedisServer) -> Iterator[Callable[[str], subprocess.Popen]]:
    """Starts responders in processes of their own, to be killed at will."""
    started: list[subprocess.Popen] = []

    def start(name: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", RESPONDER, server.url, name],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def answer(gate: Requester, content: Any = "again") -> Any:
    """The answer, or None while there is none."""
    try:
        return gate.request("seats", content, timeout=1).content
    except LabkitError:
        return None


def test_a_thousand_in_flight_and_one_of_three_responders_killed(
    gate: Requester, start_responder: Callable
) -> None:
    desks = [start_responder(f"desk-{n}") for n in range(3)]

    def kill_one_in_the_middle() -> None:
        eventually(lambda: gate.stats().replied > 200, timeout=30, every=0.001)
        desks[0].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill_one_in_the_middle)
    killer.start()
    asked = [{"n": n} for n in range(1000)]
    results = gate.request_many("seats", asked, timeout=8)
    killer.join()

    replies = [(question, one) for question, one in zip(asked, results, strict=True)]
    mixed_up = [q for q, one in replies if isinstance(one, Reply) and one.content != q]
    others = [one for one in results if not isinstance(one, Reply | RequestTimeout)]
    by = Counter(one.responder for one in results if isinstance(one, Reply))
    assert desks[0].wait(10) == -signal.SIGKILL
    assert mixed_up == others == []
    assert sum(isinstance(one, RequestTimeout) for one in results) <= 1  # what it had in hand
    assert by["desk-1"] > by["desk-0"]
    assert by["desk-2"] > by["desk-0"]
    stats = gate.stats()
    assert stats.replied + stats.timed_out == 1000
    assert (stats.duplicates, stats.unknown, stats.unreadable) == (0, 0, 0)


def test_kill_and_restart_of_the_broker_is_survived(
    server: RedisServer, gate: Requester, desk: Responder
) -> None:
    assert answer(gate) == "again"
    for round_number in range(3):
        server.kill()
        with pytest.raises((BrokerUnavailable, RequestTimeout)):
            gate.request("seats", "into the void", timeout=0.3)
        server.start()
        eventually(lambda: answer(gate) == "again")
        assert answer(gate, round_number) == round_number
    assert desk.serving
    eventually(lambda: desk.connected and gate.connected)


def test_a_restart_that_nobody_noticed_loses_no_reply(server: RedisServer) -> None:
    """An inbox that was renewed just before the server forgot it is told again in time."""
    with (
        labkit.connect(server.url) as lab,
        labkit.connect(server.url) as elsewhere,
        Requester(lab, "gate") as gate,
    ):
        for n in range(3):
            with Responder(elsewhere, "seats", lambda request: request.content) as desk:
                desk.start()
                gate._collector.require_inbox()._life.renew()
                assert gate.request("seats", n, timeout=5).content == n
                desk.disconnect()
            server.kill()
            server.start()
        with Responder(elsewhere, "seats", lambda request: request.content) as desk:
            desk.start()
            life = gate._collector.require_inbox()._life
            life._renewed_at = time.monotonic()  # as if its last beat had just got through
            assert gate.request("seats", "after", timeout=5).content == "after"
        assert gate.stats().timed_out == 0


def test_a_request_that_never_left_is_not_waited_for(gate: Requester, desk: Responder) -> None:
    assert answer(gate) == "again"
    inbox = gate._collector.require_inbox()

    def broken() -> None:
        raise BrokerUnavailable("gone", sent=True)

    inbox._life.renew = broken
    inbox._life._renewed_at = -60.0  # it must be renewed before a request is sent
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable) as told:
        gate.request("seats", 1, timeout=5)
    assert not told.value.sent
    assert time.monotonic() - began < 2
    assert desk.serving


def test_requests_in_flight_when_the_broker_dies_end(server: RedisServer, lab: ReplyBroker) -> None:
    started, release = threading.Event(), threading.Event()

    def handler(request: Message) -> Any:
        started.set()
        release.wait(20)
        return request.content

    with (
        Requester(lab, "gate") as gate,
        Responder(lab, "seats", handler, name="desk") as desk,
    ):
        desk.start()
        results: list[Any] = []
        asking = threading.Thread(
            target=lambda: results.extend(gate.request_many("seats", range(50), timeout=3))
        )
        asking.start()
        assert started.wait(10)
        server.kill()
        server.start()
        release.set()
        asking.join(30)
        assert len(results) == 50
        for n, result in enumerate(results):
            assert isinstance(result, RequestTimeout) or result.content == n
        eventually(lambda: answer(gate) == "again")


def test_cut_connections_come_back(lab: ReplyBroker, gate: Requester, desk: Responder) -> None:
    for _ in range(5):
        lab.native.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        eventually(lambda: answer(gate) == "again")
    assert desk.serving


def test_a_dead_broker_is_said_at_once_and_nothing_was_sent(
    server: RedisServer, gate: Requester, desk: Responder
) -> None:
    server.kill()
    with pytest.raises(BrokerUnavailable, match="labkit up") as told:
        gate.request("seats", 1)
    assert not told.value.sent
    assert gate.stats().failed == 1
    first, second = gate.request_many("seats", [1, 2])
    assert isinstance(first, BrokerUnavailable)
    assert isinstance(second, BrokerUnavailable)
    assert desk.serving


def test_a_request_that_may_have_arrived_is_waited_for(server: RedisServer) -> None:
    with (
        labkit.connect(server.url, timeout=0.3) as lab,
        labkit.connect(server.url) as elsewhere,
        Requester(lab, "gate") as gate,
        Responder(elsewhere, "seats", lambda request: request.content) as desk,
    ):
        desk.start()
        assert answer(gate) == "again"
        server.pause()
        resume = threading.Timer(0.6, server.resume)
        resume.start()
        try:
            # sent into a server that does not answer in time, but carries it out in the end
            assert gate.request("seats", "patience", timeout=20).content == "patience"
        finally:
            resume.join()
        [record] = gate.stats().errors
        assert "may have arrived or not" in record.error


def test_a_late_reply_after_an_outage_is_given_to_nobody(lab: ReplyBroker, gate: Requester) -> None:
    release = threading.Event()

    def handler(request: Message) -> Any:
        if request.content == "slow":
            release.wait(20)
        return request.content

    with Responder(lab, "seats", handler) as desk:
        desk.start()
        with pytest.raises(RequestTimeout):
            gate.request("seats", "slow", timeout=0.1)
        lab.native.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        release.set()
        eventually(lambda: gate.drain() > 0 or gate.stats().late)
        assert gate.stats().late == 1
        eventually(lambda: answer(gate, "next") == "next")


def test_a_server_that_forgets_everything_is_told_again(
    lab: ReplyBroker, gate: Requester, desk: Responder
) -> None:
    assert answer(gate) == "again"
    lab.native.script_flush()
    assert answer(gate) == "again"
    lab.native.flushall()
    eventually(lambda: answer(gate) == "again")  # a beat of the responder brings it back
    assert desk.serving


def test_a_key_that_is_something_else_ends_nothing(
    lab: ReplyBroker, gate: Requester, desk: Responder
) -> None:
    assert answer(gate) == "again"
    lab.native.set("labkit:{service:seats}:requests", "not a list")
    eventually(lambda: desk.stats().errors)
    assert "WRONGTYPE" in desk.stats().errors[-1].error
    with pytest.raises(LabkitError, match="WRONGTYPE"):
        gate.request("seats", 1)
    lab.native.delete("labkit:{service:seats}:requests")
    eventually(lambda: answer(gate) == "again")


def test_ctrl_c_while_waiting_leaves_no_stray_reply(gate: Requester, desk: Responder) -> None:
    """A reply that nobody read must not be taken for the answer to the next question."""
    inbox = gate._collector.require_inbox()
    for owner in (inbox._taker, inbox._line):
        assert answer(gate, "before") == "before"
        connection = owner._connection
        read, connection.read_response = connection.read_response, _interrupt
        with pytest.raises(KeyboardInterrupt):
            gate.request("seats", "interrupted")
        connection.read_response = read
        gate.drain()
        assert answer(gate, "after") == "after"
    assert gate.stats().unreadable == 0
    assert desk.serving


def test_ctrl_c_while_waiting_leaves_nothing_waiting(lab: ReplyBroker, gate: Requester) -> None:
    release = threading.Event()

    def handler(_: Message) -> str:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        release.wait(20)
        return "too late"

    with Responder(lab, "seats", handler) as desk:
        desk.start()
        with pytest.raises(KeyboardInterrupt):
            gate.request("seats", 1, timeout=20)
        assert "0 waiting" in repr(gate)
        release.set()
        eventually(lambda: gate.drain() or gate.stats().late)
        assert (gate.stats().abandoned, gate.stats().late) == (1, 1)


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_killed_responder_is_missed_after_its_presence(
    gate: Requester, start_responder: Callable
) -> None:
    process = start_responder("desk")
    assert answer(gate) == "again"
    process.kill()
    process.wait()

    def nobody() -> bool:
        try:
            gate.request("seats", 1, timeout=0.05)
        except NoResponder:
            return True
        except RequestTimeout:
            return False
        return False

    eventually(nobody, timeout=15, every=0.1)
    began = time.monotonic()
    with pytest.raises(NoResponder):
        gate.request("seats", 1)
    assert time.monotonic() - began < 0.5
    start_responder("late")
    assert answer(gate) == "again"


def test_the_embedded_broker_can_go_away_and_come_back() -> None:
    with (
        labkit.connect(reconnect=Backoff(first=0.01, cap=0.05)) as lab,
        Requester(lab) as gate,
        Responder(lab, "seats", lambda request: request.content) as desk,
    ):
        desk.start()
        assert answer(gate) == "again"
        fake_server = lab.native.connection_pool.connection_kwargs["server"]
        fake_server.connected = False
        with pytest.raises((BrokerUnavailable, RequestTimeout)):
            gate.request("seats", 1, timeout=0.2)
        eventually(lambda: not desk.connected)
        fake_server.connected = True
        eventually(lambda: answer(gate) == "again")
        eventually(lambda: desk.connected)
        assert desk.stats().connections_lost == 1


def test_a_lab_that_is_closed_first_is_no_trouble(server: RedisServer) -> None:
    before = set(threading.enumerate())
    lab = labkit.connect(server.url)
    gate = Requester(lab).connect()
    desk = Responder(lab, "seats", lambda request: request.content, concurrency=2).connect()
    desk.start()
    assert answer(gate) == "again"
    lab.close()
    gate.disconnect()
    desk.disconnect()
    eventually(lambda: not set(threading.enumerate()) - before)
