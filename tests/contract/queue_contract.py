"""What a work queue promises on every broker. A broker's test class inherits these tests."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import pytest
from helpers import eventually

from labkit import NewTask, OnceStore, Priority, Reject, Retry, RetryPolicy, Task, Worker, WorkQueue
from labkit.broker import Depth, QueueBroker, QueueItem
from labkit.errors import (
    BatchError,
    ConfigurationError,
    MessageTooLarge,
    NotConnected,
    NotSupported,
    QueueFull,
    ValidationError,
)

LEASE_S = 30.0
"""Longer than any machine stalls: nobody who lives loses a lease that is not meant to run out."""

SHORT_LEASE_S = 0.3
"""For those who die, and for those whom nobody watches: its end is waited for."""

STEP_S = 0.05
NOW = RetryPolicy(first=0.001, cap=0.001)
TWICE_AT_ONCE = RetryPolicy(attempts=2, first=0.001, cap=0.001)


class Wordless:
    """What cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class WordlessError(Wordless, Exception):
    """An error of that kind."""


ODD_ERRORS = [ValueError("\ud800"), OSError("a\0b"), KeyError("x" * 2_000_000), WordlessError()]
ODD_REASONS = ["\ud800", "a\0b", "x" * 2_000_000, Wordless(), WordlessError()]

MakeQueue = Callable[..., WorkQueue]
LetPass = Callable[[float], None]
Found = TypeVar("Found")
InTime = Callable[[Callable[[], Found | None]], Found]


def nothing(_: Task) -> None:
    """The handler that does nothing, well."""


def contents(queue: WorkQueue) -> list[Any]:
    """Take all that is ready, and do it; what it was, in order."""
    seen: list[Any] = []
    with Worker(queue, lambda task: seen.append(task.content), name="reader") as worker:
        worker.run()
    return seen


def supports(lab: QueueBroker, name: str) -> bool:
    """Where a broker cannot keep a promise, its capabilities say so."""
    return lab.capabilities[name].support != "absent"


def needs(lab: QueueBroker, name: str) -> None:
    """Skip what such a broker refuses; that it refuses it is a test of its own."""
    if not supports(lab, name):
        pytest.skip(f"{lab.name} has no {name}")


class QueueContract:
    """Inherit, and give the fixtures `lab` and `live`, and `let_pass`.

    `lab` is an open broker with an empty namespace of its own; `live` another one, on the clock of
    the machine, for what runs in the background; `let_pass` lets seconds pass on `lab`'s clock.
    """

    pause, long_pause = 0.1, 0.3
    """Seconds that a task is delayed, where the test must look at it before they have passed."""

    put_commands: ClassVar = {"stream": "XADD", "list": "<put>"}
    """How the broker's client puts a task, by kind."""

    @pytest.fixture
    def high(self, lab: QueueBroker) -> Priority:
        """A priority that the broker knows, the highest."""
        return Priority.HIGH if supports(lab, "priorities") else Priority.NORMAL

    @pytest.fixture(params=["stream", "list"])
    def kind(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def make(self, lab: QueueBroker, kind: str) -> MakeQueue:
        def make(name: str = "rebooking", **options: Any) -> WorkQueue:
            return WorkQueue(lab, name, **{"lease": LEASE_S, "kind": kind, **options})

        return make

    @pytest.fixture
    def queue(self, make: MakeQueue) -> WorkQueue:
        return make()

    @pytest.fixture
    def brief(self, make: MakeQueue) -> WorkQueue:
        """The same queue, for workers that are to die: their leases are short."""
        return make(lease=SHORT_LEASE_S)

    @pytest.fixture
    def in_time(self, let_pass: LetPass) -> InTime[Any]:
        """Ask until there is an answer, and let a little time pass before each new try."""

        def in_time(ask: Callable[[], Found | None]) -> Found:
            def once() -> Found | None:
                found = ask()
                if not found:
                    let_pass(STEP_S)
                return found

            return eventually(once, every=0)

        return in_time

    @pytest.fixture
    def live_queue(self, live: QueueBroker, kind: str) -> WorkQueue:
        return WorkQueue(live, "rebooking", lease=LEASE_S, kind=kind)

    @pytest.fixture
    def live_brief(self, live: QueueBroker, kind: str) -> WorkQueue:
        """The same queue with short leases."""
        return WorkQueue(live, "rebooking", lease=SHORT_LEASE_S, kind=kind)

    # --- putting and taking -------------------------------------------------------------------

    def test_a_task_is_done_once_and_leaves_the_queue(self, queue: WorkQueue) -> None:
        ticket = queue.put({"flight": "B6 739"}, type="flight.rebook")
        assert ticket.accepted
        seen: list[Task] = []
        with Worker(queue, seen.append, name="ada") as ada:
            assert queue.depth() == Depth(1, 0, 0, 0)
            outcome = ada.run_one()
            assert ada.run_one() is None
        [task] = seen
        assert outcome is not None
        assert (outcome.id, outcome.what, outcome.attempt) == (ticket.id, "done", 1)
        assert (task.id, task.content, task.attempt) == (ticket.id, {"flight": "B6 739"}, 1)
        assert (task.message.type, task.worker) == ("flight.rebook", "ada")
        assert queue.depth() == Depth(0, 0, 0, 0)

    def test_tasks_come_in_the_order_in_which_they_were_put(self, queue: WorkQueue) -> None:
        queue.put_many(range(1200))
        assert contents(queue) == list(range(1200))

    def test_each_task_goes_to_one_worker(self, queue: WorkQueue) -> None:
        queue.put_many(range(10))
        seen: dict[str, list[int]] = {"ada": [], "bob": []}
        workers = [
            Worker(queue, lambda task: seen[task.worker].append(task.content), name=name)
            for name in seen
        ]
        for _ in range(5):
            for worker in workers:
                worker.run_one()
        assert seen == {"ada": [0, 2, 4, 6, 8], "bob": [1, 3, 5, 7, 9]}
        for worker in workers:
            worker.stop()

    def test_prefetch_takes_many_and_others_get_none_of_them(self, queue: WorkQueue) -> None:
        queue.put_many(range(6))
        with (
            Worker(queue, nothing, name="greedy", prefetch=4) as greedy,
            Worker(queue, nothing, name="fair") as fair,
        ):
            greedy.run_one()
            assert queue.depth() == Depth(2, 3, 0, 0)
            assert fair.run() == 2
            assert greedy.run() == 4 - 1

    def test_what_was_taken_and_not_begun_goes_back(self, queue: WorkQueue) -> None:
        queue.put_many(range(4))
        with Worker(queue, nothing, name="ada", prefetch=4) as ada:
            ada.run_one()
            assert queue.depth().in_flight == 3
        assert queue.depth() == Depth(3, 0, 0, 0)
        assert ada.stats().returned == 3
        seen: list[Task] = []
        with Worker(queue, seen.append, name="bob") as bob:
            bob.run()
        assert [(task.content, task.attempt) for task in seen] == [(1, 1), (2, 1), (3, 1)]

    def test_the_highest_priority_goes_first(self, lab: QueueBroker, queue: WorkQueue) -> None:
        needs(lab, "priorities")
        queue.put("c", priority="low")
        queue.put("b")
        queue.put("a", priority=Priority.HIGH)
        queue.put_many([NewTask("b2"), NewTask("a2", priority="high")])
        with Worker(queue, nothing, name="ada", prefetch=3) as ada:
            task = ada.take()
            assert task is not None
            assert (task.content, task.priority) == ("a", Priority.HIGH)
        assert contents(queue)[-3:] != []

    def test_priorities_in_order(self, lab: QueueBroker, queue: WorkQueue) -> None:
        needs(lab, "priorities")
        for content, priority in (("c", "low"), ("b", "normal"), ("a", "high"), ("a2", "high")):
            queue.put(content, priority=priority)
        assert contents(queue) == ["a", "a2", "b", "c"]

    def test_a_delayed_task_waits_for_its_time(
        self, lab: QueueBroker, queue: WorkQueue, in_time: InTime
    ) -> None:
        needs(lab, "delayed tasks")
        queue.put("much later", delay=1000)
        queue.put("later", delay=self.long_pause)
        queue.put("now")
        assert queue.depth() == Depth(1, 0, 2, 0)
        seen: list[str] = []
        in_time(lambda: seen.extend(contents(queue)) or len(seen) >= 2)
        assert seen == ["now", "later"]
        assert queue.depth() == Depth(0, 0, 1, 0)

    def test_delays_end_in_the_order_of_their_times(
        self, lab: QueueBroker, queue: WorkQueue, in_time: InTime
    ) -> None:
        needs(lab, "delayed tasks")
        queue.put_many([NewTask(n, delay=0.3 - n / 10) for n in range(3)])
        seen: list[int] = []
        in_time(lambda: seen.extend(contents(queue)) or len(seen) >= 3)
        assert seen == [2, 1, 0]

    def test_a_worker_waits_for_a_task(self, live_queue: WorkQueue) -> None:
        thread = threading.Timer(0.1, lambda: live_queue.put("at last"))
        thread.start()
        with Worker(live_queue, nothing, name="ada") as ada:
            outcome = ada.run_one(timeout=10)
        thread.join()
        assert outcome is not None

    @pytest.mark.parametrize("priority", ["low", "normal", "high"])
    def test_a_waiting_worker_hears_every_priority_and_delay(
        self, lab: QueueBroker, live_queue: WorkQueue, priority: str
    ) -> None:
        needs(lab, "priorities")
        needs(lab, "delayed tasks")
        with Worker(live_queue, nothing, name="ada") as ada:
            ada.start()
            for delay in (0.0, 0.05):
                done = ada.stats().done
                live_queue.put("work", priority=priority, delay=delay)
                assert ada.wait_for(done + 1, timeout=5)

    # --- what may be put ----------------------------------------------------------------------

    def test_an_id_is_taken_while_its_task_is_in_the_queue(
        self, lab: QueueBroker, queue: WorkQueue
    ) -> None:
        needs(lab, "unique tasks")
        assert queue.put("first", id="B6 739").accepted
        assert queue.put("second", id="B6 739") == queue.put("third", id="B6 739")
        assert not queue.put("fourth", id="B6 739").accepted
        with Worker(queue, nothing, name="ada") as ada:
            assert ada.take() is not None
            assert not queue.put("while in flight", id="B6 739").accepted
            ada.run_one()
        assert queue.put("again", id="B6 739").accepted
        assert contents(queue) == ["again"]
        stats = queue.stats()
        assert (stats.messages, stats.refused) == (2, 4)

    def test_a_delayed_and_a_dead_task_keep_their_id(
        self, lab: QueueBroker, queue: WorkQueue, in_time: InTime
    ) -> None:
        needs(lab, "unique tasks")
        queue.put("later", id="x", delay=0.3)
        assert not queue.put("again", id="x", delay=0.3).accepted
        with Worker(queue, lambda _: Reject("no"), name="ada") as ada:
            in_time(ada.run)
        assert not queue.put("again", id="x").accepted
        queue.redrive()
        assert not queue.put("again", id="x").accepted
        assert contents(queue) == ["later"]
        assert queue.put("again", id="x").accepted

    def test_what_cannot_be_written_down_is_refused(self, make: MakeQueue) -> None:
        queue = make(max_bytes=1000)
        with pytest.raises(ValidationError, match=r"content\.when: expected None, bool"):
            queue.put({"when": object()})
        with pytest.raises(MessageTooLarge, match="1,000 bytes"):
            queue.put("x" * 1000)
        with pytest.raises(BatchError, match="Task 1 cannot be put, so none was") as caught:
            queue.put_many([1, {2}, 3])
        assert caught.value.unsent == (0, 1, 2)
        assert queue.depth().unfinished == 0

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"delay": -1}, "seconds from now, got -1"),
            ({"delay": float("nan")}, "seconds from now"),
            ({"priority": "urgent"}, "'low', 'normal', 'high', got 'urgent'"),
            ({"priority": 7}, "got 7"),
            ({"id": ""}, "non-empty str"),
            ({"id": 739}, "got 739"),
        ],
    )
    def test_a_wrong_argument_says_what_is_right(
        self, queue: WorkQueue, arguments: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=words):
            queue.put("task", **arguments)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"lease": 0}, "above 0"),
            ({"max_length": 0}, "from 1"),
            ({"max_deliveries": True}, "from 1"),
            ({"kind": "heap"}, "stream, list, got 'heap'"),
            ({"sender": ""}, "A sender"),
        ],
    )
    def test_a_wrong_option_says_what_is_right(
        self, lab: QueueBroker, options: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=words):
            WorkQueue(lab, "rebooking", **options)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"prefetch": 0}, "from 1"),
            ({"ack": "later"}, "'before', 'after', 'manual'"),
            ({"name": ""}, "non-empty"),
        ],
    )
    def test_a_wrong_worker_says_what_is_right(
        self, queue: WorkQueue, options: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=words):
            Worker(queue, nothing, **options)
        with pytest.raises(ConfigurationError, match="function of"):
            Worker(queue, "nothing")  # type: ignore[arg-type]

    def test_what_a_broker_cannot_do_it_refuses_and_says_why(
        self, lab: QueueBroker, make: MakeQueue, queue: WorkQueue
    ) -> None:
        asked: dict[str, Callable[[], object]] = {
            "delayed tasks": lambda: queue.put("later", delay=1),
            "priorities": lambda: queue.put("first", priority="high"),
            "bounded queue": lambda: make("bounded", max_length=3),
        }
        for name, ask in asked.items():
            if supports(lab, name):
                ask()
            else:
                with pytest.raises(NotSupported, match=lab.capabilities[name].why[:20]):
                    ask()

    def test_a_bounded_queue_says_when_it_is_full(self, lab: QueueBroker, make: MakeQueue) -> None:
        needs(lab, "bounded queue")
        queue = make(max_length=3)
        queue.put("a")
        queue.put("later", delay=1000)
        with pytest.raises(QueueFull, match="3 tasks and no more") as caught:
            queue.put_many(["b", "c", "d"])
        assert (caught.value.sent, caught.value.unsent) == ((0,), (1, 2))
        with Worker(queue, nothing, name="ada") as ada:
            assert ada.take() is not None
            with pytest.raises(QueueFull):  # in flight counts, too
                queue.put("e")
            ada.run_one()
            queue.put("e")
        assert queue.stats().failed == 3
        assert contents(queue) == ["b", "e"]

    def test_a_full_queue_still_knows_what_it_has(self, lab: QueueBroker, make: MakeQueue) -> None:
        needs(lab, "bounded queue")
        queue = make(max_length=1)
        assert queue.put("a", id="a").accepted
        assert not queue.put("a", id="a").accepted

    def test_two_queues_do_not_meet(self, make: MakeQueue) -> None:
        one, other = make("one"), make("other")
        one.put(1)
        other.put(2)
        assert (contents(one), contents(other)) == ([1], [2])

    # --- ends ---------------------------------------------------------------------------------

    def test_a_failed_task_is_tried_again_and_then_is_a_dead_letter(
        self, queue: WorkQueue, in_time: InTime
    ) -> None:
        def handler(task: Task) -> None:
            raise KeyError(f"seat {task.attempt}")

        queue.put("B6 739", id="t")
        policy = RetryPolicy(attempts=3, first=self.pause, factor=2, jitter=False)
        with Worker(queue, handler, name="ada", retry=policy) as ada:
            outcomes = []
            for delayed in (1, 1, 0):
                outcomes.append(in_time(ada.run_one))
                assert queue.depth() == Depth(0, 0, delayed, 1 - delayed)
            assert ada.run_one() is None
        assert [(o.what, o.delay) for o in outcomes] == [
            ("retrying", self.pause),
            ("retrying", 2 * self.pause),
            ("dead", None),
        ]
        [letter] = queue.dead_letters()
        assert (letter.id, letter.content, letter.attempts) == ("t", "B6 739", 3)
        assert letter.reason == "gave up after 3 attempts"
        assert letter.errors == ("KeyError: 'seat 1'", "KeyError: 'seat 2'", "KeyError: 'seat 3'")
        assert queue.depth() == Depth(0, 0, 0, 1)
        stats = ada.stats()
        assert (stats.messages, stats.retried, stats.dead, stats.redelivered) == (3, 2, 1, 2)
        assert stats.errors[0].error == "KeyError: 'seat 1'"
        assert stats.errors[0].where.startswith("handler, line")

    def test_a_task_knows_what_happened_before(self, queue: WorkQueue, in_time: InTime) -> None:
        seen: list[tuple[str, ...]] = []

        def handler(task: Task) -> None:
            seen.append(task.errors)
            if task.attempt == 1:
                raise OSError("no line")

        queue.put("call")
        with Worker(queue, handler, name="ada", retry=NOW) as ada:
            ada.run_one()
            in_time(ada.run_one)
        assert seen == [(), ("OSError: no line",)]

    def test_some_errors_are_not_worth_another_attempt(self, queue: WorkQueue) -> None:
        def handler(task: Task) -> None:
            raise ValueError("no such flight") if task.content == "a" else OSError("no line")

        queue.put_many(["a", "b"])
        policy = RetryPolicy(give_up_on=(ValueError,))
        with Worker(queue, handler, name="ada", retry=policy) as ada:
            first, second = ada.run_one(), ada.run_one()
        assert first is not None
        assert second is not None
        assert (first.what, second.what) == ("dead", "retrying")
        assert "does not cure" in queue.dead_letters()[0].reason

    def test_a_handler_says_retry_or_reject(self, queue: WorkQueue, in_time: InTime) -> None:
        def handler(task: Task) -> Any:
            if task.content == "no":
                return Reject("not our flight")
            return Retry(after=self.long_pause) if task.attempt == 1 else None

        queue.put_many(["no", "wait"])
        with Worker(queue, handler, name="ada", retry=NOW) as ada:
            rejected, retried = ada.run_one(), ada.run_one()
            assert rejected is not None
            assert retried is not None
            assert (rejected.what, rejected.detail) == ("dead", "not our flight")
            assert (retried.what, retried.delay) == ("retrying", self.long_pause)
            assert queue.depth() == Depth(0, 0, 1, 1)
            done = in_time(ada.run_one)
            assert (done.what, done.attempt) == ("done", 2)
        assert queue.dead_letters()[0].reason == "not our flight"

    def test_retry_for_ever_is_not_for_ever(self, queue: WorkQueue, in_time: InTime) -> None:
        queue.put("wait")
        with Worker(queue, lambda _: Retry(after=0), name="ada", retry=NOW) as ada:
            for _ in range(3):
                in_time(ada.run_one)
        assert queue.dead_letters()[0].attempts == 3

    def test_an_unknown_result_is_an_error_and_not_done(self, queue: WorkQueue) -> None:
        queue.put("a")
        with Worker(queue, lambda _: 42, name="ada") as ada:
            ada.run_one()
            error = ada.stats().errors[0].error
        assert "None, Retry(…) or Reject(…), not int" in error
        [letter] = queue.dead_letters()
        assert letter.reason == "unknown handler result"
        assert letter.errors == (error,)

    def test_what_is_no_message_is_a_dead_letter_with_its_bytes(
        self, lab: QueueBroker, queue: WorkQueue
    ) -> None:
        raw = lab.open_queue("rebooking", queue.options)
        rubbish = b"\xff not json \x00"
        raw.put([QueueItem("bad", rubbish)])
        queue.put("good")
        seen = []
        with Worker(queue, lambda task: seen.append(task.content), name="ada", prefetch=2) as ada:
            ada.run()
        assert seen == ["good"]
        [letter] = queue.dead_letters()
        assert (letter.body, letter.content, letter.message) == (rubbish, rubbish, None)
        assert letter.reason == "unreadable"
        assert "JSON" in letter.errors[0]
        assert ada.stats().unreadable == 1
        assert r"\xff not json \x00" in queue.dead_letters()._repr_html_()

    def test_dead_letters_show_themselves(self, queue: WorkQueue) -> None:
        queue.put({"flight": "<B6>"}, id="t")
        assert repr(queue.dead_letters()) == "(no dead letters)"
        with Worker(queue, lambda _: Reject("no seat"), name="ada") as ada:
            ada.run()
        letters = queue.dead_letters()
        assert "t  {'flight': '<B6>'}  1 attempts  no seat" in repr(letters)
        assert "&lt;B6&gt;" in letters._repr_html_()
        assert list(letters.to_frame().columns) == ["id", "content", "attempts", "reason", "errors"]

    def test_redrive_puts_dead_letters_back_as_if_new(
        self, lab: QueueBroker, queue: WorkQueue
    ) -> None:
        apart = supports(lab, "priorities")
        queue.put_many([NewTask(n, id=f"t{n}", priority=n if apart else 1) for n in range(3)])
        with Worker(queue, lambda _: Reject("no"), name="ada") as ada:
            ada.run()
        assert queue.redrive(["t1", "unknown"]) == 1
        assert queue.redrive(["t1"]) == 0
        assert queue.depth() == Depth(1, 0, 0, 2)
        with pytest.raises(ConfigurationError, match="several ids"):
            queue.redrive("t0")
        assert queue.redrive() == 2
        seen: list[Task] = []
        with Worker(queue, seen.append, name="bob") as bob:
            bob.run()
        by_priority, as_redriven = [2, 1, 0], [1, 0, 2]
        assert [(t.content, t.attempt, t.errors) for t in seen] == [
            (n, 1, ()) for n in (by_priority if apart else as_redriven)
        ]

    def test_redriving_many(self, queue: WorkQueue) -> None:
        queue.put_many(range(1100))
        with Worker(queue, lambda _: Reject("no"), name="ada", prefetch=500) as ada:
            ada.run()
        assert len(queue.dead_letters()) == 1000
        assert len(queue.dead_letters(limit=2000)) == queue.redrive() == 1100
        assert queue.depth() == Depth(1100, 0, 0, 0)

    def test_an_empty_queue_is_done_at_once_and_a_full_one_is_not(self, queue: WorkQueue) -> None:
        assert queue.wait_until_done(timeout=0)
        queue.put("B6 739")
        assert not queue.wait_until_done(timeout=0)

    def test_a_purged_queue_goes_on(self, queue: WorkQueue) -> None:
        queue.purge()
        queue.put_many([1, 2])
        with Worker(queue, nothing, name="ada") as ada:
            assert ada.run() == 2
        assert queue.depth() == Depth(0, 0, 0, 0)

    def test_purge_takes_all_and_those_in_flight_learn_of_it(
        self, lab: QueueBroker, queue: WorkQueue
    ) -> None:
        queue.put("reject me", id="t")
        with Worker(queue, lambda _: Reject("no"), name="ada") as ada:
            ada.run()
        delay = 100 if supports(lab, "delayed tasks") else 0
        low = Priority.LOW if supports(lab, "priorities") else Priority.NORMAL
        later, lower = NewTask("later", delay=delay), NewTask("low", priority=low)
        queue.put_many([NewTask("now"), later, lower])
        with Worker(queue, nothing, name="bob") as bob:
            assert bob.take() is not None
            assert queue.purge() == 4
            assert queue.depth() == Depth(0, 0, 0, 0)
            outcome = bob.run_one()
            assert outcome is not None
            assert outcome.what == "late ack"
            assert queue.put("again", id="t").accepted
            assert bob.run() == 1
        assert queue.depth() == Depth(0, 0, 0, 0)

    # --- what handlers do to their workers ----------------------------------------------------

    @pytest.mark.parametrize("error", ODD_ERRORS, ids=lambda error: type(error).__name__)
    def test_an_error_that_is_no_clean_text_is_kept_with_its_task(
        self, queue: WorkQueue, in_time: InTime, error: Exception
    ) -> None:
        def handler(task: Task) -> None:
            if task.content == "odd":
                raise error

        queue.put_many(["odd", "good"])
        with Worker(queue, handler, name="ada", retry=TWICE_AT_ONCE) as ada:
            outcomes = [in_time(ada.run_one) for _ in range(3)]
            told = [record.error for record in ada.stats().errors]
        assert sorted(str(outcome.what) for outcome in outcomes) == ["dead", "done", "retrying"]
        assert len(told) == 2
        [letter] = queue.dead_letters()
        assert len(letter.errors) == 2
        for text in letter.errors:
            assert text.startswith(type(error).__name__)
            assert len(text.encode()) < 4000
        assert repr(queue.dead_letters())

    @pytest.mark.parametrize(
        "reason", ODD_REASONS, ids=["surrogate", "NUL", "long", "wordless", "error"]
    )
    def test_a_reason_that_is_no_clean_text_breaks_nothing(
        self, queue: WorkQueue, in_time: InTime, reason: Any
    ) -> None:
        def handler(task: Task) -> Any:
            if task.content == "good":
                return None
            return Retry(reason=reason) if task.attempt == 1 else Reject(reason)

        queue.put_many(["odd", "good"])
        with Worker(queue, handler, name="ada", retry=NOW) as ada:
            outcomes = [in_time(ada.run_one) for _ in range(3)]
        assert sorted(str(outcome.what) for outcome in outcomes) == ["dead", "done", "retrying"]
        [letter] = queue.dead_letters()
        assert letter.reason.encode()
        assert letter.errors[0].encode()

    def test_odd_reasons_by_hand(self, queue: WorkQueue) -> None:
        queue.put_many(["nack", "reject"])
        kept: list[Task] = []
        with Worker(queue, kept.append, name="ada", ack="manual", prefetch=2) as ada:
            assert ada.run() == 2
            assert kept[0].nack(error="\ud800 \0")
            assert kept[1].reject("\ud800 \0")
        assert queue.depth() == Depth(1, 0, 0, 1)
        assert "\0" in queue.dead_letters()[0].reason

    @pytest.mark.parametrize("ending", [SystemExit(), SystemExit(3), SystemExit("\ud800")])
    def test_a_handler_that_ends_the_program_ends_its_attempt(
        self, queue: WorkQueue, in_time: InTime, ending: SystemExit
    ) -> None:
        """The worker works on, and the task ends among the dead letters when nothing helps."""

        def handler(task: Task) -> None:
            if task.content == "exit":
                raise ending

        queue.put_many(["exit", "good"])
        with Worker(queue, handler, name="ada", retry=TWICE_AT_ONCE) as ada:
            in_time(lambda: ada.run() and queue.dead_letters())
            assert (ada.stats().done, ada.stats().dead) == (1, 1)
        [letter] = queue.dead_letters()
        assert letter.content == "exit"
        assert any(error.startswith("SystemExit") for error in letter.errors)
        assert queue.depth() == Depth(0, 0, 0, 1)

    def test_sys_exit_in_the_background_leaves_the_worker_running(
        self, live_queue: WorkQueue
    ) -> None:
        def handler(task: Task) -> None:
            if task.content == "exit":
                sys.exit("enough")

        live_queue.put("exit")
        with Worker(live_queue, handler, name="ada", retry=TWICE_AT_ONCE) as ada:
            ada.start()
            eventually(live_queue.dead_letters)
            live_queue.put("good")
            assert ada.wait_for(1)
            assert ada.running
        assert live_queue.depth() == Depth(0, 0, 0, 1)

    # --- crashes and leases -------------------------------------------------------------------

    def test_the_task_of_a_dead_worker_goes_to_another(
        self, queue: WorkQueue, brief: WorkQueue, in_time: InTime, high: Priority
    ) -> None:
        """Of two that died it is the one whose lease has run out."""
        for name, queue_of_theirs in (("ada", brief), ("eve", queue)):
            queue.put(f"of {name}", priority=high)
            worker = Worker(queue_of_theirs, nothing, name=name)
            assert worker.take() is not None
            worker.crash()
        assert queue.depth() == Depth(0, 2, 0, 0)
        seen: list[Task] = []
        with Worker(brief, seen.append, name="bob") as bob:
            in_time(bob.run_one)
        [task] = seen
        assert (task.content, task.attempt, task.priority) == ("of ada", 2, high)
        assert task.errors == ("worker ada died with it",)
        assert brief.stats().recovered == 1
        assert queue.depth() == Depth(0, 1, 0, 0)

    def test_a_worker_that_crashed_works_no_more(self, queue: WorkQueue) -> None:
        ada = Worker(queue, nothing, name="ada")
        ada.crash()
        with pytest.raises(NotConnected, match="crashed"):
            ada.run_one()
        assert "crashed" in repr(ada)
        assert ada.stop()

    def test_recover_says_what_it_took_from_whom(
        self, queue: WorkQueue, brief: WorkQueue, in_time: InTime
    ) -> None:
        queue.put_many([NewTask(n, id=f"t{n}") for n in range(150)])
        ada = Worker(brief, nothing, name="ada", prefetch=150)
        ada.take()
        ada.crash()
        found = in_time(queue.recover)
        assert sorted(task.id for task in found) == sorted(f"t{n}" for n in range(150))
        assert {(t.worker, t.attempt, t.dead) for t in found} == {("ada", 1, False)}
        assert queue.recover() == []
        assert queue.depth() == Depth(150, 0, 0, 0)

    def test_a_task_that_kills_its_workers_is_a_dead_letter_in_the_end(
        self, make: MakeQueue, in_time: InTime
    ) -> None:
        queue = make(lease=SHORT_LEASE_S, max_deliveries=2)
        queue.put("poison", id="t")
        for name in ("ada", "bob"):
            worker = Worker(queue, nothing, name=name)
            assert worker.take() is not None
            worker.crash()
            in_time(queue.recover)
        [letter] = queue.dead_letters()
        assert (letter.id, letter.attempts) == ("t", 2)
        assert letter.errors == ("worker ada died with it", "worker bob died with it")
        assert letter.reason == "delivered 2 times, and its worker died"

    def test_an_acknowledgement_that_comes_too_late_says_so(
        self, lab: QueueBroker, queue: WorkQueue
    ) -> None:
        queue.put_many([NewTask("slow", id="t"), "other"])
        with Worker(queue, nothing, name="ada", prefetch=2) as ada:
            assert ada.take() is not None
            lab.open_queue("rebooking", queue.options).leave(ada._holdings.identity)
            assert len(queue.recover()) == 2
            outcomes = [ada.run_one(), ada.run_one()]
        assert [o.what for o in outcomes if o] == ["late ack", "late ack"]
        assert ada.stats().late_acks == 2
        if supports(lab, "unique tasks"):
            assert not queue.put("again", id="t").accepted  # it is still there, for another worker
        assert len(contents(queue)) == 2

    def test_a_late_retry_and_a_late_end_change_nothing(self, queue: WorkQueue) -> None:
        def handler(task: Task) -> Any:
            queue.tasks.leave(ada._holdings.identity)
            queue.recover()
            if task.content == "boom":
                raise OSError("too late")
            return Reject("too late")

        queue.put_many(["boom", "reject"])
        with Worker(queue, handler, name="ada", retry=NOW) as ada:
            outcomes = [ada.run_one(), ada.run_one()]
        assert [(o.what, o.detail) for o in outcomes if o] == [
            ("late ack", "was retrying"),
            ("late ack", "was dead"),
        ]
        assert queue.depth() == Depth(2, 0, 0, 0)
        assert sorted(contents(queue)) == ["boom", "reject"]

    def test_a_worker_of_the_same_name_does_not_keep_its_predecessor_alive(
        self, brief: WorkQueue, in_time: InTime
    ) -> None:
        brief.put("B6 739")
        dead = Worker(brief, nothing, name="ada")
        assert dead.take() is not None
        dead.crash()
        with Worker(brief, nothing, name="ada") as ada:
            in_time(ada.run_one)  # each look renews the lease of the one who looks
            assert ada.stats().done == 1

    def test_a_worker_that_goes_leaves_nothing_behind(self, queue: WorkQueue) -> None:
        queue.put_many(range(3))
        with Worker(queue, nothing, name="ada", ack="manual", prefetch=2) as ada:
            held = ada.run_one()
            assert held is not None
            assert held.what == "held"
        queue.recover()
        assert queue.depth() == Depth(3, 0, 0, 0)
        assert queue.leases().get("ada", -1) < 0

    # --- acknowledgement ----------------------------------------------------------------------

    def test_acknowledged_before_the_work_is_at_most_once(
        self, queue: WorkQueue, brief: WorkQueue, in_time: InTime
    ) -> None:
        def handler(_: Task) -> None:
            raise OSError("after it was acknowledged")

        queue.put_many(["a", "b"])
        worker = Worker(brief, handler, name="ada", ack="before")
        outcome = worker.run_one()
        assert outcome is not None
        assert (outcome.what, outcome.detail) == ("lost", "OSError: after it was acknowledged")
        assert worker.stats().lost == 1
        worker.take()
        worker.crash()
        in_time(queue.recover)
        assert contents(queue) == ["b"]  # taken, but not yet begun

    def test_crashing_in_the_work_shows_the_guarantee(
        self, queue: WorkQueue, brief: WorkQueue, in_time: InTime
    ) -> None:
        effects: list[str] = []
        for ack, expected in (("before", 1), ("after", 2)):
            effects.clear()
            queue.put("charge")
            worker: Worker

            def handler(task: Task) -> None:
                effects.append(task.content)
                worker.crash()  # noqa: B023

            worker = Worker(brief, handler, name="ada", ack=ack)
            outcome = worker.run_one()
            assert outcome is not None
            assert outcome.what == "crashed"
            in_time(lambda: queue.recover() or not queue.depth().unfinished)
            with Worker(queue, lambda task: effects.append(task.content), name="bob") as bob:
                bob.run()
            assert len(effects) == expected

    def test_an_effect_and_its_mark_make_it_once(
        self, queue: WorkQueue, brief: WorkQueue, in_time: InTime
    ) -> None:
        queue.put("charge", id="t")
        store = OnceStore()
        store.connection.execute("CREATE TABLE charges (id TEXT)")

        def charge(task: Task) -> None:
            store.run(
                task.id, lambda db: db.execute("INSERT INTO charges VALUES (?)", ("t",)).rowcount
            )

        dead: Worker

        def charge_and_die(task: Task) -> None:
            charge(task)
            dead.crash()

        dead = Worker(brief, charge_and_die, name="ada")
        dead.run_one()
        in_time(queue.recover)
        with Worker(queue, charge, name="bob") as bob:
            assert bob.run() == 1
        assert store.connection.execute("SELECT count(*) FROM charges").fetchone() == (1,)

    def test_manual_acknowledgement(self, queue: WorkQueue) -> None:
        queue.put_many([NewTask(n, id=f"t{n}") for n in range(4)])
        kept: list[Task] = []
        with Worker(queue, kept.append, name="ada", ack="manual", prefetch=4) as ada:
            outcomes = [ada.run_one() for _ in range(4)]
            assert {o.what for o in outcomes if o} == {"held"}
            assert queue.depth() == Depth(0, 4, 0, 0)
            assert kept[0].ack()
            assert kept[1].nack(error="not now")
            assert kept[2].reject("never")
            assert queue.depth() == Depth(1, 1, 0, 1)
            with pytest.raises(ConfigurationError, match="'t0' has ended: done"):
                kept[0].ack()
            assert ada.stats().done == 1
        queue.recover()
        assert queue.depth() == Depth(2, 0, 0, 1)
        assert not kept[3].ack()  # too late: the worker has gone

    def test_a_handler_acknowledges_by_itself(self, queue: WorkQueue) -> None:
        def handler(task: Task) -> Any:
            if task.content == "ack":
                task.ack()
            elif task.content == "nack":
                task.nack(delay=100)
            elif task.content == "retry":
                return Retry(after=100)
            else:
                raise OSError("no line")
            return None

        queue.put_many(["ack", "nack", "retry", "boom"])
        with Worker(queue, handler, name="ada", ack="manual") as ada:
            outcomes = [ada.run_one() for _ in range(4)]
        assert [o.what for o in outcomes if o] == ["done", "retrying", "retrying", "retrying"]

    def test_acknowledging_by_hand_needs_a_manual_worker(self, queue: WorkQueue) -> None:
        queue.put("a")
        with Worker(queue, Task.ack, name="ada", retry=RetryPolicy(attempts=1)) as ada:
            ada.run_one()
        assert 'ack="manual"' in queue.dead_letters()[0].errors[0]

    def test_a_lease_can_be_prolonged(
        self, queue: WorkQueue, brief: WorkQueue, let_pass: LetPass
    ) -> None:
        queue.put("long")
        with Worker(brief, nothing, name="ada") as ada, Worker(queue, nothing, name="bob") as bob:
            task = ada.take()
            assert task is not None
            task.extend(LEASE_S)
            ada._holdings._heart.stop()
            let_pass(2 * SHORT_LEASE_S)
            assert bob.run_one() is None
            done = ada.run_one()
            assert done is not None
            assert done.what == "done"

    # --- in the background --------------------------------------------------------------------

    def test_works_in_the_background(self, live_queue: WorkQueue) -> None:
        seen: list[int] = []
        before = set(threading.enumerate())
        worker = Worker(live_queue, lambda t: seen.append(t.content), name="ada", prefetch=10)
        worker.start()
        live_queue.put_many(range(100))
        assert worker.wait_for(100)
        with pytest.raises(ConfigurationError, match="stop"):
            worker.run_one()
        assert worker.stop()
        assert worker.stop()
        assert seen == list(range(100))
        assert live_queue.depth() == Depth(0, 0, 0, 0)
        assert set(threading.enumerate()) <= before

    def test_stop_finishes_what_is_in_hand_or_gives_it_back(self, live_queue: WorkQueue) -> None:
        for drain, done in ((True, 5), (False, 1)):
            begun, go = threading.Event(), threading.Event()

            def handler(_: Task) -> None:
                begun.set()  # noqa: B023
                assert go.wait(10)  # noqa: B023

            live_queue.put_many(range(5))
            worker = Worker(live_queue, handler, name="ada", prefetch=5).start()
            assert begun.wait(10)
            stopping = threading.Thread(target=worker.stop, args=(drain,))
            stopping.start()
            eventually(lambda: worker._closing or worker._halt.is_set())  # noqa: B023
            go.set()
            stopping.join(10)
            assert worker.stats().done == done
            assert worker.stats().returned == 5 - done
            assert live_queue.depth() == Depth(5 - done, 0, 0, 0)

    def test_a_busy_worker_is_left_alone(self, live_queue: WorkQueue) -> None:
        begun, go = threading.Event(), threading.Event()

        def handler(_: Task) -> None:
            begun.set()
            assert go.wait(10)

        live_queue.put("long")
        worker = Worker(live_queue, handler, name="ada").start()
        assert begun.wait(10)
        assert not worker.stop(timeout=0.05)
        assert live_queue.depth().in_flight == 1
        go.set()
        assert worker.stop()
        assert worker.stats().done == 1

    def test_a_task_may_take_longer_than_the_lease(
        self, live_queue: WorkQueue, live_brief: WorkQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The heart beats beside the work, three times a lease."""
        go, beats, renew = threading.Event(), [], live_brief.tasks.renew
        monkeypatch.setattr(live_brief.tasks, "renew", lambda *who: (renew(*who), beats.append(1)))
        live_queue.put("long")
        with Worker(live_brief, lambda _: go.wait(60) and None, name="ada") as ada:
            ada.start()
            eventually(lambda: len(beats) >= 12)
            eventually(lambda: live_queue.leases()["ada"] > 0)
            assert live_queue.depth().in_flight == 1
            go.set()
            assert ada.wait_for(1)
            assert ada.stats().late_acks == 0

    def test_a_crash_in_the_background_stops_the_heart(self, live_brief: WorkQueue) -> None:
        begun, go = threading.Event(), threading.Event()

        def handler(_: Task) -> None:
            begun.set()
            go.wait(60)

        live_brief.put("long")
        ada = Worker(live_brief, handler, name="ada").start()
        assert begun.wait(10)
        ada.crash()
        with Worker(live_brief, nothing, name="bob") as bob:
            assert bob.run_one(timeout=30) is not None
        go.set()
        eventually(lambda: not ada.running)
        assert ada.stats().done == 0

    def test_a_handler_may_stop_its_worker(self, live_queue: WorkQueue) -> None:
        def handler(_: Task) -> None:
            worker.stop()

        live_queue.put_many(range(3))
        worker = Worker(live_queue, handler, name="ada", prefetch=3)
        assert worker.run() == 1
        assert live_queue.depth() == Depth(2, 0, 0, 0)
        worker.start()
        eventually(lambda: not worker.running)
        assert worker.stop()
        assert live_queue.depth() == Depth(1, 0, 0, 0)

    # --- numbers and traces -------------------------------------------------------------------

    def test_run_ends_after_so_many(self, queue: WorkQueue) -> None:
        queue.put_many(range(10))
        with Worker(queue, nothing, name="ada", prefetch=4) as ada:
            assert ada.run(max_tasks=6) == 6
            assert queue.depth() == Depth(4, 0, 0, 0)
            assert ada.run() == 4
            assert ada.run() == 0
            assert ada.stats().returned == 0

    def test_statistics_add_up(self, queue: WorkQueue) -> None:
        queue.put_many(range(3))
        with Worker(queue, nothing, name="ada") as ada:
            ada.run()
        put, done = queue.stats(), ada.stats()
        assert (put.messages, done.messages, done.done) == (3, 3, 3)
        assert put.bytes == done.bytes
        assert done.latency is not None
        assert done.latency.samples == 3
        assert "Worker 'ada': 3 messages" in repr(done)
        assert "3 done" in repr(done)
        assert len(queue) == 0
        assert queue.lab.name in repr(queue)

    def test_shows_the_native_commands(self, lab: QueueBroker, queue: WorkQueue, kind: str) -> None:
        queue.put("a")
        with Worker(queue, nothing, name="ada") as ada:
            ada.run_one()
        shown = repr(lab.commands())
        assert shown.index(self.put_commands[kind]) < shown.index("<take>")
        assert "<ack>" in shown

    def test_looking_in_vain_is_not_told(self, lab: QueueBroker, queue: WorkQueue) -> None:
        with Worker(queue, nothing, name="ada") as ada:
            before = lab.commands()
            assert ada.run_one(timeout=0.15) is None
            assert lab.commands() == before

    def test_every_capability_of_the_queue_is_told(self, lab: QueueBroker) -> None:
        for name in ("work queue", "dead letters", "leases"):
            assert lab.capabilities[name].support in ("native", "emulated")
        for name in ("delayed tasks", "priorities", "unique tasks", "bounded queue"):
            assert lab.capabilities[name].why

    def test_the_trace_tells_a_tasks_life(
        self, lab: QueueBroker, brief: WorkQueue, in_time: InTime
    ) -> None:
        queue = WorkQueue(lab, "rebooking", lease=LEASE_S, sender="desk", kind=brief.options.kind)
        lab.trace.clear()
        queue.put({"flight": "B6 739"}, id="t")
        ada = Worker(brief, nothing, name="ada")
        ada.take()
        ada.crash()
        in_time(queue.recover)

        def handler(task: Task) -> None:
            if task.attempt == 2:
                raise OSError("no line")

        with Worker(queue, handler, name="bob", retry=NOW) as bob:
            bob.run_one()
            in_time(bob.run_one)
        story = [(e.actor, str(e.action)) for e in lab.trace.select(message_id="t")]
        assert story == [
            ("desk", "sent"),
            ("broker", "accepted"),
            ("ada", "delivered"),
            ("ada", "crashed"),
            ("broker", "recovered"),
            ("bob", "redelivered"),
            ("bob", "retrying"),
            ("bob", "redelivered"),
            ("bob", "acked"),
        ]
        assert {event.channel for event in lab.trace} == {"rebooking"}
        assert lab.trace.select("sent")[0].label == "B6 739"
        assert [e.detail for e in lab.trace.select("redelivered")] == ["attempt 2", "attempt 3"]


def deterministic_story(lab: Any, kind: str) -> list[tuple[Any, ...]]:
    """The same day at the desk; on a StepClock it must give the same trace to the last digit."""
    queue = WorkQueue(lab, "rebooking", lease=100, kind=kind)
    queue.put_many([NewTask({"flight": f"B6 {n}"}, id=f"B6 {n}", priority=n % 3) for n in range(6)])
    queue.put("later", delay=50)

    def handler(task: Task) -> Any:
        if task.content == {"flight": "B6 4"}:
            return Reject("no seat")
        if task.content == {"flight": "B6 1"} and task.attempt < 3:
            raise OSError("no line")
        return None

    ada = Worker(queue, handler, name="ada", prefetch=2)
    ada.run_one()
    ada.crash()
    lab.clock.advance(200)
    policy = RetryPolicy(first=5, cap=60, seed=7)
    with Worker(queue, handler, name="bob", retry=policy) as bob:
        for _ in range(12):
            bob.run_one()
            lab.clock.advance(60)
    queue.redrive()
    with Worker(queue, nothing, name="eve") as eve:
        eve.run()
    rows = [(e.time, e.actor, str(e.action), e.message_id, e.label, e.detail) for e in lab.trace]
    return [*rows, json.dumps(bob.stats().counts()), repr(bob.stats()), repr(queue.depth())]
