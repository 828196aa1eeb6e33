"""From one trial's outcome to the rows that students see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.measure.frames import operations_frame, sample, series_frame
from labkit.measure.histogram import Histogram
from labkit.measure.lags import LAG_LIMIT_MS, LAG_PART, LagSummary
from labkit.measure.outcome import Outcome
from labkit.measure.recorder import TICK_NS, Unfinished, exact_percentile

if TYPE_CHECKING:
    import numpy.typing as npt

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}

ENOUGH_FOR_P999 = 10_000
"""Samples below which p99.9 would be one of the last ten: an anecdote, and withheld."""

TRIAL_TYPES: dict[str, str] = {
    "trial": "int64",
    "broker": "str",
    "embedded": "bool",
    "pattern": "str",
    "schedule": "str",
    "rate": "float64",
    **dict.fromkeys(
        ("clients", "size_bytes", "batch", "subscribers", "workers", "repeat"), "int64"
    ),
    "seconds": "float64",
    **dict.fromkeys(
        ("sent", "completed", "lost", "duplicates", "out_of_order", "unanswered"), "int64"
    ),
    **dict.fromkeys(("send_errors", "implausible"), "int64"),
    **dict.fromkeys(("throughput", "mb_per_s"), "float64"),
    **{f"{what}_{q}_ms": "float64" for what in ("service", "response") for q in QUANTILES},
    "lag_p99_ms": "float64",
    "valid": "bool",
    "why_invalid": "str",
    "interrupted": "bool",
}
HEALTH_TYPES = {
    "trial": "int64",
    **dict.fromkeys(("lag_p50_ms", "lag_p99_ms", "lag_max_ms", "own_lag_p99_ms"), "float64"),
    "held_up_s": "float64",
    **dict.fromkeys(("late", "gaps", "nobody_subscribed"), "int64"),
    **dict.fromkeys(("mean_in_flight", "response_mean_ms"), "float64"),
    "percentiles": "str",
    "p999_note": "str",
    "operations_fraction": "float64",
    "processes": "bool",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What one trial was: its columns that are known before it runs, and how to read it.

    Attributes:
        columns: broker, embedded, pattern … repeat.
        warmup_ns: cut off.
        measured_ns: length without the warm-up, as planned.
        timeout_ns: what an operation that never ended counts for, at least.
        lag_limit_ms: p99 of the generator's own lag above which the trial is not valid.
        tick_ns: step of `.series`.
        processes: the far ends were processes of their own.
    """

    columns: dict[str, Any]
    warmup_ns: int
    measured_ns: int
    timeout_ns: int
    lag_limit_ms: float = LAG_LIMIT_MS
    tick_ns: int = TICK_NS
    processes: bool = False


@dataclass(slots=True)
class TrialTables:
    """One trial's rows."""

    trial: dict[str, Any]
    health: dict[str, Any]
    operations: pd.DataFrame
    series: pd.DataFrame
    service: Histogram
    response: Histogram


def tables(outcome: Outcome, setting: Setting) -> TrialTables:
    """All rows of one trial, numbered 0."""
    warm = outcome.intended < setting.warmup_ns
    service = outcome.service_ns(setting.timeout_ns)
    response = outcome.response_ns(setting.timeout_ns)
    wrong = outcome.implausible()
    sound = ~warm & ~wrong
    histograms = _histograms(service[sound], response[sound], outcome)
    lag = outcome.lags.summary()
    row = {"trial": 0, **setting.columns, **_counts(outcome, setting, ~warm, wrong)}
    for what, samples, histogram in zip(
        ("service", "response"), (service[sound], response[sound]), histograms, strict=True
    ):
        for name, value in _percentiles(samples, histogram, exact=not outcome.later.count).items():
            row[f"{what}_{name}_ms"] = value
    row["lag_p99_ms"] = lag.p99_ms
    row["why_invalid"] = why_invalid(outcome, setting, row, lag)
    row["valid"] = not row["why_invalid"]
    row["interrupted"] = outcome.interrupted
    kept = sample(len(outcome.number))
    operations = operations_frame(outcome, service, response, warm, kept)
    series = series_frame(
        outcome,
        tick=setting.tick_ns,
        warmup_ns=setting.warmup_ns,
        timeout_ns=setting.timeout_ns,
    )
    total = len(outcome.number) + outcome.later.count
    health = {
        "trial": 0,
        "lag_p50_ms": lag.p50_ms,
        "lag_p99_ms": lag.p99_ms,
        "lag_max_ms": lag.max_ms,
        "own_lag_p99_ms": lag.own_p99_ms,
        "held_up_s": lag.held_up_s,
        "late": outcome.late,
        "gaps": outcome.gaps,
        "nobody_subscribed": outcome.nobody_subscribed,
        "mean_in_flight": mean_in_flight(outcome, setting, response),
        "response_mean_ms": histograms[1].mean_ns / 1e6,
        "percentiles": "histogram" if outcome.later.count else "exact",
        "p999_note": _p999_note(histograms[1].count),
        "operations_fraction": len(operations) / total if total else 1.0,
        "processes": setting.processes,
    }
    return TrialTables(row, health, operations, series, *histograms)


def why_invalid(outcome: Outcome, setting: Setting, row: dict[str, Any], lag: LagSummary) -> str:
    """Why the figures of this trial are not to be trusted; "" if nothing speaks against them."""
    reasons = []
    if outcome.problem:
        reasons.append(outcome.problem)
    if outcome.broke:
        reasons.append(f"the broker was gone, or refused: {outcome.broke}")
    if row["implausible"]:
        reasons.append(f"{row['implausible']:,} intervals are negative: two clocks disagree")
    limit_ms = max(setting.lag_limit_ms, LAG_PART * row["response_p99_ms"])
    if lag.own_p99_ms > limit_ms:
        reasons.append(
            f"the generator could not keep its schedule: p99 of its own lag {lag.own_p99_ms:.3g} "
            f"ms, limit {limit_ms:.3g} ms; lower the rate, use batches or processes=True"
        )
    if not reasons and not row["completed"]:
        reasons.append("nothing was completed")
    return "; ".join(reasons)


def mean_in_flight(outcome: Outcome, setting: Setting, response: npt.NDArray[np.int64]) -> float:
    """Operations under way (meant to have begun and not done) on average over the measured time.

    Each operation's own stretch of time, cut to the measured time, added up.
    """
    begins = setting.warmup_ns
    ends = begins + _measured_ns(outcome, setting)
    if outcome.later.count or ends <= begins or not len(response):
        return math.nan
    left = np.clip(outcome.intended, begins, ends)
    right = np.clip(outcome.intended + response, begins, ends)
    return float((right - left).sum() / (ends - begins))


def _histograms(
    service: npt.NDArray[np.int64], response: npt.NDArray[np.int64], outcome: Outcome
) -> tuple[Histogram, Histogram]:
    made = Histogram(), Histogram()
    for histogram, samples, later in zip(
        made, (service, response), (outcome.later.service, outcome.later.response), strict=True
    ):
        histogram.add_all(samples)
        histogram.merge(later)
    return made


def _measured_ns(outcome: Outcome, setting: Setting) -> int:
    """As planned, unless it ended early."""
    if outcome.interrupted or outcome.broke or outcome.problem:
        return min(max(0, outcome.ended_ns - setting.warmup_ns), setting.measured_ns)
    return setting.measured_ns


def _counts(
    outcome: Outcome,
    setting: Setting,
    measured: npt.NDArray[np.bool_],
    wrong: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    later = outcome.later
    of = {s: int((outcome.done[measured] == s).sum()) + later.status[s] for s in Unfinished}
    completed = int(outcome.finished[measured].sum()) + later.service.count
    completed -= sum(later.status.values())
    length = _measured_ns(outcome, setting)
    begins, ends = setting.warmup_ns, setting.warmup_ns + length
    in_time = int(((outcome.done >= begins) & (outcome.done < ends)).sum())
    ticks = range(begins // TICK_NS, -(-ends // TICK_NS))
    in_time += sum(done for tick, (_, done) in later.ticks.items() if tick in ticks)
    throughput = in_time / (length / 1e9) if length else 0.0
    return {
        "seconds": length / 1e9,
        "sent": completed + of[Unfinished.LOST] + of[Unfinished.UNANSWERED],
        "completed": completed,
        "lost": of[Unfinished.LOST],
        "duplicates": outcome.duplicates,
        "out_of_order": outcome.out_of_order,
        "unanswered": of[Unfinished.UNANSWERED],
        "send_errors": of[Unfinished.ERROR],
        "implausible": int((wrong & measured).sum())
        + later.service.negative
        + later.response.negative,
        "throughput": throughput,
        "mb_per_s": throughput * setting.columns["size_bytes"] / 1e6,
    }


def _percentiles(
    samples: npt.NDArray[np.int64], histogram: Histogram, *, exact: bool
) -> dict[str, float]:
    found = {}
    for name, quantile in QUANTILES.items():
        if name == "p999" and histogram.count < ENOUGH_FOR_P999:
            found[name] = math.nan
        elif exact:
            found[name] = exact_percentile(samples, quantile) / 1e6
        else:
            found[name] = histogram.percentile(quantile) / 1e6
    return found


def _p999_note(samples: int) -> str:
    if samples >= ENOUGH_FOR_P999:
        return ""
    return f"p99.9 withheld: {samples:,} samples, it needs {ENOUGH_FOR_P999:,}"
