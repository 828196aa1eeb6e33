"""The results of trials as tidy tables: what the plots draw, what one saves, what one hands in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd

from labkit._html import table
from labkit.measure.frames import OPERATION_TYPES, SERIES_TYPES
from labkit.measure.histogram import Histogram
from labkit.measure.storage import read_folder, write_folder
from labkit.measure.tables import HEALTH_TYPES, TRIAL_TYPES, TrialTables

FRAMES = {
    "trials": TRIAL_TYPES,
    "operations": OPERATION_TYPES,
    "series": SERIES_TYPES,
    "health": HEALTH_TYPES,
}

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Histograms:
    """Of all measured operations of one trial, those too that `.operations` has no room for."""

    service: Histogram
    response: Histogram


class Measurements:
    """What `trial` and `sweep` return.

    Attributes:
        trials: one row a trial.
        operations: one row an operation (of a long trial every n-th; `health` says which part).
        series: one row a trial and tick: completed a second, and how much was under way.
        health: one row a trial: did the generator keep its schedule, and how far is it to be
            trusted.
        histograms: service and response time of each trial; they can be merged.
        environment: where it was measured.
        notes: what happened to the measuring: interrupted, out of time.
    """

    def __init__(
        self,
        trials: pd.DataFrame,
        operations: pd.DataFrame,
        series: pd.DataFrame,
        health: pd.DataFrame,
        *,
        histograms: dict[int, Histograms] | None = None,
        environment: dict[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.trials = trials
        self.operations = operations
        self.series = series
        self.health = health
        self.histograms = histograms or {}
        self.environment = environment or {}
        self.notes = tuple(notes)

    @classmethod
    def of(
        cls,
        results: Iterable[TrialTables],
        environment: dict[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> Self:
        """From single trials, which are numbered in this order."""
        kept = list(results)
        parts: dict[str, list[pd.DataFrame]] = {name: [] for name in FRAMES}
        for number, one in enumerate(kept):
            for name, frame in (
                ("trials", pd.DataFrame([one.trial])),
                ("operations", one.operations),
                ("series", one.series),
                ("health", pd.DataFrame([one.health])),
            ):
                parts[name].append(frame.assign(trial=number))
        frames = {
            name: typed(pd.concat(found, ignore_index=True) if found else pd.DataFrame(), name)
            for name, found in parts.items()
        }
        histograms = {n: Histograms(one.service, one.response) for n, one in enumerate(kept)}
        return cls(**frames, histograms=histograms, environment=environment, notes=notes)

    @property
    def valid(self) -> pd.DataFrame:
        """The trials whose figures are to be trusted."""
        return self.trials[self.trials["valid"]]

    def to_frame(self) -> pd.DataFrame:
        """The trials."""
        return self.trials

    def save(self, path: str | Path, *, format: Literal["parquet", "csv"] | None = None) -> Path:
        """Write everything into a folder: one file a table, and `about.json`.

        The folder appears whole or not at all; one that is there is replaced.

        Args:
            path: the folder.
            format: default Parquet where pyarrow is installed, else CSV.

        Raises:
            LabkitError: it cannot be written (disk full, no permission); the results are still
                here, so save them elsewhere.
            ConfigurationError: Parquet without pyarrow, or a path that is not such a folder.
        """
        about = {
            "environment": self.environment,
            "notes": list(self.notes),
            "histograms": {
                str(number): {"service": h.service.as_json(), "response": h.response.as_json()}
                for number, h in self.histograms.items()
            },
        }
        frames = {name: getattr(self, name) for name in FRAMES}
        return write_folder(Path(path), frames, about, format)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            LabkitError: nothing there, or something else.
        """
        frames, about = read_folder(Path(path), tuple(FRAMES))
        histograms = {
            int(number): Histograms(
                Histogram.from_json(both["service"]), Histogram.from_json(both["response"])
            )
            for number, both in about["histograms"].items()
        }
        return cls(
            **{name: typed(frame, name) for name, frame in frames.items()},
            histograms=histograms,
            environment=about["environment"],
            notes=about["notes"],
        )

    def _count(self) -> str:
        count = len(self.trials)
        return f"{count} trial{'' if count == 1 else 's'}"

    def __repr__(self) -> str:
        bad = int((~self.trials["valid"]).sum())
        where = self.environment.get("broker", "")
        head = f"Measurements({self._count()}, {bad} not valid{where and ', '}{where})"
        return "\n".join([head, *self.notes])

    def _repr_html_(self) -> str:
        names = ["trial", "pattern", "schedule", "rate", "size_bytes", "throughput"]
        names += ["service_p50_ms", "service_p99_ms", "response_p99_ms", "lost", "why_invalid"]
        rows = [
            [_cell(row[name]) for name in names] for _, row in self.trials.head(_SHOWN).iterrows()
        ]
        more = len(self.trials) - _SHOWN
        caption = "; ".join(
            [
                f"{self._count()} on {self.environment.get('broker', '?')}",
                *([f"{more} more rows in .trials"] if more > 0 else []),
                *self.notes,
            ]
        )
        return table(names, rows, caption)


def typed(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table's columns, in their order and types."""
    types = FRAMES[name]
    frame = frame.reindex(columns=list(types))
    for column, kind in types.items():
        if kind == "str":
            frame[column] = frame[column].astype(object).fillna("")
    return frame.astype(types)


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if value != value else f"{value:,.4g}"
    return value
