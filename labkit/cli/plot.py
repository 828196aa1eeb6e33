"""`labkit plot`: the picture that fits what was measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.cli.extras import notebooks_extra
from labkit.consoles.screen import rich_console, say
from labkit.errors import ConfigurationError, LabkitError

if TYPE_CHECKING:
    import pandas as pd

    from labkit.measure import Measurements
    from labkit.plots import LabFigure

_ALONG = {
    "rate": "load",
    "batch": "batch",
    "size_bytes": "size",
    "subscribers": "fan-out",
    "workers": "workers",
    "clients": "load",
}
"""Which picture shows what one setting does; of several, the one with the most values wins."""
_NEEDS_EVERYTHING = ("percentiles", "ecdf", "time")
"""Drawn from single operations or moments, which a file of trials does not have."""


def run(options: argparse.Namespace) -> int:
    """Read, draw, write; 1 if one of them is not possible."""
    with notebooks_extra("plot"):
        from labkit.cli import kept

        picture = None if options.out is None else _png(options.out)
        measured = kept.read(options.file)
        kind = options.kind or fitting(measured)
        if kind in _NEEDS_EVERYTHING and measured.operations.empty:
            raise ConfigurationError(
                f"{options.file} has no single operations to draw '{kind}' from: measure with "
                "--out FOLDER, which keeps everything, or draw another --kind."
            )
        figure = _draw(kind, measured)
    picture = picture or _beside(Path(options.file).expanduser(), kind)
    _write(picture, figure.to_png())
    out = rich_console(sys.stdout)
    say(out, str(picture))
    say(out, figure.alt_text)
    return 0


def fitting(measured: Measurements) -> str:
    """The kind of picture that shows what was varied.

    Raises:
        ConfigurationError: nothing was varied, and there is nothing else to draw.
    """
    values = {column: _values(measured.trials, column) for column in _ALONG}
    most = max(values, key=lambda column: values[column])
    if values[most] > 1:
        several_brokers = measured.trials["broker"].nunique() > 1
        return "brokers" if several_brokers else _ALONG[most]
    if measured.operations.empty:
        raise ConfigurationError(
            "No setting was varied, and the single operations are not there: measure with "
            "--out FOLDER, which keeps them, or say which --kind to draw."
        )
    return "percentiles"


def _values(trials: pd.DataFrame, column: str) -> int:
    """How many values of a setting there are; 0 stands for "has no such thing"."""
    known = trials[column].dropna()
    return int(known[known > 0].nunique())


def _draw(kind: str, measured: Measurements) -> LabFigure:
    from labkit import plots

    drawings: dict[str, Callable[..., LabFigure]] = {
        "percentiles": plots.percentiles,
        "ecdf": plots.ecdf,
        "load": plots.latency_against_load,
        "size": plots.throughput_against_size,
        "batch": plots.throughput_against_batch,
        "fan-out": plots.fan_out,
        "workers": plots.throughput_against_workers,
        "time": plots.over_time,
        "brokers": plots.side_by_side,
    }
    try:
        return drawings[kind](measured)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} Or choose another --kind.") from None


def _png(name: str) -> Path:
    path = Path(name).expanduser()
    if path.suffix.lower() != ".png":
        raise ConfigurationError(
            f"The picture is a PNG: give --out a name that ends in .png, not {name!r}."
        )
    return path


def _beside(file: Path, kind: str) -> Path:
    """`load-percentiles.png`, for `load`, `load.csv` and `load/`."""
    whole = file.absolute()
    name = whole.stem if whole.suffix.lower() in (".csv", ".parquet") else whole.name
    return file.parent / f"{name}-{kind}.png" if file.name else whole.parent / f"{name}-{kind}.png"


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise LabkitError(
            f"The picture could not be written to {path}: {error.strerror or error}. "
            "Choose another place with --out."
        ) from None
