"""Pictures of queues and requests: what they show is counted in the trace, and can be read."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable, Iterable

import pandas
import pytest
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.text import Text

import labkit
from labkit.broker import Depth
from labkit.clock import StepClock
from labkit.errors import ConfigurationError
from labkit.patterns.request_reply import Requester, Responder
from labkit.patterns.work_queue import RetryPolicy, Worker, WorkQueue
from labkit.plots import (
    LabFigure,
    depth,
    requests,
    retry_waits,
    space_time,
    task_life,
    tasks_per_worker,
)
from labkit.plots._timeline import TimeScale, quiet_span, seconds
from labkit.plots.style import INK, PAPER, SMALL, WIDTH, forget_looks, ink_on
from labkit.trace import Action, Trace, TraceEvent

Draw = Callable[[Iterable[TraceEvent]], LabFigure]


@pytest.fixture(autouse=True)
def _fresh_looks() -> None:
    forget_looks()


def task_event(
    time: float, actor: str, action: Action, key: str | None = None, detail: str = ""
) -> TraceEvent:
    label = "" if key is None else f"rebook {key}"
    return TraceEvent(time, actor, action, "rebooking", key, label, detail)


def put(time: float, key: str) -> list[TraceEvent]:
    return [
        task_event(time, "desk", Action.SENT, key),
        task_event(time + 0.05, "broker", Action.ACCEPTED, key),
    ]


def took(time: float, worker: str, key: str, attempt: int = 1) -> TraceEvent:
    if attempt == 1:
        return task_event(time, worker, Action.DELIVERED, key)
    return task_event(time, worker, Action.REDELIVERED, key, f"attempt {attempt}")


def acked(time: float, worker: str, key: str) -> TraceEvent:
    return task_event(time, worker, Action.ACKED, key)


def again(time: float, worker: str, key: str, delay: float, error: str) -> TraceEvent:
    return task_event(time, worker, Action.RETRYING, key, f"in {delay:g} s: {error}")


def rebooking() -> list[TraceEvent]:
    """Six tasks: three plain, one retried twice, one whose worker dies, one dead letter."""
    keys = ["B6 739", "AA 19", "DL 1743", "UA 1545", "9E 3483", "EV 4117"]
    gone = "gave up after 1 attempts: KeyError: 'flight'"
    return [
        *(event for i, key in enumerate(keys) for event in put(0.1 * i, key)),
        took(1.0, "ann", "B6 739"),
        took(1.1, "bob", "AA 19"),
        task_event(2.0, "bob", Action.CRASHED, "AA 19"),
        acked(2.2, "ann", "B6 739"),
        took(2.4, "ann", "DL 1743"),
        again(3.15, "ann", "DL 1743", 1.4, "ConnectionError: no answer from the seat map"),
        took(3.3, "ann", "UA 1545"),
        acked(4.0, "ann", "UA 1545"),
        took(4.2, "ann", "9E 3483"),
        task_event(4.55, "ann", Action.DEAD, "9E 3483", gone),
        task_event(5.0, "broker", Action.RECOVERED, "AA 19", "from bob, attempt 1"),
        took(5.2, "cyd", "AA 19", 2),
        took(5.4, "ann", "DL 1743", 2),
        again(6.05, "ann", "DL 1743", 0.8, "ConnectionError: no answer"),
        acked(6.4, "cyd", "AA 19"),
        took(6.5, "ann", "EV 4117"),
        took(7.0, "cyd", "DL 1743", 3),
        acked(7.6, "ann", "EV 4117"),
        acked(8.1, "cyd", "DL 1743"),
    ]


def shared(prefetch: int, tasks: int = 16, workers: int = 3) -> list[TraceEvent]:
    """Tasks of which two take long, shared out in batches."""
    dice = random.Random(1)
    left = [(str(i), 4.0 if i in (1, 3) else dice.uniform(0.5, 1.2)) for i in range(tasks)]
    events = [event for i in range(tasks) for event in put(0.01 * i, str(i))]
    free = {f"w{i + 1}": 0.5 + 0.01 * i for i in range(workers)}
    while left:
        worker = min(free, key=lambda name: free[name])
        batch, left = left[:prefetch], left[prefetch:]
        now = free[worker]
        events += [took(now, worker, key) for key, _ in batch]
        for key, long in batch:
            now += long
            events.append(acked(now, worker, key))
        free[worker] = now + 0.02
    return events


def queue_by_chance(seed: int) -> list[TraceEvent]:
    """Anything may happen to tasks, but the same for the same seed."""
    dice = random.Random(seed)
    events: list[TraceEvent] = []
    for i in range(dice.randint(1, 20)):
        key, now = "word " * dice.randint(1, 6) + str(i), dice.uniform(0, 4)
        events += put(now, key)
        for attempt in range(1, dice.randint(1, 5)):
            worker = f"worker {dice.randint(1, 7)}"
            now += dice.uniform(0.05, 2)
            events.append(took(now, worker, key, attempt))
            now += dice.choice([0.0, 0.01, 0.5, 3])
            end = dice.choice(["acked", "again", "dead", "crashed", "returned", "late", "open"])
            if end == "again":
                events.append(again(now, worker, key, dice.choice([0.0, 0.2, 5]), "OSError: " * 9))
                continue
            if end == "returned":
                events.append(task_event(now, worker, Action.RETURNED, key))
                continue
            if end == "crashed":
                events.append(task_event(now, worker, Action.CRASHED, key))
                events.append(task_event(now + 1, "broker", Action.RECOVERED, key))
                now += 1
                continue
            actions = {"acked": Action.ACKED, "dead": Action.DEAD, "late": Action.LATE_ACK}
            if end in actions:
                events.append(task_event(now, worker, actions[end], key))
            break
    return events


def at_once(events: Iterable[TraceEvent]) -> list[TraceEvent]:
    """The same events, all at the same time."""
    return [
        TraceEvent(0, e.actor, e.action, e.channel, e.message_id, e.label, e.detail) for e in events
    ]


class Desk:
    """Events of requests to a seat desk."""

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []

    def note(
        self, time: float, actor: str, action: Action, n: int, detail: str = "", back: str = ""
    ) -> None:
        channel = "seats reply" if back else "seats"
        key = f"{back or 'agent'}/{n}"
        told = detail or f"run.1/{n}"
        self.events.append(TraceEvent(time, actor, action, channel, key, f"flight {n}", told))

    def ask(self, n: int, time: float) -> None:
        self.note(time, "agent", Action.SENT, n)
        self.note(time + 0.05, "broker", Action.ACCEPTED, n, f"for 1 of 2, run.1/{n}")

    def take(self, n: int, time: float, who: str) -> None:
        self.note(time, who, Action.DELIVERED, n)

    def reply(self, n: int, sent: float, who: str, read: float, *, late: bool = False) -> None:
        self.note(sent, who, Action.SENT, n, back=who)
        self.note(sent + 0.05, "broker", Action.ACCEPTED, n, back=who)
        self.note(read, "agent", Action.LATE_REPLY if late else Action.DELIVERED, n, back=who)


def seats() -> list[TraceEvent]:
    """Seven requests, each of which ends differently."""
    desk = Desk()
    desk.ask(1, 0.0)
    desk.take(1, 0.2, "desk 1")
    desk.reply(1, 0.7, "desk 1", 0.85)
    desk.ask(2, 0.15)
    desk.take(2, 0.35, "desk 2")
    desk.note(0.8, "desk 2", Action.FAILED, 2, "KeyError: 'seat'")
    desk.reply(2, 0.9, "desk 2", 1.05)
    desk.ask(3, 1.3)
    desk.take(3, 1.5, "desk 1")
    desk.note(2.3, "agent", Action.TIMED_OUT, 3)
    desk.reply(3, 2.6, "desk 1", 2.75, late=True)
    desk.ask(4, 1.8)
    desk.note(2.8, "agent", Action.TIMED_OUT, 4)
    desk.note(3.0, "desk 2", Action.EXPIRED, 4)
    desk.ask(5, 3.7)
    desk.take(5, 3.9, "desk 2")
    desk.events.append(TraceEvent(4.2, "desk 2", Action.CRASHED))
    desk.note(4.7, "agent", Action.TIMED_OUT, 5)
    desk.note(4.9, "agent", Action.SENT, 6)
    desk.note(4.95, "agent", Action.SEND_FAILED, 6, "NoResponder: nobody serves 'seats'")
    desk.ask(7, 5.0)
    return desk.events


def many_seats(count: int = 24) -> list[TraceEvent]:
    desk = Desk()
    for n in range(1, count + 1):
        desk.ask(n, 0.001 * n)
        desk.take(n, 0.3 + 0.1 * n, f"desk {n % 3}")
        desk.reply(n, 0.38 + 0.1 * n, f"desk {n % 3}", 4 + 0.001 * n)
    return desk.events


def seats_by_chance(seed: int) -> list[TraceEvent]:
    dice = random.Random(seed)
    desk = Desk()
    for n in range(1, dice.randint(2, 22)):
        sent = dice.uniform(0, 5)
        who = f"a desk with a long name, {dice.randint(1, 4)}"
        desk.ask(n, sent)
        if dice.random() < 0.3:
            desk.note(sent + 1, "agent", Action.TIMED_OUT, n)
        if dice.random() < 0.8:
            taken = sent + dice.uniform(0.05, 3)
            desk.take(n, taken, who)
            if dice.random() < 0.8:
                late = dice.random() < 0.3
                desk.reply(n, taken + 0.4, who, taken + dice.uniform(0.5, 2), late=late)
    return desk.events


def samples() -> list[tuple[float, Depth]]:
    dice = random.Random(3)
    ready, delayed, dead = 180, 0, 0
    found = [(0.0, Depth(0, 0, 0, 0))]
    for i in range(80):
        done = min(ready, dice.randint(1, 4))
        ready -= done
        delayed = max(0, delayed + dice.choice([-1, 0, 1]))
        dead += dice.random() < 0.05
        found.append((0.4 + 0.25 * i, Depth(ready, min(4, ready), delayed, dead)))
    return found


def named(figure: Figure, gid: str) -> list[Artist]:
    """The artists whose name begins with `gid`."""
    return figure.findobj(lambda artist: (artist.get_gid() or "").startswith(gid))


def texts(figure: Figure, gid: str = "") -> list[str]:
    found = figure.findobj(Text)
    return [t.get_text() for t in found if (t.get_gid() or "").startswith(gid) and t.get_text()]


def assert_legible(figure: Figure) -> None:
    """No text covers another or leaves the picture, and none is too small."""
    figure.draw_without_rendering()
    found = [t for t in figure.findobj(Text) if t.get_gid() and t.get_text().strip()]
    boxes = [(t, t.get_window_extent()) for t in found]
    height = figure.get_figheight() * figure.dpi
    for text, box in boxes:
        assert text.get_fontsize() >= SMALL, text
        assert box.x0 >= 0, text
        assert box.x1 <= WIDTH, text
        assert box.y0 >= 0, text
        assert box.y1 <= height, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, f"{one.get_text()!r} covers {other.get_text()!r}"


QUEUES = {
    "rebooking": rebooking(),
    "in batches": shared(6),
    "one by one": shared(1),
    "many": shared(8, 180, 4),
    "at once": at_once(rebooking()),
    "nobody came": put(0, "1"),
    "one": [*put(0, "1"), took(1, "w", "1"), acked(2, "w", "1")],
} | {f"chance {seed}": queue_by_chance(seed) for seed in range(12)}

SERVICES = {
    "seats": seats(),
    "many": many_seats(),
    "at once": at_once(seats()),
    "one": many_seats(1),
} | {f"chance {seed}": seats_by_chance(seed) for seed in range(12)}


# --- everything can be read -----------------------------------------------------------------------


@pytest.mark.parametrize("name", QUEUES)
@pytest.mark.parametrize("draw", [task_life, tasks_per_worker, space_time])
def test_every_word_about_tasks_can_be_read(draw: Draw, name: str) -> None:
    if draw is tasks_per_worker and not any(e.action == Action.DELIVERED for e in QUEUES[name]):
        with pytest.raises(ConfigurationError, match="nobody took"):
            draw(QUEUES[name])
        return
    assert_legible(draw(QUEUES[name]))


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("draw", [requests, space_time])
def test_every_word_about_requests_can_be_read(draw: Draw, name: str) -> None:
    assert_legible(draw(SERVICES[name]))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: task_life(rebooking()),
        lambda: tasks_per_worker(shared(6)),
        lambda: space_time(rebooking()),
        lambda: space_time(seats()),
        lambda: requests(seats()),
        lambda: depth(samples()),
        lambda: retry_waits(RetryPolicy(attempts=5, seed=1)),
    ],
)
def test_the_same_picture_is_the_same_bytes(draw: Callable[[], LabFigure]) -> None:
    first = draw()
    png = first.to_png()
    forget_looks()

    assert isinstance(first, LabFigure)
    assert png == draw().to_png()
    assert struct.unpack(">I", png[16:20]) == (WIDTH,)


@pytest.mark.parametrize("draw", [task_life, tasks_per_worker, requests])
def test_an_empty_trace_says_what_to_do(draw: Draw) -> None:
    with pytest.raises(ConfigurationError, match=r"holds no .* to draw: (put|send)"):
        draw(Trace(StepClock()))
    with pytest.raises(ConfigurationError, match="enabled=False"):
        draw(Trace(enabled=False))


@pytest.mark.parametrize("draw", [task_life, tasks_per_worker, requests, space_time])
def test_a_trace_that_forgot_its_beginning_says_so(draw: Draw) -> None:
    events = seats() if draw is requests else rebooking()
    trace = Trace(StepClock(tick=0), capacity=len(events) - 1)
    for e in events:
        about = {"channel": e.channel, "message_id": e.message_id}
        trace.record(e.actor, e.action, **about, label=e.label, detail=e.detail, at=e.time)

    figure = draw(trace)

    assert any("forgot its first 1 event" in text for text in texts(figure, "caption"))
    assert "forgot its first 1 event" in figure.alt_text


# --- a task's life --------------------------------------------------------------------------------


def test_a_life_is_told_in_the_title_and_in_the_alt_text() -> None:
    figure = task_life(rebooking())

    assert figure.headline == (
        "6 tasks: 3 done at the first attempt, 1 after a retry, 1 after bob died and 1 dead letter"
    )
    assert "rebook AA 19: bob from 1.1 s: worker died; cyd from 5.2 s: done." in figure.alt_text
    assert "failed (ConnectionError: no answer from the seat map)" in figure.alt_text


def test_a_life_shows_every_stretch_and_every_end() -> None:
    figure = task_life(rebooking())

    assert len(named(figure, "hands")) == 9
    assert len(named(figure, "done")) == 5
    assert len(named(figure, "cross:failed")) == 2 * 2
    assert len(named(figure, "cross:worker died")) == 2
    assert len(named(figure, "cross:dead letter")) == 2
    assert len(named(figure, "orphaned")) == 1 + 1  # and the legend's
    assert texts(figure, "delay") == ["1.4 s", "0.8 s"]
    assert {"worker died", "KeyError: 'flight'"} <= set(texts(figure, "note"))
    assert texts(figure, "worker").count("ann") >= 4


def test_a_retry_ends_when_its_delay_is_over_and_the_task_waits_on() -> None:
    events = [*put(0, "1"), took(1, "w", "1"), again(2, "w", "1", 1, "E"), took(9, "w", "1", 2)]
    figure = task_life([*events, acked(10, "w", "1")])
    (retry, _) = named(figure, "retry")
    waits = [box.get_bbox() for box in named(figure, "waiting")][1:]

    assert any(abs(box.x0 - retry.get_bbox().x1) < 1 and box.width > 300 for box in waits)


def test_more_tasks_than_fit_are_left_out_and_counted_but_not_the_eventful_ones() -> None:
    events = [e for i in range(30) for e in (*put(i, str(i)), took(i + 0.2, "w", str(i)))]
    events += [acked(i + 0.5, "w", str(i)) for i in range(29)]
    events.append(task_event(29.5, "w", Action.DEAD, "29", "rejected"))
    figure = task_life(events)
    rows = texts(figure, "name")

    assert len(rows) == 12
    assert rows[-1] == "rebook 29"
    assert texts(figure, "caption") == ["12 of 30 tasks shown, 18 left out."]
    assert "30 tasks" in figure.headline
    assert texts(task_life(events, ["3", "1"]), "name") == ["rebook 3", "rebook 1"]
    with pytest.raises(ConfigurationError, match="No task 'x' in this trace; there are 30"):
        task_life(events, ["x"])


def test_a_slow_worker_did_not_die() -> None:
    events = [
        *put(0, "1"),
        took(1, "slow", "1"),
        task_event(3, "broker", Action.RECOVERED, "1", "from slow, attempt 1"),
        took(3.5, "w", "1", 2),
        task_event(4, "slow", Action.LATE_ACK, "1", "was done"),
        acked(5, "w", "1"),
    ]
    figure = task_life(events)

    assert "lease ran out" in texts(figure, "note")
    assert figure.headline == "1 task: 1 after slow was late or died"


def test_what_failed_after_it_was_acknowledged_is_lost() -> None:
    events = [*put(0, "1"), took(1, "w", "1"), acked(1.1, "w", "1")]
    events.append(task_event(2, "w", Action.FAILED, "1", "OSError: gone"))

    assert task_life(events).headline == "1 task: 1 lost"


def test_a_task_that_kills_its_workers_ends_as_a_dead_letter() -> None:
    events = [
        *put(0, "1"),
        took(1, "w", "1"),
        task_event(2, "w", Action.CRASHED, "1"),
        task_event(9, "broker", Action.DEAD, "1", "from w, attempt 1"),
    ]
    figure = task_life(events)

    assert figure.headline == "1 task: 1 dead letter"
    assert named(figure, "cross:worker died")
    assert named(figure, "cross:dead letter")


def test_a_redriven_dead_letter_that_is_done_says_so() -> None:
    events = [*put(0, "1"), took(1, "w", "1"), task_event(2, "w", Action.DEAD, "1", "rejected")]
    events += [took(5, "w", "1"), acked(6, "w", "1")]

    assert task_life(events).headline == "1 task: 1 after a redrive"


def test_a_refused_second_put_changes_nothing() -> None:
    events = [*put(0, "1"), took(1, "w", "1"), task_event(2, "w", Action.DEAD, "1", "rejected")]
    events += [task_event(5, "desk", Action.SENT, "1")]
    events += [task_event(5.1, "broker", Action.DUPLICATE, "1", "refused: this id is in the queue")]

    assert task_life(events).headline == "1 task: 1 dead letter"


# --- tasks per worker -----------------------------------------------------------------------------


def test_batches_leave_others_idle_and_the_title_says_how_long() -> None:
    batches, fair = tasks_per_worker(shared(6)), tasks_per_worker(shared(1))

    assert batches.headline == (
        "16 tasks done; w2 and w3 sat idle for 13 s while w1 and w2 held tasks not begun"
    )
    assert len(named(batches, "held end")) == 5 + 5 + 3
    assert not named(fair, "held")
    assert "busy 96% of the time" in fair.headline


def test_blocks_are_as_many_as_deliveries_and_as_wide_as_the_work() -> None:
    events = [*put(0, "1"), *put(0, "2"), took(1, "w", "1"), took(1, "w", "2")]
    figure = tasks_per_worker([*events, acked(2, "w", "1"), acked(5, "w", "2")])
    first, second = (box.get_bbox().width for box in named(figure, "block"))

    assert second == pytest.approx(3 * first, rel=0.01)
    assert "2 done" in texts(figure, "side")
    assert "busy 4 s" in texts(figure, "side")
    assert figure.headline == "w alone did 2 tasks in 4 s of work"


def test_tasks_acknowledged_together_share_the_time_and_the_legend_says_so() -> None:
    events = [e for key in "123" for e in (*put(0, key), took(1, "w", key))]
    figure = tasks_per_worker([*events, *(acked(4 + i / 1e5, "w", k) for i, k in enumerate("123"))])
    widths = [box.get_bbox().width for box in named(figure, "block")]

    assert max(widths) == pytest.approx(min(widths), rel=0.01)
    assert any("acknowledged together" in text for text in texts(figure, "legend"))


def test_one_who_does_it_all_is_named() -> None:
    events = [e for i in range(8) for e in (*put(0, str(i)), took(1 + i, "w1", str(i)))]
    events += [acked(1.9 + i, "w1", str(i)) for i in range(8)]
    events += [*put(0, "x"), took(1, "w2", "x"), acked(2, "w2", "x")]

    assert tasks_per_worker(events).headline == "w1 did 8 of 9; the others waited 6.9 s"


def test_a_dead_worker_s_lane_ends() -> None:
    figure = tasks_per_worker(rebooking())

    assert figure.headline == "bob died; 5 tasks done: ann 3 and cyd 2"
    assert "died" in texts(figure, "word")
    assert "bob: 0 done and died" in figure.alt_text


# --- depth over time ------------------------------------------------------------------------------


def test_depth_draws_a_line_for_every_state_that_occurred() -> None:
    figure = depth(samples())

    assert len(named(figure, "steps:")) == 4
    assert "ready 0 at first, 178 at most, 0 at the end" in figure.alt_text
    assert len(named(depth([(0, Depth(2, 0, 0, 0)), (1, Depth(0, 0, 0, 0))]), "steps:")) == 1
    assert_legible(figure)


@pytest.mark.parametrize(
    ("counts", "title"),
    [
        ([(5, 0), (3, 0), (0, 0)], "5 unfinished tasks at most, none after 2 s"),
        ([(1, 0), (3, 0), (9, 0)], "The queue grew to 9 unfinished tasks and still grows"),
        ([(9, 0), (4, 1)], "9 unfinished tasks at most, 4 at the end; 1 dead letter"),
        ([(0, 2)], "Nothing waited in the queue; 2 dead letters"),
    ],
)
def test_the_title_of_a_depth_is_its_finding(counts: list[tuple[int, int]], title: str) -> None:
    figure = depth([(i, Depth(ready, 0, 0, dead)) for i, (ready, dead) in enumerate(counts)])
    assert figure.headline == title
    assert_legible(figure)


def test_a_frame_and_pairs_give_the_same_picture() -> None:
    pairs = [(0.0, Depth(3, 1, 2, 0)), (1.0, Depth(0, 0, 0, 1))]
    rows = [(t, d.ready, d.in_flight, d.delayed, d.dead) for t, d in pairs]
    frame = pandas.DataFrame(rows, columns=["time_s", "ready", "in_flight", "delayed", "dead"])

    assert depth(frame).to_png() == depth(pairs).to_png()
    with pytest.raises(ConfigurationError, match="no column 'dead'"):
        depth(frame.drop(columns="dead"))


def test_a_depth_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="No depth to draw"):
        depth([])
    with pytest.raises(ConfigurationError, match="0 or more; at 2 s"):
        depth([(2, Depth(-1, 0, 0, 0))])


# --- requests -------------------------------------------------------------------------------------


def test_every_request_and_reply_is_an_arrow_and_every_end_has_its_word() -> None:
    figure = requests(seats())

    assert len(named(figure, "arrow:request")) == 5
    assert len(named(figure, "arrow:reply")) == 2
    assert len(named(figure, "arrow:late")) == 1
    assert len(named(figure, "wait:")) == 3
    words = texts(figure, "word")
    assert words.count("timed out") == 3
    assert {"late, thrown away", "expired, dropped", "crashed", "error"} <= set(words)
    assert {"no responder", "not taken"} <= set(words)


def test_the_title_counts_what_became_of_requests() -> None:
    assert requests(seats()).headline == (
        "7 requests: 2 answered (1 error), 3 timed out, 1 reply came too late, "
        "1 expired before the work began, 1 died with the responder, 1 could not be sent "
        "and 1 still open"
    )
    assert requests(many_seats(6)).headline == (
        "6 requests, all answered by 3 responders, the slowest after 4 s"
    )


def test_each_pair_has_one_number_and_one_colour() -> None:
    figure = requests(many_seats(6))
    there = [line.get_color() for line in named(figure, "arrow:request")]
    back = [line.get_color() for line in named(figure, "arrow:reply")]

    assert sorted(there) == sorted(back)
    assert len(set(there)) == 6
    assert sorted(texts(figure, "number")) == sorted(2 * "123456")


def test_an_answer_belongs_to_its_correlation_id_whatever_the_order() -> None:
    desk = Desk()
    for n in (1, 2):
        desk.ask(n, n / 10)
        desk.take(n, 1 + n / 10, "desk")
    desk.reply(2, 2.0, "desk", 2.2)
    desk.reply(1, 3.0, "desk", 3.3)

    alt = requests(desk.events).alt_text
    assert "1, flight 1: agent asked seats, desk answered after 3.2 s" in alt
    assert "2, flight 2: agent asked seats, desk answered after 2 s" in alt


def test_too_many_requests_are_left_out_and_counted() -> None:
    figure = requests(many_seats(24))

    assert len(named(figure, "arrow:request")) == 16
    assert texts(figure, "caption") == ["16 of 24 requests shown, 8 left out."]
    assert len(texts(figure, "key")) == 16


def test_a_request_without_a_plain_answer_is_not_left_out() -> None:
    desk = Desk()
    desk.ask(99, 5)
    desk.note(6, "agent", Action.TIMED_OUT, 99)
    figure = requests([*many_seats(24), *desk.events])

    assert texts(figure, "word").count("timed out") == 1
    assert "flight 99" in texts(figure, "key")


def test_requests_to_one_service_can_be_drawn_alone() -> None:
    trace = [*seats(), TraceEvent(1, "agent", Action.SENT, "hotel", "h/1", "a room", "run.1/50")]

    assert requests(trace).headline.startswith("8 requests")
    assert requests(trace, service="hotel").headline == "1 request: 1 still open"
    with pytest.raises(ConfigurationError, match="no request to draw"):
        requests(trace, service="taxi")


# --- space-time pictures of both ------------------------------------------------------------------


def test_a_queue_in_space_and_time() -> None:
    figure = space_time(rebooking())

    assert figure.headline == task_life(rebooking()).headline
    assert len(named(figure, "arrow:delivered")) + len(named(figure, "arrow:redelivered")) == 9
    assert len(named(figure, "acked")) == 5
    assert {"producer", "worker"} <= set(texts(figure, "lane"))
    assert {"6 put", "3 done", "0 done", "2 done"} <= set(texts(figure, "summary"))
    words = texts(figure, "word")
    assert {"crashed", "dead letter", "taken back", "rebook AA 19, attempt 2"} <= set(words)
    assert not named(figure, "nobody")


def test_a_worker_that_crashed_has_no_lane_any_more() -> None:
    figure = space_time(rebooking())
    (cross, _) = named(figure, "crashed")
    x, y = (sum(ends) / 2 for ends in cross.get_data())
    lanes = [line for line in named(figure, "line") if abs(line.get_ydata()[0] - y) < 1]

    assert max(max(line.get_xdata()) for line in lanes) == pytest.approx(x)


def test_a_task_that_nobody_took_waits_with_the_broker() -> None:
    events = [*put(0, "1"), *put(0.5, "2"), took(1, "w", "1"), acked(2, "w", "1")]
    figure = space_time(events)

    assert "not taken" in texts(figure, "word")
    assert figure.headline == "2 tasks: 1 done at the first attempt and 1 not finished"
    assert not named(space_time(put(0, "1")), "nobody")


def test_requests_in_space_and_time() -> None:
    figure = space_time(seats())
    lanes = texts(figure, "lane")

    assert lanes.index("agent") < lanes.index("broker") < lanes.index("desk 1")
    assert figure.headline == requests(seats()).headline
    assert len(named(figure, "arrow:late")) == len(named(figure, "expired")) // 2 == 1
    assert {"2 of 7", "answered"} <= set(texts(figure, "summary"))


def test_what_was_published_is_told_beside_the_tasks() -> None:
    news = [
        TraceEvent(0, "board", Action.SUBSCRIBED, "ne*"),
        TraceEvent(0.2, "tower", Action.SENT, "news", "n", "snow"),
        TraceEvent(0.3, "broker", Action.ACCEPTED, "news", "n", "snow", "written to 1"),
        TraceEvent(0.4, "board", Action.DELIVERED, "news", "n", "snow"),
    ]
    figure = space_time([*news, *rebooking()])

    assert figure.headline.endswith("; 1 message, 1 subscriber: all delivered")
    assert "board received 1" in figure.alt_text
    assert task_life([*news, *rebooking()]).headline == task_life(rebooking()).headline


# --- waits ----------------------------------------------------------------------------------------


def test_every_wait_is_a_dot_within_its_bound() -> None:
    figure = retry_waits(RetryPolicy(attempts=5, first=0.5, seed=7), tasks=30)
    dots = [dot.get_xdata()[0] for dot in named(figure, "wait")]
    bounds = [box.get_bbox().x1 for box in named(figure, "bound")]

    assert len(dots) == 4 * 30
    assert all(x <= bounds[i // 30] for i, x in enumerate(dots))
    assert figure.headline.startswith("Jitter spreads 120 waits from ")
    assert figure.headline.endswith("bounds grow from 0.5 s to 4 s")
    assert_legible(figure)


def test_drawing_a_policy_does_not_use_up_its_draws() -> None:
    drawn, untouched = RetryPolicy(seed=5), RetryPolicy(seed=5)
    retry_waits(drawn)
    assert drawn.pause(1) == untouched.pause(1)


def test_without_jitter_all_come_back_together() -> None:
    figure = retry_waits(RetryPolicy(attempts=4, jitter=False))
    assert figure.headline.startswith("Without jitter, all 40 come back at the same moment")


def test_the_waits_of_a_trace_are_those_that_happened() -> None:
    trace = Trace(StepClock())
    for delay in (0.25, 0.5):
        detail = f"in {delay} s: OSError: in 9 s"
        trace.record("w", Action.RETRYING, channel="q", message_id="1", detail=detail)
    alt = retry_waits(RetryPolicy(attempts=3, first=0.5), trace).alt_text

    assert "after attempt 1 1 wait from 0.25 s to 0.25 s, bound 0.5 s" in alt
    assert "after attempt 2 1 wait from 0.5 s to 0.5 s, bound 1 s" in alt


def test_no_wait_and_wrong_waits_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="No wait to draw"):
        retry_waits(RetryPolicy(attempts=1))
    with pytest.raises(ConfigurationError, match=r"got \(0, 1\)"):
        retry_waits(RetryPolicy(), [(0, 1)])


# --- time -----------------------------------------------------------------------------------------


def test_a_long_silence_is_cut_out_and_the_picture_says_so() -> None:
    events = [*put(0, "1"), took(1, "w", "1"), task_event(2, "w", Action.CRASHED, "1")]
    events += [task_event(40, "broker", Action.RECOVERED, "1"), took(41, "v", "1", 2)]
    events.append(acked(42, "v", "1"))

    for draw in (task_life, space_time):
        figure = draw(events)
        assert any(text.endswith("cut out") for text in texts(figure, "cut"))
        assert_legible(figure)
    assert not named(task_life(rebooking()), "cut")


def test_time_runs_forward_across_a_cut() -> None:
    scale = TimeScale(100, 900, 0, 50, cut=(3, 47))
    xs = [scale.x(time / 10) for time in range(501)]

    assert xs == sorted(xs)
    assert (xs[0], xs[-1]) == (100, pytest.approx(900))
    assert all(100 <= x <= 900 for x, _ in scale.ticks())
    assert quiet_span([0, 1, 2, 3, 4, 5, 6]) is None


def test_times_are_told_as_people_tell_them() -> None:
    told = [seconds(time) for time in (0, 0.0000021, 0.013, 0.25, 1.44, 12.3, 1234)]
    assert told == ["0 s", "2.1 µs", "13 ms", "0.25 s", "1.4 s", "12 s", "1,234 s"]


def test_names_on_colours_can_be_read() -> None:
    assert [ink_on(c) for c in ("#0072B2", "#E69F00", "#009E73", "#000000")] == [
        PAPER, INK, INK, PAPER,
    ]  # fmt: skip


# --- real traces ----------------------------------------------------------------------------------


def test_the_pictures_read_what_workers_write_down() -> None:
    with labkit.connect("embedded://", clock=StepClock(tick=0.1)) as lab:
        queue = WorkQueue(lab, "rebooking")
        for flight in ("B6 739", "AA 19", "DL 1743"):
            queue.put({"flight": flight}, id=flight)

        def handle(task: object) -> None:
            lab.clock.advance(0.5)
            if task.id == "DL 1743" and task.attempt < 2:
                raise ConnectionError("no answer")

        policy = RetryPolicy(attempts=3, first=0.5, seed=1)
        ann, bob = (Worker(queue, handle, name=name, retry=policy) for name in ("ann", "bob"))
        ann.run_one()
        bob.take()
        bob.crash()
        ann.run_one()
        lab.clock.advance(40)
        while ann.run_one() is not None:
            pass
        trace = lab.trace

    assert task_life(trace).headline == (
        "3 tasks: 1 done at the first attempt, 1 after a retry and 1 after bob died"
    )
    assert tasks_per_worker(trace).headline == "bob died; 3 tasks done: ann 3"
    assert space_time(trace).headline == task_life(trace).headline
    for draw in (task_life, tasks_per_worker, space_time):
        assert_legible(draw(trace))


def test_the_pictures_read_what_requesters_write_down() -> None:
    with labkit.connect("embedded://", clock=StepClock(tick=0.01)) as lab:
        agent = Requester(lab, name="agent").connect()
        desk = Responder(lab, "seats", lambda _: "12A", name="desk").connect()
        sent = [agent.send("seats", {"flight": f"B6 {i}"}, timeout=3) for i in range(3)]
        desk.serve_one()
        desk.serve_one()
        agent.collect(sent[0])
        agent.collect(sent[1])
        lab.clock.advance(4)
        with pytest.raises(labkit.errors.RequestTimeout):
            agent.collect(sent[2])
        desk.serve_one()
        trace = lab.trace

    expected = "3 requests: 2 answered, 1 timed out and 1 expired before the work began"
    for draw in (requests, space_time):
        assert draw(trace).headline == expected
        assert_legible(draw(trace))
