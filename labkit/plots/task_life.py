"""A task's life: what each task went through, from the queue through workers' hands to its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from labkit.errors import ConfigurationError
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._life_words import CROSSED, life_alt, life_finding
from labkit.plots._placement import Box, Room
from labkit.plots._task_reading import read_tasks
from labkit.plots._tasks import Doing, End, Stretch, Task, Work
from labkit.plots._timeline import SAMPLE, Sample, TimeScale, draw_legend, flow, quiet_span, seconds
from labkit.plots._words import forgotten_note
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    GREY,
    GRID,
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

MOST_ROWS = 12
_NAME_WIDTH = 190
_NOTE_WIDTH = 300
_BAND = 20.0
_ROW, _NOTE_ROW = 34.0, 50.0
"""Height of a row without and with words under its band."""
_PALE = "#9aa1ab"


@in_style
def task_life(
    trace: Trace | Iterable[TraceEvent],
    task_ids: Sequence[str] | None = None,
    *,
    title: str | None = None,
) -> LabFigure:
    """Draw each task as a band over time: waiting, in a worker's hands, failed, tried again, done.

    Args:
        trace: a trace, or some of its events (`trace.select(…)`).
        task_ids: which tasks, in this order. None takes at most 12: first those that failed, lost
            their worker or became dead letters. The picture says how many it leaves out.
        title: None states the finding, counted from all tasks of the trace.

    Raises:
        ConfigurationError: no task in the trace, or `task_ids` names one that is not.
    """
    work = read_tasks(trace)
    shown = _choose(work, task_ids)
    headline = legible(title) if title is not None else legible(life_finding(work.tasks))
    caption = _caption(work, shown)
    return _Picture(work, shown, headline, caption).draw()


def _choose(work: Work, task_ids: Sequence[str] | None) -> list[Task]:
    if task_ids is not None:
        known = {task.id: task for task in work.tasks}
        if unknown := [key for key in task_ids if key not in known]:
            some = ", ".join(list(known)[:8]) + (", …" if len(known) > 8 else "")
            raise ConfigurationError(
                f"No task {unknown[0]!r} in this trace; there are {len(known):,}: {some}."
            )
        if not task_ids:
            raise ConfigurationError("No task to draw: task_ids is empty; None draws them all.")
        return [known[key] for key in task_ids]
    ranked = sorted(work.tasks, key=lambda task: not _eventful(task))[:MOST_ROWS]
    return [task for task in work.tasks if task in ranked]


def _eventful(task: Task) -> bool:
    return task.had(*CROSSED)


def _caption(work: Work, shown: Sequence[Task]) -> str:
    parts = []
    if out := len(work.tasks) - len(shown):
        kind = "task" if len(work.tasks) == 1 else "tasks"
        parts.append(f"{len(shown)} of {len(work.tasks):,} {kind} shown, {out:,} left out.")
    parts += forgotten_note(work.forgotten)
    return " ".join(parts)


@dataclass(slots=True)
class _Picture:
    work: Work
    shown: Sequence[Task]
    headline: str
    caption: str
    _canvas: Canvas = field(init=False)
    _scale: TimeScale = field(init=False)

    def draw(self) -> LabFigure:
        names = [elide(legible(task.label), _NAME_WIDTH, NORMAL) for task in self.shown]
        left = MARGIN + max(text_width(name, NORMAL) for name in names) + 14
        fates = [_fate(task) for task in self.shown]
        right = WIDTH - MARGIN - max(text_width(fate, SMALL) for fate in fates) - 12
        cut = quiet_span(self.work.moments())
        first, last = self.work.first, self.work.last
        self._scale = TimeScale(left, right - 12, first, last, after=12, cut=cut)
        top = 34 + len(title_lines(self.headline)) * line_height(TITLE)
        heights = [_NOTE_ROW if _notes(task) else _ROW for task in self.shown]
        bottom = top + sum(heights) + 4
        unnamed = self._unnamed()
        entries = _legend(self.shown, unnamed)
        legend, end = flow(entries, left, bottom + 62)
        height = end + (24 if self.caption else 4)
        alt = life_alt(self.shown, self.caption)
        self._canvas = Canvas(height, headline=self.headline, alt_text=alt)
        self._scale.draw(self._canvas, bottom, top=top - 4)
        y = top
        for task, name, fate, row in zip(self.shown, names, fates, heights, strict=True):
            middle = y + _ROW / 2
            self._canvas.text(left - 12, middle, name, size=NORMAL, align="right", gid="name")
            colour = LOSS_INK if task.fate in (End.DEAD, End.LOST) else GREY
            self._canvas.text(right + 12, middle, fate, colour=colour, gid="fate")
            self._draw_life(task, middle)
            self._draw_notes(task, Box(left, middle + _BAND / 2 + 1, right + 8, y + row))
            y += row
        draw_legend(self._canvas, legend)
        if self.caption:
            self._canvas.text(MARGIN, end + 4, self.caption, colour=GREY, gid="caption")
        return self._canvas.figure

    def _span(self, stretch: Stretch, middle: float) -> Box:
        left = self._scale.x(stretch.start)
        right = self._scale.x(self.work.last if stretch.end is None else stretch.end)
        return Box(left, middle - _BAND / 2, max(right, left + 1.5), middle + _BAND / 2)

    def _unnamed(self) -> list[str]:
        """Workers for whose names no band is wide enough."""
        hands = [s for t in self.shown for s in t.stretches if s.doing is Doing.HANDS]
        named = {s.worker for s in hands if _fits(s.worker, self._work_box(s, self._span(s, 0)))}
        return list(dict.fromkeys(s.worker for s in hands if s.worker not in named))

    def _draw_life(self, task: Task, middle: float) -> None:
        for stretch in task.stretches:
            box = self._span(stretch, middle)
            if stretch.doing is Doing.HANDS:
                self._draw_hands(stretch, box)
            else:
                _quiet(self._canvas, stretch.doing, box)
            if stretch.delay is not None:
                text = seconds(stretch.delay)
                if text_width(text, SMALL) + 12 <= box.right - box.left:
                    self._canvas.text(box.x, middle, text, align="center", paper=PAPER, gid="delay")
        for stretch in task.stretches:
            box = self._span(stretch, middle)
            if stretch.outcome in CROSSED:
                self._canvas.cross(box.right, middle, gid=f"cross:{stretch.outcome}")
            elif stretch.outcome is End.DONE:
                self._canvas.tick(box.right + 7, middle)

    def _draw_hands(self, stretch: Stretch, held: Box) -> None:
        colour = worker_colour(stretch.worker)
        box = self._work_box(stretch, held)
        if stretch.begun > stretch.start:
            thin = Box(held.left, held.y - 2, box.left + 1, held.y + 2)
            self._canvas.rectangle(thin, colour, above=1.4, gid="held")
        self._canvas.rectangle(box, colour, edge=PAPER, above=1.5, gid="hands")
        if _fits(stretch.worker, box):
            name = legible(stretch.worker)
            crossed = 5 if stretch.outcome in CROSSED else 0
            x = box.x - crossed / 2
            self._canvas.text(x, box.y, name, colour=ink_on(colour), align="center", gid="worker")

    def _work_box(self, stretch: Stretch, held: Box) -> Box:
        """Without the time before it was begun."""
        left = min(self._scale.x(stretch.begun), held.right - 1.5)
        return held._replace(left=max(held.left, left))

    def _draw_notes(self, task: Task, strip: Box) -> None:
        """Under the bands: why attempts failed, who died."""
        room = Room(Box(strip.left, strip.top, strip.right, strip.bottom + 1))
        middle = strip.top + line_height(SMALL) / 2
        for x, note in self._anchored(task):
            for text in (note, elide(note, 130, SMALL), elide(note, 70, SMALL)):
                width = text_width(text, SMALL) + 2
                xs = [x + shift * width for shift in (0, 0.25, -0.25, 0.5, -0.5)]
                xs = [min(max(at, strip.left + width / 2), strip.right - width / 2) for at in xs]
                boxes = [Box.around(at, middle, width, line_height(SMALL)) for at in xs]
                if (box := room.place(boxes)) is not None:
                    self._canvas.text(
                        box.x, middle, text, colour=LOSS_INK, align="center", gid="note"
                    )
                    break

    def _anchored(self, task: Task) -> list[tuple[float, str]]:
        ends = [s for s in task.stretches if s.outcome in CROSSED]
        return [
            (self._scale.x(s.end or s.start), note)
            for s, note in zip(ends, _notes(task), strict=True)
        ]


def _notes(task: Task) -> list[str]:
    """For each failed attempt a few words."""
    notes = []
    for stretch in task.stretches:
        if stretch.outcome in (End.FAILED, End.DEAD, End.LOST):
            text = legible(stretch.note) or str(stretch.outcome)
            notes.append(elide(text, _NOTE_WIDTH, SMALL))
        elif stretch.outcome in (End.DIED, End.LEASE):
            notes.append(str(stretch.outcome))
    return notes


def _fate(task: Task) -> str:
    count = task.attempts
    times = f", {count} attempts" if count > 1 else ""
    if task.fate is End.OPEN:
        current = task.stretches[-1].doing
        return ("in hand" if current is Doing.HANDS else "waiting") + times
    return f"{task.fate}{times}"


def _fits(worker: str, box: Box) -> bool:
    return text_width(legible(worker), SMALL) + 14 <= box.right - box.left


def _quiet(canvas: Canvas, doing: Doing, box: Box) -> None:
    """A task in nobody's hands."""
    thin = Box(box.left, box.y - 5, box.right, box.y + 5)
    if doing is Doing.WAITING:
        canvas.rectangle(thin, GRID, gid="waiting")
    elif doing is Doing.ORPHANED:
        middle = [(box.left, box.y), (box.right, box.y)]
        canvas.line(middle, _PALE, width=1.6, dashes=(1.0, 2.0), gid="orphaned")
    else:
        canvas.rectangle(box, _PALE, hatch="////", edge=PAPER, gid="retry")


def _legend(tasks: Sequence[Task], unnamed: Sequence[str]) -> list[tuple[Sample, str]]:
    doings = {s.doing for task in tasks for s in task.stretches}
    entries: list[tuple[Sample, str]] = [
        (_sample(doing), str(doing)) for doing in Doing if doing in doings - {Doing.HANDS}
    ]
    if Doing.RETRY in doings and Doing.DELAYED in doings:
        entries = [e for e in entries if e[1] != Doing.DELAYED]
        entries = [(s, f"{t}, or {Doing.DELAYED}" if t == Doing.RETRY else t) for s, t in entries]
    if any(s.begun > s.start for task in tasks for s in task.stretches):
        entries.append((_held, "in hand, not begun"))
    if any(task.fate is End.DONE for task in tasks):
        entries.append((lambda c, x, y: c.tick(x + 24, y, gid="sample"), "acknowledged"))
    return entries + [(_swatch(name), elide(legible(name), 200, SMALL)) for name in unnamed]


def _sample(doing: Doing) -> Sample:
    return lambda canvas, x, y: _quiet(canvas, doing, Box(x, y - 8, x + SAMPLE, y + 8))


def _held(canvas: Canvas, x: float, y: float) -> None:
    canvas.rectangle(Box(x, y - 2, x + SAMPLE - 10, y + 2), GREY, gid="sample")
    canvas.rectangle(Box(x + SAMPLE - 10, y - 8, x + SAMPLE, y + 8), GREY, gid="sample")


def _swatch(worker: str) -> Sample:
    def draw(canvas: Canvas, x: float, y: float) -> None:
        box = Box(x + 8, y - 8, x + SAMPLE, y + 8)
        canvas.rectangle(box, worker_colour(worker), gid="swatch")

    return draw
