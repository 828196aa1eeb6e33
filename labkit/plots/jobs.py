"""The same jobs on several brokers, side by side: how soon, how many a second, what went wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from labkit.errors import ConfigurationError
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._figures import milliseconds, number, per_second
from labkit.plots._placement import Box
from labkit.plots._scales import Axis, Scale, thinned
from labkit.plots._timeline import SAMPLE, draw_legend, flow
from labkit.plots._words import listing, plural
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    GREY,
    GRID,
    INK,
    LOSS_INK,
    MARGIN,
    NORMAL,
    SMALL,
    TITLE,
    WIDTH,
    Look,
    broker_look,
    elide,
    in_style,
    legible,
    line_height,
    series_look,
    text_width,
)

STAND_IN_NOTE = (
    "Hollow: measured on a stand-in within this program. These are figures of Python, not of a "
    "server."
)
_NEEDED = ("broker", "job", "real", "support", "lost", "twice", "reordered")
_MEASURED = ("throughput", "p50_ms", "p99_ms")
_NAME_WIDTH = 190.0
_ROW = 23.0
_HEAD = 24.0
_GAP = 26.0
_COUNTS = (("lost", 58.0), ("twice", 62.0), ("reordered", 94.0))
"""Columns of the frame, and pixels for each."""


@dataclass(frozen=True, slots=True)
class _Row:
    broker: str
    job: str
    real: bool
    support: str
    counts: tuple[int, ...]
    throughput: float
    p50: float
    p99: float

    @property
    def absent(self) -> bool:
        return self.support == "absent"

    @property
    def name(self) -> str:
        return f"{self.broker}, emulated" if self.support == "emulated" else self.broker


@in_style
def jobs(figures: object, *, title: str | None = None) -> LabFigure:
    """Draw each job on each broker as a row through three panels.

    Left: from the median (p50) to the p99 of the time until a message was there. Middle: how many
    a second in a burst. Right: how many deliveries were lost, came twice, or came out of order.

    Args:
        figures: a frame, or an object with one in `figures`, with a row for each job and broker:
            broker, job, real, support (native, emulated, absent), lost, twice, reordered,
            throughput, p50_ms, p99_ms.
        title: None states the finding.

    Raises:
        ConfigurationError: no row, or a column is missing.
    """
    rows = _read(figures)
    headline = legible(title) if title is not None else _finding(rows)
    return _draw(rows, headline, _alt(rows))


def _read(figures: Any) -> list[_Row]:
    frame = getattr(figures, "figures", figures)
    if not hasattr(frame, "columns"):
        raise ConfigurationError(
            f"jobs() draws what compare() returned, or a DataFrame; not {type(figures).__name__}."
        )
    for name in (*_NEEDED, *_MEASURED):
        if name not in frame.columns:
            needed = ", ".join((*_NEEDED, *_MEASURED))
            raise ConfigurationError(f"The frame has no column {name!r}; jobs() needs {needed}.")
    rows = [
        _Row(
            legible(str(row["broker"])),
            legible(str(row["job"])),
            bool(row["real"]),
            str(row["support"]),
            tuple(0 if _unknown(row[column]) else int(row[column]) for column, _ in _COUNTS),
            *(math.nan if _unknown(row[column]) else float(row[column]) for column in _MEASURED),
        )
        for row in frame.to_dict("records")
    ]
    if not rows:
        raise ConfigurationError("Nothing to draw: the frame has no row. Measure first.")
    return rows


def _unknown(value: Any) -> bool:
    import pandas

    return bool(pandas.isna(value))


def _finding(rows: Sequence[_Row]) -> str:
    done = [row for row in rows if not row.absent]
    lost = [row for row in done if row.counts[0]]
    brokers = len({row.broker for row in done})
    what = f"{plural(len({row.job for row in done}), 'job')} on {plural(brokers, 'broker')}"
    if lost:
        head = f"{what}: " + listing([f"{r.broker} lost {r.counts[0]:,} ({r.job})" for r in lost])
    else:
        head = f"{what}: nothing lost"
    timed = [row for row in done if row.real and math.isfinite(row.p99)]
    if timed:
        soon, late = min(timed, key=lambda r: r.p99), max(timed, key=lambda r: r.p99)
        head += f"; p99 from {milliseconds(soon.p99)} ({soon.job}, {soon.broker})"
        head += f" to {milliseconds(late.p99)} ({late.job}, {late.broker})" if soon != late else ""
    missing = [f"{row.job} on {row.broker}" for row in rows if row.absent]
    return head + (f"; no {listing(missing)}" if missing else "")


def _alt(rows: Sequence[_Row]) -> str:
    told = []
    for row in rows:
        where = f"{row.job} on {row.broker}" + ("" if row.real else " (a stand-in)")
        if row.absent:
            told.append(f"{where}: absent")
            continue
        counts = [f"{n:,} {word}" for n, (word, _) in zip(row.counts, _COUNTS, strict=True)]
        told.append(
            f"{where}, {row.support}: p50 {milliseconds(row.p50)}, p99 {milliseconds(row.p99)}, "
            f"{per_second(row.throughput)}, {listing(counts)}"
        )
    return "The same jobs on several brokers, in three panels. " + "; ".join(told) + "."


def _draw(rows: Sequence[_Row], headline: str, alt: str) -> LabFigure:
    names = list(dict.fromkeys(row.job for row in rows))
    looks = _looks(rows)
    left = MARGIN + 12 + min(_NAME_WIDTH, max(text_width(row.name, SMALL) for row in rows)) + 14
    counts_left = WIDTH - MARGIN - sum(width for _, width in _COUNTS)
    width = (counts_left - 2 * _GAP - left) / 2
    top = 58.0 + len(title_lines(headline)) * line_height(TITLE)
    bottom = top + len(names) * _HEAD + len(rows) * _ROW
    timed = Box(left, top, left + width, bottom)
    rated = Box(timed.right + _GAP, top, timed.right + _GAP + width, bottom)
    stand_in = any(not row.real and not row.absent for row in rows)
    samples, end = flow(_legend(rows, looks), MARGIN + 12, bottom + 62)
    canvas = Canvas(end + (24 if stand_in else 6), headline=headline, alt_text=alt)
    times = _scale(
        canvas, timed, [v for r in rows for v in (r.p50, r.p99)], "time until there (ms)"
    )
    rates = _scale(canvas, rated, [r.throughput for r in rows], "per second, in a burst")
    for (word, _), x in zip(_COUNTS, _count_ends(counts_left), strict=True):
        canvas.text(x, top - 14, word, align="right", weight="bold", gid="panel")
    y = top
    for job in names:
        canvas.text(MARGIN, y + 13, job, size=NORMAL, weight="bold", gid="job")
        canvas.line([(MARGIN, y), (WIDTH - MARGIN, y)], GRID, width=0.8, above=0.6, gid="rule")
        y += _HEAD
        for row in (one for one in rows if one.job == job):
            _draw_row(canvas, row, looks[row.broker], y + _ROW / 2 - 3, times, rates, counts_left)
            y += _ROW
    draw_legend(canvas, samples)
    if stand_in:
        canvas.text(MARGIN + 12, end + 4, STAND_IN_NOTE, colour=GREY, gid="note")
    return canvas.figure


def _count_ends(left: float) -> list[float]:
    """The right ends of the columns of counts."""
    return [left + end for end in accumulate(width for _, width in _COUNTS)]


def _looks(rows: Sequence[_Row]) -> dict[str, Look]:
    names = list(dict.fromkeys(row.broker for row in rows))
    return {
        name: broker_look(name.split()[0]) or series_look(place) for place, name in enumerate(names)
    }


def _scale(canvas: Canvas, box: Box, values: Sequence[float], name: str) -> Scale | None:
    """The panel's axis, always logarithmic: brokers differ by factors. None: nothing measured."""
    canvas.text(box.left, box.top - 14, name, weight="bold", gid="panel")
    known = [v for v in values if math.isfinite(v) and v > 0]
    if not known:
        return None
    first, last = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    decades = tuple((10.0**d, number(10.0**d)) for d in range(first, max(last, first + 1) + 1))
    scale = Axis(name, log=True, ticks=decades).scale(known, box.left + 8, box.right - 8)
    for x, text in thinned(scale):
        canvas.line([(x, box.top), (x, box.bottom)], GRID, width=0.8, above=0.4, gid="grid")
        canvas.text(x, box.bottom + 13, text, colour=GREY, align="center", gid="tick")
    canvas.line([(box.left, box.bottom), (box.right, box.bottom)], GREY, width=0.8)
    canvas.text(
        (box.left + box.right) / 2, box.bottom + 31, "log scale", align="center", gid="axis"
    )
    return scale


def _draw_row(
    canvas: Canvas,
    row: _Row,
    look: Look,
    y: float,
    times: Scale | None,
    rates: Scale | None,
    counts_left: float,
) -> None:
    canvas.text(MARGIN + 12, y, elide(row.name, _NAME_WIDTH, SMALL), gid="broker")
    if row.absent:
        start = times.start if times is not None else counts_left / 2
        canvas.text(start, y, "absent", colour=GREY, slant="italic", gid="absent")
        return
    hollow = not row.real
    if times is not None and row.p50 > 0 and row.p99 > 0:
        ends = [(times.at(row.p50), y), (times.at(row.p99), y)]
        canvas.line(ends, look.colour, width=2.2, dashes=look.dashes, gid="p50 to p99")
        canvas.marker(*ends[0], look.marker, look.colour, hollow=hollow, gid="p50")
        canvas.line([(ends[1][0], y - 6), (ends[1][0], y + 6)], look.colour, width=2.2, gid="p99")
    if rates is not None and row.throughput > 0:
        x = rates.at(row.throughput)
        canvas.line([(rates.start, y), (x, y)], GRID, width=1.6, above=1.5, gid="stem")
        canvas.marker(x, y, look.marker, look.colour, hollow=hollow, gid="rate")
    for (what, _), x, count in zip(_COUNTS, _count_ends(counts_left), row.counts, strict=True):
        bad = what == "lost" and count > 0
        colour, weight = (
            (LOSS_INK if bad else INK if count else GREY),
            "bold" if count else "normal",
        )
        canvas.text(x, y, f"{count:,}", colour=colour, weight=weight, align="right", gid="count")


def _legend(rows: Sequence[_Row], looks: dict[str, Look]) -> list[tuple[Any, str]]:
    real = {row.broker: row.real for row in rows}
    return [
        (_sample(look, hollow=not real[name]), f"{name}: from p50 to p99")
        for name, look in looks.items()
    ]


def _sample(look: Look, *, hollow: bool) -> Any:
    def draw(canvas: Canvas, x: float, y: float) -> None:
        canvas.line([(x, y), (x + SAMPLE, y)], look.colour, width=2.2, dashes=look.dashes)
        canvas.marker(x, y, look.marker, look.colour, hollow=hollow)
        canvas.line([(x + SAMPLE, y - 6), (x + SAMPLE, y + 6)], look.colour, width=2.2)

    return draw
