"""Lag over time: how far behind the end of its log each group, or each partition, was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.ticker import MaxNLocator

from labkit.broker import GroupState, Place
from labkit.errors import ConfigurationError
from labkit.patterns.event_stream import Positions
from labkit.plots._chart import Plot, Span, chart
from labkit.plots._curves import Curve
from labkit.plots._scales import Axis
from labkit.plots._words import listing, plural
from labkit.plots.show import LabFigure
from labkit.plots.style import in_style, legible, series_look

_MOST_LINES = 6
_PARTITION = "partition "
_HEIGHTS = (230.0, 110.0)

Samples = Sequence[tuple[float, Positions]]


@dataclass(frozen=True, slots=True)
class _Line:
    """What one group, or one partition of it, had still to do: (time, events).

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
    by_partition: bool = False,
    marks: Mapping[float, str] | None = None,
    time_name: str = "time (s)",
    title: str | None = None,
) -> LabFigure:
    """Draw each group's lag over time as steps, and under it what of that is in members' hands.

    Args:
        samples: pairs (time, `stream.positions()`). A count holds until the next one.
        by_partition: a line for each partition of each group.
        marks: words over moments, by their time: {12: "Ann dies"}.
        time_name: what the times are, with their unit.
        title: None states the finding.

    Raises:
        ConfigurationError: no sample has a group, or there are more lines than can be told apart.
    """
    found = sorted(samples, key=lambda sample: sample[0])
    lines = _lines(found, by_partition)
    noun = "partition" if by_partition else "group"
    if not lines:
        raise ConfigurationError(
            "No lag to draw: pass pairs (time, stream.positions()) of a stream that a group reads."
        )
    drawn = _joined(lines) if by_partition else lines
    if len(drawn) > _MOST_LINES:
        raise ConfigurationError(
            f"{len(drawn)} {noun}s are too many for one picture, which shows {_MOST_LINES}."
        )
    spans = [Span(time, time, legible(text)) for time, text in (marks or {}).items()]
    numbers = {line.name: i for i, line in enumerate(drawn)}
    whole = _axis("lag: events still to be done", [line.most for line in lines])
    plots = [
        Plot(
            whole,
            [_curve(x, x.lag, numbers, named=by_partition) for x in drawn],
            spans,
            _HEIGHTS[0],
        )
    ]
    if any(value for line in lines for _, value in line.pending):
        most = [value for line in lines for _, value in line.pending]
        held = _axis("of these pending: given to a member, not committed", most)
        curves = [_curve(x, x.pending, numbers) for x in drawn if x.pending]
        bare = [Span(span.first, span.last, "") for span in spans]
        plots.append(Plot(held, curves, bare, _HEIGHTS[1]))
    headline = title if title is not None else _finding(lines, many=by_partition)
    told = " ".join([_story(line) for line in lines] + [f"At {t:g}: {w}." for t, w in _by(marks)])
    alt = f"Step lines of the lag of {plural(len(lines), noun)}, {_length(found)}. {told}"
    x = Axis(time_name, log=False, zero=False, span=_span(found), ticks=_ticks(found))
    return chart(legible(headline), legible(alt), x, plots, legend=False)


def _axis(name: str, counts: Sequence[int]) -> Axis:
    """An axis of whole numbers."""
    most = max(1, *counts)
    values = MaxNLocator(nbins=5, integer=True).tick_values(0, most)
    return Axis(name, log=False, ticks=tuple((v, f"{v:,.0f}") for v in values if v >= 0))


def _lines(samples: Samples, by_partition: bool) -> list[_Line]:
    lines: dict[str, _Line] = {}
    several = len({state.name for _, positions in samples for state in positions.groups}) > 1
    for time, positions in samples:
        for state in positions.groups:
            for name, places in _rows(state, by_partition, several):
                line = lines.setdefault(name, _Line(name, [], []))
                line.lag.append((float(time), sum(place.lag for place in places)))
                held = [place.pending for place in places if place.pending is not None]
                if held:
                    line.pending.append((float(time), sum(held)))
    return list(lines.values())


def _rows(
    state: GroupState, by_partition: bool, several: bool
) -> Iterator[tuple[str, Sequence[Place]]]:
    """The lines of one group: name, and the places that count."""
    if not by_partition:
        yield state.name, state.places
        return
    for place in state.places:
        name = f"{_PARTITION}{place.partition}"
        yield (f"{state.name}, {name}" if several else name), [place]


def _joined(lines: Sequence[_Line]) -> list[_Line]:
    """Partitions of one group that were never behind are one line, beneath the others."""
    still = [line for line in lines if not line.most and line.name.startswith(_PARTITION)]
    if len(still) < 2:
        return list(lines)
    numbers = listing([line.name.removeprefix(_PARTITION) for line in still])
    return [line for line in lines if line not in still] + [
        replace(still[0], name=f"partitions {numbers}")
    ]


def _by(marks: Mapping[float, str] | None) -> list[tuple[float, str]]:
    return sorted((marks or {}).items())


def _curve(
    line: _Line,
    counted: Sequence[tuple[float, int]],
    numbers: Mapping[str, int],
    *,
    named: bool = False,
) -> Curve:
    """`named`: its name stands at its highest point, too."""
    steps: list[tuple[float, float]] = []
    for time, value in counted:
        if steps and steps[-1][1] != value:
            steps.append((time, steps[-1][1]))
        steps.append((time, float(value)))
    values = [value for _, value in counted]
    end = f"{values[-1]:,} at the end, {max(values):,} at most" if max(values) else "never behind"
    name, top = legible(line.name), max(counted, key=lambda row: row[1])
    tags = [(*top, name)] if named and top[1] else []
    look = series_look(numbers[line.name])
    return Curve(name, look, line=steps, marks=(), tags=tags, end=end)


def _finding(lines: Sequence[_Line], *, many: bool) -> str:
    if many and len(lines) > 1:
        worst, *rest = sorted(lines, key=lambda line: -line.most)
        others = "the other" if len(rest) == 1 else f"the other {len(rest)}"
        if worst.most > rest[0].most:
            return f"{worst.name} fell {worst.most:,} behind, {others} at most {rest[0].most:,}"
        return f"none of {plural(len(lines), 'partition')} fell more than {worst.most:,} behind"
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
    """Also every three, as hours are read; whole ones where all times are."""
    if (span := _span(samples)) is None:
        return None
    whole = all(float(time).is_integer() for time, _ in samples)
    locator = MaxNLocator(nbins=9, steps=[1, 2, 3, 5, 10], integer=whole)
    values = locator.tick_values(*span)
    return tuple((float(v), f"{v:,.10g}") for v in values if span[0] <= v <= span[1])
