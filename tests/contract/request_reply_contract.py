"""What request/reply promises on every broker. A broker's test class inherits these tests."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from helpers import eventually

from labkit import Message, Requester, Responder, StepClock, Trace
from labkit.broker import ReplyBroker
from labkit.errors import (
    ConfigurationError,
    LabkitError,
    NoResponder,
    NotConnected,
    RemoteError,
    RequestTimeout,
    ValidationError,
)


def double(request: Message) -> Any:
    return request.content * 2


def one_responder(lab: ReplyBroker) -> int | None:
    """What the broker says of a request to one responder: 1, or that it does not count them."""
    uncounted = any(
        row.name == "responder count" and row.support == "absent" for row in lab.capabilities
    )
    return None if uncounted else 1


class RequestReplyContract:
    """Inherit, and give a fixture `lab`: an open broker with an empty namespace of its own."""

    @pytest.fixture
    def gate(self, lab: ReplyBroker) -> Iterator[Requester]:
        with Requester(lab, "gate") as requester:
            yield requester

    @pytest.fixture
    def desk(self, lab: ReplyBroker) -> Iterator[Responder]:
        with Responder(lab, "seats", double, name="desk") as responder:
            yield responder

    @pytest.fixture
    def serve(self, lab: ReplyBroker) -> Iterator[Callable[..., Responder]]:
        """Starts responders in the background."""
        started: list[Responder] = []

        def start(service: str, handler: Callable[[Message], Any], **options: Any) -> Responder:
            responder = Responder(lab, service, handler, **options).connect()
            started.append(responder)
            return responder.start()

        yield start
        for responder in started:
            responder.disconnect()

    # --- asking and answering, step by step ---------------------------------------------------

    def test_a_question_in_three_steps(self, gate: Requester, desk: Responder) -> None:
        pending = gate.send("seats", 21, type="seat.find", metadata={"priority": "high"})
        served = desk.serve_one()
        reply = gate.collect(pending)

        assert served.outcome == "replied"
        assert served.request.type == "seat.find"
        assert served.request.sender == "gate"
        assert served.request.metadata["priority"] == "high"
        assert served.request.metadata["attempt"] == 1
        assert (reply.content, reply.responder, reply.service) == (42, "desk", "seats")
        assert reply.message.type == "reply"
        assert reply.message.metadata["correlation_id"] == pending.correlation_id
        assert reply.seconds > 0

    def test_a_question_in_one_step(self, gate: Requester, serve: Callable) -> None:
        serve("seats", double)
        assert gate.request("seats", 21).content == 42

    def test_serving_takes_what_is_there(self, gate: Requester, desk: Responder) -> None:
        pending = [gate.send("seats", n) for n in range(5)]
        assert desk.serve_one(timeout=1).outcome == "replied"
        assert len(desk.serve(max_requests=2)) == 2
        assert len(desk.serve()) == 2
        assert desk.serve_one() is None
        assert [gate.collect(one).content for one in pending] == [0, 2, 4, 6, 8]

    def test_replies_are_taken_in_any_order(self, gate: Requester, desk: Responder) -> None:
        first, second = gate.send("seats", 1), gate.send("seats", 2)
        desk.serve()
        assert gate.collect(second).content == 4
        assert gate.collect(first).content == 2
        assert gate.collect(first).content == 2  # it has not changed

    def test_hundreds_at_once_in_order(self, gate: Requester, serve: Callable) -> None:
        serve("seats", double)
        replies = gate.request_many("seats", range(1200), timeout=20)
        assert [reply.content for reply in replies] == [2 * n for n in range(1200)]
        stats = gate.stats()
        assert (stats.messages, stats.replied, stats.late) == (1200, 1200, 0)
        assert stats.latency.samples == 1200

    def test_one_bad_question_among_many(self, gate: Requester, serve: Callable) -> None:
        serve("seats", double)
        good, bad, also_good = gate.request_many("seats", [1, {2: 3}, 4])
        assert (good.content, also_good.content) == (2, 8)
        assert isinstance(bad, ValidationError)

    def test_threads_share_one_requester(self, gate: Requester, serve: Callable) -> None:
        serve("seats", double, concurrency=4)
        wrong = []

        def ask(start: int) -> None:
            for n in range(start, start + 40):
                if gate.request("seats", n, 10).content != 2 * n:
                    wrong.append(n)

        threads = [threading.Thread(target=ask, args=(1000 * n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert gate.stats().replied == 240
        assert wrong == []

    def test_two_requesters_do_not_meet(
        self, lab: ReplyBroker, gate: Requester, desk: Responder
    ) -> None:
        with Requester(lab, "gate") as other:  # even under the same name
            ours, theirs = gate.send("seats", 1), other.send("seats", 2)
            desk.serve()
            assert (gate.collect(ours).content, other.collect(theirs).content) == (2, 4)
            assert gate.stats().messages == other.stats().messages == 1

    def test_a_handler_may_ask_another_service(
        self, lab: ReplyBroker, gate: Requester, serve: Callable
    ) -> None:
        with Requester(lab, "desk") as inner:
            serve("prices", lambda request: request.content + 1)
            serve("seats", lambda request: inner.request("prices", request.content).content * 10)
            assert gate.request("seats", 4).content == 50

    # --- errors as replies --------------------------------------------------------------------

    def test_an_error_comes_back_as_one(self, gate: Requester, serve: Callable) -> None:
        desk = serve("seats", lambda request: {}[request.content], name="desk")
        with pytest.raises(RemoteError, match=r"'desk' could not answer .* KeyError: '7A'") as told:
            gate.request("seats", "7A")
        error = told.value
        assert (error.remote_type, error.remote_message) == ("KeyError", "'7A'")
        assert error.remote_traceback is None
        with pytest.raises(RemoteError):
            gate.request("seats", "7B")  # it goes on
        assert desk.wait_for(2)
        stats = desk.stats()
        assert (stats.handler_errors, stats.replied) == (2, 0)
        assert stats.errors[0].error == "KeyError: '7A'"
        assert gate.stats().remote_errors == 2

    def test_a_traceback_is_told_if_it_may_be(self, gate: Requester, serve: Callable) -> None:
        serve("seats", lambda request: 1 / request.content, expose_traceback=True)
        with pytest.raises(RemoteError) as told:
            gate.request("seats", 0)
        assert "request_reply_contract.py" in told.value.remote_traceback

    @pytest.mark.parametrize(
        ("result", "why"),
        [
            (object(), "content: expected"),
            ({1: 2}, "str keys"),
            (float("nan"), "finite"),
            ("\ud800", "Unicode"),
            ("x" * 5000, "at most 2,000 bytes"),
        ],
    )
    def test_a_result_that_cannot_be_sent_is_an_error(
        self, gate: Requester, serve: Callable, result: object, why: str
    ) -> None:
        desk = serve("seats", lambda _: result, max_bytes=2000)
        with pytest.raises(RemoteError, match="what the handler returned cannot be sent") as told:
            gate.request("seats", 1)
        assert why in told.value.remote_message
        assert desk.serving

    @pytest.mark.parametrize(
        "error", [SystemExit(3), ValueError("\ud800"), ValueError("x" * 2_000_000)]
    )
    def test_no_exception_ends_a_responder(
        self, gate: Requester, serve: Callable, error: BaseException
    ) -> None:
        def handler(_: Message) -> None:
            raise error

        desk = serve("seats", handler)
        with pytest.raises(RemoteError) as told:
            gate.request("seats", 1)
        assert told.value.remote_type == type(error).__name__
        assert desk.serving

    # --- nobody, or too late ------------------------------------------------------------------

    def test_nobody_serves_is_known_at_once(self, gate: Requester) -> None:
        began = time.monotonic()
        with pytest.raises(NoResponder, match=r"Nobody serves 'seats'.*Responder"):
            gate.request("seats", 1, timeout=30)
        assert time.monotonic() - began < 0.5
        assert gate.stats().no_responder == 1
        [one, two] = gate.request_many("seats", [1, 2])
        assert isinstance(one, NoResponder)
        assert isinstance(two, NoResponder)

    def test_a_responder_that_left_is_not_there(self, lab: ReplyBroker, gate: Requester) -> None:
        with Responder(lab, "seats", double) as desk:
            pending = gate.send("seats", 1)
            desk.serve_one()
            assert gate.collect(pending).content == 2
        with pytest.raises(NoResponder):
            gate.request("seats", 1)

    def test_a_stopped_responder_is_not_there_until_it_starts(
        self, gate: Requester, serve: Callable
    ) -> None:
        desk = serve("seats", double)
        assert desk.stop()
        with pytest.raises(NoResponder):
            gate.request("seats", 1)
        desk.start()
        assert gate.request("seats", 1).content == 2

    def test_a_dead_responder_is_missed_after_its_presence(
        self, lab: ReplyBroker, gate: Requester
    ) -> None:
        desk = Responder(lab, "seats", double, presence=0.4).connect()
        lost = gate.send("seats", "in hand")
        assert desk.crash().content == "in hand"
        with pytest.raises(RequestTimeout):  # it still counts as there
            gate.request("seats", 1, timeout=0.01)

        def nobody() -> bool:
            try:
                gate.request("seats", 1, timeout=0.01)
            except NoResponder:
                return True
            except RequestTimeout:
                return False
            return False

        eventually(nobody, timeout=5, every=0.05)
        with pytest.raises(RequestTimeout):
            gate.collect(lost, timeout=0)
        with Responder(lab, "seats", double) as again:  # who comes late serves what comes then
            pending = gate.send("seats", 3)
            again.serve()
            assert gate.collect(pending).content == 6

    def test_a_long_handler_does_not_make_its_service_look_dead(
        self, gate: Requester, serve: Callable
    ) -> None:
        release = threading.Event()
        serve("seats", lambda _: release.wait(10), presence=0.3)
        slow = gate.send("seats", 1, 20)
        until = time.monotonic() + 1.0
        while time.monotonic() < until:  # more than three times its presence
            with pytest.raises(RequestTimeout):
                gate.request("seats", 2, timeout=0.1)
        release.set()
        assert gate.collect(slow).content is True

    def test_a_time_out_says_that_the_work_may_have_been_done(
        self, gate: Requester, desk: Responder
    ) -> None:
        with pytest.raises(RequestTimeout, match="may have done the work or not") as told:
            gate.request("seats", 1, timeout=0.05)
        assert isinstance(told.value, TimeoutError)
        assert told.value.service == "seats"
        assert gate.stats().timed_out == 1
        assert desk.connected

    def test_a_late_reply_is_given_to_nobody(self, gate: Requester, desk: Responder) -> None:
        first = gate.send("seats", 1, timeout=60)
        with pytest.raises(RequestTimeout):
            gate.collect(first, timeout=0)
        assert desk.serve_one().outcome == "replied"  # its deadline has not passed
        second = gate.send("seats", 2)
        desk.serve_one()
        assert gate.collect(second).content == 4
        stats = gate.stats()
        assert (stats.late, stats.replied, stats.timed_out) == (1, 1, 1)
        assert gate._lab.trace.count("late reply") == 1

    def test_draining_counts_what_came_late(self, gate: Requester, desk: Responder) -> None:
        pending = gate.send("seats", 1, timeout=60)
        with pytest.raises(RequestTimeout):
            gate.collect(pending, timeout=0)
        assert gate.drain() == 0
        desk.serve_one()
        assert gate.drain() == 1
        assert gate.stats().late == 1

    @pytest.mark.parametrize("call", ["request", "request_many", "scatter_gather"])
    def test_ctrl_c_gives_up_what_was_waited_for(
        self, gate: Requester, desk: Responder, call: str
    ) -> None:
        asks = {
            "request": lambda: gate.request("seats", 1, timeout=20),
            "request_many": lambda: gate.request_many("seats", [1, 2, 3], timeout=20),
            "scatter_gather": lambda: gate.scatter_gather(["seats"], 1, timeout=20),
        }
        inbox = gate._collector.require_inbox()
        poll, inbox.poll = inbox.poll, _interrupt
        with pytest.raises(KeyboardInterrupt):
            asks[call]()
        inbox.poll = poll

        count = 3 if call == "request_many" else 1
        assert "0 waiting" in repr(gate)
        assert gate.stats().abandoned == count
        assert len(desk.serve()) == count
        assert gate.drain() == count
        assert gate.stats().late == count

    def test_ctrl_c_while_a_request_leaves_gives_it_up(
        self, gate: Requester, desk: Responder
    ) -> None:
        inbox = gate._collector.require_inbox()
        send, inbox.send = inbox.send, _interrupt
        for ask in (gate.request, gate.send):
            with pytest.raises(KeyboardInterrupt):
                ask("seats", 1)
        inbox.send = send
        assert "0 waiting" in repr(gate)
        assert gate.stats().abandoned == 2
        assert desk.serve() == []

    def test_an_expired_request_is_dropped_and_counted(
        self, gate: Requester, desk: Responder
    ) -> None:
        with pytest.raises(RequestTimeout):
            gate.request("seats", 1, timeout=0.02)
        served = desk.serve_one()
        assert served.outcome == "expired"
        assert (desk.stats().expired, desk.stats().replied) == (1, 0)
        assert gate.drain() == 0

    def test_other_hosts_clocks_get_some_grace(self, lab: ReplyBroker) -> None:
        inbox = lab.open_inbox(60)

        def outcome(overdue_s: float) -> str:
            facts = {
                "correlation_id": "1",
                "reply_to": inbox.address,
                "deadline": time.time() - overdue_s,
            }
            body = Message.new("request", 1, sender="far away", metadata=facts).encode()
            with Responder(lab, "seats", double, grace=30) as desk:
                assert inbox.send("seats", [body], 60) == [one_responder(lab)]
                return desk.serve_one().outcome

        assert outcome(overdue_s=10) == "replied"
        assert outcome(overdue_s=100) == "expired"
        inbox.close()

    def test_duplicates_and_strangers_are_counted(
        self, lab: ReplyBroker, gate: Requester, desk: Responder
    ) -> None:
        pending = gate.send("seats", 1)
        address = pending.message.metadata["reply_to"]
        desk.serve_one()
        reply = gate.collect(pending).message
        lab.send_reply(address, reply.encode())
        stranger = Message.new("reply", 9, sender="x", metadata={"correlation_id": "never/1"})
        lab.send_reply(address, stranger.encode())
        lab.send_reply(address, b"\xff nothing to read")
        lab.send_reply(address, Message.new("reply", 9, sender="x").encode())
        assert gate.drain() >= 1
        eventually(lambda: gate.drain() == 0)
        stats = gate.stats()
        assert (stats.duplicates, stats.unknown, stats.unreadable) == (1, 1, 2)
        assert {record.reason for record in stats.decode_errors} >= {
            "metadata.correlation_id: expected a non-empty str"
        }

    def test_what_is_no_request_ends_nothing(
        self, lab: ReplyBroker, gate: Requester, desk: Responder
    ) -> None:
        inbox = lab.open_inbox(60)
        nearly = Message.new("request", 1, sender="x", metadata={"correlation_id": "1"})
        odd = nearly.with_metadata(reply_to=inbox.address, deadline="soon")
        bodies = [b"", b"\xff\x00", nearly.encode(), odd.encode()]
        assert inbox.send("seats", bodies, 60) == [one_responder(lab)] * 4
        pending = gate.send("seats", 1)
        outcomes = [served.outcome for served in desk.serve()]
        reasons = [record.reason for record in desk.stats().decode_errors]
        if lab.capabilities["requests in order"].support == "absent":
            outcomes.sort(key=lambda outcome: outcome == "replied")
            reasons.sort(key=lambda reason: ("metadata.r" in reason) + 2 * ("deadline" in reason))
        assert outcomes == ["unreadable"] * 4 + ["replied"]
        assert gate.collect(pending).content == 2
        assert reasons[2:] == [
            "metadata.reply_to: expected a non-empty str",
            "metadata.deadline: expected seconds since 1970",
        ]
        inbox.close()

    def test_a_reply_to_a_closed_inbox_is_known_to_reach_nobody(
        self, lab: ReplyBroker, desk: Responder
    ) -> None:
        with Requester(lab, "gone") as gone:
            gone.send("seats", 1)
        if lab.capabilities["closed inbox known"].support == "absent":
            assert desk.serve_one().outcome == "replied"
            return
        assert desk.serve_one().outcome == "no inbox"
        assert (desk.stats().no_inbox, desk.stats().replied) == (1, 0)
        assert gone.stats().abandoned == 1

    # --- several services, several responders -------------------------------------------------

    def test_scatter_and_gather(self, gate: Requester, serve: Callable) -> None:
        release = threading.Event()
        serve("fast", lambda _: "fast")
        serve("broken", lambda _: 1 / 0)
        serve("slow", lambda _: release.wait(10))
        gathered = gate.scatter_gather(["slow", "fast", "broken", "nobody"], 1, timeout=0.4)
        release.set()
        assert {name: reply.content for name, reply in gathered.replies.items()} == {"fast": "fast"}
        assert gathered.missing == ("slow",)
        assert isinstance(gathered.errors["broken"], RemoteError)
        assert isinstance(gathered.errors["nobody"], NoResponder)
        assert "fast: replied 'fast'" in repr(gathered)
        assert "1 of 4 replied" in gathered._repr_html_()
        assert list(gathered.to_frame()["outcome"]) == [
            "replied",
            "missing",
            "RemoteError",
            "NoResponder",
        ]

    def test_the_first_answers_are_enough(self, gate: Requester, serve: Callable) -> None:
        release = threading.Event()
        serve("slow", lambda _: release.wait(10))
        for name in ("one", "two"):
            serve(name, double)
        began = time.monotonic()
        gathered = gate.scatter_gather(["slow", "one", "two"], 3, first=2, timeout=30)
        assert time.monotonic() - began < 10
        assert set(gathered.replies) == {"one", "two"}
        assert gathered.missing == ("slow",)
        release.set()
        eventually(lambda: gate.drain() == 0 and gate.stats().late == 1)
        assert gate.stats().abandoned == 1

    def test_several_responders_share_the_load(self, gate: Requester, serve: Callable) -> None:
        together = threading.Barrier(3)

        def handler(request: Message) -> Any:
            if request.content < 3:
                together.wait(10)  # only three of them get past this
            return request.content

        desks = [serve("seats", handler, name=f"desk-{n}") for n in range(3)]
        replies = gate.request_many("seats", range(60), timeout=20)
        assert [reply.content for reply in replies] == list(range(60))
        assert {reply.responder for reply in replies} == {"desk-0", "desk-1", "desk-2"}
        eventually(lambda: sum(desk.stats().replied for desk in desks) == 60)

    def test_no_more_at_once_than_its_concurrency(self, gate: Requester, serve: Callable) -> None:
        lock, busy, most = threading.Lock(), 0, 0
        three = threading.Barrier(3)

        def handler(request: Message) -> Any:
            nonlocal busy, most
            with lock:
                busy += 1
                most = max(most, busy)
            if request.content < 3:
                three.wait(10)  # three are in here at once
            with lock:
                busy -= 1
            return request.content

        desk = serve("seats", handler, concurrency=3)
        replies = gate.request_many("seats", range(60), timeout=20)
        assert [reply.content for reply in replies] == list(range(60))
        assert most == 3
        assert desk.stop()

    # --- starting, stopping, dying ------------------------------------------------------------

    def test_stopping_answers_what_is_in_hand(self, gate: Requester, serve: Callable) -> None:
        started, release = threading.Event(), threading.Event()

        def handler(_: Message) -> str:
            started.set()
            release.wait(10)
            return "done"

        for concurrency in (1, 2):
            started.clear()
            release.clear()
            desk = serve("seats", handler, concurrency=concurrency)
            pending = gate.send("seats", 1, 20)
            assert started.wait(10)
            assert not desk.stop(timeout=0.05)
            release.set()
            assert gate.collect(pending).content == "done"
            assert desk.stop()

    def test_a_crash_leaves_no_reply(self, gate: Requester, serve: Callable) -> None:
        for concurrency in (1, 2):
            started, release = threading.Event(), threading.Event()

            def handler(_: Message, started: Any = started, release: Any = release) -> str:
                started.set()
                release.wait(10)
                return "too late"

            desk = serve("seats", handler, concurrency=concurrency, presence=0.5)
            pending = gate.send("seats", 1, 20)
            assert started.wait(10)
            desk.crash()
            release.set()
            with pytest.raises(RequestTimeout):
                gate.collect(pending, timeout=0.3)
            assert desk.stats().replied == 0
            with pytest.raises(NotConnected):
                desk.serve_one()

    def test_closing_an_end_ends_the_wait_of_another_thread(self, lab: ReplyBroker) -> None:
        for open_end in (
            lambda: lab.open_service("seats", "desk", 5.0),
            lambda: lab.open_inbox(60.0),
        ):
            for _ in range(5):
                end, got = open_end(), []
                began = threading.Event()

                def wait(end: Any = end, got: Any = got, began: Any = began) -> None:
                    began.set()
                    with contextlib.suppress(NotConnected):  # closed before it began
                        got.append(end.poll(1, 30.0))

                thread = threading.Thread(target=wait)
                thread.start()
                assert began.wait(5)
                end.close()
                thread.join(5)
                assert not thread.is_alive()
                assert got in ([], [[]])

    def test_a_responder_that_gave_up_takes_nothing_more(
        self, lab: ReplyBroker, gate: Requester
    ) -> None:
        with Responder(lab, "seats", double, name="other") as other:
            for concurrency in (1, 2):
                desk = Responder(lab, "seats", double, name="desk", concurrency=concurrency)
                desk.connect()
                for n in range(8):
                    desk.start()
                    assert desk.stop(drain=False)  # it had nothing in hand
                    assert not desk.serving
                    pending = gate.send("seats", n)
                    assert other.serve_one(timeout=2).outcome == "replied"
                    assert gate.collect(pending).content == 2 * n
                desk.disconnect()
                assert (desk.stats().messages, desk.stats().connections_lost) == (0, 0)

    def test_a_crash_while_it_waits_takes_nothing_more(
        self, lab: ReplyBroker, gate: Requester
    ) -> None:
        with Responder(lab, "seats", double, name="other") as other:
            for n in range(5):
                desk = Responder(lab, "seats", double, name="desk", presence=0.2).connect().start()
                desk.crash()
                eventually(lambda desk=desk: not desk.serving)
                pending = gate.send("seats", n)
                assert other.serve_one(timeout=2).outcome == "replied"
                assert gate.collect(pending).content == 2 * n
                assert (desk.stats().messages, desk.stats().connections_lost) == (0, 0)

    def test_what_comes_after_a_crash_waits_for_one_that_is_busy(
        self, lab: ReplyBroker, gate: Requester, serve: Callable
    ) -> None:
        serve("meanwhile", double)
        with Responder(lab, "seats", double, name="other") as other:
            for n in range(5):
                for _ in range(2):  # they could hand it to each other, too
                    Responder(lab, "seats", double, name="desk", presence=0.5).connect().crash()
                pending = gate.send("seats", n, timeout=30)
                for _ in range(50):
                    gate.request("meanwhile", 1)
                assert other.serve_one(timeout=5).outcome == "replied"
                assert gate.collect(pending).content == 2 * n

    def test_a_request_that_comes_as_the_threads_go_is_answered(
        self, lab: ReplyBroker, gate: Requester
    ) -> None:
        with Responder(lab, "seats", double, concurrency=2) as desk:
            pool = ThreadPoolExecutor(2)
            pool.shutdown()
            pending = gate.send("seats", 21)
            assert desk._crew._free.acquire(timeout=1)
            desk._crew.hand_over(lambda: desk._post.take(1.0), pool)
            assert gate.collect(pending).content == 42
            assert desk.stop()  # every thread is free

    def test_a_handler_may_stop_its_responder(self, gate: Requester, serve: Callable) -> None:
        def handler(_: Message) -> str:
            desk.stop()
            return "last one"

        desk = serve("seats", handler)
        assert gate.request("seats", 1).content == "last one"
        eventually(lambda: not desk.serving)

    def test_disconnecting_leaves_no_thread(self, lab: ReplyBroker) -> None:
        before = set(threading.enumerate())
        gate = Requester(lab).connect()
        desk = Responder(lab, "seats", double, concurrency=3).connect().start()
        assert gate.request("seats", 1).content == 2
        for end in (gate, desk):
            end.disconnect()
            end.disconnect()
        eventually(lambda: not set(threading.enumerate()) - before)

    def test_a_disconnected_requester_ends_those_who_wait(
        self, lab: ReplyBroker, desk: Responder
    ) -> None:
        gate = Requester(lab).connect()
        raised: list[LabkitError] = []

        def ask() -> None:
            try:
                gate.request("seats", 1, timeout=30)
            except LabkitError as error:
                raised.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        eventually(lambda: gate.stats().messages == 1)
        gate.disconnect()
        thread.join(10)
        assert len(raised) == 1
        assert desk.connected

    # --- what is refused ----------------------------------------------------------------------

    def test_nothing_works_before_connect(self, lab: ReplyBroker) -> None:
        with pytest.raises(NotConnected, match="connect"):
            Requester(lab).request("seats", 1)
        with pytest.raises(NotConnected, match="connect"):
            Responder(lab, "seats", double).serve_one()
        with pytest.raises(NotConnected, match="connect"):
            Responder(lab, "seats", double).start()

    def test_wrong_arguments_say_what_is_right(self, lab: ReplyBroker, gate: Requester) -> None:
        wrong: list[Callable[[], object]] = [
            lambda: gate.request("seats", 1, timeout=0),
            lambda: gate.request("seats", 1, timeout=float("inf")),
            lambda: Requester(lab, ""),
            lambda: Requester(lab, inbox_life=-1),
            lambda: Requester("redis://…"),
            lambda: Responder(lab, "", double),
            lambda: Responder(lab, "seats", "no function"),
            lambda: Responder(lab, "seats", double, concurrency=0),
            lambda: Responder(lab, "seats", double, presence=0),
            lambda: gate.scatter_gather("seats", 1),
            lambda: gate.scatter_gather(["a", "a"], 1),
            lambda: gate.scatter_gather(["a", "b"], 1, first=3),
        ]
        for call in wrong:
            with pytest.raises(ConfigurationError):
                call()
        with pytest.raises(ValidationError, match="to: expected a service's name"):
            gate.request("", 1)
        with pytest.raises(ValidationError, match="content"):
            gate.request("seats", object())
        assert gate.stats().messages == 0

    def test_steps_and_the_background_do_not_mix(self, serve: Callable) -> None:
        desk = serve("seats", double)
        for step in (desk.serve_one, desk.serve):
            with pytest.raises(ConfigurationError, match="stop"):
                step()

    # --- what is shown ------------------------------------------------------------------------

    def test_everything_can_be_shown(
        self, lab: ReplyBroker, gate: Requester, desk: Responder
    ) -> None:
        pending = gate.send("seats", 1)
        assert "waiting" in repr(pending)
        desk.serve_one()
        reply = gate.collect(pending)
        assert "Reply" in repr(pending)
        assert "from 'desk'" in repr(reply)
        assert "desk" in reply._repr_html_()
        assert "1 replied" in repr(gate.stats())
        assert "1 replied" in repr(desk.stats())
        assert gate.stats().to_frame().loc["seats", "replied"] == 1
        assert "seats" in desk.stats()._repr_html_()
        assert "1 sent, 0 waiting" in repr(gate)
        assert "1 taken" in repr(desk)
        assert "<request>" in repr(lab.commands())
        assert lab.capabilities["request/reply"].why

    def test_the_counts_add_up(self, gate: Requester, serve: Callable) -> None:
        serve("seats", lambda request: 10 / request.content)
        gate.request_many("seats", [1, 2, 0, 5])
        gate.request_many("nobody", [1, 2])
        stats = gate.stats()
        ends = ("replied", "remote_errors", "timed_out", "abandoned", "no_responder", "failed")
        assert stats.messages == sum(getattr(stats, end) for end in ends) == 6

    def test_the_trace_tells_the_whole_story(
        self, lab: ReplyBroker, gate: Requester, desk: Responder
    ) -> None:
        pending = gate.send("seats", {"flight": "B6 739"}, type="seat.find")
        desk._answering._handler = lambda _: "7A"
        desk.serve_one()
        gate.collect(pending)
        story = [(e.actor, str(e.action), e.channel, e.label) for e in lab.trace if e.message_id]
        ask, answer = "B6 739 find", "re: B6 739 find"
        assert story == [
            ("gate", "sent", "seats", ask),
            ("broker", "accepted", "seats", ask),
            ("desk", "delivered", "seats", ask),
            ("desk", "sent", "seats reply", answer),
            ("broker", "accepted", "seats reply", answer),
            ("gate", "delivered", "seats reply", answer),
        ]
        assert len({e.message_id for e in lab.trace if e.message_id}) == 2
        assert all(pending.correlation_id in e.detail for e in lab.trace if e.message_id)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def deterministic_story(lab: ReplyBroker) -> list[tuple]:
    """The same conversation; on a StepClock it must give the same trace to the last digit."""

    def handler(request: Message) -> Any:
        if request.content == "slow":
            lab.clock.advance(60)
        return 10 / request.content

    with Requester(lab, "gate") as gate, Responder(lab, "seats", handler, name="desk") as desk:
        for content in (2, 0, "slow", "expires"):
            pending = gate.send("seats", content, timeout=10)
            if content == "expires":
                lab.clock.advance(11)
            desk.serve_one()
            with contextlib.suppress(RemoteError, RequestTimeout):
                gate.collect(pending)
        gate.request_many("nobody", [1, 2])
        outcomes = {**gate.stats().counts(), **desk.stats().counts()}
    assert outcomes["late"] == outcomes["expired"] == 1
    return [(e.time, e.actor, str(e.action), e.message_id, e.detail) for e in lab.trace]


def step_options() -> dict:
    """Options of `connect` for a repeatable lab."""
    clock = StepClock(tick=0.1)
    return {"clock": clock, "trace": Trace(clock)}
