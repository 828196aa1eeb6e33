"""Panels with the same axes beside one another, one for each broker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from labkit.errors import ConfigurationError
from labkit.plots._chart import Plot, side_panels
from labkit.plots._figures import milliseconds, number, per_second, size, times
from labkit.plots._frames import SETTINGS, checked, columns_of, looks_of, not_too_many, varying
from labkit.plots._scales import Axis, measured_ticks
from labkit.plots._sweep import Series, no_valid, notes_of, read_trials, series_along, told
from labkit.plots.show import LabFigure
from labkit.plots.style import in_style, legible

if TYPE_CHECKING:
    import pandas

_MOST_PANELS = 4
_NAMES = {
    "size_bytes": "message size",
    "rate": "intended rate (per second)",
    "batch": "batch (messages)",
}
_Y_NAMES = {"throughput": "throughput (completed/s)", "mb_per_s": "volume (MB/s)"}


@in_style
def side_by_side(
    trials: object,
    by: str = "broker",
    *,
    x: str | None = None,
    y: str = "throughput",
    title: str | None = None,
) -> LabFigure:
    """Draw one panel for each broker, with the same axes, so that heights can be compared.

    Args:
        trials: what `sweep` returned, or a DataFrame with a row for each trial.
        by: the column that tells panels apart; up to four.
        x: the setting to the right; None takes the one that was varied.
        y: the figure upwards: "throughput", "mb_per_s", "response_p99_ms", …
        title: None states the finding.

    Raises:
        ConfigurationError: no trial to draw, a column is missing, or there are too many panels.
    """
    who = "side_by_side"
    frame = checked(trials, [by, y], who, "trial")
    x = x or _varied(frame, by)
    frame = read_trials(frame, x, [y], who)
    names = list(dict.fromkeys(frame[by].astype(str)))
    if len(names) > _MOST_PANELS:
        raise ConfigurationError(
            f"{len(names)} panels are too narrow to read: side_by_side() draws up to "
            f"{_MOST_PANELS}. Keep some rows of the frame, or choose another by=."
        )
    inner = [c for c in varying(frame, x) if c != by]
    panels = _alike(
        {name: _panel(frame[frame[by].astype(str) == name], x, y, inner, who) for name in names}
    )
    words = size if x == "size_bytes" else number
    values = [float(v) for v in frame[x]]
    wide = min(values) > 0 and max(values) / min(values) > 8
    axis = Axis(
        _NAMES.get(x, x), log=wide, ticks=measured_ticks(values, words), zero=False, words=words
    )
    plots = [
        Plot(Axis(_y_name(y)), [s.curve() for s in series], title=legible(name))
        for name, series in panels.items()
    ]
    alt = " ".join(
        f"{name}: {told(series, _NAMES.get(x, x), _y_name(y))}" for name, series in panels.items()
    )
    headline = title or _finding(panels, y) or no_valid(frame)
    return side_panels(legible(headline), legible(alt), axis, plots, notes_of(frame, trials))


def _varied(frame: pandas.DataFrame, by: str) -> str:
    """The setting with the most values within a panel."""
    columns = [
        c for c in SETTINGS if c in frame.columns and c not in (by, "broker", "pattern", "schedule")
    ]
    counts = {c: frame.groupby(by)[c].nunique().max() for c in columns}
    if not counts:
        raise ConfigurationError(
            "side_by_side() needs a setting to draw to the right: x='size_bytes', 'batch', "
            "'workers', … and the frame has none of them."
        )
    return max(counts, key=lambda c: counts[c])


def _panel(rows: pandas.DataFrame, x: str, y: str, inner: Sequence[str], who: str) -> list[Series]:
    series = series_along(rows, x, y, columns_of(inner, rows, who) or None, who)
    not_too_many(len(series), who)
    return series


def _alike(panels: dict[str, list[Series]]) -> dict[str, list[Series]]:
    """The panels, with a series of one name in one look in all of them."""
    names = list(dict.fromkeys(s.name for series in panels.values() for s in series))
    looks = dict(zip(names, looks_of(names), strict=True))
    return {
        panel: [replace(s, look=looks[s.name]) for s in series] for panel, series in panels.items()
    }


def _y_name(y: str) -> str:
    if y in _Y_NAMES:
        return _Y_NAMES[y]
    kind, _, rest = y.partition("_")
    return f"{kind} time, {rest[:-3]} (ms)" if y.endswith("_ms") and rest else y


def _y_words(y: str, value: float) -> str:
    if y.endswith("_ms"):
        return milliseconds(value)
    return per_second(value) if y == "throughput" else number(value)


def _finding(panels: dict[str, list[Series]], y: str) -> str:
    """Who does best, at its best."""
    lower = y.endswith("_ms")
    best: dict[str, float] = {}
    for name, series in panels.items():
        middles = [level.middle for s in series for level in s.counted]
        if middles:
            best[name] = min(middles) if lower else max(middles)
    if not best:
        return ""
    what = f"{_y_name(y).partition(' (')[0]}"
    order = sorted(best, key=lambda n: best[n], reverse=not lower)
    first, last = order[0], order[-1]
    text = f"At best, {what}: " + ", ".join(f"{n} {_y_words(y, best[n])}" for n in order)
    low, high = sorted((best[first], best[last]))
    return text + (f" ({times(high / low)} apart)" if len(order) > 1 and low > 0 else "")
