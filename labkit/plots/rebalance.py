"""Who owns which partition, and how that changes when members of a group come and go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from labkit.errors import ConfigurationError
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._placement import Box
from labkit.plots._words import listing, plural
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    GREY,
    GRID,
    LOSS_INK,
    MARGIN,
    PAPER,
    SHADE,
    SMALL,
    TITLE,
    WIDTH,
    elide,
    in_style,
    ink_on,
    legible,
    line_height,
    worker_colour,
    wrap,
)

_LANE, _BAR = 44.0, 30.0
_NAMES = 96.0
_GAP = 12.0
"""Between two states: the rebalance, in which nobody reads."""
_LINE = 15.0
_HATCHES = (None, "////", "\\\\\\\\", "....", "xxxx")
_MOST = 12
"""States that fit beside one another."""

Shares = Mapping[str, Sequence[int]]
"""The members that are there, each with the partitions that it owns; an idle one has none."""


@in_style
def rebalance(samples: Iterable[tuple[str, Shares]], *, title: str | None = None) -> LabFigure:
    """Draw partitions as lanes, and their owners as spans, from one state to the next.

    The states stand in order, and not to scale of time. Between two of them is a rebalance.

    Args:
        samples: what had happened (`"Bob joins"`), and who owned what when it had settled.
        title: None states the finding.

    Raises:
        ConfigurationError: no state, more than fit, or nobody ever owned a partition.
    """
    states = [(legible(words), dict(shares)) for words, shares in samples]
    lanes = sorted(
        {number for _, shares in states for owned in shares.values() for number in owned}
    )
    if not lanes:
        raise ConfigurationError("Nothing to draw: nobody owns a partition in these samples.")
    if len(states) > _MOST:
        raise ConfigurationError(f"{len(states)} states do not fit: draw {_MOST} at most.")
    headline = legible(title if title is not None else _finding(states, lanes))
    left = MARGIN + _NAMES
    width = (WIDTH - MARGIN - left) / len(states)
    heads = [wrap(words, width - _GAP, SMALL, weight="bold") for words, _ in states]
    idle = [wrap(", ".join(_idle(shares)), width - _GAP - 4, SMALL) for _, shares in states]
    top = 34.0 + len(title_lines(headline)) * line_height(TITLE)
    lanes_top = top + _LINE * max(map(len, heads)) + 10
    bottom = lanes_top + _LANE * len(lanes)
    extra = 14 + _LINE * max(map(len, idle)) if any(idle) else 0.0
    canvas = Canvas(bottom + extra + 40, headline=headline, alt_text=legible(_alt(states, lanes)))
    hatches = _hatches(states)
    for i, number in enumerate(lanes):
        y = lanes_top + _LANE * i + _BAR / 2
        canvas.text(MARGIN, y, f"partition {number}", gid="partition")
        canvas.line([(left, y), (WIDTH - MARGIN, y)], GRID, width=0.8, above=0.4)
    if any(idle):
        canvas.text(MARGIN, bottom + 12, "idle", colour=GREY, slant="italic", gid="idle lane")
    for i, (_, shares) in enumerate(states):
        x = left + i * width
        span = Box(x + _GAP / 2, lanes_top, x + width - _GAP / 2, bottom)
        for row, line in enumerate(heads[i]):
            canvas.text(span.x, top + _LINE * row, line, align="center", weight="bold", gid="state")
        for row, line in enumerate(idle[i]):
            canvas.text(
                span.x, bottom + 12 + _LINE * row, line, colour=GREY, align="center", gid="idle"
            )
        _draw_state(canvas, span, shares, lanes, hatches)
        if i:
            ends = [(x, lanes_top - 6), (x, bottom + extra - 4)]
            canvas.line(ends, GREY, width=1.0, dashes=(4.0, 3.0), gid="rebalance")
    _draw_foot(canvas, left, bottom + extra + 16, several=len(states) > 1)
    return canvas.figure


def _draw_state(
    canvas: Canvas,
    span: Box,
    shares: Shares,
    lanes: Sequence[int],
    hatches: Mapping[str, str | None],
) -> None:
    owners = _owners(shares)
    for i, number in enumerate(lanes):
        top = span.top + _LANE * i
        box = Box(span.left, top, span.right, top + _BAR)
        name = owners.get(number)
        if name is None:
            canvas.rectangle(box, SHADE, gid="nobody")
            canvas.text(box.x, box.y, "nobody", colour=LOSS_INK, align="center", gid="word")
            continue
        colour, hatch = worker_colour(name), hatches[name]
        canvas.rectangle(box, colour, edge=PAPER, hatch=hatch, gid="owner")
        shown = elide(legible(name), box.right - box.left - 12, SMALL, weight="bold")
        ink, paper = ink_on(colour), colour if hatch else None
        canvas.text(
            box.x,
            box.y,
            shown,
            colour=ink,
            align="center",
            weight="bold",
            paper=paper,
            gid="member",
        )


def _draw_foot(canvas: Canvas, left: float, y: float, *, several: bool) -> None:
    name = "states in order (not to scale of time)"
    canvas.text((left + WIDTH - MARGIN) / 2, y, name, align="center", gid="axis")
    if several:
        canvas.line([(MARGIN, y), (MARGIN + 22, y)], GREY, dashes=(4.0, 3.0), gid="sample")
        canvas.text(MARGIN + 30, y, "rebalance: nobody reads", colour=GREY, gid="legend")


def _owners(shares: Shares) -> dict[int, str]:
    return {number: name for name, owned in shares.items() for number in owned}


def _idle(shares: Shares) -> list[str]:
    return [legible(name) for name, owned in shares.items() if not owned]


def _hatches(states: Sequence[tuple[str, Shares]]) -> dict[str, str | None]:
    """By member: with the colour, so that two members never look alike."""
    names = dict.fromkeys(name for _, shares in states for name in shares)
    return {name: _HATCHES[i % len(_HATCHES)] for i, name in enumerate(names)}


def _finding(states: Sequence[tuple[str, Shares]], lanes: Sequence[int]) -> str:
    head = plural(len(lanes), "partition")
    crowd = max((shares for _, shares in states), key=len)
    idle = len(_idle(crowd))
    moves = sum(
        any(_owners(a).get(n) != _owners(b).get(n) for n in lanes)
        for (_, a), (_, b) in pairwise(states)
    )
    moved = f"; {moves} of {plural(len(states) - 1, 'rebalance')} moved a partition"
    told = moved if len(states) > 1 else ""
    if idle:
        return f"{head}: of {plural(len(crowd), 'member')} {len(crowd) - idle} are busy{told}"
    return f"{head}: all of {plural(len(crowd), 'member')} busy{told}"


def _alt(states: Sequence[tuple[str, Shares]], lanes: Sequence[int]) -> str:
    told = [f"{plural(len(lanes), 'partition')} as lanes, their owners as spans, state by state."]
    for words, shares in states:
        owners = _owners(shares)
        rows = [f"partition {number} {owners.get(number, 'nobody')}" for number in lanes]
        idle = _idle(shares)
        told.append(f"{words}: {listing(rows)}{f'; idle: {listing(idle)}' if idle else ''}.")
    return " ".join(told)
