"""Where words can stand: boxes, lines, and the room that is left between them.

All positions are pixels of the finished picture, y pointing down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from labkit.plots.style import SMALL, line_height, text_width

ROW = line_height(SMALL) + 3
"""Height of one row of labels."""
CLEARANCE = 9
"""From a lane to the labels over it: the marker stands there."""

Point = tuple[float, float]

_PAD = 4
_SHIFTS = (0.5, 0.3, 0.7, 0.12, 0.88, 0.02, 0.98)
"""Which part of a label stands over its message, best first."""


class Segment(NamedTuple):
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float


class Box(NamedTuple):
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def around(cls, x: float, y: float, width: float, height: float) -> Box:
        """The box of this size with its centre at x, y."""
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    @property
    def x(self) -> float:
        """The centre."""
        return (self.left + self.right) / 2

    @property
    def y(self) -> float:
        """The centre."""
        return (self.top + self.bottom) / 2

    def overlaps(self, other: Box, pad: float = 0.0) -> bool:
        """Whether the two share a pixel, or come closer than `pad` side by side."""
        return (
            self.left < other.right + pad
            and other.left < self.right + pad
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        """Whether `other` lies within."""
        return (
            self.left <= other.left
            and self.right >= other.right
            and self.top <= other.top
            and self.bottom >= other.bottom
        )

    def crossed_by(self, segment: Segment) -> bool:
        """Whether a line runs through (Liang and Barsky, 1984)."""
        x, y, x2, y2 = segment
        if max(x, x2) < self.left or min(x, x2) > self.right:
            return False
        if max(y, y2) < self.top or min(y, y2) > self.bottom:
            return False
        dx, dy = x2 - x, y2 - y
        start, end = 0.0, 1.0
        sides = (
            (-dx, x - self.left),
            (dx, self.right - x),
            (-dy, y - self.top),
            (dy, self.bottom - y),
        )
        for step, distance in sides:
            if step == 0:
                if distance < 0:
                    return False
                continue
            where = distance / step
            if step < 0:
                start = max(start, where)
            else:
                end = min(end, where)
        return start < end


@dataclass(slots=True)
class Room:
    """What stands in the picture already: words keep off boxes always, off lines if they can."""

    bounds: Box
    boxes: list[Box] = field(default_factory=list)
    lines: list[Segment] = field(default_factory=list)

    def copy(self) -> Room:
        """A room to try things in."""
        return Room(self.bounds, list(self.boxes), list(self.lines))

    def crossings(self, box: Box) -> int | None:
        """How many lines run through a box here; None where it cannot stand at all."""
        if not self.bounds.holds(box) or any(box.overlaps(b, _PAD) for b in self.boxes):
            return None
        return sum(box.crossed_by(line) for line in self.lines)

    def place(self, candidates: Iterable[Box], *, tolerance: int = 0) -> Box | None:
        """Take the first candidate that is free, else the one with the fewest lines through it.

        None, and nothing taken, if every candidate hits a box or more than `tolerance` lines.
        """
        best: tuple[int, Box] | None = None
        for box in candidates:
            crossings = self.crossings(box)
            if crossings is None or crossings > tolerance:
                continue
            if best is None or crossings < best[0]:
                best = (crossings, box)
            if crossings == 0:
                break
        if best is None:
            return None
        self.boxes.append(best[1])
        return best[1]


class Anchor(NamedTuple):
    """A message on a lane that wants a label `width` pixels wide over it."""

    x: float
    lane: float
    width: float


def place_labels(
    anchors: Sequence[Anchor], room: Room, rows: int, *, over_lines: bool = False
) -> list[Box] | None:
    """A box for every anchor of one lane, in at most `rows` rows over it; None if they do not fit.

    Labels never share a pixel with one another, nor with the thin lines that lead from a message
    up to its label; with `over_lines` they may cover an arrow. `room` is filled if they fit.
    """
    attempts: list[tuple[float, int, dict[int, Box], Room]] = []
    for reverse in (False, True):
        order = sorted(range(len(anchors)), key=lambda i: anchors[i].x, reverse=reverse)
        trial = room.copy()
        placed = _greedy(anchors, order, trial, rows, over_lines)
        if placed is not None:
            attempts.append((placed[0], len(attempts), placed[1], trial))
    if not attempts:
        return None
    _, _, boxes, trial = min(attempts, key=lambda attempt: attempt[:2])
    room.boxes[:], room.lines[:] = trial.boxes, trial.lines
    return [boxes[i] for i in range(len(anchors))]


def _greedy(
    anchors: Sequence[Anchor], order: Sequence[int], room: Room, rows: int, over_lines: bool
) -> tuple[float, dict[int, Box]] | None:
    placed: dict[int, Box] = {}
    total = 0.0
    for position, i in enumerate(order):
        waiting = [anchors[j].x for j in order[position + 1 :]]
        best: tuple[float, Box] | None = None
        for row in range(rows):
            for shift in _SHIFTS:
                box = _label_box(anchors[i], row, shift, room.bounds)
                cost = _label_cost(anchors[i], box, row, waiting, room, over_lines)
                if cost is None:
                    continue
                cost += row + abs(shift - 0.5)
                if best is None or cost < best[0]:
                    best = (cost, box)
        if best is None:
            return None
        total += best[0]
        placed[i] = best[1]
        room.boxes.append(best[1])
        room.lines.append(leader(anchors[i], best[1]))
    return total, placed


def _label_box(anchor: Anchor, row: int, shift: float, bounds: Box) -> Box:
    left = anchor.x - shift * anchor.width
    left = max(bounds.left, min(left, bounds.right - anchor.width))
    bottom = anchor.lane - CLEARANCE - row * ROW
    return Box(left, bottom - ROW + 3, left + anchor.width, bottom)


def _label_cost(
    anchor: Anchor, box: Box, row: int, waiting: Sequence[float], room: Room, over_lines: bool
) -> float | None:
    crossings = room.crossings(box)
    if crossings is None or (crossings and not over_lines):
        return None
    if any(other.crossed_by(leader(anchor, box)) for other in room.boxes):
        return None
    covered = sum(box.left - 3 < x < box.right + 3 for x in waiting)
    if covered > row:  # those still to come must fit into the rows underneath
        return None
    return 3.0 * crossings + 1.5 * covered


def leader(anchor: Anchor, box: Box) -> Segment:
    """The line from a message up to its label."""
    x = min(max(anchor.x, box.left + 2), box.right - 2)
    return Segment(anchor.x, anchor.lane - CLEARANCE + 2, x, box.bottom)


def neighbours(
    points: Iterable[tuple[float, float]], reach: float
) -> Iterator[list[tuple[float, float]]]:
    """Points in groups whose members are too close for a word each."""
    group: list[Point] = []
    for point in sorted(points):
        if group and point[0] - group[-1][0] > reach:
            yield group
            group = []
        group.append(point)
    if group:
        yield group


def around(group: Sequence[Point], text: str) -> list[Box]:
    """Where a word can stand beside its marks, best first."""
    width, height = text_width(text, SMALL) + 4, line_height(SMALL)
    (first, y), (last, y2) = group[0], group[-1]
    middle = (first + last) / 2
    right, left = last + 10 + width / 2, first - 10 - width / 2
    spots = [(right, y2), (left, y)]
    rises = [sign * rise for rise in (13, 17, 22, 28, 34) for sign in (-1, 1)]
    for rise in rises:
        spots += [(right - 6, y2 + rise), (left + 6, y + rise), (middle, y + rise)]
    further = [(step, rise) for step in range(8, 57, 8) for rise in (0, *rises)]
    for step, rise in sorted(further, key=lambda s: s[0] + 1.5 * abs(s[1])):
        spots += [(right + step, y2 + rise), (left - step, y + rise)]
    return [Box.around(x, up, width, height) for x, up in spots]
