"""A trial over time: what was completed each second, and what was not yet done meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from labkit.errors import ConfigurationError
from labkit.plots._chart import Plot, Span, chart
from labkit.plots._curves import Curve
from labkit.plots._figures import number, per_second
from labkit.plots._frames import (
    beside,
    checked,
    columns_of,
    embedded_note,
    flags,
    invalid_note,
    looks_of,
    not_too_many,
    numeric,
    series_name,
    varying,
    with_trials,
)
from labkit.plots._scales import Axis
from labkit.plots._words import plural
from labkit.plots.show import LabFigure
from labkit.plots.style import Look, in_style, legible

if TYPE_CHECKING:
    import pandas

_GROWING = 0.9
"""A backlog whose last depth is at least this share of its largest still grows."""
_MOST_POINTS = 800


@dataclass(frozen=True, slots=True)
class _Run:
    name: str
    look: Look
    valid: bool
    rate: list[tuple[float, float]]
    depth: list[tuple[float, float]]
    counted: list[float]


@in_style
def over_time(
    series: object,
    *,
    trials: object = None,
    by: str | Sequence[str] | None = None,
    title: str | None = None,
) -> LabFigure:
    """Draw what was completed each second, and what was not yet done, with the warm-up shaded.

    Args:
        series: what `trial` or `sweep` returned, or a DataFrame with a row for each moment of each
            trial: trial, t_s, completed_per_s, depth (what was begun and not done; NaN where
            nobody counted), warmup.
        trials: a DataFrame with a row for each trial, which names them and tells which count;
            None takes the one that was returned together with the series.
        by: the column or columns of `trials` that name the lines; None finds them.
        title: None states the finding.

    Raises:
        ConfigurationError: no moment to draw, or a column is missing.
    """
    who = "over_time"
    frame = checked(series, ["trial", "t_s", "completed_per_s"], who, "moment")
    depth = [c for c in ("depth",) if c in frame.columns]
    frame = with_trials(
        numeric(frame, ["t_s", "completed_per_s", *depth]), beside(series, trials), who
    )
    frame = frame[frame["t_s"].notna()]
    runs = _runs(frame, columns_of(by, frame, who) or varying(frame), bool(depth))
    not_too_many(len(runs), who)
    if not any(run.rate for run in runs):
        raise ConfigurationError(
            f"Nothing to draw: none of {plural(len(frame), 'moment')} has a number in "
            "'completed_per_s'. Let the trial run for longer than one interval."
        )
    warm = frame.loc[flags(frame, "warmup", False), "t_s"]
    start = float(frame["t_s"].min())
    spans = [Span(min(start, 0.0), float(warm.max()), "warm-up")] if len(warm) else []
    rate = Axis("completed per second", log=False)
    plots = [Plot(rate, [_curve(run, run.rate) for run in runs], spans, 230)]
    notes = []
    waited = [run for run in runs if run.depth]
    if waited:
        plots.append(
            Plot(
                Axis("depth: begun and not yet done", log=False),
                [_curve(run, run.depth, depth=True) for run in waited],
                [Span(s.first, s.last, "") for s in spans],
                170,
            )
        )
    else:
        notes.append("No depth was recorded.")
    notes += [*invalid_note(frame), *embedded_note(frame)]
    alt = " ".join(_story(run) for run in runs)
    headline = title if title is not None else _finding(runs)
    x = Axis("time since the trial began (s)", log=False)
    return chart(legible(headline), legible(alt), x, plots, notes)


def _runs(frame: pandas.DataFrame, by: Sequence[str], depth: bool) -> list[_Run]:
    found = []
    groups = list(frame.groupby("trial", sort=True))
    brokers = [str(rows["broker"].iloc[0]) if "broker" in rows else "" for _, rows in groups]
    names = [
        series_name({c: rows[c].iloc[0] for c in by}) or brokers[i]
        for i, (_, rows) in enumerate(groups)
    ]
    for i, ((trial, rows), look) in enumerate(zip(groups, looks_of(brokers), strict=True)):
        rows = rows.sort_values("t_s")
        alone = len(groups) == 1
        name = (
            names[i]
            if names[i] and names.count(names[i]) == 1
            else ("" if alone else f"{names[i]}, trial {trial}".lstrip(", "))
        )
        done = rows[rows["completed_per_s"].notna()]
        counted = done.loc[~flags(done, "warmup", False), "completed_per_s"]
        valid = bool(flags(rows, "valid", True).all())
        label = name if valid else f"{name}, invalid".lstrip(", ")
        found.append(
            _Run(
                legible(label),
                look,
                valid,
                _pairs(done, "completed_per_s"),
                _pairs(rows[rows["depth"].notna()], "depth") if depth else [],
                counted.tolist(),
            )
        )
    return found


def _pairs(rows: pandas.DataFrame, column: str) -> list[tuple[float, float]]:
    pairs = list(zip(rows["t_s"].tolist(), rows[column].tolist(), strict=True))
    step = max(1, len(pairs) // _MOST_POINTS)
    kept = pairs[::step]
    return kept if not pairs or kept[-1] == pairs[-1] else [*kept, pairs[-1]]


def _curve(run: _Run, line: list[tuple[float, float]], *, depth: bool = False) -> Curve:
    end = f"{number(line[-1][1])} at the end" if line else ""
    if not depth and run.counted:
        end = f"median {per_second(median(run.counted))}"
    every = max(1, len(line) // 8)
    return Curve(
        run.name or ("not yet done" if depth else "completed"),
        run.look,
        line=line,
        marks=line[every // 2 :: every],
        end=end,
        crossed=not run.valid,
    )


def _finding(runs: Sequence[_Run]) -> str:
    valid = [run for run in runs if run.valid and run.rate]
    if not valid:
        return "No valid trial: nothing can be concluded from these lines"
    told = []
    for run in valid[:3]:
        head = f"{run.name}: " if run.name and len(runs) > 1 else ""
        middle = median(run.counted or [v for _, v in run.rate])
        when = " after the warm-up" if run.counted and len(run.counted) < len(run.rate) else ""
        if not run.counted:
            when = ", all in the warm-up"
        told.append(f"{head}{per_second(middle)} completed{when}{_depth_words(run)}")
    more = f"; and {plural(len(valid) - 3, 'trial')} more" if len(valid) > 3 else ""
    return "; ".join(told) + more


def _depth_words(run: _Run) -> str:
    if not run.depth:
        return ""
    most, last = max(v for _, v in run.depth), run.depth[-1][1]
    if not most:
        return ", nothing was left to do"
    if last >= _GROWING * most and last > 2 * run.depth[0][1]:
        return f", and the backlog grew to {number(last)}"
    return f", at most {number(most)} under way"


def _story(run: _Run) -> str:
    if not run.rate:
        return ""
    values = [v for _, v in run.rate]
    head = f"{run.name}: completed" if run.name else "Completed"
    over = number(run.rate[-1][0])
    text = f"{head} per second over {over} s, {number(min(values))} to {number(max(values))}"
    if run.counted:
        text += f", median after the warm-up {number(median(run.counted))}"
    if run.depth:
        depths = [v for _, v in run.depth]
        text += f"; depth at most {number(max(depths))}, {number(depths[-1])} at the end"
    return f"{text}."
