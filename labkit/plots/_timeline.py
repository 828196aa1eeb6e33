"""Pictures with time to the right: the scale and its axis; and the legend under any picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.ticker import MaxNLocator

from labkit.plots._canvas import Canvas
from labkit.plots._placement import Box
from labkit.plots.style import GREY, GRID, MARGIN, PAPER, SMALL, WIDTH, text_width

_UNITS = ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "µs"))
_TICKS = 9
_CUT = 30.0
_FEW = 6
_QUIET = 0.6
"""As a share of the whole, how long nothing must happen for a picture to leave that out."""
_LEGEND_ROW = 20.0
SAMPLE = 34.0
"""Width of the piece of picture before a legend's words."""

Sample = Callable[[Canvas, float, float], None]
"""Draws such a piece: canvas, left edge, middle."""


def unit_of(span: float) -> tuple[float, str]:
    """What to multiply seconds with for a span of this length, and the unit that gives."""
    return next((factor, unit) for least, factor, unit in _UNITS if span >= least)


def seconds(value: float) -> str:
    """A time as a person says it: `1,200 s`, `12 s`, `0.8 s`, `20 ms`, `0 s`."""
    if value <= 0:
        return "0 s"
    factor, unit = (1.0, "s") if value >= 0.0995 else unit_of(value)
    rounded = float(f"{value * factor:.2g}") if value < 100 else round(value)
    return f"{rounded:,.10g} {unit}"


def quiet_span(times: Iterable[float]) -> tuple[float, float] | None:
    """The time that a picture may leave out: nothing happens in it, and it is most of the whole."""
    moments = sorted(set(times))
    if len(moments) < _FEW:
        return None
    whole = moments[-1] - moments[0]
    start, end = max(pairwise(moments), key=lambda pair: pair[1] - pair[0])
    if end - start <= _QUIET * whole:
        return None
    pad = 0.06 * (whole - (end - start))
    return start + pad, end - pad


@dataclass(frozen=True, slots=True)
class TimeScale:
    """From seconds to pixels. The axis reaches `before` and `after` pixels beyond the scale.

    A span of time that is `cut` out takes a few pixels only, and the picture says so.
    """

    left: float
    right: float
    first: float
    last: float
    before: float = 0.0
    after: float = 0.0
    cut: tuple[float, float] | None = None

    @property
    def _per_second(self) -> float:
        start, end = self.cut or (0.0, 0.0)
        room = self.right - self.left - (_CUT if self.cut else 0.0)
        return room / ((self.last - self.first) - (end - start))

    def x(self, time: float) -> float:
        """Where a time stands."""
        if self.last <= self.first:
            return self.left
        start, end = self.cut or (self.last, self.last)
        x = self.left + (min(time, start) - self.first) * self._per_second
        if self.cut and time > start:
            x += _CUT * min(1.0, (time - start) / (end - start))
        return x + max(0.0, time - end) * self._per_second

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Pixel and text of each tick."""
        start, end = self.cut or (self.last, self.last)
        factor, _ = unit_of(self.last - self.first - (end - start if self.cut else 0.0))
        shown = self.last - (end - start)
        locator = MaxNLocator(nbins=_TICKS, steps=[1, 2, 2.5, 5, 10])
        values = locator.tick_values(self.first * factor, shown * factor)
        step = values[1] - values[0]
        count = round((self.last * factor - values[0]) / step) + 2
        for value in (values[0] + i * step for i in range(count)):
            if self.cut and start < value / factor < end:
                continue
            x = self.x(value / factor)
            if self.left - max(0.5, self.before - 4) <= x <= self.right + max(0.5, self.after):
                yield x, f"{round(value, 9) + 0.0:,.10g}"

    def draw(
        self, canvas: Canvas, y: float, *, top: float | None = None, grid: bool = True
    ) -> None:
        """The axis at height `y`, with grid lines up to `top`, and the cut."""
        left, right = self.left - self.before, self.right + self.after
        canvas.line([(left, y), (right, y)], GREY, width=0.8)
        if self.last <= self.first:
            name = "all at the same time"
            canvas.text((left + right) / 2, y + 18, name, align="center", gid="axis")
            return
        taken = self._draw_cut(canvas, y, top)
        for x, text in self.ticks():
            if top is not None and grid:
                canvas.line([(x, top), (x, y)], GRID, width=0.8, above=0.4, gid="grid")
            canvas.line([(x, y), (x, y + 4)], GREY, width=0.8)
            half = text_width(text, SMALL) / 2 + 6
            if not taken[0] - half < x < taken[1] + half:
                canvas.text(x, y + 14, text, colour=GREY, align="center", gid="tick")
        start, end = self.cut or (0.0, 0.0)
        name = f"time ({unit_of(self.last - self.first - (end - start))[1]})"
        canvas.text((left + right) / 2, y + 34, name, align="center", gid="axis")

    def _draw_cut(self, canvas: Canvas, y: float, top: float | None) -> tuple[float, float]:
        """Two strokes where time is left out, and how much; from where to where that stands."""
        if self.cut is None:
            return (0.0, 0.0)
        start, end = self.cut
        x = (self.x(start) + self.x(end)) / 2
        over = y if top is None else top
        canvas.rectangle(Box(x - 4, over, x + 4, y + 2), PAPER, above=4.6, gid="cut")
        for side in (x - 4, x + 4):
            canvas.line([(side, over), (side, y)], GREY, width=0.8, dashes=(2.0, 3.0), above=4.7)
            canvas.line([(side - 3, y + 5), (side + 3, y - 5)], GREY, width=1.2, above=4.7)
        text = f"{seconds(end - start)} cut out"
        half = text_width(text, SMALL, "normal") / 2
        x = min(max(x, self.left + half), self.right - half)
        canvas.text(x, y + 14, text, colour=GREY, align="center", slant="italic", gid="cut")
        return (x - half, x + half)


def flow(
    entries: Sequence[tuple[Sample, str]], left: float, y: float
) -> tuple[list[tuple[float, float, Sample, str]], float]:
    """Legend entries in rows: x, y, sample and text of each, and the y under them."""
    placed = []
    x = left
    for sample, text in entries:
        width = SAMPLE + text_width(text, SMALL) + 26
        if x > left and x + width - 20 > WIDTH - MARGIN:
            x, y = left, y + _LEGEND_ROW
        placed.append((x, y, sample, text))
        x += width
    return placed, y + _LEGEND_ROW if entries else y


def draw_legend(canvas: Canvas, placed: Sequence[tuple[float, float, Sample, str]]) -> None:
    """The entries that `flow` has put into rows."""
    for x, y, sample, text in placed:
        sample(canvas, x, y)
        canvas.text(x + SAMPLE + 6, y, text, gid="legend")
