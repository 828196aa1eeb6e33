"""Depth over time: how many tasks were ready, in flight, delayed and dead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import MaxNLocator

from labkit.broker import Depth
from labkit.errors import ConfigurationError
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._placement import Box
from labkit.plots._timeline import TimeScale, seconds
from labkit.plots._words import plural
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    GREY,
    GRID,
    INK,
    LOSS,
    LOSS_INK,
    MARGIN,
    SMALL,
    TITLE,
    WIDTH,
    in_style,
    legible,
    line_height,
    text_width,
)

if TYPE_CHECKING:
    import pandas

_HEIGHT = 240.0
_LINE = 30.0
"""From one label at the right to the next."""


@dataclass(frozen=True, slots=True)
class _Series:
    field: str
    words: str
    colour: str
    dashes: tuple[float, ...] | None
    ink: str = INK


_SERIES = (
    _Series("ready", "ready", "#0072B2", None, "#0072B2"),
    _Series("in_flight", "in flight", "#009E73", (5.0, 2.0), "#00704f"),
    _Series("delayed", "delayed", "#CC79A7", (1.6, 1.6), "#9c3f74"),
    _Series("dead", "dead letters", LOSS, (6.0, 2.0, 1.4, 2.0), LOSS_INK),
)

Samples = Sequence[tuple[float, Depth]]


@in_style
def depth(
    samples: pandas.DataFrame | Iterable[tuple[float, Depth]], *, title: str | None = None
) -> LabFigure:
    """Draw a queue's depth over time as steps, a line for each state that was ever counted.

    Args:
        samples: pairs (time in seconds, `Depth`), or a frame with the columns time_s, ready,
            in_flight, delayed and dead. A count holds until the next one.
        title: None states the finding.

    Raises:
        ConfigurationError: no sample, a column is missing, or a count is negative.
    """
    found = sorted(_read(samples), key=lambda sample: sample[0])
    if not found:
        raise ConfigurationError(
            "No depth to draw: pass pairs (seconds, queue.depth()), or a frame with time_s, ready, "
            "in_flight, delayed and dead."
        )
    headline = legible(title) if title is not None else _finding(found)
    return _draw(found, headline)


def _read(samples: Any) -> Iterator[tuple[float, Depth]]:
    for time, counts in _rows(samples):
        if min(counts.ready, counts.in_flight, counts.delayed, counts.dead) < 0:
            raise ConfigurationError(
                f"A depth counts tasks, so it is 0 or more; at {time:g} s it is {counts}."
            )
        yield float(time), counts


def _rows(samples: Any) -> Iterator[tuple[float, Depth]]:
    if not hasattr(samples, "columns"):
        yield from samples
        return
    wanted = ["time_s", "ready", "in_flight", "delayed", "dead"]
    if missing := [name for name in wanted if name not in samples.columns]:
        raise ConfigurationError(
            f"The frame has no column {missing[0]!r}; depth() needs {', '.join(wanted)}."
        )
    for time, *counts in samples[wanted].itertuples(index=False):
        yield time, Depth(*map(int, counts))


def _finding(samples: Samples) -> str:
    sizes = [counts.unfinished for _, counts in samples]
    most, last = max(sizes), samples[-1][1]
    began = samples[0][0]
    dead = f"; {plural(last.dead, 'dead letter')}" if last.dead else ""
    if not most:
        return f"Nothing waited in the queue{dead}"
    top = f"{most:,} unfinished task{'' if most == 1 else 's'} at most"
    if not sizes[-1]:
        empty = next(t for i, (t, _) in enumerate(samples) if not any(sizes[i:]))
        return f"{top}, none after {seconds(empty - began)}{dead}"
    if sizes[-1] == most and len(samples) > 1:
        return f"The queue grew to {plural(most, 'unfinished task')} and still grows{dead}"
    return f"{top}, {sizes[-1]:,} at the end{dead}"


def _alt(samples: Samples, shown: Sequence[_Series]) -> str:
    first, last = samples[0][0], samples[-1][0]
    told = []
    for series in shown:
        values = [getattr(counts, series.field) for _, counts in samples]
        told.append(f"{series.words} {values[0]:,} at first, {max(values):,} at most, "
                    f"{values[-1]:,} at the end")  # fmt: skip
    return (
        f"Step lines of a queue's depth over {seconds(last - first)}, "
        f"{plural(len(samples), 'sample')}: {'; '.join(told)}."
    )


def _draw(samples: Samples, headline: str) -> LabFigure:
    shown = [s for s in _SERIES if any(getattr(c, s.field) for _, c in samples)] or [_SERIES[0]]
    ends = {s.field: _end_lines(samples, s) for s in shown}
    column = max(text_width(line, SMALL, "bold") for lines in ends.values() for line in lines)
    top = 46 + len(title_lines(headline)) * line_height(TITLE)
    most = max(1, *(getattr(c, s.field) for _, c in samples for s in shown))
    values = [v for v in MaxNLocator(nbins=6, integer=True).tick_values(0, most) if v >= 0]
    ceiling = max(values[-1], most)
    left = MARGIN + max(text_width(f"{v:,.0f}", SMALL) for v in values) + 10
    room = Box(left, top, WIDTH - MARGIN - column - 30, top + _HEIGHT)
    canvas = Canvas(room.bottom + 52, headline=headline, alt_text=_alt(samples, shown))
    for value in values:
        y = room.bottom - _HEIGHT * value / ceiling
        canvas.line([(left, y), (room.right, y)], GRID, width=0.8, above=0.4, gid="grid")
        canvas.text(left - 6, y, f"{value:,.0f}", colour=GREY, align="right", gid="tick")
    canvas.text(MARGIN, top - 18, "tasks", gid="axis")
    scale = TimeScale(room.left, room.right, samples[0][0], samples[-1][0])
    scale.draw(canvas, room.bottom)
    lines = {s.field: _steps(samples, s, scale, room, ceiling) for s in shown}
    for series in shown:
        colour, dashes = series.colour, series.dashes
        gid = f"steps:{series.field}"
        canvas.line(lines[series.field], colour, width=1.8, dashes=dashes, above=2.5, gid=gid)
    _draw_labels(canvas, room, shown, {k: line[-1][1] for k, line in lines.items()}, ends)
    return canvas.figure


def _end_lines(samples: Samples, series: _Series) -> list[str]:
    values = [getattr(counts, series.field) for _, counts in samples]
    return [series.words, f"{values[-1]:,} at the end, {max(values):,} at most"]


def _steps(
    samples: Samples, series: _Series, scale: TimeScale, room: Box, ceiling: float
) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for time, counts in samples:
        x = scale.x(time)
        y = room.bottom - _HEIGHT * getattr(counts, series.field) / ceiling
        if points and points[-1][1] != y:
            points.append((x, points[-1][1]))
        points.append((x, y))
    return [*points, (room.right, points[-1][1])]


def _draw_labels(
    canvas: Canvas,
    room: Box,
    shown: Sequence[_Series],
    heights: dict[str, float],
    ends: dict[str, list[str]],
) -> None:
    """At the right end of each line what it is; pushed apart where lines end together."""
    order = sorted(shown, key=lambda s: (heights[s.field], shown.index(s)))
    step = _LINE + 6
    places: list[float] = []
    for i, series in enumerate(order):
        below = room.bottom + 14 - step * (len(order) - i) + _LINE / 2
        y = min(heights[series.field], below)
        places.append(max(y, places[-1] + step) if places else max(y, room.top))
    for series, y in zip(order, places, strict=True):
        end = heights[series.field]
        x = room.right
        canvas.line([(x + 2, end), (x + 16, y)], series.colour, width=0.8, gid="leader")
        name, counts = ends[series.field]
        canvas.text(x + 22, y - 7, name, colour=series.ink, weight="bold", gid="series")
        canvas.text(x + 22, y + 8, counts, colour=GREY, gid="end")
