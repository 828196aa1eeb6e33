"""The connections that threads keep, and what works without hiredis."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import redis
from conftest import find_server
from helpers import eventually

import labkit
from labkit import servers
from labkit.broker import Gap, Mark, PubSubBroker, Received, Subscription
from labkit.brokers.redis.kept import is_quiet
from labkit.brokers.redis.pubsub import RedisSubscription
from labkit.errors import BatchError, BrokerUnavailable
from labkit.servers import RedisServer

WITHOUT_HIREDIS = "import sys; sys.modules['hiredis'] = None\n"

CONVERSATION = """
import sys
import labkit
from labkit import servers

with labkit.connect(sys.argv[1], username=sys.argv[2] or None) as lab:
    with labkit.Publisher(lab) as tower, labkit.Subscriber(lab) as board:
        board.subscribe("news")
        board.psubscribe("flights.*")
        tower.publish("news", 0)
        tower.publish_multiple([("news", n) for n in range(1, 1200)])
        tower.publish_multiple([("flights.jfk", "é" * 70_000), ("flights.lga", 1)])
        inbox = board.drain(timeout=5)
        assert [i.content for i in inbox][:1200] == list(range(1200)), len(inbox)
        assert [i.channel for i in inbox][1200:] == ["flights.jfk", "flights.lga"]
        assert board.stats().lost == board.stats().duplicates == 0
        try:
            lab.publish_many([("news", object())])
        except Exception as error:
            print(type(error).__name__, end=" ")
    print("hiredis" if sys.modules.get("hiredis") else "without")
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with servers.start_redis(find_server("Redis")) as server:
        yield server


@pytest.fixture
def lab(server: RedisServer) -> Iterator[PubSubBroker]:
    with labkit.connect(server.url) as lab:
        yield lab


@pytest.fixture
def watcher(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as watcher:
        yield watcher


def connections(watcher: redis.Redis) -> int:
    return len(watcher.client_list())


@pytest.mark.parametrize("hidden", ["", WITHOUT_HIREDIS], ids=["hiredis", "without hiredis"])
def test_everything_arrives_in_order_whoever_reads_the_bytes(
    server: RedisServer, hidden: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", hidden + CONVERSATION, server.url, ""],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["DataError", "without" if hidden else "hiredis"]


def test_a_thread_keeps_one_connection_and_gives_it_back_when_it_ends(
    lab: PubSubBroker, watcher: redis.Redis
) -> None:
    lab.publish("news", b"here")
    before = connections(watcher)
    go_on = threading.Event()
    published = threading.Semaphore(0)

    def publish() -> None:
        for _ in range(3):
            lab.publish("news", b"there")
        published.release()
        go_on.wait(10)

    for _ in range(2):  # the second three use the connections of the first
        threads = [threading.Thread(target=publish) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert published.acquire(timeout=10)
        assert connections(watcher) == before + 3
        go_on.set()
        for thread in threads:
            thread.join(10)
        go_on.clear()


def test_what_threads_keep_is_not_missing_where_no_other_is_left(
    lab: PubSubBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = lab.native.connection_pool
    monkeypatch.setattr(pool, "max_connections", 2)
    lab.publish("news", b"one is kept here")
    first, second = lab.open_subscription(), lab.open_subscription()
    second.add("news")  # the place of what the thread had kept
    with pytest.raises(BrokerUnavailable, match="may not hold more"):
        lab.publish("news", b"nobody can send this")
    first.close()
    assert lab.publish("news", b"again").subscriptions == 1
    second.close()


def test_a_connection_that_the_server_closed_is_replaced_unnoticed(
    lab: PubSubBroker, watcher: redis.Redis
) -> None:
    lab.publish("news", b"1")
    own = {client["id"] for client in watcher.client_list()} - {str(watcher.client_id())}
    for number in own:
        watcher.client_kill_filter(_id=number)
    eventually(lambda: len(watcher.client_list()) == 1)
    assert lab.publish("news", b"2").subscriptions == 0
    assert len(lab.publish_many([("news", b"3")] * 2)) == 2


def test_a_fork_does_not_speak_on_its_parents_connection(server: RedisServer) -> None:
    program = (
        "import os, sys, labkit\n"
        "lab = labkit.connect(sys.argv[1])\n"
        "lab.publish('news', b'parent')\n"
        "child = os.fork()\n"
        "for _ in range(500):\n"
        "    assert lab.publish('news', b'x').subscriptions == 0\n"
        "    assert len(lab.publish_many([('news', b'x')] * 3)) == 3\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", program, server.url], check=True, timeout=60)


def test_commands_are_shown_without_their_long_parts(lab: PubSubBroker) -> None:
    lab.publish("news", b"short")
    lab.publish_many([("news", b"x" * 1_000_000), ("news", b"end")])
    first, second, third = lab.commands(3)
    assert (first, third) == ("PUBLISH news short", "PUBLISH news end")
    assert second.startswith("PUBLISH news xxx")
    assert second.endswith("x…")
    kept = lab._client._log
    assert max(len(part) for command in kept for part in command) < 100


def test_a_batch_with_a_refused_body_says_which(server: RedisServer, watcher: redis.Redis) -> None:
    rules = ["on", ">guest-password", "+@all", "resetchannels", "&open*"]
    watcher.execute_command("ACL", "SETUSER", "guest", *rules)
    with labkit.connect(server.url, username="guest", password="guest-password") as lab:
        with pytest.raises(BatchError, match="refused") as caught:
            lab.publish_many([("open", b"1"), ("shut", b"2"), ("open", b"3")])
        assert (caught.value.sent, caught.value.unsent) == ((0, 2), (1,))
        assert lab.publish("open", b"goes on").subscriptions == 0


# --- taking many at once ------------------------------------------------------------------------


@pytest.fixture(params=["embedded", "real"])
def subscription(request: pytest.FixtureRequest) -> Iterator[tuple[PubSubBroker, Subscription]]:
    url = "embedded://" if request.param == "embedded" else request.getfixturevalue("server").url
    with labkit.connect(url) as lab:
        subscription = lab.open_subscription()
        subscription.add("news")
        yield lab, subscription
        subscription.close()


def test_many_are_taken_at_once_in_order_and_no_more_than_asked(
    subscription: tuple[PubSubBroker, Subscription],
) -> None:
    lab, listening = subscription
    lab.publish_many([("news", b"%d" % n) for n in range(250)])
    taken: list[Received] = []
    while len(taken) < 250:
        some = listening.poll_many(5, 100)
        assert 1 <= len(some) <= 100
        taken += some
    assert [item.body for item in taken] == [b"%d" % n for n in range(250)]
    assert listening.poll_many(0) == []
    lab.publish("news", b"last")
    assert listening.poll(5) == Received("news", b"last")


def test_a_mark_ends_what_is_taken_at_once(
    subscription: tuple[PubSubBroker, Subscription],
) -> None:
    lab, listening = subscription
    lab.publish_many([("news", b"before")] * 3)
    mark = listening.mark()
    lab.publish_many([("news", b"after")] * 2)
    first: list[object] = []
    while not first or not isinstance(first[-1], Mark):
        first += listening.poll_many(5)
    assert first == [Received("news", b"before")] * 3 + [Mark(mark)]
    rest: list[object] = []
    while len(rest) < 2:
        rest += listening.poll_many(5)
    assert rest == [Received("news", b"after")] * 2


# --- interrupted, cut off, forked -----------------------------------------------------------------

HAMMERED = """
import signal
from labkit.brokers.redis.wire import pack

def interrupted(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupted)
commands = [("ZADD", "leases", 1e9 + 0.25, 17)] * 50
for _ in range(500):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        while True:
            pack(None, commands)
    except KeyboardInterrupt:
        pass
"""


def test_ctrl_c_while_commands_are_packed_does_not_crash_the_interpreter() -> None:
    done = subprocess.run([sys.executable, "-c", HAMMERED], timeout=60, check=False)
    assert done.returncode == 0


def test_a_batch_with_a_channel_that_cannot_be_named_sends_nothing(lab: PubSubBroker) -> None:
    listening = lab.open_subscription()
    listening.add("news")
    with pytest.raises(UnicodeEncodeError):
        lab.publish_many([("news", b"x")] * 600 + [("\ud800", b"x")])
    lab.publish("news", b"the only one")
    assert listening.poll(5) == Received("news", b"the only one")
    listening.close()


def test_what_had_come_outlives_ctrl_c_during_an_outage(
    lab: PubSubBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: RedisSubscription) -> None:
        raise KeyboardInterrupt

    listening = lab.open_subscription()
    assert isinstance(listening, RedisSubscription)
    listening.add("news")
    lab.publish_many([("news", b"%d" % n) for n in range(3)])
    assert listening.poll_many(5, 1) == [Received("news", b"0")]
    eventually(lambda: listening.poll_many(0, 0) == [] and len(listening._ready) == 2)
    listening._lose(redis.ConnectionError("cut"))
    with monkeypatch.context() as patched:
        patched.setattr(RedisSubscription, "_resubscribe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            listening.add("weather")
    things = [listening.poll(5) for _ in range(4)]
    assert things[:2] == [Received("news", b"1"), Received("news", b"2")]
    gaps = [thing for thing in things if isinstance(thing, Gap)]
    assert [gap.ended is None for gap in gaps] == [True, False]
    listening.close()


def test_a_connection_closed_under_our_hands_is_not_taken_for_a_good_one() -> None:
    class Closed:
        _sock = socket.socket()

    Closed._sock.close()
    assert not is_quiet(Closed())


def test_a_fork_does_not_wait_for_a_lock_of_its_parents_threads(server: RedisServer) -> None:
    program = (
        "import os, sys, threading, labkit\n"
        "lab = labkit.connect(sys.argv[1])\n"
        "lab.publish('news', b'parent')\n"
        "kept, held, go_on = lab._client._kept, threading.Event(), threading.Event()\n"
        "def hold():\n"
        "    with kept._lock: held.set(); go_on.wait()\n"
        "threading.Thread(target=hold, daemon=True).start()\n"
        "held.wait()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    import signal; signal.alarm(10)\n"
        "    kept.give_all_back()\n"
        "    os._exit(lab.publish('news', b'child').subscriptions)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "go_on.set()\n"
    )
    subprocess.run([sys.executable, "-c", program, server.url], check=True, timeout=60)
