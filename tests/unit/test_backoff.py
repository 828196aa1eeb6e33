"""Waits between attempts: longer each time, capped, and not all at once."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labkit import Backoff
from labkit.errors import ConfigurationError


def test_the_bound_grows_up_to_the_cap() -> None:
    backoff = Backoff(first=0.1, cap=1.0, factor=2)

    assert [backoff.bound(n) for n in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_without_jitter_each_wait_is_the_bound() -> None:
    backoff = Backoff(first=0.1, cap=1.0, factor=3, jitter=False)

    assert [backoff.wait(n) for n in range(4)] == pytest.approx([0.1, 0.3, 0.9, 1.0])


def test_a_factor_of_one_does_not_grow() -> None:
    backoff = Backoff(first=0.5, cap=2, factor=1, jitter=False)

    assert {backoff.wait(n) for n in (0, 1, 10, 10_000)} == {0.5}


@pytest.mark.parametrize("factor", [2, 2.0, 1.5, 1e300])
@pytest.mark.parametrize("attempt", [1_024, 10_000, 10**6])
def test_after_very_many_attempts_it_still_waits_the_cap(factor: float, attempt: int) -> None:
    assert Backoff(cap=2.0, factor=factor).bound(attempt) == 2.0
    assert 0 <= Backoff(cap=2.0, factor=factor).wait(attempt) <= 2.0


@given(
    first=st.floats(1e-6, 10),
    extra=st.floats(0, 100),
    factor=st.floats(1, 10),
    attempt=st.integers(0, 10_000),
    seed=st.integers(),
)
@example(first=0.05, extra=1.95, factor=2.0, attempt=10_000, seed=0)
def test_every_wait_is_between_nothing_and_its_bound(
    first: float, extra: float, factor: float, attempt: int, seed: int
) -> None:
    backoff = Backoff(first=first, cap=first + extra, factor=factor, seed=seed)

    bound = backoff.bound(attempt)

    assert first <= bound <= first + extra
    assert bound <= backoff.bound(attempt + 1)
    assert 0 <= backoff.wait(attempt) <= bound
    assert math.isclose(Backoff(first=first, cap=first + extra).bound(0), first)


def test_waits_are_spread_over_the_whole_range() -> None:
    backoff = Backoff(first=1, cap=1, seed=1)

    waits = [backoff.wait(0) for _ in range(1_000)]

    assert 0.45 < statistics.fmean(waits) < 0.55
    assert min(waits) < 0.02
    assert max(waits) > 0.98


def test_a_seed_makes_waits_repeatable() -> None:
    first, second, other = Backoff(seed=7), Backoff(seed=7), Backoff(seed=8)

    waits = [first.wait(n) for n in range(10)]

    assert [second.wait(n) for n in range(10)] == waits
    assert [other.wait(n) for n in range(10)] != waits


def test_without_a_seed_clients_do_not_come_back_together() -> None:
    assert len({Backoff().wait(5) for _ in range(20)}) == 20


@pytest.mark.parametrize(
    "given",
    [
        {"first": 0},
        {"first": -0.1},
        {"first": 3, "cap": 2},
        {"cap": 0},
        {"factor": 0.5},
        {"factor": -2},
        {"first": math.nan},
        {"cap": math.nan},
        {"factor": math.nan},
    ],
    ids=str,
)
def test_waits_that_cannot_work_are_refused(given: dict[str, float]) -> None:
    [(name, value)] = list(given.items())[:1]

    with pytest.raises(ConfigurationError, match="0 < first <= cap") as refused:
        Backoff(**given)

    assert f"{name}={value}" in str(refused.value)
