"""Trials along one setting: for each series and each value of it the repeats and their median."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import ConfigurationError
from labkit.plots._curves import Curve
from labkit.plots._figures import number
from labkit.plots._frames import (
    checked,
    columns_of,
    embedded_note,
    flags,
    invalid_note,
    not_too_many,
    numeric,
    series_of,
    varying,
)
from labkit.plots._intervals import Estimate, estimate
from labkit.plots._words import plural
from labkit.plots.style import Look

if TYPE_CHECKING:
    import pandas

_COUNTS = ("subscribers", "workers")
"""Settings that are 0 where the pattern has no such thing."""


@dataclass(frozen=True, slots=True)
class Level:
    """All repeats at one value of the setting: those that count, and those that do not."""

    x: float
    values: tuple[float, ...]
    invalid: tuple[float, ...]

    @property
    def estimate(self) -> Estimate:
        """The median of those that count, with its interval."""
        return estimate(self.values)

    @property
    def middle(self) -> float:
        """The median."""
        return self.estimate.middle


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its levels in ascending order of the setting."""

    name: str
    look: Look
    levels: tuple[Level, ...]

    @property
    def counted(self) -> list[Level]:
        """The levels with at least one valid repeat."""
        return [level for level in self.levels if level.values]

    @property
    def best(self) -> Level:
        """The level with the largest median."""
        return max(self.counted, key=lambda level: level.middle)

    def curve(self, *, end: str = "", name: str | None = None, look: Look | None = None) -> Curve:
        """The line through the medians, with repeats, intervals and invalid trials."""
        counted = self.counted
        bars = [
            (level.x, *interval)
            for level in counted
            if (interval := level.estimate.interval) is not None
        ]
        return Curve(
            self.name if name is None else name,
            look or self.look,
            line=[(level.x, level.middle) for level in counted],
            bars=bars,
            repeats=[(lv.x, v) for lv in counted if len(lv.values) > 1 for v in lv.values],
            invalid=[(level.x, v) for level in self.levels for v in level.invalid],
            end=end,
        )


def read_trials(frame: object, x: str, ys: Sequence[str], who: str) -> pandas.DataFrame:
    """The trials as numbers, those without a value of the setting left out.

    Raises:
        ConfigurationError: there is none.
    """
    known = numeric(checked(frame, [x, *ys], who, "trial"), [x, *ys])
    least = 1 if x in _COUNTS else 0
    usable = known[(known[x] >= least) & known[list(ys)].notna().any(axis=1)]
    if usable.empty:
        raise ConfigurationError(
            f"Nothing to draw: none of {plural(len(known), 'trial')} has a number in {x!r} and in "
            f"{' or '.join(map(repr, ys))}. Measure with that setting, or draw another picture."
        )
    return usable.reset_index(drop=True)


def series_along(
    frame: pandas.DataFrame, x: str, y: str, by: str | Sequence[str] | None, who: str
) -> list[Series]:
    """The series of one column along one setting.

    Raises:
        ConfigurationError: there are too many to tell apart.
    """
    columns = columns_of(by, frame, who) or varying(frame, x)
    found = [
        Series(name, look, tuple(_levels(rows, x, y)))
        for name, look, rows in series_of(frame, columns)
    ]
    not_too_many(len(found), who)
    return [series for series in found if series.levels]


def _levels(rows: pandas.DataFrame, x: str, y: str) -> Iterator[Level]:
    known = rows[rows[y].notna()]
    valid = flags(known, "valid", True)
    for value in sorted(known[x].unique()):
        here = known[x] == value
        yield Level(
            float(value), tuple(known.loc[here & valid, y]), tuple(known.loc[here & ~valid, y])
        )


def notes_of(frame: pandas.DataFrame, trials: object) -> list[str]:
    """What must be said under any picture of trials: `frame` is what is drawn of them."""
    return [
        *_left_out(frame, trials),
        *_broken_off(frame),
        *invalid_note(frame),
        *embedded_note(frame),
    ]


def _left_out(frame: pandas.DataFrame, trials: object) -> list[str]:
    rows = trials if isinstance(trials, Sized) else getattr(trials, "trials", frame)
    left = len(rows) - len(frame)
    return [f"{plural(left, 'trial')} without these figures left out."] if left else []


def _broken_off(frame: pandas.DataFrame) -> list[str]:
    count = int(flags(frame, "interrupted", False).sum())
    return [f"{plural(count, 'trial')} broken off before the end."] if count else []


def no_valid(frame: pandas.DataFrame) -> str:
    """The title where nothing counts."""
    return f"No valid trial among {len(frame):,}: nothing can be concluded"


def told(series: Sequence[Series], x_words: str, y_words: str) -> str:
    """Every median in words, for the alt text: `redis: 1 → 12,000`."""
    parts = []
    for one in series:
        levels = [_level_words(level) for level in one.levels]
        parts.append((f"{one.name}: " if one.name else "") + ", ".join(levels))
    return f"{y_words} by {x_words}. " + "; ".join(parts) + "."


def _level_words(level: Level) -> str:
    if not level.values:
        return f"at {number(level.x)} only invalid trials"
    text = f"at {number(level.x)} {number(level.middle)}"
    if level.estimate.interval is not None:
        low, high = level.estimate.interval
        text += f" ({number(low)} to {number(high)})"
    return text + (f" and {len(level.invalid)} invalid" if level.invalid else "")
