"""Names: of channels, patterns and queues, as people give them and as RabbitMQ has them."""

from __future__ import annotations

from labkit import channels as naming
from labkit.errors import ConfigurationError

MAX_NAME_BYTES = 255
"""Routing keys and names of queues and exchanges are AMQP's short strings."""

_GLOB = frozenset("*?[]\\^")
_ANY_WORDS = "#"


def check_names(names: tuple[str, ...]) -> None:
    """Refuse what cannot be subscribed to."""
    naming.check_names(names)
    for name in names:
        check_short(name, "channel or pattern")


def check_short(name: str, what: str) -> str:
    """The name, if it fits into AMQP.

    Raises:
        ConfigurationError: it does not.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ConfigurationError(f"{name!r} is not Unicode text: half a character.") from None
    if size > MAX_NAME_BYTES:
        raise ConfigurationError(
            f"A {what} on RabbitMQ has at most {MAX_NAME_BYTES} bytes, got {size:,}."
        )
    return name


def binding_key(pattern: str) -> str:
    """The narrowest AMQP topic key that lets through all that a glob matches, and maybe more.

    A glob's * crosses dots, and stands for a part of a word, too; AMQP's * is one whole word and
    its # any number of them. So each word with something special in it becomes a #, and labkit
    looks at what came through once more: "flights.J*" is bound as "flights.#".
    """
    words: list[str] = []
    for word in pattern.split("."):
        plain = _GLOB.isdisjoint(word)
        if plain:
            words.append(word)
        elif words[-1:] != [_ANY_WORDS]:
            words.append(_ANY_WORDS)
    if any("[" in word for word in pattern.split(".")):  # a dot may be inside the brackets
        return _ANY_WORDS
    return ".".join(words)
