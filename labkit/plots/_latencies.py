"""Latencies read from a frame of operations: what came, what never came, what can be said of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from labkit.errors import ConfigurationError
from labkit.plots._figures import milliseconds, percentile_name
from labkit.plots._frames import (
    beside,
    checked,
    columns_of,
    flags,
    not_too_many,
    numeric,
    series_of,
    varying,
    with_trials,
)
from labkit.plots._scales import Axis
from labkit.plots._words import plural
from labkit.plots.style import Look, series_look

if TYPE_CHECKING:
    import pandas

Clock = Literal["response", "service"]
"""Response time runs from the intended moment of sending, service time from the actual one."""

LEAST_BEYOND = 10
"""Samples that must lie beyond a percentile before it is shown."""
LEAST_FOR_MARKS = 20
"""Samples from which a curve has markers at the usual percentiles."""
TOLD = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)
LATENCY = Axis("latency (ms)", log=None, words=lambda v: f"{v:,.10g}")


@dataclass(frozen=True, slots=True)
class Latencies:
    """The latencies of one series, warm-up left out.

    Attributes:
        name: the series.
        look: how it is drawn.
        values: in ms, ascending; what never came back has the time-out, if the frame says so.
        came: those of what came back, in ms, ascending.
        never: operations that were lost, unanswered or failed.
        floor: from here on a value is "at least": the least of what never came back.
        valid: whether the trials count.
    """

    name: str
    look: Look
    values: Sequence[float]
    came: Sequence[float]
    never: int
    floor: float = math.inf
    valid: bool = True

    @property
    def supported(self) -> float:
        """The highest percentile, from 0 to 1, that so many samples support; 0 for none."""
        share = 1 - LEAST_BEYOND / len(self.values) if self.values else 0.0
        return share if share > 0.5 - 1e-9 else 0.0

    def supports(self, q: float) -> bool:
        """Whether at least `LEAST_BEYOND` samples lie beyond a percentile."""
        return q <= self.supported + 1e-9

    def at(self, q: float) -> float:
        """The smallest value that a share `q` of the values does not exceed."""
        rank = math.ceil(q * len(self.values) - 1e-9)
        return self.values[min(len(self.values), max(1, rank)) - 1]

    @property
    def told(self) -> list[float]:
        """The usual percentiles that are supported."""
        return [q for q in TOLD if self.supports(q)]

    def words(self, q: float) -> str:
        """A percentile in words: `3.1 ms`, or `at least 2,000 ms` where some never came back."""
        value = self.at(q)
        return ("at least " if value >= self.floor else "") + milliseconds(value)

    def within(self, q: float) -> str:
        """`99 % within 3.1 ms`, or `99.9 % not within 2,000 ms` where some never came back."""
        value = self.at(q)
        not_ = "not " if value >= self.floor else ""
        return f"{round(q * 100, 6):g} % {not_}within {milliseconds(value)}"

    def figures(self, qs: Sequence[float] | None = None) -> str:
        """`p50 0.4 ms, p99 3.1 ms`, or the range where nothing more can be said."""
        told = self.told if qs is None else [q for q in qs if self.supports(q)]
        if not told:
            return f"{milliseconds(self.values[0])} to {milliseconds(self.values[-1])}"
        return ", ".join(f"{percentile_name(q)} {self.words(q)}" for q in told)


def read_latencies(
    operations: object,
    trials: object,
    who: str,
    clock: Clock,
    by: str | Sequence[str] | None = None,
) -> tuple[list[Latencies], pandas.DataFrame]:
    """The latencies of each series, and the frame they come from.

    Repeats of the same settings are put together; percentiles are never averaged.

    Raises:
        ConfigurationError: there is none.
    """
    column = f"{clock}_ms"
    if clock not in ("response", "service"):
        raise ConfigurationError(f"{who}() draws clock='response' or 'service', not {clock!r}.")
    frame = checked(operations, ["trial", "status", column], who, "operation")
    frame = with_trials(numeric(frame, [column]), beside(operations, trials), who)
    counted = frame[~flags(frame, "warmup", False)]
    if counted.empty:
        raise ConfigurationError(
            f"Nothing to draw: all {plural(len(frame), 'operation')} belong to the warm-up. "
            "Measure for longer."
        )
    found = list(_series(counted, column, columns_of(by, frame, who) or varying(counted)))
    not_too_many(len(found), who)
    kept = [series for series in found if len(series.came)]
    if not kept:
        raise ConfigurationError(
            f"Nothing to draw: none of {plural(len(counted), 'operation')} came back with a "
            f"{clock} time. Look at their status, and at the broker."
        )
    return kept, counted


def _series(frame: pandas.DataFrame, column: str, by: Sequence[str]) -> Iterator[Latencies]:
    if not by and "broker" not in frame.columns and frame["trial"].nunique() > 1:
        groups = [
            (f"trial {number}", series_look(i), rows)
            for i, (number, rows) in enumerate(frame.groupby("trial", sort=True))
        ]
    else:
        groups = list(series_of(frame, by))
    for name, look, rows in groups:
        valid = flags(rows, "valid", True)
        for counts, part in ((True, rows[valid]), (False, rows[~valid])):
            if len(part):
                told = name if counts else f"{name}, invalid".lstrip(", ")
                yield _latencies(told, look, part, column, counts)


def _latencies(
    name: str, look: Look, rows: pandas.DataFrame, column: str, valid: bool
) -> Latencies:
    plausible = rows[column] >= 0
    ended = rows["status"] == "ok"
    came = rows.loc[ended & plausible, column].sort_values().tolist()
    least = rows.loc[~ended & plausible, column].tolist()
    floor = min(least, default=math.inf)
    return Latencies(name, look, sorted(came + least), came, int((~ended).sum()), floor, valid)


def notes_of_latencies(series: Sequence[Latencies], frame: pandas.DataFrame) -> list[str]:
    """What is in no curve, or only with a lower bound."""
    notes = []
    total = len(frame)
    ended = frame["status"] == "ok"
    if never := int((~ended).sum()):
        counted = any(math.isfinite(one.floor) for one in series)
        how = "they count with the time-out, at least that long" if counted else "with no latency"
        notes.append(
            f"{never:,} of {plural(total, 'operation')} never came back (lost, unanswered or "
            f"failed): {how}."
        )
    if odd := int(ended.sum()) - sum(len(one.came) for one in series):
        notes.append(f"{plural(odd, 'operation')} with an impossible or unknown time left out.")
    return notes


def spread_axis(values: Sequence[float]) -> Axis:
    """An axis for latencies: logarithmic where the largest is many times the smallest."""
    positive = [v for v in values if v > 0]
    log = bool(positive) and max(positive) / min(positive) > 8
    return Axis(LATENCY.name, log=log, words=LATENCY.words)
