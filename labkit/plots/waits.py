"""Waits between attempts: within their bounds, and spread out or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from labkit.backoff import Backoff
from labkit.errors import ConfigurationError
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._placement import Box
from labkit.plots._task_reading import delay_in
from labkit.plots._timeline import SAMPLE, TimeScale, draw_legend, flow, seconds
from labkit.plots._words import plural
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    COLOURS,
    GREY,
    GRID,
    MARGIN,
    NORMAL,
    PAPER,
    SMALL,
    TITLE,
    WIDTH,
    in_style,
    legible,
    line_height,
    text_width,
)
from labkit.trace import Trace

_BAR = 34.0
_ROW = 50.0
_MOST_ROWS = 12
_GOLDEN = 0.6180339887


class Policy(Protocol):
    """What is known of a `RetryPolicy`: deliveries in all, and how the bounds of waits grow."""

    @property
    def attempts(self) -> int:
        """Deliveries in all, the first one included."""

    @property
    def first(self) -> float:
        """Upper bound of the first wait, in seconds."""

    @property
    def cap(self) -> float:
        """Upper bound of every wait."""

    @property
    def factor(self) -> float:
        """Growth of the bound."""

    @property
    def jitter(self) -> bool:
        """Whether waits are drawn, or are their bounds."""

    @property
    def seed(self) -> int | None:
        """Makes the draws repeatable."""


@dataclass(frozen=True, slots=True)
class _Row:
    attempt: int
    bound: float
    waits: tuple[float, ...]


@in_style
def retry_waits(
    policy: Policy,
    waits: Trace | Iterable[tuple[int, float]] | None = None,
    *,
    tasks: int = 40,
    title: str | None = None,
) -> LabFigure:
    """Draw the waits after each failed attempt as dots, within bars as long as their bounds.

    Args:
        policy: a `RetryPolicy`; its own draws are left alone.
        waits: pairs (attempt that failed, from 1; seconds until the next), or a trace, whose
            retries are drawn. None draws them for `tasks` tasks that fail at every attempt.
        tasks: how many, where `waits` is None.
        title: None states the finding.

    Raises:
        ConfigurationError: nothing to draw, or a wait that is negative or of no attempt.
    """
    backoff = Backoff(policy.first, policy.cap, policy.factor, policy.jitter, policy.seed or 0)
    pairs = _pairs(backoff, policy.attempts, waits, tasks)
    if not pairs:
        raise ConfigurationError(
            f"No wait to draw: with attempts={policy.attempts} nothing was tried again. "
            "Use a policy with 2 attempts or more, or a trace in which a task failed."
        )
    for attempt, wait in pairs:
        if attempt < 1 or not wait >= 0:
            raise ConfigurationError(
                f"A wait is (attempt from 1, seconds from 0), got ({attempt}, {wait})."
            )
    last = min(_MOST_ROWS, max(policy.attempts - 1, *(attempt for attempt, _ in pairs)))
    rows = [
        _Row(n, backoff.bound(n - 1), tuple(w for attempt, w in pairs if attempt == n))
        for n in range(1, last + 1)
    ]
    headline = legible(title) if title is not None else _finding(rows, policy)
    return _draw(rows, headline)


def _pairs(
    backoff: Backoff,
    attempts: int,
    waits: Trace | Iterable[tuple[int, float]] | None,
    tasks: int,
) -> list[tuple[int, float]]:
    if waits is None:
        return [(n, backoff.wait(n - 1)) for _ in range(tasks) for n in range(1, attempts)]
    if not isinstance(waits, Trace):
        return list(waits)
    found: list[tuple[int, float]] = []
    failures: Counter[str | None] = Counter()
    for event in waits:
        if str(event.action) == "retrying":
            failures[event.message_id] += 1
            found.append((failures[event.message_id], delay_in(event.detail) or 0.0))
    return found


def _finding(rows: Sequence[_Row], policy: Policy) -> str:
    waits = [wait for row in rows for wait in row.waits]
    count = plural(len(waits), "wait")
    bounds = f"bounds grow from {seconds(rows[0].bound)} to {seconds(rows[-1].bound)}"
    if len(rows) == 1:
        bounds = f"the bound is {seconds(rows[0].bound)}"
    same = [
        Counter(round(w, 6) for w in row.waits).most_common(1)[0][1] for row in rows if row.waits
    ]
    sizes = [len(row.waits) for row in rows if row.waits]
    if same == sizes and min(sizes) > 1:
        return f"Without jitter, all {sizes[0]:,} come back at the same moment; {bounds}"
    if not policy.jitter:
        return f"Without jitter: {count}; {bounds}"
    spread = f"{seconds(min(waits))} to {seconds(max(waits))}"
    return f"Jitter spreads {count} from {spread}; {bounds}"


def _alt(rows: Sequence[_Row]) -> str:
    told = []
    for row in rows:
        text = f"after attempt {row.attempt} {plural(len(row.waits), 'wait')}"
        if row.waits:
            text += f" from {seconds(min(row.waits))} to {seconds(max(row.waits))}"
        told.append(f"{text}, bound {seconds(row.bound)}")
    head = "Dots of the waits between attempts, one row an attempt, each in a bar up to its bound. "
    return head + "; ".join(told) + "."


def _draw(rows: Sequence[_Row], headline: str) -> LabFigure:
    names = [f"after attempt {row.attempt}" for row in rows]
    ends = [f"at most {seconds(row.bound)}" for row in rows]
    left = MARGIN + max(text_width(name, NORMAL) for name in names) + 14
    right = WIDTH - MARGIN - max(text_width(end, SMALL) for end in ends) - 14
    longest = max(*(row.bound for row in rows), *(w for row in rows for w in row.waits), 0.0)
    scale = TimeScale(left, right, 0.0, longest or 1.0)
    top = 34 + len(title_lines(headline)) * line_height(TITLE)
    bottom = top + len(rows) * _ROW + 4
    legend, end = flow([(_dot, "a wait"), (_bar, "up to the bound")], left, bottom + 62)
    canvas = Canvas(end + 4, headline=headline, alt_text=_alt(rows))
    scale.draw(canvas, bottom, top=top - 4)
    for i, (row, name, text) in enumerate(zip(rows, names, ends, strict=True)):
        y = top + (i + 0.5) * _ROW
        canvas.text(left - 12, y, name, size=NORMAL, align="right", gid="name")
        bound = scale.x(row.bound)
        canvas.rectangle(Box(left, y - _BAR / 2, bound, y + _BAR / 2), GRID, gid="bound")
        canvas.line([(bound, y - _BAR / 2), (bound, y + _BAR / 2)], GREY, width=1.4, gid="edge")
        for k, wait in enumerate(row.waits):
            # Golden steps up and down: near ones stand apart, and the picture is always the same.
            rise = ((k * _GOLDEN) % 1 - 0.5) * (_BAR - 8)
            canvas.marker(scale.x(wait), y + rise, "o", COLOURS[0], size=5, gid="wait")
        farthest = max([bound, *(scale.x(wait) for wait in row.waits)])
        canvas.text(farthest + 10, y, text, colour=GREY, paper=PAPER, gid="end")
    draw_legend(canvas, legend)
    return canvas.figure


def _dot(canvas: Canvas, x: float, y: float) -> None:
    canvas.marker(x + SAMPLE - 8, y, "o", COLOURS[0], size=5, gid="sample")


def _bar(canvas: Canvas, x: float, y: float) -> None:
    canvas.rectangle(Box(x, y - 8, x + SAMPLE, y + 8), GRID, gid="sample")
    canvas.line([(x + SAMPLE, y - 8), (x + SAMPLE, y + 8)], GREY, width=1.4)
