"""Where `labkit bench` keeps what it measured, and where `labkit plot` finds it.

A folder holds everything, as `Measurements.save` writes it. One .csv or .parquet file holds the
table of trials alone, for a spreadsheet or another program.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pandas as pd

from labkit.errors import ConfigurationError, LabkitError
from labkit.measure.results import Measurements, typed
from labkit.measure.storage import ABOUT
from labkit.measure.tables import TRIAL_TYPES

Format = Literal["parquet", "csv"]

_SUFFIXES: dict[str, Format] = {".csv": "csv", ".parquet": "parquet"}


def check_place(out: str, kind: Format | None) -> None:
    """Whether it can be kept there: to be asked before anything is measured.

    Raises:
        ConfigurationError: it cannot; says what to do.
    """
    path = Path(out).expanduser().absolute()
    of_name = _SUFFIXES.get(path.suffix.lower())
    if of_name and kind and of_name != kind:
        raise ConfigurationError(
            f"--format {kind} does not fit to the name {path.name}: leave one of them out."
        )
    _check_parquet(of_name, kind)
    if path.exists():
        _check_ours(path, of_name)
    parent = next(p for p in path.parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ConfigurationError(f"Nothing can be written into {parent}; choose another --out.")


def keep(measured: Measurements, out: str, kind: Format | None) -> None:
    """Write it.

    Raises:
        LabkitError: it cannot be written.
    """
    path = Path(out).expanduser().absolute()
    of_name = _SUFFIXES.get(path.suffix.lower())
    if of_name is None:
        measured.save(path, format=kind)
        return
    fresh = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if of_name == "csv":
            measured.trials.to_csv(fresh, index=False)
        else:
            measured.trials.to_parquet(fresh, index=False)
        fresh.replace(path)
    except OSError as error:
        raise LabkitError(
            f"The trials could not be written to {path}: {error.strerror or error}."
        ) from None
    finally:
        fresh.unlink(missing_ok=True)


def read(name: str) -> Measurements:
    """What was kept there; of a single file the trials alone.

    Raises:
        LabkitError: nothing there, or something else.
    """
    path = Path(name).expanduser()
    if not path.exists():
        raise LabkitError(
            f"{name} is not there. 'labkit bench PATTERN --out {name}' measures, and keeps it."
        )
    if path.is_dir():
        return Measurements.load(path)
    return _trials_alone(path)


def _trials_alone(path: Path) -> Measurements:
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise _foreign(path)
    _check_parquet(kind)
    try:
        trials = pd.read_csv(path) if kind == "csv" else pd.read_parquet(path)
        if not set(TRIAL_TYPES) <= set(trials.columns):
            raise _foreign(path)
        measured = Measurements.of([])
        measured.trials = typed(trials, "trials")
    except (OSError, ValueError) as error:
        raise _foreign(path) from error
    return measured


def _check_ours(path: Path, of_name: Format | None) -> None:
    """What is there may be replaced only if it is of this kind."""
    if of_name is None:
        if not (path / ABOUT).is_file():
            raise ConfigurationError(
                f"{path} is there and holds no measurements; choose another --out."
            )
        return
    try:
        _trials_alone(path)
    except LabkitError:
        raise ConfigurationError(
            f"{path} is there and holds no measurements; choose another --out."
        ) from None


def _check_parquet(*kinds: Format | None) -> None:
    if "parquet" in kinds and find_spec("pyarrow") is None:
        raise ConfigurationError(
            "Parquet needs pyarrow, which is not installed: "
            "pip install 'messaging-lab[formats]', or use csv."
        )


def _foreign(path: Path) -> LabkitError:
    return LabkitError(
        f"{path} holds no measurements that can be read. Name the folder, .csv or .parquet file "
        "that 'labkit bench --out' wrote."
    )
