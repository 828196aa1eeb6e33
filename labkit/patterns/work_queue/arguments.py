"""What the arguments of a queue may be, and what is said of others."""

from __future__ import annotations

import math

from labkit.broker import Priority, QueueKind, QueueOptions
from labkit.errors import ConfigurationError, describe


def check_name(what: str, name: object) -> None:
    """Braces would decide where a cluster keeps it."""
    if not isinstance(name, str) or not name or "{" in name or "}" in name:
        raise ConfigurationError(f"{what} has a name, a str without braces, got {name!r}.")


def clean_text(given: object) -> str:
    """What a handler gave as a reason, as text that any broker can keep: no lone surrogates."""
    try:
        text = describe(given) if isinstance(given, BaseException) else str(given)
    except Exception as error:  # a __str__ of its own that fails
        text = f"{type(given).__name__} without a text: {describe(error)}"
    return text.encode("utf-8", "backslashreplace").decode()


def priority_of(given: Priority | str) -> Priority:
    """By name or number."""
    try:
        return Priority[given.upper()] if isinstance(given, str) else Priority(given)
    except (KeyError, ValueError):
        known = ", ".join(repr(priority.name.lower()) for priority in Priority)
        raise ConfigurationError(f"A priority is one of {known}, got {given!r}.") from None


def queue_options(
    lease: float, max_length: int | None, max_deliveries: int | None, kind: QueueKind | str
) -> QueueOptions:
    """All of them, checked."""
    if not (lease > 0 and math.isfinite(lease)):
        raise ConfigurationError(f"A lease is in seconds and above 0, got {lease}.")
    for name, most in {"max_length": max_length, "max_deliveries": max_deliveries}.items():
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            raise ConfigurationError(f"{name} is a whole number from 1, or None, got {most!r}.")
    kinds = [k.value for k in QueueKind]
    if kind not in kinds:
        raise ConfigurationError(f"A queue's kind is one of {', '.join(kinds)}, got {kind!r}.")
    return QueueOptions(lease, max_length, max_deliveries, QueueKind(kind))


def check_worker(name: object, handler: object, prefetch: object) -> None:
    """Whether a worker can be made of these."""
    if not callable(handler):
        raise ConfigurationError(f"A handler is a function of (task), got {handler!r}.")
    if isinstance(prefetch, bool) or not isinstance(prefetch, int) or prefetch < 1:
        raise ConfigurationError(f"prefetch is a whole number from 1, got {prefetch!r}.")
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"A worker's name is a non-empty str, got {name!r}.")
