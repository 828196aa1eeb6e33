"""A histogram whose buckets widen with the value: small, mergeable, with a known error.

The idea is Gil Tene's HdrHistogram: within each power of two the buckets are equally wide, so that
the *relative* error is the same everywhere. Histograms of several processes or trials are merged by
adding counts; percentiles are never averaged: the p99 of two halves says nothing of the whole's.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from labkit.errors import ConfigurationError, LabkitError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

HOUR_NS = 3_600_000_000_000

SUB_BUCKET_BITS = 7
"""2**7 buckets in each power of two."""

RELATIVE_ERROR = 2.0**-SUB_BUCKET_BITS
"""A percentile from a histogram is never below the true one, and at most this part above it."""

_HALF = 1 << SUB_BUCKET_BITS


def bucket_of(value: int) -> int:
    """The index of a value's bucket; values below 2**8 have one each."""
    shift = value.bit_length() - (SUB_BUCKET_BITS + 1)
    if shift <= 0:
        return value
    return (shift << SUB_BUCKET_BITS) + (value >> shift)


def upper_end(bucket: int) -> int:
    """The highest value that a bucket holds."""
    if bucket < 2 * _HALF:
        return bucket
    shift = (bucket >> SUB_BUCKET_BITS) - 1
    return (((bucket - (shift << SUB_BUCKET_BITS)) + 1) << shift) - 1


class Histogram:
    """Counts of nanoseconds. Nothing is dropped: what is out of range is counted apart.

    Attributes:
        negative: how many values were below 0; they are in no percentile.
        over: how many were above `highest_ns`; in percentiles they are the greatest value seen.
        max_ns: the greatest value seen, exact; 0 if there was none.
        min_ns: the smallest not below 0, exact; 0 if there was none.
        sum_ns: of all that are not below 0, exact.

    Args:
        highest_ns: the greatest value with a bucket of its own.
    """

    def __init__(self, highest_ns: int = HOUR_NS) -> None:
        if highest_ns < 1:
            raise ConfigurationError(f"highest_ns is 1 or more, got {highest_ns}.")
        self.highest_ns = highest_ns
        self._counts = array("q", bytes(8 * (bucket_of(highest_ns) + 1)))
        self.negative = 0
        self.over = 0
        self.max_ns = 0
        self.min_ns = 0
        self.sum_ns = 0
        self._inside = 0

    @property
    def count(self) -> int:
        """How many values are in percentiles: all but the negative ones."""
        return self._inside + self.over

    @property
    def mean_ns(self) -> float:
        """The mean; NaN of nothing."""
        return self.sum_ns / self.count if self.count else math.nan

    def add(self, value_ns: int, times: int = 1) -> None:
        """Count one value, or so many of it."""
        if times < 1:
            return
        if value_ns < 0:
            self.negative += times
            return
        if not self.count or value_ns < self.min_ns:
            self.min_ns = value_ns
        if value_ns > self.max_ns:
            self.max_ns = value_ns
        self.sum_ns += value_ns * times
        if value_ns > self.highest_ns:
            self.over += times
            return
        self._counts[bucket_of(value_ns)] += times
        self._inside += times

    def add_all(self, values_ns: Iterable[int] | npt.NDArray[np.int64]) -> None:
        """Count many values."""
        import numpy as np

        values = np.asarray(
            values_ns if isinstance(values_ns, np.ndarray) else list(values_ns), dtype=np.int64
        )
        good = values[values >= 0]
        self.negative += len(values) - len(good)
        if not len(good):
            return
        lowest = int(good.min())
        self.min_ns = min(self.min_ns, lowest) if self.count else lowest
        self.max_ns = max(self.max_ns, int(good.max()))
        self.sum_ns += int(good.sum())
        inside = good[good <= self.highest_ns]
        self.over += len(good) - len(inside)
        self._inside += len(inside)
        # the exponent of the next power of two is the bit length; exact below 2**53, some 100 days
        bits = np.frexp(inside.astype(np.float64))[1].astype(np.int64)
        shift = np.maximum(bits - (SUB_BUCKET_BITS + 1), 0)
        buckets = (shift << SUB_BUCKET_BITS) + (inside >> shift)
        counts = np.frombuffer(self._counts, dtype=np.int64)
        counts += np.bincount(buckets, minlength=len(counts))

    def merge(self, other: Histogram) -> None:
        """Add another's counts: the result is as if all values had been counted here.

        Raises:
            ConfigurationError: it has another range.
        """
        if other.highest_ns != self.highest_ns:
            raise ConfigurationError(
                f"Histograms up to {self.highest_ns} and {other.highest_ns} ns do not merge; give "
                "both the same highest_ns."
            )
        if other.count:
            self.min_ns = min(self.min_ns, other.min_ns) if self.count else other.min_ns
        self.max_ns = max(self.max_ns, other.max_ns)
        self.sum_ns += other.sum_ns
        self.negative += other.negative
        self.over += other.over
        self._inside += other._inside
        for bucket, number in other.buckets():
            self._counts[bucket] += number

    def percentile(self, quantile: float) -> float:
        """Nanoseconds that at least this part of the values do not exceed (nearest rank); or NaN.

        The upper end of the bucket where it lies: at most `RELATIVE_ERROR` above the true value.
        """
        if not 0 <= quantile <= 1:
            raise ConfigurationError(f"A quantile is from 0 to 1 (0.99 is p99), got {quantile}.")
        if not self.count:
            return math.nan
        rank = max(1, math.ceil(quantile * self.count))
        seen = 0
        for bucket, number in self.buckets():
            seen += number
            if seen >= rank:
                return min(upper_end(bucket), self.max_ns)
        return self.max_ns

    def buckets(self) -> list[tuple[int, int]]:
        """Index and count of each bucket that is not empty, ascending."""
        return [(bucket, number) for bucket, number in enumerate(self._counts) if number]

    def as_json(self) -> dict[str, Any]:
        """All of it, in what JSON can hold."""
        names = ("highest_ns", "negative", "over", "max_ns", "min_ns", "sum_ns")
        return {name: getattr(self, name) for name in names} | {"buckets": self.buckets()}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Histogram:
        """The histogram that `as_json` wrote down."""
        made = cls(facts["highest_ns"])
        for name in ("negative", "over", "max_ns", "min_ns", "sum_ns"):
            setattr(made, name, facts[name])
        for bucket, number in facts["buckets"]:
            made._counts[bucket] = number
            made._inside += number
        return made

    def save_hdr_log(self, path: str | Path) -> None:
        """Write it as one interval of an HdrHistogram log (version 1.3), which its tools read.

        What is out of range stands there at the end of the range.

        Raises:
            LabkitError: the library is not installed.
        """
        try:
            from hdrh.histogram import HdrHistogram  # type: ignore
            from hdrh.log import HistogramLogWriter  # type: ignore
        except ImportError:
            raise LabkitError(
                "HdrHistogram's log format needs its library: pip install 'messaging-lab[formats]'."
            ) from None
        whole = HdrHistogram(1, self.highest_ns, 3)
        for bucket, number in self.buckets():
            whole.record_value(max(1, min(upper_end(bucket), self.max_ns)), number)
        if self.over:
            whole.record_value(self.highest_ns, self.over)
        file: IO[str]
        with Path(path).open("w", encoding="utf-8") as file:
            writer = HistogramLogWriter(file)
            writer.output_comment("[Logged with labkit, nanoseconds]")
            writer.output_log_format_version()
            writer.output_legend()
            writer.output_interval_histogram(whole, 0, 1, 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.as_json() == other.as_json()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if not self.count:
            return "Histogram(empty)"
        p50, p99 = (self.percentile(q) / 1e6 for q in (0.5, 0.99))
        apart = f", {self.over} over, {self.negative} negative" if self.over + self.negative else ""
        return f"Histogram({self.count:,} values, p50 {p50:.3g} ms, p99 {p99:.3g} ms{apart})"
