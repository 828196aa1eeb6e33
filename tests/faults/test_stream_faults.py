"""Streams when things break, on a real Redis: what was acknowledged is read, in order, or told."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import stream_reader
from helpers import eventually

import labkit
from labkit import Event, EventStream, NewEvent, Projection
from labkit.brokers.redis import log_ahead
from labkit.brokers.redis.client import ExchangeBroken
from labkit.brokers.redis.log_ahead import FIRST_PART, PART
from labkit.errors import BatchError, BrokerUnavailable, Conflict, SnapshotMismatch
from labkit.servers import RedisServer

StartServer = Callable[..., RedisServer]
KEYS = 50


@pytest.fixture
def server(start_server: StartServer) -> RedisServer:
    return start_server(append_only=True, appendfsync="always")


@pytest.fixture
def lab(server: RedisServer) -> Iterator[Any]:
    with labkit.connect(server.url, reconnect=stream_reader.BACKOFF) as lab:
        yield lab


@pytest.fixture
def stream(lab: Any) -> EventStream:
    return EventStream(lab, stream_reader.STREAM)


def contents(events: Iterable[Event]) -> list[Any]:
    return [event.content for event in events]


# --- the great test -------------------------------------------------------------------------------


class Readers:
    """Processes that are members of groups."""

    def __init__(self, url: str, folder: Path) -> None:
        self._env = {**os.environ, "LABKIT_BROKER_URL": url, stream_reader.FOLDER: str(folder)}
        self._folder = folder
        self._running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def start(self, group: str, name: str) -> None:
        command = [sys.executable, stream_reader.__file__, group, name]
        self._running[group, name] = subprocess.Popen(command, env=self._env)

    def kill(self, group: str, name: str) -> None:
        process = self._running.pop((group, name))
        assert process.poll() is None, f"{name} had ended by itself"
        process.kill()
        process.wait()

    def wait_for_work(self, group: str, name: str) -> None:
        """Until it has written a line more, and is about to commit."""
        path = self._folder / f"{group}.{name}"

        def size() -> int:
            return path.stat().st_size if path.exists() else 0

        before = size()
        eventually(lambda: size() > before, timeout=60, every=0.001)

    def kill_all(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()

    def lines(self, group: str) -> list[tuple[str, int, str, int]]:
        """Key, content, position and attempt of every delivery, in each member's order."""
        found = []
        for path in sorted(self._folder.glob(f"{group}.*")):
            rows = [line.split("|") for line in path.read_text().split("\n")]
            whole = (row for row in rows if len(row) == 4)  # the last may have been cut off
            found += [(key, int(n), place, int(attempt)) for key, n, place, attempt in whole]
        return found


@pytest.fixture
def readers(server: RedisServer, tmp_path: Path) -> Iterator[Readers]:
    readers = Readers(server.url, tmp_path)
    yield readers
    readers.kill_all()


def append_all(stream: EventStream, numbers: range, acknowledged: list[int]) -> None:
    """Append under fire; what may be in is appended again."""
    todo = list(numbers)
    while todo:
        batch, todo = todo[:2000], todo[2000:]
        try:
            stream.append_many([NewEvent(n, key=f"k{n % KEYS}") for n in batch])
            acknowledged += batch
        except BatchError as error:
            acknowledged += [batch[i] for i in error.sent]
            todo = [batch[i] for i in sorted((*error.unknown, *error.unsent))] + todo


def in_order_within_each_key(seen: Iterable[tuple[str | None, int]]) -> bool:
    """Leaving out what came before."""
    by_key: dict[str | None, dict[int, None]] = defaultdict(dict)
    for key, number in seen:
        by_key[key].setdefault(number)
    return all(list(numbers) == sorted(numbers) for numbers in by_key.values())


@pytest.mark.timeout(400)
def test_a_hundred_thousand_events_survive_killed_readers_and_a_killed_server(
    server: RedisServer, readers: Readers
) -> None:
    """Every acknowledged append is read, in order per key; 0 lost; each duplicate has its cause."""
    many, seed = 100_000, 2013
    dice = random.Random(seed)
    acknowledged: list[int] = []
    followed: list[tuple[str | None, int, str]] = []
    members = [("alone", "solo"), ("shared", "ada"), ("shared", "bob")]
    moments = sorted(dice.sample(range(many // 20, many * 9 // 10), 13))
    server_dies = set(dice.sample(moments, 3))
    with labkit.connect(
        server.url, timeout=30.0, reconnect=stream_reader.BACKOFF, trace=False
    ) as lab:
        stream = EventStream(lab, stream_reader.STREAM)
        follower = stream.follow("first", batch=1000)

        def follow() -> None:
            followed.extend((e.key, e.content, str(e.position)) for e in follower)

        following = threading.Thread(target=follow)
        appending = threading.Thread(target=append_all, args=(stream, range(many), acknowledged))
        for member in members:
            readers.start(*member)
        eventually(lambda: len(stream.positions()) == 2, timeout=30)
        eventually(lambda: sum(len(g.pending) for g in stream.positions().groups) == 3, timeout=30)
        following.start()
        appending.start()
        for number, moment in enumerate(moments):
            eventually(lambda: len(acknowledged) >= moment, timeout=120)  # noqa: B023
            if moment in server_dies:
                server.kill()
                server.start()
            else:
                member = members[number % 3]
                readers.wait_for_work(*member)
                readers.kill(*member)
                readers.start(*member)
        appending.join(120)
        assert not appending.is_alive()
        readers.kill("shared", "bob")  # for good: another claims what it held
        with stream.group("shared").join("eve") as eve:
            eventually(lambda: stream.group("shared").state().places[0].unread == 0, timeout=120)
            claimed = eve.claim_stale(0.0, many)
            eve.commit()
        eventually(
            lambda: all(g.places[0].lag == 0 for g in stream.positions().groups), timeout=120
        )
        total = len(stream)
        eventually(lambda: stream.stats().read >= total, timeout=120)
        follower.stop()
        following.join(10)
        stats = stream.stats()

    log = list(dict.fromkeys(place for _, _, place in followed))
    assert sorted(acknowledged) == list(range(many))
    assert {n for _, n, _ in followed} == set(range(many))  # 0 lost
    assert len(log) == len(followed) == total  # nothing twice, and no gap
    assert in_order_within_each_key((key, n) for key, n, _ in followed)
    assert stats.outages >= 1
    assert stats.rewound == 0

    alone, shared = readers.lines("alone"), readers.lines("shared")
    shared += [(e.key or "", e.content, str(e.position), e.attempt or 0) for e in claimed]
    assert in_order_within_each_key((key, n) for key, n, _, _ in alone)
    for lines in (alone, shared):
        assert {n for _, n, _, _ in lines} == set(range(many))  # 0 lost
        assert {place for _, _, place, _ in lines} == set(log)
        first_times = Counter(place for _, _, place, attempt in lines if attempt == 1)
        assert set(first_times.values()) == {1}  # a second delivery says that it is one
    print(
        f"{total - many} appended twice, because an answer was lost; delivered again: "
        f"{len(alone) - total} (one member), {len(shared) - total} (members that share); {stats}"
    )


# --- one thing breaks -----------------------------------------------------------------------------


def test_following_goes_on_where_it_was_after_a_restart(
    server: RedisServer, lab: Any, stream: EventStream
) -> None:
    stream.append_many(range(5))
    follower = stream.follow("first", timeout=20.0)
    assert [next(follower).content for _ in range(3)] == [0, 1, 2]
    server.kill()
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.extend(next(follower).content for _ in range(4)))
    thread.start()
    eventually(lambda: not follower.connected)
    server.start()
    stream.append_many([5, 6])
    thread.join(30)
    assert seen == [3, 4, 5, 6]
    assert stream.stats().outages == 1
    assert [str(e.action) for e in lab.trace.select("connection lost", "reconnected")] == [
        "connection lost",
        "reconnected",
    ]


def test_a_broker_that_comes_back_with_less_is_found_out(start_server: StartServer) -> None:
    server = start_server()  # keeps nothing
    with labkit.connect(server.url) as lab:
        stream = EventStream(lab, "s")
        stream.append_many(range(3))
        total = Projection(0, lambda state, event: state + event.content)
        total.rebuild(stream)
        follower = stream.follow("first", timeout=20.0)
        assert [next(follower).content for _ in range(3)] == [0, 1, 2]
        ada = stream.group("boards").join("ada")
        assert len(ada.poll()) == 3
        server.kill()
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(next(follower).content))
        thread.start()
        eventually(lambda: not follower.connected)
        server.start()
        with pytest.raises(SnapshotMismatch, match="the broker has lost events"):
            total.catch_up(stream)
        assert ada.commit() == 0
        stream.append(7)
        thread.join(30)
        assert seen == [7]
        assert stream.stats().rewound == 1
        eventually(lambda: contents(ada.poll()) == [7])
        assert ada.stats().forgotten == 1
        assert total.rebuild(stream) == 7
        assert lab.trace.count("lost") == 2


def test_a_member_goes_on_after_a_restart_and_gets_nothing_twice(
    server: RedisServer, lab: Any, stream: EventStream
) -> None:
    stream.append_many(range(4))
    ada = stream.group("boards").join("ada")
    assert contents(ada.poll(2)) == [0, 1]
    server.kill()
    for _ in range(2):
        with pytest.raises(BrokerUnavailable):
            ada.poll()
    with pytest.raises(BrokerUnavailable):
        ada.commit()
    server.start()
    assert contents(ada.poll()) == [2, 3]
    assert ada.commit() == 4
    assert ada.stats().outages == 1
    assert ada.stats().redelivered == 0
    assert lab.trace.count("connection lost", "reconnected", actor="ada") == 2


def test_events_whose_answer_was_lost_are_asked_for_again(
    stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis has given them to us, and we never heard of it."""
    stream.append_many(range(3))
    ada = stream.group("boards").join("ada")
    assert contents(ada.poll(1)) == [0]
    lose_answers(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        ada.poll(1)
    monkeypatch.undo()
    again = ada.poll(5)
    assert [(e.content, e.attempt) for e in again] == [(1, 2)]
    assert contents(ada.poll(5)) == [2]
    assert ada.commit() == 3


def test_a_long_batch_that_breaks_off_in_the_middle_comes_again_as_a_whole(
    stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes in parts; of those that did come, nobody has seen anything."""
    total, known = 3 * PART, FIRST_PART + PART
    stream.append_many(range(total + 5))
    ada = stream.group("boards").join("ada")
    lose_answers(monkeypatch, redis.ConnectionError("the line went dead"), after=2)
    with pytest.raises(BrokerUnavailable, match="line went dead"):
        ada.poll(total)
    monkeypatch.undo()
    assert ada.stats().messages == 0
    again = [*ada.poll(total), *ada.poll(total)]
    assert contents(again) == list(range(total + 5))
    assert {e.attempt for e in again[:known]} == {2}  # it may not have read the last question
    assert ada.commit() == total + 5
    assert stream.group("boards").lag() == 0


def test_a_group_that_is_made_anew_within_a_poll_keeps_nothing_pending(
    stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One part is refused; the next, asked for already, is of the new group, and is ours."""
    total = 4 * PART
    stream.append_many(range(total))
    ada = stream.group("boards").join("ada")
    read, answers = log_ahead.read_one, iter((False, True, False))

    def refuse_second(connection: Any) -> Any:
        answer = read(connection)
        return redis.ResponseError("NOGROUP") if next(answers, False) else answer

    with monkeypatch.context() as patch:
        patch.setattr(log_ahead, "read_one", refuse_second)
        assert len(ada.poll(total)) == FIRST_PART
    assert ada.stats().forgotten == 1
    given: set[int] = set()
    while more := ada.poll(total):
        given.update(contents(more))
    assert given == set(range(total))
    ada.commit()
    assert stream.group("boards").lag() == 0


def lose_answers(patch: pytest.MonkeyPatch, error: BaseException, after: int = 0) -> None:
    """Redis gives entries to a member; `after` so many answers, none arrives."""
    read = log_ahead.read_one
    heard = iter(range(after))

    def lose_answer(connection: Any) -> Any:
        answer = read(connection)
        if next(heard, None) is None:
            raise error
        return answer

    patch.setattr(log_ahead, "read_one", lose_answer)


def test_a_commit_whose_answer_was_lost_is_not_called_late(
    lab: Any, stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.append_many(range(3))
    group = stream.group("boards")
    ada = group.join("ada")
    ada.commit(ada.poll()[0])
    exchange = lab._client.exchange

    def lose_answer(*commands: Any, shown: Any = None) -> Any:
        exchange(*commands, shown=shown)
        raise BrokerUnavailable("the line went dead", sent=True)

    monkeypatch.setattr(lab._client, "exchange", lose_answer)
    with pytest.raises(BrokerUnavailable):
        ada.commit()
    monkeypatch.undo()
    assert group.lag() == 0
    assert ada.commit() == 2
    assert ada.stats().late == 0


def test_an_append_that_may_be_in_is_safe_to_repeat_with_its_expected_revision(
    server: RedisServer,
) -> None:
    with labkit.connect(server.url, timeout=0.4) as lab:
        stream = EventStream(lab, "s")
        stream.append("scheduled", key="k", expected=0)
        server.pause()
        try:
            with pytest.raises(BrokerUnavailable) as caught:
                stream.append("departed", key="k", expected=1)
        finally:
            server.resume()
        assert caught.value.sent
        eventually(lambda: stream.revision("k") == 2)  # Redis read it from the socket all the same
        with pytest.raises(Conflict) as conflict:
            stream.append("departed", key="k", expected=1)
        assert conflict.value.actual == 2
        assert contents(stream.read()) == ["scheduled", "departed"]
        assert stream.stats().failed == 1


def test_a_batch_that_broke_says_which_are_in(
    server: RedisServer, lab: Any, stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = lab._client.exchange
    calls = []

    def break_third(*commands: Any, shown: Any = None) -> Any:
        calls.append(commands)
        if len(calls) == 3:
            server.kill()
        return exchange(*commands, shown=shown)

    stream.append("warm")
    monkeypatch.setattr(lab._client, "exchange", break_third)
    with pytest.raises(BatchError) as caught:
        stream.append_many(range(2000))
    monkeypatch.undo()
    server.start()
    error = caught.value
    assert error.sent == tuple(range(1000))
    assert sorted((*error.unknown, *error.unsent)) == list(range(1000, 2000))
    stream.append_many(sorted((*error.unknown, *error.unsent)))
    assert list(dict.fromkeys(contents(stream.read()))) == ["warm", *range(2000)]
    stats = stream.stats()
    assert (stats.messages, stats.failed) == (2001, 1000)


def test_a_batch_whose_answer_was_lost_says_which_may_be_in(
    lab: Any, stream: EventStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream.append("warm")
    exchange = lab._client.exchange
    calls = []

    def lose_third(*commands: Any, shown: Any = None) -> Any:
        calls.append(commands)
        replies = exchange(*commands, shown=shown)
        if len(calls) == 3:
            raise ExchangeBroken(BrokerUnavailable("the line went dead", sent=True), [])
        return replies

    monkeypatch.setattr(lab._client, "exchange", lose_third)
    with pytest.raises(BatchError) as caught:
        stream.append_many(range(2000))
    monkeypatch.undo()
    error = caught.value
    assert (error.sent, error.unknown, error.unsent) == (
        tuple(range(1000)),
        tuple(range(1000, 1500)),
        tuple(range(1500, 2000)),
    )
    assert contents(stream.read()) == ["warm", *range(1500)]
    assert (stream.stats().messages, stream.stats().failed) == (1001, 1000)


def test_a_wait_longer_than_the_time_out_of_the_connection_is_no_error(
    server: RedisServer,
) -> None:
    with labkit.connect(server.url, timeout=0.3) as lab:
        stream = EventStream(lab, "s")
        with stream.group("boards").join("ada") as ada:
            assert ada.poll(timeout=1.0) == []
            assert list(stream.follow(timeout=1.0)) == []
            assert ada.stats().outages == stream.stats().outages == 0
