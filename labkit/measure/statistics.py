"""How sure one may be of a figure: intervals over repeats, and a law that any queue must keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from labkit.errors import ConfigurationError
from labkit.measure.results import Measurements

RESAMPLES = 2_000


def intervals(
    frame: pd.DataFrame,
    by: str | Sequence[str],
    value: str,
    *,
    statistic: Literal["median", "mean"] = "median",
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """A typical value for each group of repeats, and the interval in which it lies.

    By the bootstrap (Efron, 1979): each group is drawn anew from its own values, with replacement,
    many times; the interval holds the middle `level` of the results. The median is the default,
    because the mean of several p99 is not the p99 of anything.

    Args:
        frame: one row a trial, such as `.valid`.
        by: the columns that make a group.
        value: the column to look at; what is NaN does not count.
        statistic: "median" or "mean".
        level: part of the resampled results within the interval.
        resamples: how often to draw.
        seed: makes it the same each time.

    Returns:
        one row a group: the columns of `by`, n, value, low, high. One repeat has no interval: NaN.
    """
    names = [by] if isinstance(by, str) else list(by)
    for name in (*names, value):
        if name not in frame.columns:
            raise ConfigurationError(f"The table has no column {name!r}.")
    if statistic not in ("median", "mean"):
        raise ConfigurationError(f'statistic is "median" or "mean", got {statistic!r}.')
    if not 0 < level < 1:
        raise ConfigurationError(f"level is between 0 and 1, got {level}.")
    of = np.median if statistic == "median" else np.mean
    draw = np.random.default_rng(seed)
    rows = []
    for key, group in frame.groupby(names, dropna=False, sort=True):
        samples = group[value].dropna().to_numpy(dtype=np.float64)
        low = high = math.nan
        if len(samples) > 1:
            drawn = draw.choice(samples, size=(resamples, len(samples)))
            low, high = np.quantile(of(drawn, axis=1), [(1 - level) / 2, (1 + level) / 2])
        middle = float(of(samples)) if len(samples) else math.nan
        rows.append((*key, len(samples), middle, float(low), float(high)))
    return pd.DataFrame(rows, columns=[*names, "n", "value", "low", "high"])


@dataclass(frozen=True, slots=True)
class LittlesLaw:
    """Mean number under way = throughput times mean response time (John Little, 1961).

    It holds for anything that things enter and leave, however it works inside; where measured
    figures break it, something was not counted.

    Attributes:
        in_flight: the measured mean, from each operation's own stretch of time.
        expected: throughput times mean response time.
    """

    in_flight: float
    expected: float

    @property
    def ratio(self) -> float:
        """Measured / expected: 1 where the law holds."""
        return self.in_flight / self.expected if self.expected else math.nan


def littles_law(measurements: Measurements, trial: int = 0) -> LittlesLaw:
    """The check for one trial."""
    both = measurements.trials.merge(measurements.health, on="trial")
    rows = both.loc[both["trial"] == trial, ["mean_in_flight", "throughput", "response_mean_ms"]]
    if rows.empty:
        raise ConfigurationError(f"There is no trial {trial}.")
    in_flight, throughput, response_ms = rows.to_numpy(dtype=np.float64)[0]
    return LittlesLaw(float(in_flight), float(throughput * response_ms / 1e3))
