"""Time, injected: the clock of lessons, and the one on the wall."""

from __future__ import annotations

import threading
import time

import pytest

from labkit import StepClock, SystemClock
from labkit.clock import Clock
from labkit.errors import ConfigurationError, LabkitError

START = 1362718800.0  # 2013-03-08T05:00:00Z


def test_a_step_clock_reads_the_same_on_every_machine() -> None:
    first, second = StepClock(tick=0.5), StepClock(tick=0.5)

    readings = [first.now() for _ in range(4)]

    assert readings == [START, START + 0.5, START + 1.0, START + 1.5]
    assert [second.now() for _ in range(4)] == readings


@pytest.mark.parametrize(
    "start",
    ["1970-01-01T00:01:00Z", "1970-01-01T00:01:00", "1969-12-31T19:01:00-05:00"],
)
def test_a_step_clock_starts_where_it_is_told_in_utc_if_no_zone_is_said(start: str) -> None:
    assert StepClock(start).now() == 60.0


def test_both_kinds_of_reading_are_one_time() -> None:
    clock = StepClock()

    assert clock.monotonic_ns() == 0
    assert clock.now() == START + 1
    assert clock.monotonic_ns() == 2_000_000_000


def test_ticks_do_not_drift() -> None:
    clock = StepClock(tick=0.1)
    for _ in range(1_000_000 // 100):
        clock.monotonic_ns()

    assert clock.monotonic_ns() == 1_000 * 1_000_000_000


def test_without_ticks_time_stands_still_until_it_is_advanced() -> None:
    clock = StepClock(tick=0)
    assert clock.now() == clock.now() == START

    clock.advance(0.25)
    clock.advance(0)

    assert clock.now() == START + 0.25


def test_waiting_passes_the_clocks_time_and_no_real_time() -> None:
    clock = StepClock(tick=0)
    began = time.monotonic()

    assert clock.wait(86_400) is False

    assert clock.now() == START + 86_400
    assert time.monotonic() - began < 1
    assert clock.wait(-5) is False
    assert clock.now() == START + 86_400, "a wait that is over already takes no time"


def test_a_stopped_wait_says_so() -> None:
    stop = threading.Event()
    clock = StepClock()
    assert clock.wait(1, stop) is False

    stop.set()

    assert clock.wait(1, stop) is True


def test_a_wait_that_is_stopped_beforehand_takes_no_time() -> None:
    stop = threading.Event()
    stop.set()
    clock = StepClock(tick=0)

    assert clock.wait(60, stop) is True

    assert clock.now() == START


@pytest.mark.parametrize("seconds", [-1, -0.001])
def test_no_clock_runs_backwards(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="backwards"):
        StepClock(tick=seconds)
    with pytest.raises(ConfigurationError, match="backwards"):
        StepClock().advance(seconds)


@pytest.mark.parametrize("start", ["five o'clock", "2013-13-08T05:00:00Z", ""])
def test_a_start_that_is_no_time_is_refused_in_words(start: str) -> None:
    with pytest.raises(LabkitError, match="ISO-8601"):
        StepClock(start)


def test_threads_get_every_tick_once() -> None:
    clock = StepClock()
    readings: list[list[int]] = [[] for _ in range(8)]
    ready = threading.Barrier(8)

    def read(mine: list[int]) -> None:
        ready.wait()
        mine.extend(clock.monotonic_ns() for _ in range(500))

    threads = [threading.Thread(target=read, args=(mine,)) for mine in readings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    together = sorted(reading for mine in readings for reading in mine)
    assert together == [number * 1_000_000_000 for number in range(8 * 500)]


def test_the_system_clock_tells_the_time() -> None:
    clock = SystemClock()

    assert abs(clock.now() - time.time()) < 1
    first = clock.monotonic_ns()
    assert first <= clock.monotonic_ns() <= time.monotonic_ns()


def test_the_system_clock_really_waits() -> None:
    clock = SystemClock()
    began = time.monotonic()

    assert clock.wait(0.05) is False
    assert clock.wait(0.05, threading.Event()) is False
    assert clock.wait(-1) is False

    assert 0.1 <= time.monotonic() - began < 5


def test_a_wait_on_the_system_clock_ends_when_it_is_stopped() -> None:
    clock, stop = SystemClock(), threading.Event()
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(clock.wait(60, stop)))
    waiting.start()

    stop.set()
    waiting.join(10)

    assert answers == [True]


@pytest.mark.parametrize("make", [SystemClock, StepClock])
def test_every_run_of_a_publisher_has_a_name_of_its_clock(
    make: type[SystemClock | StepClock],
) -> None:
    clock: Clock = make()

    epochs = [clock.new_epoch() for _ in range(100)]

    assert len(set(epochs)) == 100
    assert all(epoch.startswith(f"{clock.id}.") for epoch in epochs)


def test_two_processes_clocks_are_told_apart() -> None:
    assert len({SystemClock().id for _ in range(50)}) == 50


def test_a_step_clocks_names_are_repeatable() -> None:
    assert [StepClock().new_epoch() for _ in range(2)] == ["step.1", "step.1"]


def test_looking_at_a_clock_does_not_move_it() -> None:
    clock = StepClock(tick=0.5)
    clock.now()

    assert repr(clock) == repr(clock) == "StepClock(at 0.5 s, tick 0.5 s)"
    assert repr(SystemClock()) == "SystemClock()"
