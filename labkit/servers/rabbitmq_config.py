"""What a private RabbitMQ node is told: its files, its environment, and how one sees that it lives.

Everything listens on 127.0.0.1: AMQP, the management page, Erlang's distribution and its name
server (epmd), which is this node's own. What is secret (password, Erlang cookie) is in files that
only this user can read, never on a command line.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import ConfigurationError
from labkit.servers.process import HOST, write_private
from labkit.servers.rabbitmq_binaries import RabbitBinary

MANAGEMENT_PLUGIN = "rabbitmq_management"

_RESERVED = ("listeners.", "default_user", "default_pass", "management.tcp.", "loopback_users")
_WAL_BYTES = 32 * 1024 * 1024
_ANSWER_S = 1.0

# epmd stays in the foreground, in the server's process group, which is ended as a whole. Where the
# watchdog itself is killed, the loop sees that the node has gone, and ends the group.
LAUNCHER = (
    '"$LABKIT_EPMD" -port "$ERL_EPMD_PORT" -address 127.0.0.1 & '
    "(while kill -0 $$ 2>/dev/null; do sleep 1; done; kill -KILL 0) & "
    'exec "$LABKIT_RABBITMQ"'
)
"""A shell's script: the node takes the place of the shell."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a node listens, on 127.0.0.1."""

    amqp: int
    distribution: int
    epmd: int
    management: int | None


@dataclass(frozen=True, slots=True)
class Login:
    """Who may come in: made anew for each node."""

    user: str
    password: str

    @classmethod
    def random(cls) -> Login:
        """One that nobody can guess."""
        return cls(f"lab-{secrets.token_hex(4)}", secrets.token_urlsafe(24))

    def __repr__(self) -> str:
        return f"Login({self.user!r})"  # no password


def check_settings(settings: Mapping[str, str | int]) -> None:
    """Refuse what would open the node to others, or is no line of rabbitmq.conf.

    Raises:
        ConfigurationError: says which and why.
    """
    for name, value in settings.items():
        if name.startswith(_RESERVED):
            raise ConfigurationError(f"{name!r} is not for config: labkit sets it.")
        if any(not part.isprintable() or "#" in part for part in (name, str(value))):
            raise ConfigurationError(f"{name!r}: {value!r} is no line of rabbitmq.conf.")


def write_files(
    folder: Path, ports: Ports, login: Login, settings: Mapping[str, str | int], cookie: str
) -> None:
    """Put down what the node reads when it starts."""
    lines: dict[str, str | int] = {
        "listeners.tcp.1": f"{HOST}:{ports.amqp}",
        "default_user": login.user,
        "default_pass": login.password,
        "log.console": "true",
        "log.console.level": "warning",
        "log.file": "false",
        "disk_free_limit.absolute": "50MB",
        "raft.wal_max_size_bytes": _WAL_BYTES,
    }
    if ports.management is not None:
        lines |= {"management.tcp.ip": HOST, "management.tcp.port": ports.management}
    lines |= dict(settings)
    text = "".join(f"{name} = {value}\n" for name, value in lines.items())
    plugins = f"[{MANAGEMENT_PLUGIN}]." if ports.management is not None else "[]."
    write_private(folder / "rabbitmq.conf", text.encode())
    write_private(folder / "enabled_plugins", plugins.encode())
    write_private(folder / ".erlang.cookie", cookie.encode())
    (folder / ".erlang.cookie").chmod(0o400)


def environment(binary: RabbitBinary, folder: Path, ports: Ports, node: str) -> dict[str, str]:
    """The variables under which the node, and rabbitmqctl, run."""
    return {
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "LABKIT_EPMD": str(binary.epmd),
        "LABKIT_RABBITMQ": str(binary.path),
        "ERL_EPMD_PORT": str(ports.epmd),
        "ERL_EPMD_ADDRESS": HOST,
        "ERL_CRASH_DUMP_SECONDS": "0",
        "RUNNING_UNDER_SYSTEMD": "true",  # the node replaces its shell, and gets the signals
        "NOTIFY_SOCKET": "",
        "RABBITMQ_NODENAME": node,
        "RABBITMQ_DIST_PORT": str(ports.distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none "
            "-kernel inet_dist_use_interface {127,0,0,1}"
        ),
    }


def lets_in(port: int, login: Login) -> bool:
    """Whether a broker answers there that knows this user: so it is ours, and ready.

    The first steps of AMQP 0-9-1 by hand: the greeting, Connection.Start, StartOk with the
    password, and Connection.Tune if it is right.
    """
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), _ANSWER_S) as line:
        line.sendall(b"AMQP\x00\x00\x09\x01")
        if _method(line) != (10, 10):
            return False
        secret = f"\0{login.user}\0{login.password}".encode()
        arguments = (
            struct.pack(">HHI", 10, 11, 0)
            + b"\x05PLAIN"
            + struct.pack(">I", len(secret))
            + secret
            + b"\x05en_US"
        )
        line.sendall(struct.pack(">BHI", 1, 0, len(arguments)) + arguments + b"\xce")
        return _method(line) == (10, 30)
    return False


def _method(line: socket.socket) -> tuple[int, int]:
    """Class and method of the next frame."""
    _, _, size = struct.unpack(">BHI", _exactly(line, 7))
    payload = _exactly(line, size + 1)
    method: tuple[int, int] = struct.unpack(">HH", payload[:4])
    return method


def _exactly(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = line.recv(count - len(data))
        if not more:
            raise ConnectionResetError("closed")
        data += more
    return data
