"""Names: as people give them, and as Kafka allows them, with the namespace in front.

A topic has letters, digits, dots, dashes and underscores, at most 249 of them. A legal name stays
as it is, so that kcat and others see it; any other character becomes its bytes: `a b` is `a_x20b`.
"""

from __future__ import annotations

import re

from labkit.errors import ConfigurationError

LONGEST_TOPIC = 249
INTERNAL = "labkit."
"""Beginning of the topics behind queues and services, which no pattern of channels matches."""

_ILLEGAL = re.compile(r"[^A-Za-z0-9._-]|_(?=x[0-9a-f]{2})")
_ESCAPED = re.compile(r"(?:_x[0-9a-f]{2})+")


def to_topic(namespace: str, name: str, inside: str = "") -> str:
    """What Kafka calls it.

    Args:
        namespace: prefix of the lab.
        name: as people give it.
        inside: a prefix of labkit's own, "labkit.queue." say.

    Raises:
        ConfigurationError: no topic can have that name.
    """
    topic = prefix(namespace) + inside + _ILLEGAL.sub(_bytes_of, name)
    if len(topic) > LONGEST_TOPIC or topic in {"", ".", ".."}:
        raise ConfigurationError(
            f"{name[:60]!r} cannot be the name of a topic: Kafka allows {LONGEST_TOPIC} letters, "
            f"digits, dots, dashes and underscores; this one would be {topic[:60]!r}."
        )
    return topic


def from_topic(namespace: str, topic: str) -> str | None:
    """What people call it; None for a topic that is not in this namespace, or is labkit's own."""
    start = prefix(namespace)
    if not topic.startswith(start) or topic.startswith(start + INTERNAL):
        return None
    if not start and topic.startswith("__"):
        return None  # Kafka's own
    return _ESCAPED.sub(_text_of, topic.removeprefix(start))


def service_topic(namespace: str, name: str) -> str:
    """Where the requests to a service are."""
    return to_topic(namespace, name, f"{INTERNAL}service.")


def replies_topic(namespace: str) -> str:
    """Where the replies to all askers are."""
    return to_topic(namespace, "replies", INTERNAL)


def prefix(namespace: str) -> str:
    """What a namespace is in a topic's name: "ada:" becomes "ada."."""
    if namespace.endswith(":"):
        namespace = namespace[:-1] + "."
    return _ILLEGAL.sub(_bytes_of, namespace)


def _bytes_of(found: re.Match[str]) -> str:
    return "".join(f"_x{byte:02x}" for byte in found[0].encode())


def _text_of(found: re.Match[str]) -> str:
    return bytes.fromhex(found[0].replace("_x", "")).decode("utf-8", "backslashreplace")
