"""Latency as shares: how many of all operations came back within which time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from labkit.plots._chart import Plot, chart
from labkit.plots._curves import Curve
from labkit.plots._figures import milliseconds, percent
from labkit.plots._frames import embedded_note, invalid_note
from labkit.plots._latencies import (
    LEAST_FOR_MARKS,
    Clock,
    Latencies,
    notes_of_latencies,
    read_latencies,
    spread_axis,
)
from labkit.plots._scales import Axis
from labkit.plots._words import plural
from labkit.plots.show import LabFigure
from labkit.plots.style import in_style, legible

_POINTS = 400
"""Points of a curve, however many operations it stands for."""


@in_style
def ecdf(
    operations: object,
    *,
    trials: object = None,
    clock: Clock = "response",
    by: str | Sequence[str] | None = None,
    title: str | None = None,
) -> LabFigure:
    """Draw which share of all operations came back within which latency.

    What never came back keeps the curve under 100 %.

    Args:
        operations: as for `percentiles`.
        trials: as for `percentiles`.
        clock: "response" counts from the intended moment of sending, "service" from the actual.
        by: the column or columns that tell series apart; None finds them.
        title: None states the finding.

    Raises:
        ConfigurationError: no operation to draw, or a column is missing.
    """
    series, frame = read_latencies(operations, trials, "ecdf", clock, by)
    curves = [_steps(s, clock) for s in series]
    y = Axis("share of operations (%)", log=False, span=(0.0, 100.0))
    x = spread_axis([v for c in curves for v in c.xs()])
    alt = "; ".join(f"{s.name or clock + ' time'}: {_story(s)}" for s in series)
    headline = title if title is not None else _finding(series)
    return chart(
        legible(headline),
        legible(f"Steps of the share of operations that came back within a {clock} time. {alt}."),
        Axis(f"{clock} time (ms)", log=x.log, words=x.words, zero=x.zero),
        [Plot(y, curves)],
        [*notes_of_latencies(series, frame), *invalid_note(frame), *embedded_note(frame)],
    )


def _steps(series: Latencies, clock: str) -> Curve:
    count = len(series.came)
    whole = count + series.never
    ranks = sorted({round(i * (count - 1) / _POINTS) for i in range(_POINTS + 1)})
    points: list[tuple[float, float]] = [(series.came[0], 0.0)]
    for rank in ranks:
        value = series.came[rank]
        points += [(value, points[-1][1]), (value, 100 * (rank + 1) / whole)]
    marks = []
    for q in (0.5, 0.9, 0.99):
        rank = math.ceil(q * whole - 1e-9)
        if rank <= count and count >= LEAST_FOR_MARKS:
            marks.append((series.came[rank - 1], 100 * rank / whole))
    return Curve(
        series.name or f"{clock} time",
        series.look,
        line=points,
        marks=marks,
        end=f"{percent(count / whole)} came back",
        crossed=not series.valid,
    )


def _half(series: Latencies) -> float | None:
    """The time within which half of all came back; None if fewer did."""
    rank = math.ceil((len(series.came) + series.never) / 2)
    return series.came[rank - 1] if rank <= len(series.came) else None


def _half_words(series: Latencies) -> str:
    half = _half(series)
    return "fewer than half came back" if half is None else f"half within {milliseconds(half)}"


def _story(series: Latencies) -> str:
    whole = plural(len(series.came) + series.never, "operation")
    last = milliseconds(series.came[-1])
    return (
        f"{len(series.came):,} of {whole} came back, {_half_words(series)}, the last after {last}"
    )


def _finding(series: Sequence[Latencies]) -> str:
    valid = [s for s in series if s.valid]
    if not valid:
        return "No valid trial: nothing can be concluded from these latencies"
    if len(valid) > 1:
        order = sorted(valid, key=lambda s: _half(s) or math.inf)
        best, worst = order[0], order[-1]
        text = f"{best.name}: {_half_words(best)}; {worst.name}: {_half_words(worst)}"
        return text + _never_words(valid)
    one = valid[0]
    text = f"{_half_words(one)}, the last after {milliseconds(one.came[-1])}{_never_words(valid)}"
    return f"{one.name}: {text}" if one.name else text[0].upper() + text[1:]


def _never_words(series: Sequence[Latencies]) -> str:
    never = sum(s.never for s in series)
    whole = never + sum(len(s.came) for s in series)
    return f"; {percent(never / whole)} never came back" if never else "; none was lost"
