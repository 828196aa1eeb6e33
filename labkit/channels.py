"""Channel names: four conventions to build them, and the patterns that match them.

`matches` decides as Redis decides: `*` any characters (dots too), `?` one, `[abc]`, `[a-z]`,
`[^a]`, and a backslash for the character itself. A port of `stringmatchlen` in Redis' util.c.
"""

from __future__ import annotations

import re
from functools import lru_cache

from labkit.errors import ConfigurationError, ValidationError

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_MAX_STARS = 1000


def by_service(service: str) -> str:
    """All events of one service: `by_service("user-service")` is "user-service.events"."""
    return _join(service, "events")


def by_event(entity: str, event: str) -> str:
    """One kind of event: `by_event("order", "placed")` is "order.placed"."""
    return _join(entity, event)


def by_level(stream: str, level: str) -> str:
    """One priority or level: `by_level("alerts", "critical")` is "alerts.critical"."""
    return _join(stream, level)


def by_environment(environment: str, stream: str) -> str:
    """One environment: `by_environment("prod", "alerts")` is "prod.alerts"."""
    return _join(environment, stream)


def _join(*parts: str) -> str:
    for part in parts:
        if not isinstance(part, str) or not _NAME.fullmatch(part):
            raise ValidationError(
                "channel", "words of letters, digits, - and _, joined by dots", repr(part)
            )
    return ".".join(parts)


def check_names(names: tuple[str, ...]) -> None:
    """Refuse what no broker can subscribe to.

    Raises:
        ConfigurationError: there is none, or one that is not a non-empty Unicode text.
    """
    if not names:
        raise ConfigurationError("Name at least one channel or pattern.")
    for name in names:
        if not isinstance(name, str) or not name:
            raise ConfigurationError(
                f"A channel or pattern is a non-empty str, got {name!r}. "
                'Pass several as arguments: subscribe("news", "alerts").'
            )
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ConfigurationError(f"{name!r} is not Unicode text: half a character.") from None


def escape(name: str) -> str:
    """A pattern that matches `name` and nothing else."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", name)


def is_pattern(name: str) -> bool:
    """Whether `name` holds a character that means something in a pattern."""
    return any(character in name for character in "*?[")


@lru_cache(maxsize=4096)
def matches(pattern: str, channel: str) -> bool:
    """Whether Redis would deliver a message on `channel` to a subscription to `pattern`."""
    return _matches(pattern.encode(), channel.encode())


def _matches(pattern: bytes, text: bytes) -> bool:
    """Positions are bytes, as in Redis. A failure goes back to the last '*' and no further: if the
    rest does not fit anywhere behind that one, an earlier one cannot help."""
    p = t = stars = 0
    after_star, retry_at = 0, 0
    while t < len(text):
        if pattern[p : p + 1] == b"*":
            p = _past_stars(pattern, p)
            if p == len(pattern):
                return True
            stars += 1
            if stars > _MAX_STARS:
                return False
            after_star, retry_at = p, t
            continue
        following = _one(pattern, p, text[t])
        if following is not None:
            p, t = following, t + 1
        elif stars:
            retry_at += 1
            p, t = after_star, retry_at
        else:
            return False
    return (_past_stars(pattern, p) if text else p) == len(pattern)


def _past_stars(pattern: bytes, p: int) -> int:
    while pattern[p : p + 1] == b"*":
        p += 1
    return p


def _one(pattern: bytes, p: int, character: int) -> int | None:
    """Position after the part of the pattern that fits this character; None if it does not fit."""
    if p == len(pattern):
        return None
    symbol = pattern[p : p + 1]
    if symbol == b"?":
        return p + 1
    if symbol == b"[":
        p, found = _bracket(pattern, p + 1, character)
        return p + 1 if found else None
    if symbol == b"\\" and p + 1 < len(pattern):
        p += 1
    return p + 1 if pattern[p] == character else None


def _bracket(pattern: bytes, p: int, character: int) -> tuple[int, bool]:
    """Position of the closing bracket (or of the pattern's last byte), and whether it fits."""
    negated = pattern[p : p + 1] == b"^"
    p += negated
    found = False
    while True:
        left = len(pattern) - p
        if left >= 2 and pattern[p] == ord("\\"):
            p += 1
            found |= pattern[p] == character
        elif left <= 0:
            p -= 1
            break
        elif pattern[p] == ord("]"):
            break
        elif left >= 3 and pattern[p + 1] == ord("-"):
            low, high = sorted((_signed(pattern[p]), _signed(pattern[p + 2])))
            found |= low <= _signed(character) <= high
            p += 2
        else:
            found |= pattern[p] == character
        p += 1
    return p, found != negated


def _signed(byte: int) -> int:
    """A byte as C's `char`, which Redis compares in ranges."""
    return byte - 256 if byte > 127 else byte
