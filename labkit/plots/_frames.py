"""Reading frames of measurements: which columns, which series, and what must be said about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING

from labkit.errors import ConfigurationError
from labkit.plots._figures import number, size
from labkit.plots._words import plural
from labkit.plots.style import Look, broker_look, legible, series_look

if TYPE_CHECKING:
    import pandas

SETTINGS = (
    "broker",
    "pattern",
    "schedule",
    "rate",
    "clients",
    "size_bytes",
    "batch",
    "subscribers",
    "workers",
)
"""What is chosen for a trial, and so may tell one series from another."""
_TOLD = ("broker", "pattern", "schedule", "embedded", "valid", "why_invalid")
_MOST_SERIES = 8
EMBEDDED_NOTE = "Measured on the embedded broker: figures of Python, not of Redis."
PARTLY_EMBEDDED_NOTE = "What was measured on the embedded broker: figures of Python, not of Redis."


_PARTS = {"trial": "trials", "operation": "operations", "moment": "series"}


def beside(source: object, trials: object) -> object:
    """The trials to look things up in: those passed, or those that came with what is drawn."""
    import pandas

    if trials is not None or isinstance(source, pandas.DataFrame):
        return trials
    return getattr(source, "trials", None)


def checked(source: object, needed: Sequence[str], who: str, rows: str) -> pandas.DataFrame:
    """The frame, if it is one, or that of `Measurements`; with these columns and at least one row.

    Raises:
        ConfigurationError: it is not, and what to pass instead.
    """
    import pandas

    frame = source
    if not isinstance(frame, pandas.DataFrame):
        frame = getattr(source, _PARTS[rows], None)
    if not isinstance(frame, pandas.DataFrame):
        raise ConfigurationError(
            f"{who}() draws what trial() or sweep() returned, or a DataFrame with a row for each "
            f"{rows}; not {type(source).__name__}."
        )
    if missing := [name for name in needed if name not in frame.columns]:
        raise ConfigurationError(
            f"The frame has no column {missing[0]!r}; {who}() needs {', '.join(needed)}."
        )
    if frame.empty:
        raise ConfigurationError(f"Nothing to draw: the frame has no {rows}. Measure first.")
    return frame.reset_index(drop=True)


def numeric(frame: pandas.DataFrame, columns: Sequence[str]) -> pandas.DataFrame:
    """These columns as numbers; what is none, or is infinite, becomes NaN."""
    import pandas

    numbers = {
        name: pandas.to_numeric(frame[name], errors="coerce").astype(float) for name in columns
    }
    infinite = [float("inf"), float("-inf")]
    return frame.assign(
        **{name: column.replace(infinite, float("nan")) for name, column in numbers.items()}
    )


def flags(frame: pandas.DataFrame, column: str, default: bool) -> pandas.Series[bool]:
    """A column of booleans; `default` where it is missing or unknown."""
    import pandas

    if column not in frame.columns:
        return pandas.Series(default, index=frame.index, dtype=bool)
    known = frame[column]
    return known.where(known.notna(), default).astype(bool)


def with_trials(frame: pandas.DataFrame, trials: object, who: str) -> pandas.DataFrame:
    """Operations or series with what is known of their trial beside them."""
    if trials is None:
        return frame
    known = checked(trials, ["trial"], who, "trial").drop_duplicates("trial")
    wanted = [c for c in (*SETTINGS, *_TOLD) if c in known.columns and c not in frame.columns]
    return frame.merge(known[["trial", *dict.fromkeys(wanted)]], on="trial", how="left")


def embedded_note(*frames: pandas.DataFrame) -> list[str]:
    """The sentence that says so where a figure is one of the embedded broker."""
    marks = [flags(frame, "embedded", False) for frame in frames]
    if not any(mark.any() for mark in marks):
        return []
    return [EMBEDDED_NOTE if all(mark.all() for mark in marks) else PARTLY_EMBEDDED_NOTE]


def invalid_note(frame: pandas.DataFrame) -> list[str]:
    """How many trials are invalid, and the first reason."""
    trials = frame.drop_duplicates("trial") if "trial" in frame.columns else frame
    bad = trials[~flags(trials, "valid", True)]
    if bad.empty:
        return []
    whys = list(bad["why_invalid"].dropna()) if "why_invalid" in bad.columns else []
    why = next((f": {legible(str(w)).rstrip('.')}" for w in whys if str(w).strip()), "")
    return [f"{plural(len(bad), 'trial')} of {len(trials):,} invalid, drawn and not counted{why}."]


def varying(frame: pandas.DataFrame, x: str | None = None) -> list[str]:
    """The settings that tell series apart: they differ, and not only together with `x`."""
    names = [c for c in SETTINGS if c in frame.columns and c != x]
    found = [c for c in names if frame[c].nunique(dropna=False) > 1]
    if x is None:
        return found
    per_x = frame.groupby(x, dropna=False)
    return [c for c in found if c == "broker" or (per_x[c].nunique(dropna=False) > 1).any()]


def series_of(
    frame: pandas.DataFrame, columns: Sequence[str]
) -> Iterator[tuple[str, Look, pandas.DataFrame]]:
    """Name, look and rows of each series: rows that agree in `columns`."""
    groups: list[tuple[str, str, pandas.DataFrame]] = []
    if columns:
        for key, rows in frame.groupby(list(columns), dropna=False, sort=True):
            values = key if isinstance(key, tuple) else (key,)
            told = dict(zip(columns, values, strict=True))
            groups.append((series_name(told), str(told.get("broker", "")), rows))
    else:
        brokers = list(frame["broker"].unique()) if "broker" in frame.columns else []
        broker = str(brokers[0]) if len(brokers) == 1 else ""
        groups.append((broker, broker, frame))
    looks = looks_of([broker for _, broker, _ in groups])
    for (name, _, rows), look in zip(groups, looks, strict=True):
        yield legible(name), look, rows


def looks_of(brokers: Sequence[str]) -> list[Look]:
    """A look for each series: that of its broker, where it is the only one of that broker."""
    own = [broker_look(b) if brokers.count(b) == 1 else None for b in brokers]
    taken = {look.colour for look in own if look is not None}
    free = (look for look in map(series_look, count()) if look.colour not in taken)
    return [look or next(free) for look in own]


def series_name(told: Mapping[str, object]) -> str:
    """Settings as a person says them: `redis, 4 clients, 1 kB`."""
    known = {c: v for c, v in told.items() if not (c == "clients" and v == 0)}  # an open load
    return ", ".join(_setting(column, value) for column, value in known.items())


def _setting(column: str, value: object) -> str:
    import pandas

    if value is None or value is pandas.NA or value != value:
        return {"rate": "no rate"}.get(column, f"no {column}")
    if not isinstance(value, (int, float)) and not hasattr(value, "dtype"):
        return f"{value} loop" if (column, value) == ("schedule", "closed") else str(value)
    amount = float(value)  # type: ignore[arg-type]
    if column == "size_bytes":
        return size(amount)
    if column == "rate":
        return f"{number(amount)}/s"
    if column == "batch":
        return f"batch {number(amount)}"
    if column in ("clients", "subscribers", "workers"):
        return plural(int(amount), column[:-1])
    return f"{column} {number(amount)}"


def not_too_many(series: int, who: str) -> None:
    """Refuse a picture in which nobody could tell the series apart.

    Raises:
        ConfigurationError: there are more than eight.
    """
    if series > _MOST_SERIES:
        raise ConfigurationError(
            f"{series:,} series are too many for one picture: {who}() draws up to {_MOST_SERIES}. "
            "Keep some rows of the frame, or name the columns that tell series apart with by=."
        )


def columns_of(by: str | Sequence[str] | None, frame: pandas.DataFrame, who: str) -> list[str]:
    """The columns that the reader wants series for, which the frame must have."""
    names = [by] if isinstance(by, str) else list(by or [])
    if missing := [name for name in names if name not in frame.columns]:
        raise ConfigurationError(
            f"{who}() cannot tell series apart by {missing[0]!r}: the frame has no such column."
        )
    return names
