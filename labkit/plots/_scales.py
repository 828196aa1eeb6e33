"""From measured values to pixels: linear and logarithmic scales, and the ticks on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from labkit.plots._figures import number
from labkit.plots.style import SMALL, text_width

_WIDE = 20.0
"""A range is wide, and its scale logarithmic, where its end is so many times its beginning."""
_STEPS = (1.0, 2.0, 5.0)
_LEAST_GAP = 12.0
"""Pixels between the words of two ticks."""
_ROW = 26.0
"""Pixels between ticks above one another."""

Words = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` stand from pixel `start` to pixel `end`."""

    start: float
    end: float
    low: float
    high: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def at(self, value: float) -> float:
        """Where a value stands; what is beyond the scale stands at its edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def moved(self, start: float, end: float) -> Scale:
        """The same scale elsewhere."""
        return Scale(start, end, self.low, self.high, self.log, self.ticks)


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis says, and how it is to be divided.

    Attributes:
        name: what is measured, and its unit in brackets.
        log: None lets the range decide.
        ticks: where ticks must stand, with their words; None chooses round values.
        zero: whether a linear axis begins at 0.
        words: the text of a tick.
        span: the first and the last value; None takes those of the data.
    """

    name: str
    log: bool | None = None
    ticks: tuple[tuple[float, str], ...] | None = None
    zero: bool = True
    words: Words = number
    span: tuple[float, float] | None = None

    def is_log(self, values: Sequence[float]) -> bool:
        """Whether these values need a logarithmic scale, and can have one."""
        if not values or min(values) <= 0:
            return bool(self.log) and any(v > 0 for v in values)
        if self.log is None:
            return max(values) / min(values) > _WIDE
        return self.log

    def scale(self, values: Iterable[float], start: float, end: float) -> Scale:
        """The scale for these values, from one pixel to another."""
        known = [v for v in values if math.isfinite(v)]
        most = max(2, int(abs(end - start) / (_ROW if end < start else 70)))
        log = self.is_log(known)
        if self.span is not None:
            low, high = self.span
            ticks = _round_ticks(low, high, most)
        elif log:
            known = [v for v in known if v > 0]
            low, high, ticks = _log_ticks(min(known), max(known), most)
        else:
            low, high, ticks = _linear_ticks(known or [0.0], self.zero, most)
        worded = self.ticks or tuple((v, self.words(v)) for v in ticks)
        if self.ticks and self.span is None:
            low, high = _around([v for v, _ in self.ticks] + known, log, zero=self.zero)
        return Scale(start, end, low, high, log, worded)


def _linear_ticks(
    values: Sequence[float], zero: bool, most: int
) -> tuple[float, float, list[float]]:
    low, high = min(values), max(values)
    if zero and low > 0:
        low = 0.0
    if high <= low:
        low, high = (0.0, 1.0) if low == 0 else (low - abs(low) / 2, low + abs(low) / 2)
    ticks = [float(v) for v in MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    if zero and low >= 0:
        ticks = [v for v in ticks if v >= 0]
    return min(low, ticks[0]), max(high, ticks[-1]), ticks


def _log_ticks(low: float, high: float, most: int) -> tuple[float, float, list[float]]:
    """Limits and ticks at 1, 2 and 5 of each decade, or at powers of ten where those are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    fine = [s * 10.0**d for d in range(first, last + 1) for s in _STEPS]
    below = max((v for v in fine if v <= low * 1.0001), default=low)
    above = min((v for v in fine if v >= high * 0.9999 and v > below), default=high * 2)
    if above <= below:
        above = below * 2
    ticks = [v for v in fine if below <= v <= above]
    if len(ticks) <= most:
        return below, above, ticks
    step = max(1, math.ceil((last - first) / most))
    return (
        below,
        above,
        [10.0**d for d in range(first, last + 1, step) if below <= 10.0**d <= above],
    )


def _round_ticks(low: float, high: float, most: int) -> list[float]:
    found = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(v) for v in found if low <= v <= high]


def _around(values: Sequence[float], log: bool, *, zero: bool) -> tuple[float, float]:
    """A little room on both sides of values that are ticks themselves."""
    if log:
        values = [v for v in values if v > 0]
        pad = max(1.08, (max(values) / min(values)) ** 0.04)
        return min(values) / pad, max(values) * pad
    low, high = min(values), max(values)
    width = (high - low) or abs(high) or 1.0
    return (0.0 if zero and low >= 0 else low - 0.06 * width), high + 0.04 * width


def thinned(scale: Scale, taken: tuple[float, float] | None = None) -> list[tuple[float, str]]:
    """Pixel and words of those ticks whose words stand apart from one another, left to right."""
    shown: list[tuple[float, str]] = []
    free = -math.inf if taken is None else taken[1]
    for value, text in sorted(scale.ticks):
        x = scale.at(value)
        half = text_width(text, SMALL) / 2
        if x - half < free:
            continue
        shown.append((x, text))
        free = x + half + _LEAST_GAP
    return shown


def measured_ticks(
    values: Iterable[float], words: Words, most: int = 12
) -> tuple[tuple[float, str], ...] | None:
    """Ticks at the values that were measured, if those are few; else None."""
    found = sorted({v for v in values if math.isfinite(v)})
    return tuple((v, words(v)) for v in found) if 0 < len(found) <= most else None
