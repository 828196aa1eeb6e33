"""What a server is told, in the form of redis.conf."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from labkit.errors import ConfigurationError

Value = str | int | float | bool | Sequence[str | int]
"""A directive's value. A string is written as in redis.conf ("900 1" is two words); a list is one
quoted word an item, whatever is in it; a bool is yes or no."""

_RESERVED = {
    "bind": "a server of labkit listens on 127.0.0.1 only",
    "daemonize": "labkit watches over the process",
    "dir": "pass folder=…",
    "include": "pass the directives themselves",
    "logfile": "read it with server.log_tail()",
    "pidfile": "read it with server.pid",
    "port": "pass port=…",
    "protected-mode": "pass password=…",
    "rename-command": "labkit needs the commands",
    "requirepass": "pass password=…",
    "supervised": "labkit watches over the process",
}
_MAX_PASSWORD_BYTES = 512
_DIRECTIVE = re.compile(r"[a-z][a-z0-9-]*")


def render(
    directives: Mapping[str, Value],
    *,
    host: str,
    port: int,
    password: str | None,
    folder: Path,
) -> bytes:
    """The whole configuration file; `directives` come last and win over the defaults.

    Raises:
        ConfigurationError: a directive that is not to be set, or a value that cannot be written.
    """
    settings: dict[str, Value] = {
        "bind": host,
        "port": port,
        "protected-mode": True,
        "daemonize": False,
        "supervised": "no",
        "logfile": "",  # standard output, which labkit sends to a file of its own
        "dir": [os.fsdecode(folder)],
        "save": "",
    }
    if password is not None:
        settings["requirepass"] = [_checked(password)]
    for name, value in directives.items():
        key = name.lower()
        if not _DIRECTIVE.fullmatch(key):
            raise ConfigurationError(f"{name!r} is not the name of a directive in redis.conf.")
        if key in _RESERVED:
            raise ConfigurationError(f"{name!r} is not for config: {_RESERVED[key]}.")
        settings[key] = value
    lines = [f"{name} {_written(name, value)}" for name, value in settings.items()]
    return ("\n".join(lines) + "\n").encode("ascii")


def _checked(password: str) -> str:
    size = len(password.encode("utf-8", "surrogateescape"))
    if "\0" in password or not 1 <= size <= _MAX_PASSWORD_BYTES:
        raise ConfigurationError(
            f"A password has 1 to {_MAX_PASSWORD_BYTES} bytes and no NUL; password=None for none."
        )
    return password


def _written(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        return " ".join(_quoted(str(item)) for item in value)
    if not value.strip():
        return '""'
    if not (value.isascii() and value.isprintable()):
        raise ConfigurationError(
            f"{name!r}: {value!r} has characters that redis.conf cannot have. Pass a list of words."
        )
    return value


def _quoted(word: str) -> str:
    """One word, in the quotes that Redis reads, whatever bytes it is made of."""
    escaped = "".join(
        f"\\{chr(byte)}"
        if chr(byte) in '"\\'
        else chr(byte)
        if 32 <= byte < 127
        else f"\\x{byte:02x}"
        for byte in word.encode("utf-8", "surrogateescape")
    )
    return f'"{escaped}"'
