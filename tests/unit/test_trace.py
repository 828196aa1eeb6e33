"""The record of a conversation: what it keeps, finds, counts and shows."""

from __future__ import annotations

import threading
import time

import pytest

from labkit import Action, StepClock, SystemClock, Trace
from labkit.errors import ConfigurationError


@pytest.fixture
def trace() -> Trace:
    """Tower sends two messages, the board gets one and loses one. A second between the events."""
    trace = Trace(StepClock())
    trace.record("board", Action.SUBSCRIBED, channel="flights.JFK")
    trace.record("tower", Action.SENT, channel="flights.JFK", message_id="m1", label="B6 739 left")
    trace.record("broker", Action.ACCEPTED, channel="flights.JFK", message_id="m1", detail="1")
    trace.record("board", Action.DELIVERED, channel="flights.JFK", message_id="m1")
    trace.record("tower", Action.SENT, channel="flights.EWR", message_id="m2")
    trace.record("board", Action.LOST, channel="flights.EWR", message_id="m2")
    return trace


def test_time_starts_with_the_first_event(trace: Trace) -> None:
    assert [event.time for event in trace] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_an_event_of_the_past_stands_at_its_time() -> None:
    clock = StepClock(tick=0.0)
    trace = Trace(clock)
    trace.record("board", Action.CONNECTED)
    noticed = clock.now() + 2.5
    clock.advance(10)

    trace.record("board", Action.CONNECTION_LOST, at=noticed)
    trace.record("board", Action.RECONNECTED)

    assert [event.time for event in trace] == pytest.approx([0.0, 2.5, 10.0])


def test_a_first_event_of_the_past_is_the_beginning() -> None:
    clock = StepClock(tick=0.0)
    trace = Trace(clock)

    trace.record("board", Action.CONNECTION_LOST, at=clock.now() - 3)
    trace.record("board", Action.RECONNECTED)

    assert [event.time for event in trace] == pytest.approx([0.0, 3.0])


def test_events_are_selected_by_what_who_where_and_which(trace: Trace) -> None:
    assert [e.message_id for e in trace.select(Action.SENT)] == ["m1", "m2"]
    assert [e.message_id for e in trace.select("sent")] == ["m1", "m2"]
    assert [e.action for e in trace.select("sent", "lost", channel="flights.EWR")] == [
        Action.SENT,
        Action.LOST,
    ]
    assert [e.actor for e in trace.select(message_id="m1")] == ["tower", "broker", "board"]
    assert [e.action for e in trace.select(actor="board", channel="flights.JFK")] == [
        Action.SUBSCRIBED,
        Action.DELIVERED,
    ]
    assert trace.select() == trace.events
    assert trace.select(actor="nobody") == ()


def test_an_action_that_does_not_exist_is_not_silently_absent(trace: Trace) -> None:
    with pytest.raises(ValueError, match="delivred"):
        trace.select("delivred")


def test_counting_is_selecting(trace: Trace) -> None:
    assert trace.count("sent") == 2
    assert trace.count("sent", "lost") == 3
    assert trace.count(actor="board") == 3
    assert trace.count("failed") == 0
    assert trace.count() == len(trace) == 6
    assert trace.counts() == {
        "subscribed": 1,
        "sent": 2,
        "accepted": 1,
        "delivered": 1,
        "lost": 1,
    }


def test_it_is_bounded_and_says_how_much_it_forgot() -> None:
    trace = Trace(StepClock(), capacity=3)

    for number in range(10):
        trace.record("tower", Action.SENT, message_id=f"m{number}")

    assert [event.message_id for event in trace] == ["m7", "m8", "m9"]
    assert len(trace) == 3
    assert trace.forgotten == 7
    assert trace.events[0].time == 7.0, "time still starts with the first event of all"


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_trace_without_room_is_refused(capacity: int) -> None:
    with pytest.raises(ConfigurationError, match=f"capacity={capacity}"):
        Trace(capacity=capacity)


def test_cleared_it_starts_again(trace: Trace) -> None:
    trace.forgotten = 5
    trace.clear()
    assert (len(trace), trace.forgotten, trace.counts()) == (0, 0, {})

    trace.record("tower", Action.SENT)

    assert trace.events[0].time == 0.0


def test_switched_off_it_records_nothing_and_reads_no_clock() -> None:
    clock = StepClock()
    trace = Trace(clock, enabled=False)

    trace.record("tower", Action.SENT)

    assert len(trace) == 0
    assert clock.monotonic_ns() == 0

    trace.enabled = True
    trace.record("tower", Action.SENT)
    assert len(trace) == 1


class HesitantClock(StepClock):
    """Gives way to other threads between reading the time and telling it."""

    def now(self) -> float:
        reading = super().now()
        time.sleep(0.0005)
        return reading


def test_events_of_several_threads_stand_in_the_order_of_their_times() -> None:
    trace = Trace(HesitantClock())

    def write(name: str) -> None:
        for _ in range(20):
            trace.record(name, Action.SENT)

    threads = [threading.Thread(target=write, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [event.time for event in trace] == [float(second) for second in range(80)]


def test_several_threads_may_write_while_another_reads() -> None:
    writers, each = 8, 500
    trace = Trace(SystemClock(), capacity=writers * each // 2)
    ready = threading.Barrier(writers + 1)
    errors: list[Exception] = []

    def write(name: str) -> None:
        ready.wait()
        for number in range(each):
            trace.record(name, Action.SENT, message_id=str(number))

    def read() -> None:
        ready.wait()
        try:
            while any(thread.is_alive() for thread in threads):
                times = [event.time for event in trace]
                assert times == sorted(times)
                trace.count("sent")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(f"w{i}",)) for i in range(writers)]
    reader = threading.Thread(target=read)
    for thread in [*threads, reader]:
        thread.start()
    for thread in [*threads, reader]:
        thread.join(30)

    assert errors == []
    assert len(trace) + trace.forgotten == writers * each, "no event was written over"
    for name in {event.actor for event in trace}:
        numbers = [int(event.message_id or -1) for event in trace.select(actor=name)]
        assert numbers == list(range(each - len(numbers), each)), "each thread's events in order"


def test_as_a_frame_it_has_one_row_an_event(trace: Trace) -> None:
    frame = trace.to_frame()

    assert list(frame.columns) == [
        "time_s",
        "actor",
        "action",
        "channel",
        "message_id",
        "label",
        "detail",
    ]
    assert len(frame) == len(trace)
    assert frame["time_s"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert frame["action"].tolist()[:2] == ["subscribed", "sent"]
    assert type(frame["action"].iloc[0]) is str
    assert frame.iloc[1].to_dict() == {
        "time_s": 1.0,
        "actor": "tower",
        "action": "sent",
        "channel": "flights.JFK",
        "message_id": "m1",
        "label": "B6 739 left",
        "detail": "",
    }


def test_an_empty_one_has_the_same_columns() -> None:
    assert list(Trace().to_frame().columns) == list(Trace(StepClock()).to_frame().columns)
    assert len(Trace().to_frame()) == 0
    assert repr(Trace()) == "Trace(0 events)"
    assert "Trace: 0 events" in Trace()._repr_html_()


def test_its_repr_says_what_happened(trace: Trace) -> None:
    assert repr(trace).startswith("Trace(6 events: ")
    assert "2 sent" in repr(trace)


def test_a_notebook_shows_each_event(trace: Trace) -> None:
    html = trace._repr_html_()

    assert html.count("<tr>") == 1 + len(trace)
    for text in ("Trace: 6 events", "B6 739 left", "flights.EWR", "1.000", "delivered", "m2"):
        assert text in html
    assert "None" not in html


def test_a_long_one_is_cut_in_a_notebook_and_says_so() -> None:
    trace = Trace(StepClock())
    for _ in range(100):
        trace.record("tower", Action.SENT)

    html = trace._repr_html_()

    assert html.count("<tr>") == 1 + 60
    assert "100 events, the first 60 shown" in html


def test_a_notebook_shows_markup_as_text() -> None:
    evil = "<script>alert('x')</script>"
    trace = Trace()
    trace.record(evil, Action.SENT, channel=evil, message_id=evil, label=evil, detail=evil)
    trace.record("tower", Action.SENT, message_id=f"{evil}&\"'")

    html = trace._repr_html_()

    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 5
    assert "&amp;&quot;&#x27;" in html
