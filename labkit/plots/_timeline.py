"""Pictures with time to the right: the scale and its axis; and the legend under any picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from labkit.plots._canvas import Canvas
from labkit.plots.style import GREY, GRID, MARGIN, SMALL, WIDTH, text_width

_UNITS = ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "µs"))
_TICKS = 9
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
    factor, unit = (1.0, "s") if value >= 0.1 else unit_of(value)
    rounded = float(f"{value * factor:.2g}") if value < 100 else round(value)
    return f"{rounded:,.10g} {unit}"


@dataclass(frozen=True, slots=True)
class TimeScale:
    """From seconds to pixels. The axis reaches `before` and `after` pixels beyond the scale."""

    left: float
    right: float
    first: float
    last: float
    before: float = 0.0
    after: float = 0.0

    def x(self, time: float) -> float:
        """Where a time stands."""
        if self.last <= self.first:
            return self.left
        share = (time - self.first) / (self.last - self.first)
        return self.left + (self.right - self.left) * share

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Pixel and text of each tick."""
        factor, _ = unit_of(self.last - self.first)
        first, last = self.first * factor, self.last * factor
        for value in MaxNLocator(nbins=_TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(first, last):
            x = self.left + (self.right - self.left) * (value - first) / (last - first)
            if self.left - max(0.5, self.before - 4) <= x <= self.right + max(0.5, self.after):
                yield x, f"{value + 0.0:,.10g}"

    def draw(self, canvas: Canvas, y: float, *, top: float | None = None) -> None:
        """The axis at height `y`, with grid lines up to `top`."""
        left, right = self.left - self.before, self.right + self.after
        canvas.line([(left, y), (right, y)], GREY, width=0.8)
        if self.last <= self.first:
            name = "all at the same time"
            canvas.text((left + right) / 2, y + 18, name, align="center", gid="axis")
            return
        for x, text in self.ticks():
            if top is not None:
                canvas.line([(x, top), (x, y)], GRID, width=0.8, above=0.4, gid="grid")
            canvas.line([(x, y), (x, y + 4)], GREY, width=0.8)
            canvas.text(x, y + 14, text, colour=GREY, align="center", gid="tick")
        name = f"time ({unit_of(self.last - self.first)[1]})"
        canvas.text((left + right) / 2, y + 34, name, align="center", gid="axis")


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
