"""Which RabbitMQ this machine has: scripts that any user may start, and Erlang's name server."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HOW_TO_INSTALL_RABBITMQ = (
    "Install one: sudo apt install rabbitmq-server (Debian, Ubuntu, WSL; then "
    "sudo systemctl disable --now rabbitmq-server: labkit starts its own), brew install rabbitmq "
    "(macOS), conda install -c conda-forge rabbitmq-server, or choco install rabbitmq (Windows: "
    "connect to its service with labkit.connect('amqp://…')). With Docker: docker compose up "
    "--detach --wait rabbitmq. RabbitMQ has no embedded stand-in: labs that need it are skipped."
)

_FOLDERS = (
    "/usr/lib/rabbitmq/bin",  # Debian; its /usr/sbin/rabbitmq-server switches to another user
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
)
_USER_SWITCHER = "rabbitmq-script-wrapper"
_VERSION = re.compile(r"rabbitmq(?:_server-|-server-|/)(\d+(?:\.\d+)+)")
_ERLANG_FOLDERS = ("/usr/lib/erlang/bin", "/opt/homebrew/bin", "/usr/local/bin")


@dataclass(frozen=True, slots=True)
class RabbitBinary:
    """A RabbitMQ that can be started.

    Attributes:
        path: its rabbitmq-server.
        epmd: Erlang's name server, without which no node starts.
        version: "3.10.8"; "" where its place does not tell.
    """

    path: Path
    epmd: Path
    version: str

    @property
    def name(self) -> str:
        """Product and version: "RabbitMQ 3.10.8"."""
        return f"RabbitMQ {self.version}".strip()

    @property
    def control(self) -> Path:
        """Its rabbitmqctl."""
        return self.path.with_name("rabbitmqctl")


def find_rabbitmq() -> RabbitBinary | None:
    """The server to start, or None where none is installed."""
    epmd = _find_epmd()
    if os.name != "posix" or epmd is None:
        return None
    for path in _candidates():
        real = path.resolve()
        if real.name == _USER_SWITCHER or not os.access(real, os.X_OK):
            continue
        found = _VERSION.search(str(real))
        return RabbitBinary(path, epmd, found[1] if found else "")
    return None


def _candidates() -> Iterator[Path]:
    home = os.environ.get("RABBITMQ_HOME")
    folders = ([f"{home}/sbin"] if home else []) + list(_FOLDERS)
    for folder in folders:
        path = Path(folder, "rabbitmq-server")
        if path.is_file():
            yield path
    found = shutil.which("rabbitmq-server")
    if found:
        yield Path(found).absolute()


def _find_epmd() -> Path | None:
    found = shutil.which("epmd") or shutil.which("epmd", path=os.pathsep.join(_ERLANG_FOLDERS))
    return Path(found).absolute() if found else None
