"""Trials put together: a row for each combination of settings.

Repeats are put together as they may be: of throughput the median, with its spread; percentiles from
the merged histograms, never averaged; losses added up; of the lag the worst.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labkit.measure import Histogram, Measurements
from labkit.measure.tables import ENOUGH_FOR_P999

SETTINGS = (
    "broker",
    "schedule",
    "rate",
    "clients",
    "size_bytes",
    "batch",
    "subscribers",
    "workers",
)


@dataclass(frozen=True, slots=True)
class Row:
    """All repeats of one combination.

    Attributes:
        setting: the settings' values, by column.
        count, valid: how many repeats there are, and how many of them are to be trusted.
        throughput: median of the valid ones (of all, if none is valid), operations a second.
        spread: of those, the largest less the smallest, as a part of the median; NaN for one.
        response, service: milliseconds by name of the percentile.
        lag_ms: the worst p99 of the schedule lag.
        lost, unanswered, unsent, duplicates: operations, in all repeats together.
    """

    setting: dict[str, Any]
    count: int
    valid: int
    throughput: float
    spread: float
    response: dict[str, float]
    service: dict[str, float]
    lag_ms: float
    lost: int
    unanswered: int
    unsent: int
    duplicates: int


def rows(measured: Measurements) -> list[Row]:
    """The combinations, in the order of their settings."""
    grouped = measured.trials.groupby(list(SETTINGS), dropna=False, sort=True)
    return [_row(measured, group) for _, group in grouped]


def _row(measured: Measurements, group: pd.DataFrame) -> Row:
    valid = group[group["valid"]]
    used = group if valid.empty else valid
    middle = float(used["throughput"].median())
    reach = float(used["throughput"].max() - used["throughput"].min())
    return Row(
        setting={column: group[column].iloc[0] for column in SETTINGS},
        count=len(group),
        valid=len(valid),
        throughput=middle,
        spread=reach / middle if len(used) > 1 and middle else math.nan,
        response=_percentiles(measured, used, "response"),
        service=_percentiles(measured, used, "service"),
        lag_ms=float(group["lag_p99_ms"].max()),
        lost=int(group["lost"].sum()),
        unanswered=int(group["unanswered"].sum()),
        unsent=int(group["send_errors"].sum()),
        duplicates=int(group["duplicates"].sum()),
    )


def _percentiles(measured: Measurements, used: pd.DataFrame, what: str) -> dict[str, float]:
    """Milliseconds; of one trial as it tells them, of several from their merged histograms."""
    names = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    if len(used) == 1:
        return {name: float(used[f"{what}_{name}_ms"].iloc[0]) for name in names}
    merged = Histogram()
    for number in used["trial"]:
        merged.merge(getattr(measured.histograms[int(number)], what))
    found = {}
    for name, quantile in names.items():
        known = merged.count >= (ENOUGH_FOR_P999 if name == "p999" else 1)
        found[name] = merged.percentile(quantile) / 1e6 if known else math.nan
    return found
