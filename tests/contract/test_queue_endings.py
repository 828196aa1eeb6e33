"""How tasks end where something else than the usual happens: counted once, and truthfully."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from enum import StrEnum

import pytest
import redis
from helpers import eventually

import labkit
from labkit import (
    Message,
    NewTask,
    Publisher,
    RetryPolicy,
    StepClock,
    Task,
    Worker,
    WorkerPool,
    WorkQueue,
)
from labkit.broker import Depth, PubSubBroker, QueueBroker, QueueItem, QueueOptions
from labkit.brokers.redis.broker import RedisBroker
from labkit.brokers.redis.client import ExchangeBroken
from labkit.brokers.redis.queue import RedisQueue
from labkit.brokers.redis.queue_put import Outcome, put_in_batches
from labkit.errors import BatchError, BrokerUnavailable, QueueFull
from labkit.trace import Action, Trace

AT_ONCE = RetryPolicy(attempts=3, first=1e-6, cap=1e-6)


def nothing(_: Task) -> None:
    """The handler that does nothing, well."""


@pytest.fixture
def lab() -> Iterator[QueueBroker]:
    with labkit.connect(clock=StepClock(tick=0.0001)) as lab:
        yield lab


@pytest.fixture(params=["stream", "list"])
def queue(lab: QueueBroker, request: pytest.FixtureRequest) -> WorkQueue:
    return WorkQueue(lab, "rebooking", kind=request.param)


# --- acknowledged before the work -----------------------------------------------------------------


def test_a_task_that_fails_after_it_was_acknowledged_is_lost_and_not_done(queue: WorkQueue) -> None:
    def handler(_: Task) -> None:
        raise OSError("no seat")

    queue.put("B6 739")
    with Worker(queue, handler, name="ada", ack="before") as ada:
        outcome = ada.run_one()
    assert outcome is not None
    assert outcome.what == "lost"
    assert (ada.stats().done, ada.stats().lost) == (0, 1)


def test_a_task_that_succeeds_after_it_was_acknowledged_is_done_once(queue: WorkQueue) -> None:
    queue.put("B6 739")
    with Worker(queue, nothing, name="ada", ack="before") as ada:
        outcome = ada.run_one()
    assert outcome is not None
    assert outcome.what == "done"
    assert (ada.stats().done, ada.stats().lost) == (1, 0)
    assert queue.lab.trace.count(Action.ACKED) == 1


def test_the_trace_says_that_it_was_acknowledged_and_then_failed(queue: WorkQueue) -> None:
    def handler(_: Task) -> None:
        raise OSError("no seat")

    queue.put("B6 739")
    with Worker(queue, handler, name="ada", ack="before") as ada:
        ada.run()
    told = [event.action for event in queue.lab.trace.select(actor="ada")]
    assert told == [Action.DELIVERED, Action.ACKED, Action.FAILED]


# --- sys.exit() in a handler ----------------------------------------------------------------------


def test_a_handler_that_exits_is_tried_again_and_ends_no_worker(queue: WorkQueue) -> None:
    def handler(task: Task) -> None:
        if task.content == "exit" and task.attempt < 3:
            sys.exit("not now")

    queue.put_many(["exit", "other"])
    with Worker(queue, handler, name="ada", retry=AT_ONCE) as ada:
        ada.run()
    assert (ada.stats().done, ada.stats().retried, ada.stats().dead) == (2, 2, 0)
    assert queue.depth() == Depth(0, 0, 0, 0)


def test_a_handler_that_always_exits_is_a_dead_letter_after_the_last_attempt(
    queue: WorkQueue,
) -> None:
    def handler(_: Task) -> None:
        sys.exit("never")

    queue.put("exit")
    with Worker(queue, handler, name="ada", retry=AT_ONCE) as ada:
        ada.run()
    [letter] = queue.dead_letters()
    assert (letter.attempts, letter.reason) == (3, "gave up after 3 attempts")
    assert letter.errors == ("SystemExit: never",) * 3


# --- a full queue ---------------------------------------------------------------------------------


def test_a_duplicate_before_the_queue_was_full_counts_as_one(lab: QueueBroker) -> None:
    queue = WorkQueue(lab, "bounded", max_length=2)
    tasks = [NewTask("a", id="a"), NewTask("a again", id="a"), NewTask("b"), NewTask("c")]
    with pytest.raises(QueueFull, match="1 in already") as caught:
        queue.put_many([*tasks, "d"])
    error = caught.value
    assert (error.sent, error.duplicates) == ((0, 2), (1,))
    assert (error.unknown, error.unsent) == ((), (3, 4))
    stats = queue.stats()
    assert (stats.messages, stats.refused, stats.failed) == (2, 1, 2)
    assert queue.lab.trace.count(Action.ACCEPTED) == 2
    assert queue.lab.trace.count(Action.DUPLICATE) == 1


def test_many_at_once_are_counted_as_one_by_one(lab: QueueBroker) -> None:
    one, many = WorkQueue(lab, "one"), WorkQueue(lab, "many")
    for n in range(30):
        one.put(n)
    tickets = many.put_many(range(30))
    assert all(ticket.accepted for ticket in tickets)
    assert len({ticket.id for ticket in tickets}) == 30
    assert many.stats().messages == one.stats().messages == 30
    assert many.stats().bytes >= one.stats().bytes  # its name is a letter longer
    assert many.depth() == one.depth() == Depth(30, 0, 0, 0)
    taken: list[int] = []
    with Worker(many, lambda task: taken.append(task.content), name="ada", prefetch=7) as ada:
        ada.run()
    assert taken == list(range(30))
    assert ada.stats().done == 30


# --- a pool that stops ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Still busy")
def test_a_crash_gives_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """However quick the background thread is to see that it is to end."""
    with labkit.connect("embedded") as lab:
        queue = WorkQueue(lab, "work")
        queue.put_many(range(5))
        begun, go_on = threading.Event(), threading.Event()
        worker = Worker(queue, lambda _: begun.set() or go_on.wait(10), prefetch=5).start()
        assert begun.wait(10)

        def end_first() -> None:
            go_on.set()
            worker._background.run(lambda: None)  # after the step that is on

        monkeypatch.setattr(worker._holdings, "interrupt", end_first)
        worker.crash()
        assert lab.trace.count("returned") == 0
        assert queue.depth().in_flight == 5


def test_idle_workers_give_up_their_leases_although_one_is_busy() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def handler(_: Task) -> None:
        begun.set()
        go_on.wait(30)

    with labkit.connect() as lab:
        queue = WorkQueue(lab, "rebooking", lease=60)
        pool = WorkerPool(queue, handler, workers=4, name="crew").start()
        try:
            eventually(lambda: len(queue.leases()) == 4)
            queue.put("slow")
            assert begun.wait(10)
            assert pool.stop(timeout=0.0) is False
            living = [name for name, left in queue.leases().items() if left > 0]
            assert len(living) == 1  # the busy one, who still does the task
        finally:
            go_on.set()


@pytest.mark.filterwarnings("ignore:Still busy")
def test_a_handler_that_stops_its_own_pool_does_not_wait_for_itself() -> None:
    said: list[bool] = []
    with labkit.connect() as lab:
        queue = WorkQueue(lab, "rebooking")
        pool = WorkerPool(queue, lambda _: said.append(pool.stop(timeout=60.0)), workers=2)
        pool.start()
        queue.put("stop")
        eventually(lambda: said == [False], timeout=20)


# --- many tasks -----------------------------------------------------------------------------------


def _bodies(trace: bool, contents: list[object]) -> list[bytes]:
    with labkit.connect(clock=StepClock(), trace=trace) as lab:
        queue = WorkQueue(lab, "rebooking")
        queue.put_many(contents)
        return [delivery.body for delivery in queue.tasks.take("ada/1", len(contents), 0.0)]


def test_a_task_is_the_same_bytes_with_and_without_a_trace() -> None:
    contents: list[object] = [None, "B6 739", {"flight": "B6 739", "legs": [1, 2.5, None]}, [[]]]
    contents += [f"é {n}" for n in range(30)]
    assert _bodies(True, contents) == _bodies(False, contents)


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ((1, 2), "a list, because JSON has no tuples"),
        ({"a": {1}}, "content.a"),
        (float("nan"), "finite"),
        ("\ud800", "lone surrogate"),
        (10**5000, "a number of at most"),
        ("x" * 2_000_000, "at most 1,048,576 bytes"),
    ],
    ids=["tuple", "set", "NaN", "half a character", "long number", "too large"],
)
def test_one_that_cannot_be_written_down_stops_them_all_and_says_why(
    content: object, words: str, trace: bool
) -> None:
    with labkit.connect(trace=trace) as lab:
        queue = WorkQueue(lab, "rebooking")
        with pytest.raises(BatchError, match=words) as caught:
            queue.put_many(["good", content, "good"])
        assert str(caught.value).startswith("Task 1 cannot be put, so none was: ")
        assert caught.value.unsent == (0, 1, 2)
        assert len(queue) == 0


def test_a_busy_worker_that_its_pool_left_is_named_and_ends_its_lease_when_it_is_done() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def handler(_: Task) -> None:
        begun.set()
        go_on.wait(30)

    with labkit.connect() as lab:
        queue = WorkQueue(lab, "rebooking", lease=600)
        pool = WorkerPool(queue, handler, workers=1, name="crew").start()
        try:
            queue.put("slow")
            assert begun.wait(10)
            with pytest.warns(RuntimeWarning, match="crew-0"):
                assert pool.stop(timeout=0.0) is False
        finally:
            go_on.set()
        eventually(lambda: all(left <= 0 for left in queue.leases().values()))
        eventually(lambda: queue.depth() == Depth(0, 0, 0, 0))
        hearts = [t for t in threading.enumerate() if t.name == "labkit heart crew-0"]
        eventually(lambda: not any(heart.is_alive() for heart in hearts))


# --- what the books say ---------------------------------------------------------------------------


def test_the_trace_says_how_long_a_task_is_delayed(queue: WorkQueue) -> None:
    queue.put("B6 739", delay=2.5)
    queue.put("B6 1")
    accepted = queue.lab.trace.select(Action.ACCEPTED)
    assert [event.detail for event in accepted] == ["in 2.5 s", ""]


@pytest.mark.parametrize("many", [False, True])
def test_what_ctrl_c_interrupts_counts_as_failed(
    queue: WorkQueue, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    def interrupted(_: object) -> list[bool]:
        raise KeyboardInterrupt

    monkeypatch.setattr(queue.tasks, "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        queue.put_many(["B6 739", "B6 1"]) if many else queue.put("B6 739")
    sent = queue.lab.trace.count(Action.SENT)
    assert queue.stats().failed == queue.lab.trace.count(Action.SEND_FAILED) == sent


def test_a_batch_that_ctrl_c_interrupts_counts_as_failed(
    lab: QueueBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    assert isinstance(lab, PubSubBroker)
    with Publisher(lab, "tower") as tower:
        monkeypatch.setattr(lab, "publish_many", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tower.publish_multiple([("news", 1), ("news", 2)])
        assert tower.stats().failed == lab.trace.count(Action.SEND_FAILED) == 2


def test_what_was_refused_before_the_connection_broke_is_not_called_sent() -> None:
    def broken(_: object) -> list[Outcome]:
        refusal = redis.ResponseError("OOM")
        raise ExchangeBroken(BrokerUnavailable("cut", sent=True), [b"1-0", refusal])

    items = [QueueItem(str(n), b"x") for n in range(4)]
    with pytest.raises(BatchError) as caught:
        put_in_batches(items, broken, QueueOptions())
    error = caught.value
    assert (error.sent, error.unsent, error.unknown) == ((0,), (1,), (2, 3))


@pytest.mark.parametrize(
    "field", [{"a": "9" * 5000}, {"e": "[" * 100_000}, {"a": "x", "e": "{}"}], ids=["a", "e", "x"]
)
def test_fields_that_somebody_else_has_written_stop_no_worker(
    lab: QueueBroker, field: dict[str, str]
) -> None:
    queue = WorkQueue(lab, "rebooking")
    queue.put("B6 739")
    assert isinstance(lab, RedisBroker)
    assert isinstance(queue.tasks, RedisQueue)
    lab.native.xadd(queue.tasks.places[2], {"i": "x", "b": "y", **field})
    with Worker(queue, nothing, name="ada") as ada:
        assert ada.run() == 2
    assert ada.stats().done == 1
    assert [letter.id for letter in queue.dead_letters()] == ["x"]


def test_a_time_of_sending_that_cannot_be_does_not_spoil_the_statistics(lab: QueueBroker) -> None:
    queue = WorkQueue(lab, "rebooking")
    facts = {"epoch": f"{lab.clock.id}.1", "sent_ns": -(10**400)}
    queue.tasks.put([QueueItem("x", Message.new("t", 1, sender="s", metadata=facts).encode())])
    with Worker(queue, nothing, name="ada") as ada:
        assert ada.run() == 1
    assert ada.stats().latency is None


class Desk(StrEnum):
    """A sender that is more than a `str`."""

    REBOOKING = "rebooking"


@pytest.mark.parametrize("trace", [True, False])
def test_a_senders_name_may_be_the_member_of_an_enum(trace: bool) -> None:
    with labkit.connect(trace=Trace(enabled=trace)) as lab:
        queue = WorkQueue(lab, "rebooking", sender=Desk.REBOOKING)
        assert queue.put("B6 739").accepted
        assert queue.put_many(["B6 1"])[0].accepted
        with Publisher(lab, Desk.REBOOKING) as desk:
            assert desk.publish("news", 1, type="flight.moved").subscriptions == 0


def test_tasks_that_ctrl_c_met_on_their_way_are_done_next(
    queue: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> Message:
        raise KeyboardInterrupt

    queue.put_many(["B6 739", "B6 1"])
    with Worker(queue, nothing, name="ada", prefetch=5) as ada:
        with monkeypatch.context() as patched:
            patched.setattr(Message, "decode", interrupted)
            with pytest.raises(KeyboardInterrupt):
                ada.run_one()
        assert ada.run() == 2
        assert queue.depth() == Depth(0, 0, 0, 0)
