"""The recorder: every operation is kept or counted, exactly, and nothing vanishes."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import ConfigurationError
from labkit.measure import Recorder, Unfinished, exact_percentile


def test_what_was_recorded_comes_out_in_order() -> None:
    recorder = Recorder()
    for number in range(10_000):
        recorder.record(number, number * 10, number * 10 + 1, number * 10 + 5)
    numbers, intended, sent, done = recorder.columns()

    assert len(recorder) == recorder.total == 10_000
    assert numbers.tolist() == list(range(10_000))
    assert set((sent - intended).tolist()) == {1}
    assert set((done - sent).tolist()) == {4}


def test_what_no_longer_fits_goes_into_histograms_and_is_not_dropped() -> None:
    recorder = Recorder(capacity=10)
    for number in range(25):
        recorder.record(number, 0, 100, 200)

    assert (len(recorder), recorder.in_histogram_only, recorder.total) == (10, 15, 25)
    assert recorder.later_service.count == recorder.later_response.count == 15
    assert recorder.later_service.percentile(0.5) == 100
    assert recorder.later_response.percentile(0.5) == 200


def test_an_unfinished_operation_counts_for_the_time_out_at_least() -> None:
    recorder = Recorder(capacity=1, timeout_ns=1_000)
    recorder.record(0, 0, 0, 1)
    recorder.unfinished(1, 0, 300, Unfinished.LOST)

    assert recorder.later_service.max_ns == 1_000
    assert recorder.later_response.max_ns == 1_300
    assert recorder.later_status[Unfinished.LOST] == 1


def test_the_warm_up_is_in_no_histogram() -> None:
    recorder = Recorder(capacity=1, warmup_ns=500)
    for intended in (0, 100, 499, 500):
        recorder.record(0, intended, intended, intended + 7)

    assert recorder.total == 4
    assert recorder.later_service.count == 1


def test_a_recorder_refuses_what_is_no_time_and_goes_on() -> None:
    recorder = Recorder()
    with pytest.raises(Exception, match="integer"):
        recorder.record(1, 2, 3, 4.5)  # type: ignore[arg-type]
    recorder.record(1, 2, 3, 4)

    assert len(recorder) == 1


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=200))
def test_a_percentile_is_the_smallest_sample_that_enough_do_not_exceed(samples: list[int]) -> None:
    for quantile in (0.01, 0.5, 0.9, 0.99, 1.0):
        found = exact_percentile(samples, quantile)
        not_above = sum(sample <= found for sample in samples)
        below = sum(sample < found for sample in samples)

        assert found in samples
        assert not_above >= quantile * len(samples) > below


def test_the_median_of_an_odd_number_is_the_middle_one() -> None:
    assert exact_percentile([3, 1, 2], 0.5) == statistics.median([3, 1, 2]) == 2


def test_a_quantile_is_not_a_percentage() -> None:
    with pytest.raises(ConfigurationError, match=r"0\.99 is p99"):
        exact_percentile([1.0], 99)
    assert exact_percentile([], 0.5) != exact_percentile([], 0.5)  # NaN
