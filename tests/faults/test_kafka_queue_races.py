"""Queues on the mock cluster: what two threads, or a failure half-way, must not do to tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from helpers import eventually

import labkit
from labkit.broker import Delivery, QueueItem, QueueOptions
from labkit.brokers.kafka import queue as kafka_queue
from labkit.brokers.kafka.client import KafkaClient, Part
from labkit.brokers.kafka.producing import Record, append
from labkit.errors import BatchError, BrokerRefused, BrokerUnavailable

COMMIT, ILLEGAL_GENERATION, NOT_ALLOWED = 8, 22, 29


@pytest.fixture
def lab() -> Iterator[Any]:
    with labkit.connect("kafka+embedded://?partitions=1", timeout=1.0) as lab:
        yield lab


@pytest.fixture
def queue(lab: Any) -> Any:
    return lab.open_queue("tasks", QueueOptions())


def put(queue: Any, *names: str) -> None:
    queue.put([QueueItem(name, b"x") for name in names])


def take(queue: Any, worker: str, count: int) -> list[Delivery]:
    """So many, however long the group takes."""
    found: list[Delivery] = []

    def all_here() -> bool:
        found.extend(queue.take(worker, count - len(found), 0.1))
        return len(found) == count

    eventually(all_here)
    return found


def drain(queue: Any, *names: str) -> set[str]:
    """What is given, and done at once, until all these were."""
    seen: set[str] = set()

    def all_seen() -> bool:
        given = queue.take("drain", 100, 0.1)
        seen.update(task.id for task in given)
        queue.ack(given)
        return seen >= set(names)

    eventually(all_seen)
    return seen


def commits_wait() -> bool:
    """Whether a commit is still waited for, by nobody but its own thread."""
    return "labkit commit" in {thread.name for thread in threading.enumerate()}


def in_thread(call: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_what_two_workers_finish_at_once_is_committed(lab: Any, queue: Any) -> None:
    """The one in front is inside its commit while the others report that they are done."""
    put(queue, "0", "1", "2")
    first = take(queue, "a", 1)
    others = take(queue, "b", 2)
    member, inside = queue._feed._member, threading.Event()
    commit = member.commit

    def shown_commit(offsets: Mapping[Part, int]) -> bool:
        inside.set()
        return bool(commit(offsets))

    member.commit = shown_commit
    lab.faults.round_trip(0.4)
    thread = in_thread(lambda: queue.ack(first))
    assert inside.wait(10)
    assert queue.ack(others) == [True, True]
    thread.join(10)
    lab.faults.round_trip(0)
    assert queue.depth().unfinished == 0
    assert queue._backlog(queue._ends())[queue.topic, 0] == 0


def test_a_refused_commit_leaves_what_was_read_since_then(lab: Any, queue: Any) -> None:
    """The rebalance is over, and tasks are read ahead, before the thread hears its answer."""
    names = [str(n) for n in range(10)]
    put(queue, *names)
    task = take(queue, "w", 1)
    feed = queue._feed
    member = feed._member
    commit, before = member.commit, feed._ledgers[queue.topic, 0]

    def late_commit(offsets: Mapping[Part, int]) -> bool:
        answer = bool(commit(offsets))
        if not answer:
            eventually(
                lambda: (
                    feed._ledgers.get((queue.topic, 0), before) is not before
                    and len(feed._ready) == len(names)
                ),
            )
        return answer

    member.commit = late_commit
    lab.faults.fail_next(COMMIT, [ILLEGAL_GENERATION])
    answers: list[bool] = []
    thread = in_thread(lambda: answers.extend(queue.ack(task)))
    eventually(lambda: queue.renew("pump") or not thread.is_alive())
    assert answers == [False]
    put(queue, "new")
    assert drain(queue, *names, "new")
    assert queue.depth().unfinished == 0


def test_a_purge_does_not_wait_with_the_lock_that_a_rebalance_needs(queue: Any) -> None:
    """A rebalance is served under the member's lock, and then asks for the feed's."""
    put(queue, "0", "1")
    take(queue, "w", 1)
    feed = queue._feed
    member, inside = feed._member, threading.Event()
    seek = member.seek

    def shown_seek(offsets: Mapping[Part, int]) -> None:
        inside.set()
        seek(offsets)

    member.seek = shown_seek
    with member._lock:
        thread = in_thread(queue.purge)
        assert inside.wait(10)
        got = feed.lock.acquire(timeout=1)
        if got:
            feed.lock.release()
    thread.join(10)
    assert got
    assert not thread.is_alive()
    assert queue.depth().unfinished == 0


def test_a_purge_that_is_refused_skips_nothing(lab: Any, queue: Any) -> None:
    put(queue, "0")
    task = take(queue, "w", 1)
    put(queue, "1", "2", "3")
    lab.faults.fail_next(COMMIT, [NOT_ALLOWED])
    with pytest.raises(BrokerRefused):
        queue.purge()
    put(queue, "new")
    assert queue.ack(task) == [True]
    assert drain(queue, "1", "2", "3", "new") == {"1", "2", "3", "new"}
    assert queue.depth().unfinished == 0


def test_a_purge_leaves_what_came_after_it_looked(queue: Any) -> None:
    put(queue, "0", "1")
    take(queue, "w", 1)
    ends = queue._ends()
    put(queue, "new")
    eventually(lambda: queue.renew("w") or queue._feed.has_read(queue._ends()))
    assert queue._feed.skip_to(ends)
    assert drain(queue, "new") == {"new"}
    assert queue.depth().unfinished == 0


def test_a_purge_right_after_joining(queue: Any) -> None:
    """Its partitions are not read yet: nothing can be sought there."""
    put(queue, "0", "1")
    queue._feed.join(60.0)
    eventually(lambda: queue._feed.pump(0.01) or queue._feed._member.joined)
    assert queue.purge() == 2
    put(queue, "new")
    assert drain(queue, "new") == {"new"}
    assert queue.depth().unfinished == 0


def test_dead_letters_stay_if_they_cannot_be_appended_again(
    queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(queue, "a")
    assert queue.bury(take(queue, "w", 1)[0], "why", "error")

    def unreachable(*_: object) -> None:
        raise BrokerUnavailable("gone", sent=True)

    with monkeypatch.context() as patch:
        patch.setattr(kafka_queue, "append", unreachable)
        with pytest.raises(BrokerUnavailable):
            queue.redrive(queue.dead())
    [letter] = queue.dead()
    assert letter.id == "a"
    assert queue.redrive([letter]) == 1
    assert queue.redrive([letter]) == 0
    assert queue.dead() == []
    assert drain(queue, "a") == {"a"}


def some_land(client: KafkaClient, records: Sequence[Record]) -> None:
    """Of a batch the first two."""
    append(client, records[:2])
    raise BatchError("gone", sent=[0, 1], unsent=range(2, len(records)))


def test_dead_letters_that_were_appended_before_a_failure_are_not_again(
    queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(queue, "a", "b", "c")
    for task in take(queue, "w", 3):
        assert queue.bury(task, "why", "error")
    with monkeypatch.context() as patch:
        patch.setattr(kafka_queue, "append", some_land)
        with pytest.raises(BatchError):
            queue.redrive(queue.dead())
    assert [letter.id for letter in queue.dead()] == ["c"]


def test_what_recover_has_appended_before_a_failure_is_not_again(
    queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a", "b", "c", "d"]
    put(queue, *names)
    take(queue, "w", 4)
    queue.leave("w")
    with monkeypatch.context() as patch:
        patch.setattr(kafka_queue, "append", some_land)
        with pytest.raises(BatchError):
            queue.recover()
    assert [task.id for task in queue.recover()] == names
    assert queue._ends()[queue.topic, 0] == 2 * len(names)


def test_an_ack_waits_no_longer_than_the_timeout(lab: Any, queue: Any) -> None:
    """The next one waits for the first one's answer: two commits could change places."""
    put(queue, "0", "1")
    task = take(queue, "w", 1)
    lab.faults.round_trip(2.5)
    with pytest.raises(BrokerUnavailable) as caught:
        queue.ack(task)
    assert caught.value.sent
    lab.faults.round_trip(0)

    def acked() -> bool:
        try:
            return bool(queue.ack(task) == [True])
        except BrokerUnavailable:
            return False

    eventually(acked)
    assert drain(queue, "1") == {"1"}
    assert queue.depth().unfinished == 0


def test_a_member_ends_though_its_commit_has_no_answer() -> None:
    lab: Any
    with labkit.connect("kafka+embedded://?partitions=1", timeout=0.5) as lab:
        queue = lab.open_queue("tasks", QueueOptions())
        put(queue, "0")
        task = take(queue, "w", 1)
        lab.faults.round_trip(5)
        with pytest.raises(BrokerUnavailable):
            queue.ack(task)
        queue._feed._member.close()
        assert commits_wait()
        lab.faults.round_trip(0)
        eventually(lambda: not commits_wait())
