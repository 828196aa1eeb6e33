"""Measurements on axes: curves with their repeats, intervals and names, in one panel or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._curves import Curve, draw_curve, end_labels, legend_of, place_words
from labkit.plots._placement import Box, Room
from labkit.plots._scales import Axis, Scale, thinned
from labkit.plots._timeline import draw_legend, flow
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    GREY,
    GRID,
    INK,
    MARGIN,
    NORMAL,
    SMALL,
    TITLE,
    WIDTH,
    elide,
    line_height,
    text_width,
    wrap,
)

_NAME_WIDTH = 210.0
_SPAN_ROW = 17.0
_BELOW = 46.0
"""Under a panel: the ticks' words and the axis' name."""
_BETWEEN = 32.0


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the x axis with a word over it; a line where it has no width."""

    first: float
    last: float
    text: str


@dataclass(frozen=True, slots=True)
class Plot:
    """What one panel shows."""

    y: Axis
    curves: Sequence[Curve]
    spans: Sequence[Span] = ()
    height: float = 300.0
    title: str = ""


def chart(
    headline: str,
    alt_text: str,
    x: Axis,
    plots: Sequence[Plot],
    notes: Sequence[str] = (),
    *,
    legend: bool = True,
) -> LabFigure:
    """Panels over one another, with one x axis and the names of the curves at their right ends."""
    names = [elide(c.name, _NAME_WIDTH, SMALL, weight="bold") for p in plots for c in p.curves]
    ends = [curve.end for plot in plots for curve in plot.curves]
    column = max((text_width(text, SMALL, "bold") for text in (*names, *ends)), default=0.0)
    right = WIDTH - MARGIN - (column + 44 if column else 12)
    left = MARGIN + 10 + max(_tick_width(plot) for plot in plots)
    xs = [v for plot in plots for curve in plot.curves for v in curve.xs()]
    xs += [v for plot in plots for span in plot.spans for v in (span.first, span.last)]
    scale = x.scale(xs, left, right)
    top = 28.0 + len(title_lines(headline)) * line_height(TITLE)
    boxes = []
    for plot in plots:
        rows = len(_span_rows(plot.spans, scale))
        top += 22.0 + _SPAN_ROW * rows
        boxes.append(Box(left, top, right, top + plot.height))
        top += plot.height + _BETWEEN
    bottom = boxes[-1].bottom
    samples, end = flow(
        legend_of([c for p in plots for c in p.curves]) if legend else [],
        left,
        bottom + _BELOW + 20,
    )
    lines = note_lines(notes, left)
    canvas = Canvas(end + 6 + len(lines) * 16, headline=headline, alt_text=alt_text)
    for plot, box in zip(plots, boxes, strict=True):
        last = box is boxes[-1]
        draw_panel(canvas, plot, box, scale, x.name if last else "", named=bool(column))
    draw_legend(canvas, samples)
    draw_notes(canvas, lines, left, end)
    return canvas.figure


def side_panels(
    headline: str, alt_text: str, x: Axis, plots: Sequence[Plot], notes: Sequence[str] = ()
) -> LabFigure:
    """Panels beside one another, with the same axes; their curves are named in the legend."""
    left = MARGIN + 10 + max(_tick_width(plot) for plot in plots)
    gap = 18.0
    width = (WIDTH - MARGIN - left - gap * (len(plots) - 1)) / len(plots)
    values = [v for plot in plots for curve in plot.curves for v in curve.ys()]
    top = 98.0 + (len(title_lines(headline)) - 1) * line_height(TITLE)
    bottom = top + plots[0].height
    y = plots[0].y.scale(values, bottom, top)
    xs = [v for plot in plots for curve in plot.curves for v in curve.xs()]
    alone = all([c.name for c in plot.curves] in ([], [plot.title]) for plot in plots)
    curves = {} if alone else {c.name: c for plot in plots for c in plot.curves}
    samples, end = flow(
        legend_of([c for p in plots for c in p.curves], list(curves.values())),
        left,
        bottom + _BELOW + 20,
    )
    lines = note_lines(notes, left)
    canvas = Canvas(end + 6 + len(lines) * 16, headline=headline, alt_text=alt_text)
    canvas.text(MARGIN, top - 42, plots[0].y.name + (", log scale" if y.log else ""), gid="axis")
    for i, plot in enumerate(plots):
        start = left + i * (width + gap)
        box = Box(start, top, start + width, bottom)
        scale = x.scale(xs, start + 4, start + width - 4)
        title = elide(plot.title, width, NORMAL, weight="bold")
        canvas.text(box.x, top - 16, title, size=NORMAL, weight="bold", align="center", gid="panel")
        _draw_grid(canvas, box, y, words=i == 0)
        _draw_x(canvas, box, scale, x.name if i == (len(plots) - 1) // 2 else "")
        draw_curves(canvas, plot, box, scale, y)
    draw_legend(canvas, samples)
    draw_notes(canvas, lines, left, end)
    return canvas.figure


def draw_panel(canvas: Canvas, plot: Plot, box: Box, x: Scale, x_name: str, *, named: bool) -> None:
    """One panel: grid, spans, curves, and their names at the right."""
    y = _y_scale(plot).moved(box.bottom, box.top)
    rows = _span_rows(plot.spans, x)
    name = plot.y.name + (", log scale" if y.log else "")
    canvas.text(MARGIN, box.top - 16 - _SPAN_ROW * len(rows), name, gid="axis")
    for i, row in enumerate(rows):
        for span, middle in row:
            _draw_span(canvas, span, box, x, middle, box.top - 10 - _SPAN_ROW * i)
    _draw_grid(canvas, box, y)
    _draw_x(canvas, box, x, x_name)
    draw_curves(canvas, plot, box, x, y)
    if named:
        end_labels(canvas, plot.curves, box, x, y, _NAME_WIDTH)


def draw_curves(canvas: Canvas, plot: Plot, box: Box, x: Scale, y: Scale) -> None:
    """The curves of a panel, then the words for which there is room between them."""
    room = Room(Box(box.left + 2, box.top - 4, box.right + 6, box.bottom - 2))
    together = [curve for curve in plot.curves if curve.bars or curve.repeats]
    apart = 9.0 if len(together) <= 3 else 5.0
    for curve in plot.curves:
        shift = (
            (together.index(curve) - (len(together) - 1) / 2) * apart if curve in together else 0.0
        )
        draw_curve(canvas, curve, x, y, shift, room)
    place_words(canvas, plot.curves, x, y, room)


def _y_scale(plot: Plot) -> Scale:
    return plot.y.scale([v for c in plot.curves for v in c.ys()], plot.height, 0.0)


def _tick_width(plot: Plot) -> float:
    return max((text_width(text, SMALL) for _, text in _y_scale(plot).ticks), default=0.0)


def _draw_grid(canvas: Canvas, box: Box, y: Scale, *, words: bool = True) -> None:
    for value, text in y.ticks:
        at = y.at(value)
        canvas.line([(box.left, at), (box.right, at)], GRID, width=0.8, above=0.4, gid="grid")
        if words:
            canvas.text(box.left - 8, at, text, colour=GREY, align="right", gid="tick")
    canvas.line([(box.left, box.top), (box.left, box.bottom)], GREY, width=0.8)


def _draw_x(canvas: Canvas, box: Box, x: Scale, name: str) -> None:
    canvas.line([(box.left, box.bottom), (box.right, box.bottom)], GREY, width=0.8)
    for at, text in thinned(x):
        canvas.line([(at, box.bottom), (at, box.bottom + 4)], GREY, width=0.8)
        canvas.text(at, box.bottom + 14, text, colour=GREY, align="center", gid="tick")
    if name:
        name += ", log scale" if x.log else ""
        half = text_width(name, SMALL) / 2
        middle = min(max(box.x, MARGIN + half), WIDTH - MARGIN - half)
        canvas.text(middle, box.bottom + 34, name, align="center", gid="axis")


def _span_rows(spans: Sequence[Span], x: Scale) -> list[list[tuple[Span, float]]]:
    """The words over spans in as few rows as keep them apart."""
    rows: list[list[tuple[Span, float]]] = []
    ends: list[float] = []
    for span in sorted(spans, key=lambda s: s.first):
        half = text_width(span.text, SMALL) / 2
        middle = (x.at(span.first) + x.at(span.last)) / 2
        middle = min(max(middle, x.start + half), max(x.end - half, x.start + half))
        row = next((i for i, end in enumerate(ends) if end + 10 <= middle - half), len(ends))
        if row == len(ends):
            rows.append([])
            ends.append(0.0)
        rows[row].append((span, middle))
        ends[row] = middle + half
    return rows


def _draw_span(
    canvas: Canvas, span: Span, box: Box, x: Scale, middle: float, words_at: float
) -> None:
    left, right = x.at(span.first), x.at(span.last)
    if right > left:
        canvas.rectangle(
            Box(left, box.top, right, box.bottom), "#f1f2f4", edge="#f1f2f4", above=0.2, gid="span"
        )
    for edge in sorted({left, right}):
        canvas.line(
            [(edge, box.top), (edge, box.bottom)],
            GREY,
            width=1.0,
            dashes=(4.0, 3.0),
            above=0.6,
            gid="span edge",
        )
    canvas.text(
        middle, words_at, span.text, colour=INK, align="center", slant="italic", gid="span word"
    )


def note_lines(notes: Sequence[str], left: float) -> list[str]:
    """What must be said under a picture, in lines that fit."""
    return [line for note in notes for line in wrap(note, WIDTH - MARGIN - left, SMALL)]


def draw_notes(canvas: Canvas, lines: Sequence[str], left: float, y: float) -> None:
    """The lines under the picture."""
    for i, line in enumerate(lines):
        canvas.text(left, y + 4 + i * 16, line, colour=GREY, gid="note")
