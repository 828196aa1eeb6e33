"""Lag over time: how far behind the end of its log each group of readers was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from labkit.errors import ConfigurationError
from labkit.patterns.event_stream import Positions
from labkit.plots._chart import Plot, Span, chart
from labkit.plots._curves import Curve
from labkit.plots._scales import Axis
from labkit.plots._words import listing, plural
from labkit.plots.show import LabFigure
from labkit.plots.style import in_style, legible, series_look

_MOST_GROUPS = 6
_HEIGHTS = (230.0, 110.0)

Samples = Sequence[tuple[float, Positions]]


@dataclass(frozen=True, slots=True)
class _Line:
    """What one group had still to do: (seconds, events), from its first sample on.

    Attributes:
        pending: of these, in members' hands; empty where the broker does not know.
    """

    name: str
    lag: list[tuple[float, int]]
    pending: list[tuple[float, int]]

    @property
    def last(self) -> int:
        return self.lag[-1][1]

    @property
    def most(self) -> int:
        return max(value for _, value in self.lag)


@in_style
def lag(
    samples: Iterable[tuple[float, Positions]],
    *,
    marks: Mapping[float, str] | None = None,
    time_name: str = "time (s)",
    title: str | None = None,
) -> LabFigure:
    """Draw each group's lag over time as steps, and under it what of that is in members' hands.

    Args:
        samples: pairs (time, `stream.positions()`). A count holds until the next one.
        marks: words over moments, by their time: {12: "Ann dies"}.
        time_name: what the times are, with their unit.
        title: None states the finding.

    Raises:
        ConfigurationError: no sample has a group, or there are more groups than can be told apart.
    """
    found = sorted(samples, key=lambda sample: sample[0])
    lines = _lines(found)
    if not lines:
        raise ConfigurationError(
            "No lag to draw: pass pairs (time, stream.positions()) of a stream that a group reads."
        )
    if len(lines) > _MOST_GROUPS:
        raise ConfigurationError(
            f"{len(lines)} groups are too many for one picture, which shows {_MOST_GROUPS}."
        )
    spans = [Span(time, time, legible(text)) for time, text in (marks or {}).items()]
    numbers = {line.name: i for i, line in enumerate(lines)}
    whole = _axis("lag: events still to be done", [line.most for line in lines])
    plots = [Plot(whole, [_curve(x, x.lag, numbers) for x in lines], spans, _HEIGHTS[0])]
    if any(line.pending for line in lines):
        most = [value for line in lines for _, value in line.pending]
        held = _axis("of these pending: given to a member, not committed", most)
        curves = [_curve(x, x.pending, numbers) for x in lines if x.pending]
        bare = [Span(span.first, span.last, "") for span in spans]
        plots.append(Plot(held, curves, bare, _HEIGHTS[1]))
    headline = title if title is not None else _finding(lines)
    told = " ".join([_story(line) for line in lines] + [f"At {t:g}: {w}." for t, w in _by(marks)])
    alt = f"Step lines of the lag of {plural(len(lines), 'group')}, {_length(found)}. {told}"
    x = Axis(time_name, log=False, zero=False, span=_span(found), ticks=_ticks(found))
    return chart(legible(headline), legible(alt), x, plots, legend=False)


def _axis(name: str, counts: Sequence[int]) -> Axis:
    """An axis of whole numbers."""
    most = max(1, *counts)
    values = MaxNLocator(nbins=5, integer=True).tick_values(0, most)
    return Axis(name, log=False, ticks=tuple((v, f"{v:,.0f}") for v in values if v >= 0))


def _lines(samples: Samples) -> list[_Line]:
    lines: dict[str, _Line] = {}
    for time, positions in samples:
        for state in positions.groups:
            line = lines.setdefault(state.name, _Line(state.name, [], []))
            line.lag.append((float(time), sum(place.lag for place in state.places)))
            held = [place.pending for place in state.places if place.pending is not None]
            if held:
                line.pending.append((float(time), sum(held)))
    return list(lines.values())


def _by(marks: Mapping[float, str] | None) -> list[tuple[float, str]]:
    return sorted((marks or {}).items())


def _curve(line: _Line, counted: Sequence[tuple[float, int]], numbers: Mapping[str, int]) -> Curve:
    steps: list[tuple[float, float]] = []
    for time, value in counted:
        if steps and steps[-1][1] != value:
            steps.append((time, steps[-1][1]))
        steps.append((time, float(value)))
    values = [value for _, value in counted]
    end = f"{values[-1]:,} at the end, {max(values):,} at most"
    return Curve(legible(line.name), series_look(numbers[line.name]), line=steps, marks=(), end=end)


def _finding(lines: Sequence[_Line]) -> str:
    told = []
    for line in lines:
        if not line.most:
            told.append(f"{line.name} was never behind")
        elif not line.last:
            told.append(f"{line.name} fell {line.most:,} behind and caught up")
        elif line.last == line.most and len(line.lag) > 1:
            told.append(f"{line.name} is {plural(line.last, 'event')} behind and falls further")
        else:
            told.append(f"{line.name} is {line.last:,} behind, after {line.most:,}")
    return "; ".join(told)


def _story(line: _Line) -> str:
    first = line.lag[0][1]
    told = [f"lag {first:,} at first, {line.most:,} at most, {line.last:,} at the end"]
    if line.pending:
        held = [value for _, value in line.pending]
        told.append(f"pending {max(held):,} at most, {held[-1]:,} at the end")
    return f"{line.name}: {listing(told)}."


def _length(samples: Samples) -> str:
    return f"{plural(len(samples), 'sample')} from {samples[0][0]:g} to {samples[-1][0]:g}"


def _span(samples: Samples) -> tuple[float, float] | None:
    """From the first to the last; a scale of its own where that is one moment."""
    first, last = float(samples[0][0]), float(samples[-1][0])
    return (first, last) if first < last else None


def _ticks(samples: Samples) -> tuple[tuple[float, str], ...] | None:
    """Also every three, as hours are read."""
    if (span := _span(samples)) is None:
        return None
    values = MaxNLocator(nbins=9, steps=[1, 2, 3, 5, 10]).tick_values(*span)
    return tuple((float(v), f"{v:,.10g}") for v in values if span[0] <= v <= span[1])
