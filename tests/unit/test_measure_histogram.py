"""The histogram: a known error, nothing dropped, merging instead of averaging."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import ConfigurationError, LabkitError
from labkit.measure import Histogram, exact_percentile
from labkit.measure.histogram import HOUR_NS, RELATIVE_ERROR, bucket_of, upper_end

TIMES = st.integers(min_value=0, max_value=HOUR_NS)


def of(values: list[int]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


@given(TIMES)
def test_a_bucket_holds_its_value_and_ends_at_most_the_stated_error_above(value: int) -> None:
    bucket = bucket_of(value)

    assert value <= upper_end(bucket) <= value * (1 + RELATIVE_ERROR)
    assert bucket == 0 or upper_end(bucket - 1) < value


@given(st.lists(TIMES, min_size=1, max_size=60), st.floats(min_value=0, max_value=1))
def test_a_percentile_is_never_below_the_exact_one_and_hardly_above(
    values: list[int], quantile: float
) -> None:
    exact = exact_percentile(values, quantile)

    assert exact <= of(values).percentile(quantile) <= exact * (1 + RELATIVE_ERROR)


@given(st.lists(st.lists(st.integers(-5, 2 * HOUR_NS), max_size=30), max_size=4))
def test_merged_histograms_are_the_histogram_of_all_values(parts: list[list[int]]) -> None:
    merged = Histogram()
    for part in parts:
        merged.merge(of(part))

    assert merged == of([value for part in parts for value in part])


@given(st.lists(st.integers(-5, 2 * HOUR_NS), max_size=60))
def test_counting_many_at_once_is_counting_one_by_one(values: list[int]) -> None:
    at_once = Histogram()
    at_once.add_all(values[:20])
    at_once.add_all(values[20:])

    assert at_once == of(values)


def test_powers_of_two_and_their_neighbours_are_counted_alike_both_ways() -> None:
    values = [2**n + d for n in range(1, 41) for d in (-1, 0, 1)]
    at_once = Histogram()
    at_once.add_all(values)

    assert at_once == of(values)


def test_what_is_out_of_range_is_counted_and_not_dropped() -> None:
    histogram = Histogram(highest_ns=1_000)
    for value in (-1, -2, 10, 5_000, 7_000):
        histogram.add(value)

    assert (histogram.negative, histogram.over, histogram.count) == (2, 2, 3)
    assert histogram.percentile(0.3) == 10
    assert histogram.percentile(0.99) == histogram.max_ns == 7_000
    assert histogram.mean_ns == pytest.approx((10 + 5_000 + 7_000) / 3)


def test_averaging_percentiles_would_have_told_something_else() -> None:
    low, high = of(list(range(11, 21))), of(list(range(91, 101)))
    average = (low.percentile(0.9) + high.percentile(0.9)) / 2
    low.merge(high)

    assert average == 59
    assert low.percentile(0.9) == 98


def test_histograms_of_other_ranges_do_not_merge() -> None:
    with pytest.raises(ConfigurationError, match="same highest_ns"):
        Histogram(1_000).merge(Histogram(2_000))


def test_nothing_has_no_percentile() -> None:
    assert Histogram().percentile(0.5) != Histogram().percentile(0.5)  # NaN
    assert "empty" in repr(Histogram())
    with pytest.raises(ConfigurationError, match=r"0\.99 is p99"):
        Histogram().percentile(99)


def test_it_survives_being_written_down() -> None:
    histogram = of([1, 5, 10**6, 10**9, 2 * HOUR_NS, -4])

    assert Histogram.from_json(histogram.as_json()) == histogram


def test_an_hdr_log_without_its_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)

    with pytest.raises(LabkitError, match=r"pip install 'messaging-lab\[formats\]'"):
        of([1]).save_hdr_log(tmp_path / "log.hlog")


def test_an_hdr_log_is_read_by_hdr_histogram(tmp_path: Path) -> None:
    log = pytest.importorskip("hdrh.log", reason="hdrhistogram is not installed")
    hdr = pytest.importorskip("hdrh.histogram", reason="hdrhistogram is not installed")
    histogram = of(list(range(0, 10_000_000, 1_000)))
    file = tmp_path / "times.hlog"
    histogram.save_hdr_log(file)

    empty = hdr.HdrHistogram(1, HOUR_NS, 3)
    read = log.HistogramLogReader(str(file), empty).get_next_interval_histogram()

    assert read.get_total_count() == histogram.count
    assert read.get_value_at_percentile(99) == pytest.approx(histogram.percentile(0.99), rel=0.01)
