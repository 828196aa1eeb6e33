"""Tasks per worker: who worked when, on what, and who sat idle meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labkit.errors import ConfigurationError
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._lanes import Block, Lane, counts, lanes_alt, lanes_finding, worker_lanes
from labkit.plots._life_words import CROSSED
from labkit.plots._placement import Box
from labkit.plots._task_reading import read_tasks
from labkit.plots._timeline import SAMPLE, Sample, TimeScale, draw_legend, flow, quiet_span, seconds
from labkit.plots._words import forgotten_note, plural
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    GREY,
    LOSS_INK,
    MARGIN,
    NORMAL,
    PAPER,
    SMALL,
    TITLE,
    WIDTH,
    elide,
    in_style,
    ink_on,
    legible,
    line_height,
    text_width,
    worker_colour,
)
from labkit.trace import Trace, TraceEvent

_NAME_WIDTH = 190
_BLOCK = 26.0
_HELD_STEP = 5.0
_MOST_HELD = 6
"""Rows of lines under a lane; those held beyond that share the last."""


@in_style
def tasks_per_worker(trace: Trace | Iterable[TraceEvent], *, title: str | None = None) -> LabFigure:
    """Draw each worker's tasks as blocks on its lane, as wide as they took.

    A worker that takes several tasks at once holds those that it has not begun: thin lines under
    its lane. Nobody else can have them, and whoever is idle meanwhile is idle for nothing.

    Args:
        trace: a trace, or some of its events (`trace.select(…)`).
        title: None states the finding, counted from the trace.

    Raises:
        ConfigurationError: no task in the trace, or none that a worker took.
    """
    work = read_tasks(trace)
    lanes = worker_lanes(work)
    if not lanes:
        raise ConfigurationError(
            f"No worker to draw: {plural(len(work.tasks), 'task')} in the trace, and nobody took "
            "one. Let a worker run first."
        )
    headline = legible(title) if title is not None else legible(lanes_finding(lanes))
    return _draw(lanes, headline, " ".join(forgotten_note(work.forgotten)))


def _idle_span(lanes: Sequence[Lane]) -> tuple[float, float] | None:
    """The time to leave out: only one in which nobody works, for width means work here."""
    blocks = [block for lane in lanes for block in lane.blocks]
    span = quiet_span(moment for block in blocks for moment in (block.taken, block.end))
    if span is None or any(block.taken < span[1] and block.end > span[0] for block in blocks):
        return None
    return span


def _draw(lanes: Sequence[Lane], headline: str, caption: str) -> LabFigure:
    names = [elide(legible(lane.worker), _NAME_WIDTH, NORMAL) for lane in lanes]
    sides = [[", ".join(counts(lane)), f"busy {seconds(lane.busy)}"] for lane in lanes]
    left = MARGIN + max(text_width(name, NORMAL) for name in names) + 14
    right = WIDTH - MARGIN - 14 - max(text_width(line, SMALL) for side in sides for line in side)
    first, last = lanes[0].first, lanes[0].last
    scale = TimeScale(left, right, first, last, cut=_idle_span(lanes))
    top = 38 + len(title_lines(headline)) * line_height(TITLE)
    rows = [_held_rows(lane) for lane in lanes]
    heights = [_BLOCK + 22 + _HELD_STEP * max(held, default=0) for held in rows]
    bottom = top + sum(heights)
    legend, end = flow(_legend(lanes), left, bottom + 62)
    canvas = Canvas(
        end + (24 if caption else 4), headline=headline, alt_text=lanes_alt(lanes, caption)
    )
    scale.draw(canvas, bottom, top=top - 4)
    y = top
    for lane, name, side, held, height in zip(lanes, names, sides, rows, heights, strict=True):
        middle = y + _BLOCK / 2 + 6
        canvas.text(left - 12, middle, name, size=NORMAL, align="right", gid="name")
        for i, line in enumerate(side):
            canvas.text(right + 14, middle + (i - 0.5) * 15, line, colour=GREY, gid="side")
        _draw_lane(canvas, scale, lane, middle, held)
        y += height
    draw_legend(canvas, legend)
    if caption:
        canvas.text(MARGIN, end + 4, caption, colour=GREY, gid="caption")
    return canvas.figure


def _held_rows(lane: Lane) -> list[int]:
    """For each block in which row under the lane it was held, from 1; 0 if it was begun at once."""
    rows: list[int] = []
    free: list[float] = []
    for block in lane.blocks:
        if block.begun <= block.taken:
            rows.append(0)
            continue
        row = next((i for i, until in enumerate(free) if until <= block.taken), len(free))
        free[row : row + 1] = [block.begun]
        rows.append(min(row + 1, _MOST_HELD))
    return rows


def _draw_lane(
    canvas: Canvas, scale: TimeScale, lane: Lane, middle: float, rows: Sequence[int]
) -> None:
    end = scale.right if lane.death is None else scale.x(lane.death)
    canvas.line([(scale.left, middle), (end, middle)], GREY, width=1.2, above=1)
    for block, row in zip(lane.blocks, rows, strict=True):
        _draw_block(canvas, scale, block, middle, row)
    for start, stop in lane.idle:
        text = f"idle {seconds(stop - start)}"
        x1, x2 = scale.x(start), scale.x(stop)
        if text_width(text, SMALL) + 24 <= x2 - x1:
            x = (x1 + x2) / 2
            canvas.text(
                x,
                middle,
                text,
                colour=GREY,
                align="center",
                slant="italic",
                paper=PAPER,
                gid="idle",
            )
    if lane.death is not None:
        canvas.cross(end, middle, gid="died")
        width = text_width("died", SMALL)
        x = end + 12 if end + 12 + width < scale.right else end - 12 - width
        canvas.text(x, middle, "died", colour=LOSS_INK, paper=PAPER, gid="word")


def _draw_block(canvas: Canvas, scale: TimeScale, block: Block, middle: float, row: int) -> None:
    colour = worker_colour(block.stretch.worker)
    top, under = middle - _BLOCK / 2, middle + _BLOCK / 2
    left, right = scale.x(block.begun), scale.x(block.end)
    box = Box(left, top, max(right, left + 1.5), under)
    canvas.rectangle(box, colour, edge=PAPER, above=1.5, gid="block")
    if row:
        y = under + row * _HELD_STEP
        canvas.line([(scale.x(block.taken), y), (left, y)], colour, width=1.6, gid="held")
        canvas.line([(left, y + 2), (left, y - 2)], colour, width=1.6, gid="held end")
    crossed = block.stretch.outcome in CROSSED
    if crossed:
        canvas.cross(box.right, middle, gid=f"cross:{block.stretch.outcome}")
    room = box.right - box.left - (18 if crossed else 10)
    label = legible(block.task.label)
    words = label.split()
    for text in (label, " ".join(words[-2:]), words[-1] if words else ""):
        if text and text_width(text, SMALL) <= room:
            x = box.left + 5 + room / 2
            canvas.text(x, middle, text, colour=ink_on(colour), align="center", gid="task")
            return


def _legend(lanes: Sequence[Lane]) -> list[tuple[Sample, str]]:
    blocks = [block for lane in lanes for block in lane.blocks]
    entries: list[tuple[Sample, str]] = [(_block, "one task, as wide as it took")]
    if any(block.begun > block.taken for block in blocks):
        entries.append((_held, "in hand, not begun: nobody else can have it"))
    if any(block.stretch.together for block in blocks):
        entries.append((_shared, "acknowledged together: time shared out evenly"))
    ends = [end for end in CROSSED if any(block.stretch.outcome is end for block in blocks)]
    if ends:
        words = ", ".join(str(end) for end in ends)
        entries.append((lambda c, x, y: c.cross(x + 24, y, gid="sample"), words))
    return entries


def _block(canvas: Canvas, x: float, y: float) -> None:
    canvas.rectangle(Box(x, y - 8, x + SAMPLE, y + 8), GREY, gid="sample")


def _held(canvas: Canvas, x: float, y: float) -> None:
    canvas.line([(x, y), (x + SAMPLE, y)], GREY, width=1.6)
    canvas.line([(x + SAMPLE, y - 3), (x + SAMPLE, y + 3)], GREY, width=1.6)


def _shared(canvas: Canvas, x: float, y: float) -> None:
    for i in range(3):
        box = Box(x + i * SAMPLE / 3, y - 8, x + (i + 1) * SAMPLE / 3, y + 8)
        canvas.rectangle(box, GREY, edge=PAPER, gid="sample")
