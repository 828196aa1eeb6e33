"""Publish/subscribe when things break, on a real Redis: nothing hangs, every loss is seen."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from helpers import eventually

import labkit
from labkit import Backoff, Message, Publisher, Subscriber
from labkit.broker import Gap, PubSubBroker
from labkit.brokers.redis import publishing
from labkit.errors import BatchError, BrokerRefused, BrokerUnavailable, NotConnected
from labkit.servers import RedisServer

StartServer = Callable[..., RedisServer]


@pytest.fixture
def server(start_server: StartServer) -> RedisServer:
    return start_server()


@pytest.fixture
def lab(server: RedisServer) -> Iterator[PubSubBroker]:
    with labkit.connect(server.url, reconnect=Backoff(first=0.01, cap=0.2)) as lab:
        yield lab


@pytest.fixture
def tower(lab: PubSubBroker) -> Iterator[Publisher]:
    with Publisher(lab, sender="tower") as tower:
        yield tower


@pytest.fixture
def board(lab: PubSubBroker) -> Iterator[Subscriber]:
    with Subscriber(lab, name="board") as board:
        yield board


def cut(lab: PubSubBroker) -> None:
    """Have the server close every subscriber's connection."""
    lab.native.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


def subscribed(lab: PubSubBroker, channel: str) -> bool:
    return dict(lab.native.pubsub_numsub(channel))[channel.encode()] == 1


def test_kill_and_restart_under_a_listener_is_survived_and_reported(
    server: RedisServer, tower: Publisher, board: Subscriber
) -> None:
    board.subscribe("news", "alerts")
    board.psubscribe("flights.*")
    board.listen()
    tower.publish("news", "before")
    assert board.wait_for(1)
    for round_number in range(3):
        server.kill()
        eventually(lambda: not board.connected)
        with pytest.raises(BrokerUnavailable, match="labkit up"):
            tower.publish("news", "into the void")
        server.start()
        eventually(lambda: board.connected)
        tower.publish("flights.JFK", round_number)
        assert board.wait_for(2 + round_number)
    assert board.stop()
    stats = board.stats()
    assert [i.content for i in board.history()] == ["before", 0, 1, 2]
    assert stats.gaps == 3
    for gap in stats.gap_records:
        assert gap.channels == ("alerts", "flights.*", "news")
        assert gap.ended > gap.started
        assert gap.reason
    assert tower.stats().failed == 3


def test_what_is_published_in_a_gap_is_counted_as_lost(
    lab: PubSubBroker, tower: Publisher, board: Subscriber
) -> None:
    board.subscribe("news")
    tower.publish("news", 1)
    board.drain()
    cut(lab)
    assert tower.publish_multiple([("news", n) for n in (2, 3, 4)])[0].subscriptions == 0
    eventually(lambda: board.drain() == [] and subscribed(lab, "news"))
    tower.publish("news", 5)
    assert [i.content for i in board.drain()] == [5]
    stats = board.stats()
    assert (stats.gaps, stats.lost) == (1, 3)
    lost = [event.message_id for event in lab.trace.select("lost")]
    assert [message_id.rpartition("/")[2] for message_id in lost] == ["2", "3", "4"]


def test_a_gap_comes_before_the_messages_after_it(
    lab: PubSubBroker, tower: Publisher, board: Subscriber
) -> None:
    board.subscribe("news")
    board.listen()
    tower.publish("news", "before")
    assert board.wait_for(1)
    cut(lab)
    eventually(lambda: board.stats().gaps == 1 and subscribed(lab, "news"))
    tower.publish("news", "after")
    assert board.wait_for(2)
    board.stop()
    story = [str(e.action) for e in lab.trace.select(actor="board")]
    tail = story[story.index("delivered") :]
    assert tail == ["delivered", "connection lost", "reconnected", "delivered"]


def test_who_wants_to_hear_of_a_gap_is_told_when_it_begins_and_when_it_is_over(
    lab: PubSubBroker, tower: Publisher, board: Subscriber
) -> None:
    told: list[tuple[tuple[str, ...], bool]] = []

    def tell(gap: Gap) -> None:
        told.append((gap.channels, gap.ended is not None))
        raise KeyError("a callback's mistake ends nothing")

    board.set_gap_callback(tell)
    board.subscribe("news")
    board.listen()
    cut(lab)
    eventually(lambda: len(told) == 2 and subscribed(lab, "news"))
    assert told == [(("news",), False), (("news",), True)]
    tower.publish("news", "after")
    assert board.wait_for(1)
    assert board.stats().callback_errors == 2
    assert "mistake" in board.stats().errors[0].error


def test_a_subscriber_that_reads_nothing_is_cut_off_and_learns_of_it(
    start_server: StartServer,
) -> None:
    server = start_server(config={"client-output-buffer-limit": "pubsub 256kb 64kb 1"})
    started, release = threading.Event(), threading.Event()

    def handler(*_: object) -> None:
        started.set()
        release.wait(30)

    with labkit.connect(server.url, reconnect=Backoff(first=0.01, cap=0.2)) as lab:
        slow = Subscriber(lab, name="slow", buffer=10).connect()
        tower = Publisher(lab, sender="tower").connect()
        slow.set_message_callback(handler)
        slow.subscribe("news")
        slow.listen()
        tower.publish("news", "first")
        assert started.wait(10)
        sent = 1
        while tower.publish("news", "x" * 100_000).subscriptions:
            sent += 1
            assert sent < 2_000, "the server never cut the slow subscriber off"
        sent += 1
        release.set()
        eventually(lambda: slow.stats().gaps == 1 and subscribed(lab, "news"))
        tower.publish("news", "last")
        sent += 1
        eventually(lambda: slow.stats().handled and slow.history()[-1].content == "last")
        stats = slow.stats()
        slow.disconnect()
        tower.disconnect()
    assert stats.lost > 0
    assert stats.handled + stats.lost == sent


def test_a_slow_callback_delays_but_loses_nothing(tower: Publisher, board: Subscriber) -> None:
    board.set_message_callback(lambda *_: time.sleep(0.005))
    board.subscribe("news")
    board.listen()
    tower.publish_multiple([("news", n) for n in range(100)])
    assert board.wait_for(100, timeout=20)
    assert board.stats().lost == board.stats().dropped == 0


def test_a_server_that_stops_answering_is_noticed(
    server: RedisServer, tower: Publisher, board: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.brokers.redis.pubsub.PING_AFTER_S", 0.1)
    monkeypatch.setattr("labkit.brokers.redis.pubsub.PONG_WITHIN_S", 0.2)
    board.subscribe("news")
    board.listen()
    server.pause()
    try:
        eventually(lambda: not board.connected)
    finally:
        server.resume()
    eventually(lambda: board.connected)
    tower.publish("news", "again")
    assert board.wait_for(1)
    [gap] = board.stats().gap_records
    assert "ping" in gap.reason
    assert gap.silent_s >= 0.1


def test_a_publisher_waits_out_a_quick_restart(server: RedisServer, tower: Publisher) -> None:
    server.kill()
    back = threading.Timer(0.2, server.start)
    back.start()
    try:
        tower.publish("news", "patience")  # refused at first: nothing was sent, so it may try again
    finally:
        back.join()
    assert tower.stats().messages == 1


def test_a_publish_that_broke_in_the_middle_says_that_it_may_have_arrived(
    server: RedisServer,
) -> None:
    with labkit.connect(server.url, timeout=0.3) as lab, Publisher(lab) as tower:
        tower.publish("news", 1)
        server.pause()
        try:
            with pytest.raises(BrokerUnavailable, match="may have arrived or not") as caught:
                tower.publish("news", 2)
        finally:
            server.resume()
        assert caught.value.sent
        tower.publish("news", 3)
        assert tower.stats().failed == 1


def test_a_batch_that_broke_in_the_middle_says_which_went(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause_before_the_second(*arguments: Any) -> Iterator[tuple[int, bytes]]:
        with redis.Redis.from_url(server.url) as watcher:
            for number, buffer in enumerate(buffers(*arguments)):
                if number == 1:
                    eventually(
                        lambda: (
                            watcher.info("commandstats").get("cmdstat_publish", {"calls": 0})[
                                "calls"
                            ]
                            >= 500
                        )
                    )
                    server.pause()
                yield buffer

    buffers = publishing._buffers
    monkeypatch.setattr(publishing, "_buffers", pause_before_the_second)
    with labkit.connect(server.url, timeout=0.5) as lab, Publisher(lab) as tower:
        try:
            with pytest.raises(BatchError) as caught:
                tower.publish_multiple([("news", n) for n in range(1700)])
        finally:
            server.resume()
        error = caught.value
        assert error.sent == tuple(range(500))
        assert error.unknown == tuple(range(500, 1500)), "two round trips were under way"
        assert error.unsent == tuple(range(1500, 1700))
        stats = tower.stats()
        assert (stats.messages, stats.failed) == (500, 1200)


def test_a_batch_for_a_dead_broker_was_not_sent(server: RedisServer, tower: Publisher) -> None:
    server.kill()
    with pytest.raises(BatchError, match="0 sent, 0 unknown, 2 not sent"):
        tower.publish_multiple([("news", 1), ("news", 2)])


def test_periodic_publishing_goes_on_after_an_outage(server: RedisServer, tower: Publisher) -> None:
    def make(n: int) -> int:
        if n == 2:
            server.kill()
        if n == 4:
            server.start()
        return n

    run = tower.publish_periodic("tick", make, every=0.001, count=6)
    assert (run.sent, run.failed) == (4, 2)


def test_what_the_server_forbids_is_said_in_its_words(
    server: RedisServer, lab: PubSubBroker
) -> None:
    lab.native.acl_setuser(
        "guest", enabled=True, passwords=["+pw"], categories=["+@all"], channels=["open.*"]
    )
    with (
        labkit.connect(server.url, username="guest", password="pw") as guests,
        Publisher(guests, sender="guest") as guest,
        Subscriber(guests, name="guest") as listener,
    ):
        with pytest.raises(BrokerRefused, match="no permissions"):
            guest.publish("secret", 1)
        with pytest.raises(BatchError, match="no permissions") as caught:
            guest.publish_multiple([("open.a", 1), ("secret", 2), ("open.a", 3)])
        assert (caught.value.sent, caught.value.unsent) == ((0, 2), (1,))
        with pytest.raises(BrokerRefused, match="no permissions"):
            listener.subscribe("secret")
        listener.subscribe("open.a")
        guest.publish("open.a", 4)
        assert [i.content for i in listener.drain()] == [4]


def test_ctrl_c_in_the_middle_leaves_no_stray_reply(lab: PubSubBroker, tower: Publisher) -> None:
    """A reply that nobody read must not be taken for the answer to the next command."""
    client = lab._client
    connection = client.connection()
    read, connection.read_response = connection.read_response, _interrupt
    client.release(connection)
    with pytest.raises(KeyboardInterrupt):
        tower.publish("news", 1)
    connection.read_response = read
    lab.native.set("key", "value")
    assert lab.native.get("key") == b"value"
    assert tower.publish("news", 2).subscriptions == 0


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_embedded_broker_can_go_away_and_come_back() -> None:
    with labkit.connect(reconnect=Backoff(first=0.01, cap=0.05)) as lab:
        board = Subscriber(lab, name="board").connect()
        board.subscribe("news")
        fake_server = lab.native.connection_pool.connection_kwargs["server"]
        fake_server.connected = False
        with pytest.raises(BrokerUnavailable), Publisher(lab) as tower:
            tower.publish("news", 1)
        assert board.drain() == []
        assert not board.connected
        fake_server.connected = True
        eventually(lambda: board.drain(timeout=0.1) == [] and board.connected)
        with Publisher(lab) as tower:
            tower.publish("news", 2)
        assert [i.content for i in board.drain()] == [2]
        assert board.stats().gaps == 1
        board.disconnect()


def test_bad_bodies_by_the_thousand_end_nothing(lab: PubSubBroker, board: Subscriber) -> None:
    board.subscribe("news")
    board.listen()
    bodies = [b"", b"\x00" * 10, b"[" * 5000, b"{}", Message.new("t", 1, sender="s").encode()]
    lab.publish_many([("news", body) for body in bodies * 1000])
    assert board.wait_for(1000, timeout=20)
    eventually(lambda: board.stats().unreadable == 4000)
    assert len(board.stats().decode_errors) == 100


# --- a subscriber must not lose what has reached it ---------------------------------------------


def test_a_slow_handler_in_drain_is_no_reason_to_drop_the_connection(
    tower: Publisher, board: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.brokers.redis.pubsub.PONG_WITHIN_S", 0.05)
    board.subscribe("count")
    tower.publish_multiple([("count", n) for n in range(50)])
    board.set_message_callback(lambda *_: time.sleep(0.01))
    with Subscriber(board._lab, name="small", buffer=3) as small:
        small.set_message_callback(lambda *_: time.sleep(0.02))
        small.subscribe("few")
        tower.publish_multiple([("few", n) for n in range(20)])
        small.drain(max_messages=2)
        time.sleep(0.1)  # nobody reads for longer than a pong may take
        small.drain()
        assert (small.stats().handled, small.stats().gaps) == (20, 0)
    board.drain()
    assert (board.stats().handled, board.stats().gaps) == (50, 0)


def test_an_interrupted_read_is_a_gap_and_not_deafness(
    lab: PubSubBroker, tower: Publisher, board: Subscriber
) -> None:
    board.subscribe("news")
    connection = board._subscription._connection
    read, connection.read_response = connection.read_response, _interrupt
    tower.publish("news", 1)
    with pytest.raises(KeyboardInterrupt):
        board.drain()
    connection.read_response = read
    connection.disconnect()  # what redis-py does when a read is interrupted
    eventually(lambda: board.drain() == [] and subscribed(lab, "news"))
    tower.publish("news", 2)
    assert [i.content for i in board.drain()] == [2]
    assert board.stats().gaps == 1


def test_a_loss_is_seen_while_it_lasts(
    server: RedisServer, board: Subscriber, lab: PubSubBroker
) -> None:
    board.subscribe("news")
    board.listen()
    server.kill()
    eventually(lambda: board.stats().gaps == 1)
    [gap] = board.stats().gap_records
    assert gap.ended is None
    assert lab.trace.count("connection lost") == 1
    with pytest.raises(BrokerUnavailable, match="Connection refused"):
        board.subscribe("more", timeout=0.3)
    server.start()
    eventually(lambda: board.stats().gap_records[0].ended is not None)
    assert board.stats().gaps == 1


def test_a_server_that_refuses_pings_does_not_end_the_listening(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.brokers.redis.pubsub.PING_AFTER_S", 0.05)
    server = start_server()
    with (
        labkit.connect(server.url) as lab,
        Publisher(lab, sender="tower") as tower,
        Subscriber(lab, name="board") as board,
    ):
        board.subscribe("news")
        board.listen()
        connection = board._subscription._connection
        read, answers = connection.read_response, []

        def misconf(**options: object) -> object:
            answer = read(**options)
            if answer[0] == b"pong" and not answers:
                answers.append(answer)
                raise redis.ResponseError("MISCONF Redis is configured to save RDB snapshots")
            return answer

        connection.read_response = misconf
        eventually(lambda: answers)
        tower.publish("news", "still here")
        assert board.wait_for(1)
        assert board.stats().gaps == 0


def test_unsubscribing_with_messages_on_the_way_makes_no_losses(
    tower: Publisher, board: Subscriber
) -> None:
    board.subscribe("news")
    tower.publish_multiple([("news", n) for n in range(5)])
    board.drain()
    tower.publish_multiple([("news", n) for n in range(3)])  # not read yet
    board.unsubscribe("news")
    board.drain()
    tower.publish_multiple([("news", n) for n in range(2)])  # heard by nobody
    board.subscribe("news")
    tower.publish("news", "again")
    board.drain()
    assert board.stats().lost == 0
    assert board.stats().handled == 9


# --- whatever people do ---------------------------------------------------------------------------


def test_a_closed_lab_says_so(lab: PubSubBroker, tower: Publisher, board: Subscriber) -> None:
    board.subscribe("news")
    board.listen()
    lab.close()
    eventually(lambda: not board.listening)
    with pytest.raises(NotConnected, match="closed"):
        tower.publish("news", 1)
    board.disconnect()


def test_exit_in_a_handler_ends_nothing(tower: Publisher, board: Subscriber) -> None:
    board.set_message_callback(lambda *_: sys.exit())
    board.subscribe("news")
    board.listen()
    tower.publish("news", 1)
    tower.publish("news", 2)
    assert board.wait_for(2)
    assert board.listening
    assert board.stats().callback_errors == 2


def test_listening_again_after_a_stop_that_took_too_long(
    tower: Publisher, board: Subscriber
) -> None:
    release = threading.Event()
    board.set_message_callback(lambda *_: release.wait(10))
    board.subscribe("news")
    board.listen()
    tower.publish("news", 1)
    eventually(lambda: board.stats().messages == 1)
    assert not board.stop(timeout=0.05)
    release.set()
    board.listen()
    tower.publish("news", 2)
    eventually(lambda: board.stats().handled == 2)
    assert board.listening


def test_a_handler_that_disconnects_keeps_what_was_handled(
    tower: Publisher, board: Subscriber
) -> None:
    board.set_message_callback(lambda *_: board.disconnect())
    board.subscribe("news")
    tower.publish_multiple([("news", n) for n in range(5)])
    assert [i.content for i in board.drain(max_messages=3, timeout=1)] == [0]


def test_a_generator_that_publishes_does_not_lock_the_publisher(
    tower: Publisher, board: Subscriber
) -> None:
    board.subscribe("news")

    def items() -> Iterator[tuple[str, int]]:
        for n in range(3):
            tower.publish("news", -n)
            yield "news", n

    tower.publish_multiple(items())
    assert [i.content for i in board.drain()] == [0, -1, -2, 0, 1, 2]


def test_processes_that_were_forked_publish_under_names_of_their_own(server: RedisServer) -> None:
    program = (
        "import os, sys, labkit\n"
        "lab = labkit.connect(sys.argv[1])\n"
        "for _ in range(2):\n"
        "    os.fork()\n"
        "own = labkit.connect(sys.argv[1], clock=lab.clock)\n"
        "with labkit.Publisher(own, sender='tower') as tower:\n"
        "    tower.publish_multiple([('news', n) for n in range(10)])\n"
    )
    with labkit.connect(server.url) as lab, Subscriber(lab, name="board") as board:
        board.subscribe("news")
        subprocess.run([sys.executable, "-c", program, server.url], check=True, timeout=60)
        eventually(lambda: board.drain() is not None and board.stats().handled == 40)
        assert board.stats().duplicates == board.stats().lost == 0


def test_what_others_claim_breaks_no_statistics(lab: PubSubBroker, board: Subscriber) -> None:
    board.subscribe("news")
    epoch = f"{lab.clock.id}.x"
    for claim in ({"sent_ns": 10**400}, {"sent_ns": -1}, {"sent_ns": True}, {"seq": 2**70}):
        message = Message.new("t", 1, sender="s", metadata={"epoch": epoch, "seq": 1, **claim})
        lab.publish("news", message.encode())
    assert len(board.drain()) == 4
    assert board.stats().latency is None
