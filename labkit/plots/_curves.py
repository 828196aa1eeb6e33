"""Curves: lines with markers, repeats as dots, intervals as bars; hollow and crossed if invalid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from labkit.plots._canvas import Canvas
from labkit.plots._placement import Box, Room, Segment
from labkit.plots._scales import Scale
from labkit.plots._timeline import SAMPLE, Sample
from labkit.plots.style import (
    GREY,
    INK,
    LOSS_INK,
    SMALL,
    Look,
    elide,
    lighter,
    text_width,
)

Point = tuple[float, float]

_GOLDEN = 0.6180339887
_SPREAD = 7.0
"""Pixels over which the repeats of one setting are spread out."""
_MANY = 40
"""A line of more points than that is drawn without a marker on each."""
INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Curve:
    """One series of a panel, in the units of its axes.

    Attributes:
        name: what stands at its right end.
        look: colour, line style and marker.
        line: points that are joined.
        marks: points with the marker; None puts one on each point of the line.
        bars: x, lower and upper end of each interval.
        repeats: each repeat on its own.
        invalid: those that do not count.
        tags: points with words beside them, where there is room.
        end: a second line at the right end.
        crossed: the whole curve does not count.
        thin: a line to compare with, which was not measured.
    """

    name: str
    look: Look
    line: Sequence[Point] = ()
    bars: Sequence[tuple[float, float, float]] = ()
    repeats: Sequence[Point] = ()
    invalid: Sequence[Point] = ()
    tags: Sequence[tuple[float, float, str]] = ()
    end: str = ""
    crossed: bool = False
    marks: Sequence[Point] | None = None
    thin: bool = False

    def points(self) -> Iterator[Point]:
        """All that is drawn."""
        yield from (*self.line, *(self.marks or ()), *self.repeats, *self.invalid)
        yield from ((x, y) for x, low, high in self.bars for y in (low, high))

    def xs(self) -> list[float]:
        """Where on the x axis."""
        return [x for x, _ in self.points()]

    def ys(self) -> list[float]:
        """Where on the y axis."""
        return [y for _, y in self.points()]


def draw_curve(canvas: Canvas, curve: Curve, x: Scale, y: Scale, shift: float, room: Room) -> None:
    """Draw a curve, `shift` pixels to the right, and note in `room` where it stands."""
    colour = curve.look.colour

    def at(point: Point) -> Point:
        return x.at(point[0]) + shift, y.at(point[1])

    line = [at(p) for p in curve.line]
    if len(line) > 1:
        dashes = (1.6, 1.6) if curve.thin else curve.look.dashes
        width = 1.2 if curve.thin else 1.8
        canvas.line(line, colour, width=width, dashes=dashes, above=2.5, gid=f"curve:{curve.name}")
        for a, b in pairwise(line):
            room.lines.append(Segment(*a, *b))
    for i, point in enumerate(curve.repeats):
        px, py = at(point)
        px += ((i * _GOLDEN) % 1 - 0.5) * _SPREAD
        canvas.marker(px, py, "o", lighter(colour, 0.45), size=4, above=2.8, gid="repeat")
        room.boxes.append(Box.around(px, py, 6, 6))
    for value, low, high in curve.bars:
        _interval(canvas, at((value, low)), at((value, high)), colour)
    for point in _marks(curve):
        point = at(point)
        hollow = curve.crossed
        canvas.marker(
            *point,
            curve.look.marker,
            colour,
            size=7,
            hollow=hollow,
            above=3.5,
            gid="invalid mark" if hollow else "mark",
        )
        if hollow:
            _small_cross(canvas, *point)
        room.boxes.append(Box.around(*point, 11, 11))
    for point in curve.invalid:
        px, py = at(point)
        canvas.marker(px, py, curve.look.marker, colour, size=7, hollow=True, gid="invalid mark")
        _small_cross(canvas, px, py)
        room.boxes.append(Box.around(px, py, 13, 13))


def _marks(curve: Curve) -> Sequence[Point]:
    if curve.thin or (curve.marks is None and len(curve.line) > _MANY):
        return ()
    return curve.line if curve.marks is None else curve.marks


def _interval(canvas: Canvas, low: Point, high: Point, colour: str) -> None:
    canvas.line([low, high], colour, width=1.4, above=3.0, gid="interval")
    for x, y in (low, high):
        canvas.line([(x - 4, y), (x + 4, y)], colour, width=1.4, above=3.0, gid="cap")


def _small_cross(canvas: Canvas, x: float, y: float) -> None:
    for slope in (-1, 1):
        ends = [(x - 5, y - 5 * slope), (x + 5, y + 5 * slope)]
        canvas.line(ends, LOSS_INK, width=1.4, above=4.5, gid="invalid cross")


def place_words(canvas: Canvas, curves: Sequence[Curve], x: Scale, y: Scale, room: Room) -> None:
    """Words beside points: figures first, then `invalid`; none where there is no room."""
    for curve in curves:
        for px, py, text in curve.tags:
            _beside(canvas, x.at(px), y.at(py), text, INK, "tag", room)
    for curve in curves:
        seen: set[float] = set()
        for px, py in curve.invalid:
            if px not in seen:
                seen.add(px)
                _beside(canvas, x.at(px), y.at(py), INVALID, LOSS_INK, "invalid word", room)


def _beside(
    canvas: Canvas, x: float, y: float, text: str, colour: str, gid: str, room: Room
) -> bool:
    width = text_width(text, SMALL)
    places = [
        (x - width - 10, y - 13),
        (x + 10, y),
        (x - width / 2, y - 17),
        (x - width - 10, y),
        (x + 10, y + 13),
        (x - width / 2, y + 17),
        (x + 10, y - 13),
        (x - width - 10, y + 13),
    ]
    best: tuple[int, Box] | None = None
    for left, middle in places:
        box = Box(left, middle - 8, left + width, middle + 8)
        crossings = room.crossings(box)
        if crossings is not None and (best is None or crossings < best[0]):
            best = (crossings, box)
    if best is None or best[0] > 1:
        return False
    box = best[1]
    canvas.text(box.left, box.y, text, colour=colour, gid=gid)
    room.boxes.append(box)
    return True


def end_labels(
    canvas: Canvas, curves: Sequence[Curve], box: Box, x: Scale, y: Scale, width: float
) -> None:
    """At the right end of each curve its name; pushed apart where curves end together."""
    named = [c for c in curves if c.name and any(True for _ in c.points())]
    ends = {id(c): max(c.line or list(c.points()), key=lambda p: p[0]) for c in named}
    order = sorted(named, key=lambda c: y.at(ends[id(c)][1]))
    heights = [34.0 if curve.end else 20.0 for curve in order]
    places = _apart([y.at(ends[id(c)][1]) for c in order], heights, box)
    for curve, at in zip(order, places, strict=True):
        ex, ey = ends[id(curve)]
        pale = lighter(curve.look.colour)
        corner = (max(x.at(ex), box.right), y.at(ey))
        canvas.line(
            [(x.at(ex), y.at(ey)), corner, (box.right + 14, at - (7 if curve.end else 0))],
            pale,
            width=0.8,
            above=1.0,
            gid="leader",
        )
        if not curve.thin:
            canvas.marker(
                box.right + 20,
                at - (7 if curve.end else 0),
                curve.look.marker,
                curve.look.colour,
                size=6,
                hollow=curve.crossed,
                gid="sample",
            )
        left = box.right + 30
        name = elide(curve.name, width, SMALL, weight="bold")
        first = at - 7 if curve.end else at
        canvas.text(
            left,
            first,
            name,
            weight="normal" if curve.thin else "bold",
            colour=GREY if curve.thin else INK,
            gid="series",
        )
        if curve.end:
            canvas.text(left, first + 15, curve.end, colour=GREY, gid="end")


def _apart(wanted: Sequence[float], heights: Sequence[float], box: Box) -> list[float]:
    """Middles of labels as near as can be to where they are wanted, without overlap."""
    places: list[float] = []
    below = sum(heights)
    for i, (at, height) in enumerate(zip(wanted, heights, strict=True)):
        at = min(at, box.bottom + 16 - below + height / 2)
        lowest = places[-1] + (heights[i - 1] + height) / 2 if places else box.top
        places.append(max(at, lowest))
        below -= height
    return places


def legend_of(curves: Sequence[Curve], named: Sequence[Curve] = ()) -> list[tuple[Sample, str]]:
    """What the signs in these curves mean; and, if wanted, which curve is which."""
    entries: list[tuple[Sample, str]] = [(_line_sample(c), c.name) for c in named if c.name]
    if any(curve.repeats for curve in curves):
        entries.append((_dot, "one repeat"))
    if any(curve.bars for curve in curves):
        entries.append((_bar, "median of repeats, 95 % bootstrap interval"))
    if any(curve.invalid or curve.crossed for curve in curves):
        entries.append((_crossed, f"{INVALID}: drawn, not counted"))
    return entries


def _line_sample(curve: Curve) -> Sample:
    def draw(canvas: Canvas, x: float, y: float) -> None:
        dashes = (1.6, 1.6) if curve.thin else curve.look.dashes
        canvas.line([(x, y), (x + SAMPLE, y)], curve.look.colour, width=1.8, dashes=dashes)
        if not curve.thin:
            canvas.marker(x + SAMPLE / 2, y, curve.look.marker, curve.look.colour, gid="sample")

    return draw


def _dot(canvas: Canvas, x: float, y: float) -> None:
    canvas.marker(x + SAMPLE - 8, y, "o", lighter(GREY, 0.3), size=4, gid="sample")


def _bar(canvas: Canvas, x: float, y: float) -> None:
    _interval(canvas, (x + SAMPLE - 8, y + 8), (x + SAMPLE - 8, y - 8), GREY)
    canvas.marker(x + SAMPLE - 8, y, "o", GREY, size=7, gid="sample")


def _crossed(canvas: Canvas, x: float, y: float) -> None:
    canvas.marker(x + SAMPLE - 8, y, "o", GREY, size=7, hollow=True, gid="sample")
    _small_cross(canvas, x + SAMPLE - 8, y)
