"""RabbitMQ when two things happen at once: nothing is lost, left behind, or deaf afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pika
import pytest
from conftest import start_rabbitmq_or_skip
from helpers import eventually

import labkit
from labkit.broker import Gap, QueueItem, QueueOptions, Received
from labkit.brokers.rabbitmq import hands
from labkit.errors import BrokerUnavailable
from labkit.servers import RabbitServer


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    """A node of these tests' own."""
    with start_rabbitmq_or_skip(management=False) as server:
        yield server


@pytest.fixture
def lab(server: RabbitServer, request: pytest.FixtureRequest) -> Iterator[Any]:
    with labkit.connect(server.url, namespace=f"{request.node.name}:", timeout=5.0) as lab:
        yield lab


@pytest.fixture
def other(server: RabbitServer, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Another program in the same namespace."""
    with labkit.connect(server.url, namespace=f"{request.node.name}:", timeout=5.0) as lab:
        yield lab


def cut(lab: Any) -> None:
    """Break the connection that consumes."""
    line = lab._core.line("consuming")
    line.post(lambda: line.connection._transport.abort())
    eventually(lambda: line.lost)


def queues(*labs: Any, **options: Any) -> list[Any]:
    return [lab.open_queue("work", QueueOptions(**options)) for lab in labs]


def ids(deliveries: list[Any]) -> list[str]:
    return [one.id for one in deliveries]


def test_an_acknowledgement_of_an_old_channel_says_nothing_about_the_new_one(
    lab: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = queues(lab, other, lease=60)
    ours.put([QueueItem("first", b""), QueueItem("second", b"")])
    [first] = ours.take("ada", 1, 5.0)
    put_back, taken = ours.shelves.put_back, []

    def cut_meanwhile(*arguments: Any) -> None:
        put_back(*arguments)
        cut(lab)
        eventually(lambda: ids(theirs.take("bob", 1, 1.0)) == ["first"])
        taken.extend(ours.take("ada", 1, 5.0))

    with monkeypatch.context() as patch:
        patch.setattr(ours.shelves, "put_back", cut_meanwhile)
        ours.retry(first, 0.0, "again")
    assert ids(taken) == ["second"]
    cut(lab)  # ada dies with it
    left: list[str] = []
    eventually(lambda: left.extend(ids(theirs.take("eve", 1, 0.5))) or "second" in left)


def test_a_worker_that_asks_as_it_is_missed_is_still_known(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    [queue] = queues(lab, lease=0.2)
    queue.put([QueueItem("task", b"")])
    queue.take("ada", 1, 5.0)
    eventually(lambda: queue.hands.known("ada").overdue)
    look, put_back, go_on = hands.Hand.look, queue.shelves.put_back, threading.Event()
    found: list[Any] = []
    asks = threading.Thread(target=lambda: found.extend(queue.take("ada", 1, 10.0)))

    def late(hand: hands.Hand, *arguments: Any) -> Any:
        go_on.wait(10)
        return look(hand, *arguments)

    def ask_meanwhile(*arguments: Any) -> None:
        asks.start()
        asks.join(0.2)  # it may wait for us, or have its hand already
        put_back(*arguments)

    monkeypatch.setattr(hands.Hand, "look", late)
    monkeypatch.setattr(queue.shelves, "put_back", ask_meanwhile)
    assert ids(queue.recover()) == ["task"]
    go_on.set()
    asks.join(10)
    assert ids(found) == ["task"]
    assert queue.ack(found) == [True]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each wait for a task may be, as it begins."""
    seen: list[float] = []
    wait = hands.Hand.wait

    def noted(hand: hands.Hand, names: Any, count: int, timeout: float) -> Any:
        seen.append(timeout)
        return wait(hand, names, count, timeout)

    monkeypatch.setattr(hands.Hand, "wait", noted)
    return seen


def idle_worker(lab: Any, waits: list[float], done: list[Any]) -> labkit.Worker:
    """One that waits in the background, and has consumers for it."""
    queue = labkit.WorkQueue(lab, "work")
    worker = labkit.Worker(queue, lambda message: done.append(message.content), name="ada").start()
    eventually(lambda: waits)
    return worker


def test_an_idle_worker_waits_long_and_stops_at_once(lab: Any, waits: list[float]) -> None:
    """What comes as a wait ends counts as delivered before, so waits are few."""
    worker = idle_worker(lab, waits, done := [])
    worker.queue.put("a")
    assert worker.wait_for(1)
    eventually(lambda: len(waits) == 2)
    assert min(waits) > 4
    assert worker.stop(timeout=2.0)
    assert done == ["a"]
    assert worker.stats().redelivered == 0


def test_an_idle_worker_that_crashes_takes_nothing_more(lab: Any, waits: list[float]) -> None:
    worker = idle_worker(lab, waits, done := [])
    worker.crash()
    eventually(lambda: not worker.running)
    worker.queue.put("a")
    with labkit.Worker(worker.queue, lambda message: done.append(message.content)) as bob:
        outcome = bob.run_one(timeout=5.0)
    assert (outcome.attempt, done) == (1, ["a"])


def test_an_idle_worker_says_soon_that_the_broker_is_back(lab: Any, waits: list[float]) -> None:
    worker = idle_worker(lab, waits, [])
    for count in (1, 2):
        cut(lab)
        eventually(lambda count=count: lab.trace.count("reconnected", actor="ada") == count, 4.0)
    assert worker.stop()
    assert worker.stats().outages == 2


def test_an_idle_worker_whose_queue_somebody_deletes_takes_from_the_new_one(
    lab: Any, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, begun = hands.Consumers.begin, threading.Event()
    monkeypatch.setattr(hands.Consumers, "begin", lambda all_: (begin(all_), begun.set()))
    worker = idle_worker(lab, waits, done := [])
    assert begun.wait(10)
    for name in worker.queue._tasks.shelves.layout.queues:
        lab._core.call("queue_delete", name)
    eventually(lambda: worker.stats().outages, 4.0)  # it knows that there is no queue
    worker.queue.put("a")
    eventually(lambda: done == ["a"])
    assert worker.stop()


def test_waits_end_when_it_is_time_to_look_for_the_dead(
    server: RabbitServer, waits: list[float], request: pytest.FixtureRequest
) -> None:
    """A lease on RabbitMQ is real time, also where a lesson controls the clock."""
    for clock, longest in ((None, 2.0), (labkit.StepClock(), 0.1)):
        waits.clear()
        space = f"{request.node.name}{longest}:"
        with labkit.connect(server.url, namespace=space, clock=clock) as lab:
            queue = labkit.WorkQueue(lab, "work", lease=6.0)
            with labkit.Worker(queue, lambda _: None, name="ada").start():
                eventually(lambda: waits)
        assert max(waits) <= longest


def test_a_worker_that_never_took_has_no_lease(lab: Any) -> None:
    queue = labkit.WorkQueue(lab, "work")
    labkit.Worker(queue, lambda _: None, name="ada").crash()
    assert queue._tasks.leases() == {}


def test_a_stop_before_the_wait_ends_the_wait(lab: Any) -> None:
    [queue] = queues(lab, lease=60)
    queue.interrupt("ada")
    asks = threading.Thread(target=lambda: queue.take("ada", 1, 60.0), daemon=True)
    asks.start()
    eventually(lambda: not asks.is_alive())


def test_a_consumer_for_which_nobody_waits_any_more_takes_nothing(
    server: RabbitServer, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with labkit.connect(server.url, namespace=other.namespace, timeout=0.3) as lab:
        ours, theirs = queues(lab, other, lease=60)
        assert ours.take("ada", 1, 0.0) == []
        go_on = threading.Event()
        monkeypatch.setattr(hands.Hand, "look", lambda *_: [])
        lab._core.line("consuming").post(lambda: go_on.wait(10))
        with pytest.raises(BrokerUnavailable, match="No answer"):
            ours.take("ada", 1, 5.0)
        monkeypatch.undo()
        go_on.set()
        for _ in range(2):  # its channel tells of the consumers' begin, and then of their end
            assert ours.take("ada", 1, 0.0) == []
        theirs.put([QueueItem("task", b"")])
        [task] = theirs.take("bob", 1, 5.0)
        assert task.attempt == 1


def test_a_responder_comes_as_the_last_one_goes(lab: Any, other: Any) -> None:
    """The queue that it has just declared is deleted with the other's consumer."""
    last, log = lab.open_service("seats", "ada", 1.0), other._core.log

    def leave(method: str, **arguments: Any) -> None:
        log(method, **arguments)
        if method == "basic.consume":
            last.close()

    other._core.log = leave
    service = other.open_service("seats", "bob", 1.0)
    inbox = lab.open_inbox(10)
    assert inbox.send("seats", [b"12B"], 10.0) == [None]
    assert service.poll(1, 5.0) == [b"12B"]


def test_a_subscription_that_breaks_as_it_comes_back_comes_back(lab: Any, other: Any) -> None:
    listener = lab.open_subscription()
    listener.add("news")
    begin, broken = listener._begin, []

    def break_again() -> None:
        begin()
        if not broken:
            broken.append(True)
            cut(lab)

    listener._begin = break_again
    cut(lab)
    seen: list[Any] = []
    eventually(lambda: seen.extend(listener.poll_many(0.2)) or (broken and listener.connected))
    eventually(lambda: other.publish("news", b"hello").subscriptions != 0)
    eventually(lambda: seen.extend(listener.poll_many(0.2)) or type(seen[-1]) is Received)
    assert isinstance(seen[0], Gap)
    assert seen[-1].body == b"hello"


@pytest.mark.parametrize("leave", ["close", "abandon"])
def test_who_leaves_while_it_comes_back_leaves_no_consumer(
    lab: Any, other: Any, leave: str
) -> None:
    service = lab.open_service("seats", "ada", 0.1)
    channel, inside, go_on = lab._core.channel, threading.Event(), threading.Event()

    def slow(**arguments: Any) -> Any:
        inside.set()
        go_on.wait(10)
        return channel(**arguments)

    cut(lab)
    lab._core.channel = slow
    polls = threading.Thread(target=lambda: service.poll(1, 5.0))
    polls.start()
    assert inside.wait(10)
    getattr(service, leave)()
    go_on.set()
    polls.join(10)
    inbox = other.open_inbox(10)
    eventually(lambda: inbox.send("seats", [b"12B"], 1.0) == [0])


def test_a_service_whose_queue_somebody_deletes_comes_back(lab: Any, other: Any) -> None:
    service, inbox = lab.open_service("seats", "ada", 1.0), other.open_inbox(10)
    lab._core.call("queue_delete", service._queue)
    served: list[bytes] = []

    def ask() -> bool:
        inbox.send("seats", [b"12B"], 10.0)
        served.extend(service.poll(1, 0.2))
        return bool(served)

    eventually(ask)


def test_publishers_who_lose_patience_together_keep_their_connection(server: RabbitServer) -> None:
    with labkit.connect(server.url, namespace="patience:", timeout=1.0) as lab:
        lab.publish("news", b"")
        line = lab._core.line("publishing")
        failed: list[str] = []

        def publish() -> None:
            try:
                lab.publish("news", b"")
            except BrokerUnavailable as error:
                failed.append(str(error))

        server.pause()
        try:
            threads = [threading.Thread(target=publish) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
        finally:
            server.resume()
        assert len(failed) == 3
        assert line.lost is None
        assert lab._core.line("publishing") is line
        lab.publish("news", b"")


def test_a_responder_leaves_while_an_alarm_lasts(
    server: RabbitServer, lab: Any, other: Any
) -> None:
    """What it passes on waits; acknowledgements, which could end the alarm, do not."""
    [queue] = queues(lab, lease=60)
    queue.put([QueueItem("task", b"")])
    service, second = (lab.open_service("seats", name, 1.0) for name in ("ada", "bob"))
    inbox = other.open_inbox(30)
    inbox.send("seats", [b"12B", b"12C"], 60.0)
    eventually(lambda: service._ready and second._ready)
    server.control("set_vm_memory_high_watermark", "0.00001")
    try:
        eventually(lambda: lab._core.blocked or _try_to_publish(lab))
        service.close()
        assert lab._core.line("consuming").blocked is None
        [task] = queue.take("eve", 1, 5.0)
        assert queue.ack([task]) == [True]
    finally:
        server.control("set_vm_memory_high_watermark", "0.6")
    given: list[bytes] = []
    eventually(lambda: given.extend(second.poll(1, 0.5)) or len(given) == 2)
    assert sorted(given) == [b"12B", b"12C"]


def _try_to_publish(lab: Any) -> None:
    """RabbitMQ says that it is in need when somebody publishes."""
    threading.Thread(target=lambda: lab.publish("news", b""), daemon=True).start()


def test_a_dead_letter_with_odd_headers_is_read(lab: Any) -> None:
    [queue] = queues(lab)
    queue.put([QueueItem("task", b"")])
    odd = pika.BasicProperties(headers={"x-death": "odd"})
    letters = queue.shelves.layout.dead
    lab.native.channel().basic_publish("", letters, b"from elsewhere", odd)
    eventually(lambda: [letter.body for letter in queue.dead()] == [b"from elsewhere"])
