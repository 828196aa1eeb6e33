"""Commands as people see them: one would type them so into redis-cli, long parts cut short."""

from __future__ import annotations

from labkit.brokers.redis.wire import Command

COMMANDS_KEPT = 100
"""The last commands, to be shown."""

_SHOWN_CHARACTERS = 60


def beginning(command: Command) -> Command:
    """As much of a command as will be shown; the command itself, if that is all of it."""
    for part in command:
        if isinstance(part, str | bytes) and len(part) > _SHOWN_CHARACTERS:
            return tuple(
                part[: _SHOWN_CHARACTERS + 1] if isinstance(part, str | bytes) else part
                for part in command
            )
    return command


def in_words(command: Command) -> str:
    """The line to type."""
    return " ".join(map(_shown, command))


def _shown(part: str | bytes | int | float) -> str:
    text = part.decode("utf-8", "backslashreplace") if isinstance(part, bytes) else str(part)
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 1] + "…"
    return f"'{text}'" if not text or any(c in text for c in " \"'{}") else text
