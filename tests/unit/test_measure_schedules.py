"""Schedules: when operations are meant to begin."""

from __future__ import annotations

import statistics
from itertools import pairwise

import pytest

from labkit.data import stormy_day
from labkit.errors import ConfigurationError
from labkit.measure import Closed, Constant, Poisson, Replay
from labkit.measure.schedules import SECOND_NS, OpenSchedule, schedule_from_json, shares

HOUR_NS = 3_600 * SECOND_NS


def test_a_constant_schedule_is_even_and_does_not_drift() -> None:
    due = list(Constant(3).intended(1_000 * SECOND_NS))

    assert len(due) == 3_000
    assert due[:4] == [0, 333_333_333, 666_666_667, 1_000_000_000]
    assert due[2_997] == 999 * SECOND_NS  # no rounding has added up


def test_poisson_arrivals_have_the_mean_and_the_variance_that_theory_says() -> None:
    due = list(Poisson(rate=50, seed=3).intended(1_000 * SECOND_NS))
    a_second = [0] * 1_000
    for at in due:
        a_second[at // SECOND_NS] += 1
    gaps = [(b - a) / SECOND_NS for a, b in pairwise(due)]

    assert statistics.fmean(a_second) == pytest.approx(50, rel=0.02)
    assert statistics.variance(a_second) == pytest.approx(50, rel=0.15)
    assert statistics.fmean(gaps) == pytest.approx(1 / 50, rel=0.02)
    assert statistics.stdev(gaps) == pytest.approx(1 / 50, rel=0.05)


def test_poisson_arrivals_are_the_same_for_the_same_seed_only() -> None:
    first, again, other = (list(Poisson(100, seed).intended(SECOND_NS)) for seed in (1, 1, 2))

    assert first == again != other
    assert first == sorted(first)


def test_a_day_is_replayed_at_its_own_times() -> None:
    day = stormy_day()
    replay = Replay(day, speed=3_600)
    due = list(replay.intended(HOUR_NS))

    assert len(due) == len(day)
    assert due[0] == 0
    assert due[-1] == round((day[-1].time - day[0].time).total_seconds() / 3_600 * SECOND_NS)
    assert replay.rate == pytest.approx(len(day) / replay.seconds)


def test_a_replay_ends_where_the_trial_does() -> None:
    assert list(Replay([0.0, 1.0, 2.0], speed=1).intended(2 * SECOND_NS)) == [0, SECOND_NS]


@pytest.mark.parametrize(
    "schedule", [Constant(100), Poisson(100, seed=4), Replay([0.0, 0.5, 0.6], speed=1)]
)
def test_shares_of_several_publishers_make_the_whole(schedule: OpenSchedule) -> None:
    parts = shares(schedule, 3)
    together = sorted(t for part in parts for t in part.intended(SECOND_NS))  # type: ignore[union-attr]

    assert together == list(schedule.intended(SECOND_NS))


def test_clients_are_shared_among_publishers() -> None:
    assert shares(Closed(5), 2) == [Closed(3), Closed(2)]
    with pytest.raises(ConfigurationError, match="3 publishers need 3 clients"):
        shares(Closed(2), 3)


@pytest.mark.parametrize(
    "schedule",
    [Closed(3), Constant(2.5), Poisson(9, seed=2), Replay([3.0, 4.0], speed=2.0)],
)
def test_a_schedule_reaches_another_process_as_it_was(schedule: OpenSchedule) -> None:
    again = schedule_from_json(schedule.as_json())

    assert again.as_json() == schedule.as_json()


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_a_rate_that_cannot_be_is_refused(rate: float) -> None:
    for kind in (Constant, Poisson):
        with pytest.raises(ConfigurationError, match="operations a second"):
            kind(rate)


def test_what_cannot_be_replayed_is_refused_in_words() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        Replay([])
    with pytest.raises(ConfigurationError, match="order"):
        Replay([2.0, 1.0])
    with pytest.raises(ConfigurationError, match="stormy_day"):
        Replay(["noon"])
    with pytest.raises(ConfigurationError, match="speed"):
        Replay([1.0], speed=0)
    with pytest.raises(ConfigurationError, match="from 1"):
        Closed(0)
