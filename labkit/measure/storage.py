"""A folder of tables on the disk: whole or not at all."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from labkit.errors import ConfigurationError, LabkitError

ABOUT = "about.json"
_FORMATS = ("parquet", "csv")


def write_folder(
    path: Path, frames: Mapping[str, pd.DataFrame], about: Mapping[str, Any], kind: str | None
) -> Path:
    """Write beside it, then rename: who reads sees the old one or the new one, never half of it."""
    kind = _format(kind)
    path = path.expanduser().absolute()
    if path.exists() and not (path / ABOUT).is_file():
        raise ConfigurationError(
            f"{path} is there and holds no measurements; choose another name for the folder."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise _not_saved(path, error) from None
    try:
        for name, frame in frames.items():
            file = fresh / f"{name}.{kind}"
            if kind == "parquet":
                frame.to_parquet(file, index=False)
            else:
                frame.to_csv(file, index=False)
        text = json.dumps({"format": kind, **about}, indent=1, default=str)
        (fresh / ABOUT).write_text(text, encoding="utf-8")
        fresh.chmod(0o755)
        _replace(fresh, path)
    except OSError as error:
        raise _not_saved(path, error) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return path


def read_folder(path: Path, names: Sequence[str]) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """The tables and the rest."""
    path = path.expanduser()
    try:
        about: dict[str, Any] = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        kind = about["format"]
        if kind == "parquet":
            _format(kind)
        frames = {}
        for name in names:
            file = path / f"{name}.{kind}"
            frames[name] = pd.read_parquet(file) if kind == "parquet" else pd.read_csv(file)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise LabkitError(f"{path} holds no measurements that can be read: {error}.") from None
    return frames, about


def _replace(fresh: Path, path: Path) -> None:
    """A folder cannot be renamed onto a full one: the old one steps aside first."""
    if not path.exists():
        fresh.rename(path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
    old = path.rename(aside / "old")
    try:
        fresh.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            old.rename(path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _format(kind: str | None) -> str:
    has_parquet = find_spec("pyarrow") is not None
    if kind is None:
        return "parquet" if has_parquet else "csv"
    if kind not in _FORMATS:
        raise ConfigurationError(f"format is one of {', '.join(_FORMATS)}, got {kind!r}.")
    if kind == "parquet" and not has_parquet:
        raise ConfigurationError(
            "Parquet needs pyarrow, which is not installed: pip install 'messaging-lab[formats]', "
            'or save with format="csv".'
        )
    return kind


def _not_saved(path: Path, error: OSError) -> LabkitError:
    return LabkitError(
        f"The measurements could not be saved to {path}: {error.strerror or error}. They are still "
        "in memory: make room, or save them elsewhere."
    )
