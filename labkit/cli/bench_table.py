"""The table of `labkit bench`: a row for each combination of settings, and what to make of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table

from labkit._words import plural
from labkit.cli.bench_rows import SETTINGS, Row, rows
from labkit.consoles.screen import safe
from labkit.measure import Measurements
from labkit.measure.tables import ENOUGH_FOR_P999

_IN_WORDS: dict[str, Callable[[int], str]] = {
    "size_bytes": lambda value: f"{value:,} bytes",
    "batch": lambda value: f"batches of {value:,}",
    "subscribers": lambda value: plural(value, "subscriber"),
    "workers": lambda value: plural(value, "worker"),
}
_REASONS_SHOWN = 8
_NOT_KNOWN = "-"
_GAPS = (2, 1)
"""Spaces between columns: one where two do not fit."""
_LESS_NEEDED = ("spread", "service\np99 ms", "lag\np99 ms", "p99.9 ms")
"""Columns that a narrow terminal leaves out, in this order, and says so."""

EMBEDDED_NOTE = "Measured on the embedded broker: its figures are of Python, not of Redis."


def table(measured: Measurements, width: int) -> tuple[Table, list[str]]:
    """The figures, and the columns that had no room; settings that are the same are in `common`."""
    found = rows(measured)
    columns = [*_setting_columns(found), *_figure_columns(found)]
    left_out = []
    for name in _LESS_NEEDED:
        if _needs(columns, min(_GAPS)) <= width:
            break
        if any(head == name for head, _ in columns):
            left_out.append(name.replace("\n", " "))
            columns = [column for column in columns if column[0] != name]
    gap = next((gap for gap in _GAPS if _needs(columns, gap) <= width), min(_GAPS))
    made = Table(
        box=box.SIMPLE_HEAD,
        header_style="bold",
        padding=(0, gap - 1, 0, 0),  # the box adds one
        pad_edge=False,
        show_edge=False,
        width=_needs(columns, gap),
    )
    for head, _ in columns:
        made.add_column(head, justify="right", no_wrap=True)
    for i, row in enumerate(found):
        made.add_row(*(cells[i] for _, cells in columns), style="" if row.valid else "dim")
    return made, left_out


def common(measured: Measurements) -> str:
    """The settings that are the same in all trials, in words."""
    trials = measured.trials
    first = trials.iloc[0]
    told = [str(first["pattern"]), _load_in_words(trials)]
    for column, words in _IN_WORDS.items():
        least = 2 if column == "batch" else 1  # no batches, and no subscribers of a queue
        if trials[column].nunique() == 1 and first[column] >= least:
            told.append(words(int(first[column])))
    return ", ".join(told)


def _load_in_words(trials: pd.DataFrame) -> str:
    kinds = sorted(set(trials["schedule"]))
    arrivals = " and ".join(f"{kind} arrivals" for kind in kinds if kind != "closed")
    if trials[["schedule", "rate", "clients"]].drop_duplicates().shape[0] == 1:
        one = _load(trials.iloc[0].to_dict())
        return f"open load of {one}, {arrivals}" if arrivals else f"closed load of {one}"
    if "closed" in kinds:
        return f"closed and open loads, {arrivals}" if arrivals else "closed loads"
    return f"open loads, {arrivals}"


def remarks(measured: Measurements) -> Iterator[str]:
    """What must be said beneath the table."""
    trials = measured.trials
    if trials["embedded"].all():
        yield EMBEDDED_NOTE
    elif trials["embedded"].any():
        yield "The figures of the embedded broker are of Python, not of Redis."
    yield from measured.notes
    yield from _reasons(trials)
    if any(math.isnan(row.response["p999"]) for row in rows(measured)):
        yield f"p99.9 is told from {ENOUGH_FOR_P999:,} operations on; a longer --duration helps."


def _reasons(trials: pd.DataFrame) -> Iterator[str]:
    """Why trials are not valid: for each combination its first reason."""
    bad = trials[~trials["valid"]]
    if bad.empty:
        return
    if len(trials) == 1:
        yield f"Not valid: {_reason(bad.iloc[0])}."
        return
    yield f"Not valid, and counted only where no other is: {len(bad)} of {len(trials)} trials."
    varied = _varied(trials)
    groups = bad.groupby(list(SETTINGS), dropna=False, sort=True)
    for shown, (_, group) in enumerate(groups):
        if shown == _REASONS_SHOWN:
            yield "- … and more; --out and --json have all reasons."
            return
        first = group.sort_values("repeat").iloc[0]
        names = [name for column in varied if (name := _named(column, first[column]))]
        names.append(f"repeat {first['repeat'] + 1}")
        more = f" ({len(group) - 1} more like it)" if len(group) > 1 else ""
        yield f"- {', '.join(names)}{more}: {_reason(first)}."


def _reason(trial: pd.Series[Any]) -> str:
    """In the words of the command line."""
    why = str(trial["why_invalid"]).rstrip(".").replace("processes=True", "--processes")
    return safe(why)


Column = tuple[str, list[str]]


def _needs(columns: list[Column], gap: int) -> int:
    """How wide a table of these is."""
    widths = (max(map(len, [*head.split("\n"), *cells])) for head, cells in columns)
    return sum(widths) + gap * (len(columns) - 1)


def _setting_columns(found: list[Row]) -> Iterator[Column]:
    settings = [row.setting for row in found]
    if len({s["broker"] for s in settings}) > 1:
        yield "broker", [safe(str(s["broker"])) for s in settings]
    if len({_load(s) for s in settings}) > 1:
        yield "load", [_load(s) for s in settings]
    for column, head in (
        ("size_bytes", "bytes"),
        ("batch", "batch"),
        ("subscribers", "subscribers"),
        ("workers", "workers"),
    ):
        if len({s[column] for s in settings}) > 1:
            yield head, [f"{s[column]:,}" for s in settings]


def _figure_columns(found: list[Row]) -> Iterator[Column]:
    yield "done/s", [figure(row.throughput) for row in found]
    if any(row.count > 1 for row in found):
        yield "spread", [_share(row.spread) for row in found]
    for name, head in (("p50", "p50 ms"), ("p99", "p99 ms"), ("p999", "p99.9 ms")):
        values = [row.response[name] for row in found]
        if name != "p999" or _any_known(values):
            yield head, [figure(v) for v in values]
    if any(row.setting["schedule"] != "closed" for row in found):
        yield "service\np99 ms", [figure(row.service["p99"]) for row in found]
    yield "lost", [f"{row.lost:,}" for row in found]
    for head, counts in (
        ("no\nanswer", [row.unanswered for row in found]),
        ("not\nsent", [row.unsent for row in found]),
        ("twice", [row.duplicates for row in found]),
    ):
        if any(counts):
            yield head, [f"{n:,}" for n in counts]
    if _any_known(row.lag_ms for row in found):
        yield "lag\np99 ms", [figure(row.lag_ms) for row in found]
    yield "valid", [_valid(row) for row in found]


def _valid(row: Row) -> str:
    if row.count == 1:
        return "yes" if row.valid else "no"
    return f"{row.valid} of {row.count}"


def _varied(trials: pd.DataFrame) -> list[str]:
    columns = ("broker", "rate", "clients", "size_bytes", "batch", "subscribers", "workers")
    return [c for c in columns if trials[c].nunique(dropna=False) > 1]


def _named(column: str, value: Any) -> str:
    if column == "rate":
        return "" if math.isnan(value) else f"{figure(value)}/s"
    if column == "clients":
        return plural(int(value), "client") if value else ""
    if column == "size_bytes":
        return f"{value:,} bytes"
    return safe(str(value)) if column == "broker" else f"{column} {value:,}"


def _load(setting: Mapping[Any, Any]) -> str:
    """`8 clients`, or `500/s`."""
    if setting["clients"]:
        return plural(int(setting["clients"]), "client")
    return f"{figure(setting['rate'])}/s"


def figure(value: float) -> str:
    """Three significant digits: `12,300`, `0.125`."""
    if not math.isfinite(value):
        return _NOT_KNOWN
    return f"{float(f'{value:.3g}'):,.10g}"


def _share(value: float) -> str:
    return _NOT_KNOWN if math.isnan(value) else f"{value * 100:.0f} %"


def _any_known(values: Iterable[float]) -> bool:
    return any(not math.isnan(value) for value in values)
