"""Latency against load: flat, then steep; and where the one turns into the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import ConfigurationError
from labkit.plots._chart import Plot, Span, chart
from labkit.plots._curves import Curve
from labkit.plots._figures import milliseconds, number, per_second, times
from labkit.plots._latencies import Clock
from labkit.plots._scales import Axis, measured_ticks
from labkit.plots._sweep import Series, no_valid, notes_of, read_trials, series_along, told
from labkit.plots.show import LabFigure
from labkit.plots.style import Look, in_style, legible, lighter

if TYPE_CHECKING:
    import pandas

KNEE_FACTOR = 3.0
"""Past the knee latency is more than so many times that of the lowest load …"""
KNEE_SHARE = 0.95
"""… or less than this share of the intended rate completes."""
_LEAST_RATES = 3
_UPPER = ("p99", "p90", "p50")


@dataclass(frozen=True, slots=True)
class Knee:
    """Where latency begins to run away: between two rates that were measured.

    Attributes:
        last_good: the highest rate before it, per second; None if the lowest is beyond it.
        first_bad: the lowest rate beyond it; None if no rate is.
    """

    last_good: float | None
    first_bad: float | None


def find_knee(latency: Series, completed: Series) -> Knee | None:
    """Go up from the lowest rate to the first that is past the knee; None for under three rates.

    A rate is past it if its latency is over `KNEE_FACTOR` times that of the lowest rate, or if
    under `KNEE_SHARE` of it completes. Medians of the valid repeats are compared.
    """
    levels = latency.counted
    if len(levels) < _LEAST_RATES:
        return None
    done = {level.x: level.middle for level in completed.counted}
    good: float | None = None
    for level in levels:
        slow = level.middle > KNEE_FACTOR * levels[0].middle
        if slow or done.get(level.x, level.x) < KNEE_SHARE * level.x:
            return Knee(good, level.x)
        good = level.x
    return Knee(good, None)


@in_style
def latency_against_load(
    trials: object,
    *,
    clock: Clock = "response",
    by: str | Sequence[str] | None = None,
    title: str | None = None,
) -> LabFigure:
    """Draw p50 and p99 against the intended rate, with the knee.

    The knee lies before the first rate, going up, at which p99 is over three times that of the
    lowest rate, or under 95 % of the intended rate completes. Trials in a closed loop have no
    intended rate: if there are no others, they stand at the rate they completed, without a knee.

    Args:
        trials: what `sweep` returned, or a DataFrame with a row for each trial: rate,
            throughput, response_p50_ms, response_p99_ms (or those of the service time).
        clock: "response" counts from the intended moment of sending, "service" from the actual.
        by: the column or columns that tell series apart; None finds them.
        title: None states the finding.

    Raises:
        ConfigurationError: no trial to draw, or a column is missing.
    """
    who = "latency_against_load"
    if clock not in ("response", "service"):
        raise ConfigurationError(f"{who}() draws clock='response' or 'service', not {clock!r}.")
    names = {name: f"{clock}_{name}_ms" for name in _UPPER}
    frame, x = _loads(trials, list(names.values()), who)
    upper = next(name for name in _UPPER if frame[names[name]].notna().any())
    high = series_along(frame, x, names[upper], by, who)
    low = series_along(frame, x, names["p50"], by, who) if upper != "p50" else []
    done = {s.name: s for s in series_along(frame, x, "throughput", by, who)}
    knees = {
        s.name: find_knee(s, done[s.name]) if x == "rate" and s.name in done else None for s in high
    }
    headline = title or _finding(high, knees, upper, x) or no_valid(frame)
    curves = [_named(s, upper, low=False) for s in high]
    curves += [_named(s, "p50", low=True) for s in low]
    spans = [span for s in high if (span := _span(s, knees[s.name], len(high))) is not None]
    values = [float(v) for v in frame[x]]
    wide = min(values) > 0 and max(values) / min(values) > 50
    load = Axis(
        "load: intended rate (per second)" if x == "rate" else "load: completed per second",
        log=wide,
        ticks=measured_ticks(values, number, 14) if x == "rate" else None,
    )
    latency = Axis(f"{clock} time (ms)", words=lambda v: f"{v:,.10g}")
    alt = " ".join(
        [
            told(high, "load per second", f"{upper} of {clock} time in ms"),
            *([told(low, "load per second", "p50 in ms")] if low else []),
            *(
                f"Knee{' of ' + s.name if s.name else ''}: {_where(knees[s.name])}."
                for s in high
                if knees[s.name]
            ),
        ]
    )
    notes = [*_rules(x, upper, list(knees.values())), *notes_of(frame, trials)]
    plot = Plot(latency, curves, spans, height=330)
    return chart(legible(headline), legible(alt), load, [plot], notes)


def _loads(trials: object, columns: Sequence[str], who: str) -> tuple[pandas.DataFrame, str]:
    """Trials with an intended rate; if there is none, all, by what they completed."""
    frame = read_trials(trials, "throughput", columns, who)
    if "rate" in frame.columns and frame["rate"].notna().any():
        return read_trials(frame, "rate", [*columns, "throughput"], who), "rate"
    return frame, "throughput"


def _named(series: Series, name: str, *, low: bool) -> Curve:
    look = series.look
    if low:
        look = Look(lighter(look.colour, 0.35), (2.0, 1.5), look.marker)
    full = f"{series.name}, {name}" if series.name else name
    counted = series.counted
    end = (
        f"{milliseconds(counted[0].middle)} to {milliseconds(counted[-1].middle)}"
        if counted
        else ""
    )
    return series.curve(name=full, look=look, end=end)


def _span(series: Series, knee: Knee | None, count: int) -> Span | None:
    if knee is None or knee.first_bad is None or knee.last_good is None:
        return None
    name = f"knee of {series.name}" if count > 1 and series.name else "knee"
    return Span(knee.last_good, knee.first_bad, name)


def _where(knee: Knee | None) -> str:
    if knee is None:
        return "not looked for"
    if knee.first_bad is None:
        return f"none up to {per_second(knee.last_good or 0)}"
    if knee.last_good is None:
        return f"already below {per_second(knee.first_bad)}, the lowest valid rate"
    return f"between {number(knee.last_good)} and {per_second(knee.first_bad)}"


def _finding(series: Sequence[Series], knees: dict[str, Knee | None], upper: str, x: str) -> str:
    counted = [s for s in series if s.counted]
    if not counted:
        return ""
    if len(counted) > 1 and all(knees[s.name] for s in counted) and x == "rate":
        return "The knee: " + "; ".join(f"{s.name} {_where(knees[s.name])}" for s in counted[:3])
    one = counted[0]
    head = f"{one.name}: " if one.name and len(counted) > 1 else ""
    first, last, knee = one.counted[0], one.counted[-1], knees[one.name]
    if knee is not None and knee.first_bad is not None and knee.last_good is not None:
        at = {level.x: level.middle for level in one.counted}
        good, bad = at[knee.last_good], at[knee.first_bad]
        return (
            f"{head}the knee lies {_where(knee)}: {upper} goes from {milliseconds(good)} to "
            f"{milliseconds(bad)}"
        ).replace("the knee", "The knee", 0 if head else 1)
    if knee is not None and knee.first_bad is not None:
        return f"{head}Too much load already at {per_second(knee.first_bad)}, the lowest valid rate"
    ends = f"{upper} {milliseconds(first.middle)} at {per_second(first.x)}"
    if first is last:
        return f"{head}{ends}, the only load measured"
    ends = f"{ends}, {milliseconds(last.middle)} at {per_second(last.x)}"
    if knee is not None:
        return f"{head}No knee up to {per_second(last.x)}: {ends}"
    ratio = f" ({times(last.middle / first.middle)})" if last.middle > first.middle > 0 else ""
    return f"{head}{ends}{ratio}"


def _rules(x: str, upper: str, knees: Sequence[Knee | None]) -> list[str]:
    notes = []
    if x != "rate":
        notes.append(
            "A closed loop has no intended rate: it waits for each answer, so no knee is "
            "looked for."
        )
    elif any(knee is not None for knee in knees):
        notes.append(
            f"The knee: before the first rate, going up, at which {upper} is over "
            f"{KNEE_FACTOR:g} times that of the lowest rate, or under {KNEE_SHARE:.0%} of "
            "the intended rate completes.".replace("95%", "95 %")
        )
    else:
        notes.append(f"Under {_LEAST_RATES} rates with a valid trial: too few to look for a knee.")
    if upper != "p99":
        notes.append(f"No trial is long enough for p99; {upper} instead.")
    return notes
