"""Latency by percentile, with the tail stretched."""

from __future__ import annotations

import math
from collections.abc import Sequence

from labkit.plots._chart import Plot, Span, chart
from labkit.plots._curves import Curve
from labkit.plots._figures import percentile_name, times
from labkit.plots._frames import embedded_note, invalid_note
from labkit.plots._latencies import (
    LEAST_BEYOND,
    TOLD,
    Clock,
    Latencies,
    notes_of_latencies,
    read_latencies,
    spread_axis,
)
from labkit.plots._scales import Axis
from labkit.plots._words import listing, plural
from labkit.plots.show import LabFigure
from labkit.plots.style import in_style, legible

_POINTS = 400
"""Points of a curve, however many operations it stands for."""
_LEAST_TAIL = 3.0
"""The percentile axis reaches p99.9 at least, so that what is withheld is seen to be missing."""


@in_style
def percentiles(
    operations: object,
    *,
    trials: object = None,
    clock: Clock = "response",
    by: str | Sequence[str] | None = None,
    title: str | None = None,
) -> LabFigure:
    """Draw latency by percentile, the tail stretched: each step to the right is ten times rarer.

    The form is that of HdrHistogram (Gil Tene). A percentile is shown where at least ten
    samples lie beyond it: p99.9 from 10,000 operations. What never came back counts with the
    latency that the frame gives it, which is the time-out: at least that.

    Args:
        operations: what `trial` or `sweep` returned, or a DataFrame with a row for each operation:
            trial, status, response_ms, service_ms, and warmup, whose operations are left out.
        trials: a DataFrame with a row for each trial, which names the series and tells which count;
            None takes the one that was returned together with the operations.
        clock: "response" counts from the intended moment of sending, "service" from the actual.
        by: the column or columns that tell series apart; None finds them.
        title: None states the finding.

    Raises:
        ConfigurationError: no operation to draw, or a column is missing.
    """
    series, frame = read_latencies(operations, trials, "percentiles", clock, by)
    return percentile_chart(
        series,
        title if title is not None else _finding(series),
        [*notes_of_latencies(series, frame), *invalid_note(frame), *embedded_note(frame)],
        clock,
    )


def percentile_chart(
    series: Sequence[Latencies], headline: str, notes: Sequence[str], clock: str
) -> LabFigure:
    """The picture of these series with the tail stretched."""
    tail = max(_tail(s.supported) for s in series)
    end = max(_LEAST_TAIL, math.ceil(tail - 1e-9))
    ticks = tuple((_tail(q), percent_tick(q)) for q in (0.0, *TOLD) if _tail(q) <= end + 1e-9)
    x = Axis(
        "percentile of operations, each step to the right ten times rarer",
        log=False,
        ticks=ticks,
        span=(0.0, end),
    )
    curves = [_curve(s, single=len(series) == 1, clock=clock) for s in series]
    most = max(len(s.values) for s in series)
    spans = []
    if tail < end - 1e-6:
        spans = [Span(tail, end, f"withheld: {most:,} samples are too few")]
    y = spread_axis([v for c in curves for v in c.ys()])
    few = [s for s in series if not s.supported]
    extra = []
    if few:
        least = min(len(s.values) for s in few)
        extra = [
            f"{plural(least, 'operation')} are too few for a percentile (20 for p50): "
            "each is a point at its rank."
        ]
    rule = f"A percentile is shown where at least {LEAST_BEYOND} samples lie beyond it."
    y = Axis(f"{clock} time (ms)".strip(), log=y.log, words=y.words)
    return chart(
        legible(headline),
        legible(_alt(series, clock)),
        x,
        [Plot(y, curves, spans)],
        [rule, *extra, *notes],
    )


def _tail(q: float) -> float:
    return -math.log10(max(1e-12, 1 - q))


def percent_tick(q: float) -> str:
    """`99.9 %`."""
    return f"{round(q * 100, 6):g} %"


def _curve(series: Latencies, *, single: bool, clock: str) -> Curve:
    name, count = series.name or f"{clock} time", len(series.values)
    if not series.supported:
        points = [(_tail((i + 0.5) / count), v) for i, v in enumerate(series.values)]
        return Curve(
            name,
            series.look,
            marks=points,
            end=plural(count, "operation"),
            crossed=not series.valid,
        )
    reach = _tail(series.supported)
    line = [(t, series.at(1 - 10**-t)) for t in (reach * i / _POINTS for i in range(_POINTS + 1))]
    marks = [(_tail(q), series.at(q)) for q in series.told]
    tags = [(_tail(q), series.at(q), series.words(q)) for q in series.told] if single else []
    return Curve(
        name,
        series.look,
        line=line,
        marks=marks,
        tags=tags,
        end=series.figures((0.99,)) if series.supports(0.99) else series.figures(series.told[-1:]),
        crossed=not series.valid,
    )


def _finding(series: Sequence[Latencies]) -> str:
    valid = [s for s in series if s.valid]
    if not valid:
        return "No valid trial: nothing can be concluded from these latencies"
    if len(valid) == 1:
        one = valid[0]
        head = f"{one.name}: " if one.name else ""
        if not one.supported:
            count = plural(len(one.values), "operation")
            return f"{head}{count}, {one.figures()}: too few for percentiles"
        return head + listing([one.within(q) for q in one.told if q in _TITLE])
    common = [q for q in TOLD if all(s.supports(q) for s in valid)]
    if not common:
        return f"{len(valid)} series, some with too few operations to compare their percentiles"
    q = min(common[-1], 0.999)
    best, worst = (pick(valid, key=lambda s: s.at(q)) for pick in (min, max))
    low, high = best.at(q), worst.at(q)
    if best.words(q) == worst.words(q):
        return f"At {percentile_name(q)} all are alike: {best.words(q)}"
    ratio = f" ({times(high / low)})" if low > 0 else ""
    told = f"{best.name} {best.words(q)}, {worst.name} {worst.words(q)}"
    return f"At {percentile_name(q)}: {told}{ratio}"


_TITLE = (0.5, 0.99, 0.999)


def _alt(series: Sequence[Latencies], clock: str) -> str:
    told = []
    for s in series:
        name = f"{s.name}, " if s.name else ""
        told.append(
            f"{name}{plural(len(s.values), 'operation')}: {s.figures()}, longest {s.words(1.0)}"
        )
    return f"Curves of {clock} time by percentile. " + "; ".join(told) + "."
