"""Where something was measured: without it a figure means nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import labkit
from labkit.broker import Lab
from labkit.errors import LabkitError

_PACKAGES = {"redis": "redis_py", "hiredis": "hiredis", "fakeredis": "fakeredis"}


def environment_of(lab: Lab | None) -> dict[str, Any]:
    """The machine, the software and, as far as it tells, the broker. No address, no password."""
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "labkit": labkit.__version__,
        **{name: _installed(package) for package, name in _PACKAGES.items()},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
    if lab is not None:
        found |= {"broker": lab.name, "embedded": lab.embedded, **_server(lab)}
    return found


def short_name(lab: Lab) -> str:
    """What a table calls the broker: "redis", "valkey", "embedded"."""
    return lab.name.split()[0].lower().strip(",")


def _server(lab: Lab) -> dict[str, Any]:
    """Version and durability, of a server that tells them."""
    unknown = {"server": None, "server_version": None, "appendonly": None, "appendfsync": None}
    if lab.embedded:
        return unknown | {"server": "none: Python in this process"}
    name, _, number = lab.name.partition(" ")
    return unknown | {"server": name, "server_version": number or None} | _durability(lab.native)


def _durability(native: object) -> dict[str, Any]:
    ask = getattr(native, "config_get", None)
    if ask is None:
        return {}
    try:
        told = ask("append*")
    except (LabkitError, OSError):
        return {}
    except Exception:  # the client library's own: a server that does not allow CONFIG
        return {}
    if not isinstance(told, Mapping):
        return {}
    plain = {_text(key): _text(value) for key, value in told.items()}
    return {name: plain.get(name) for name in ("appendonly", "appendfsync")}


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor's name (Linux); elsewhere its kind."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
