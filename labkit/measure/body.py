"""What a measured message says: its number, when it was meant to go, and when it went.

The rest is padding. The bytes are not an envelope of labkit's: what is measured is the broker and
its client library, not the making of messages.
"""

from __future__ import annotations

import struct

from labkit.errors import ConfigurationError

_HEADER = struct.Struct(">QQQ")
_NUMBER = struct.Struct(">Q")

MIN_SIZE = _HEADER.size
"""Bytes that a measured message has at least."""

NUMBER_BITS = 40
"""Of a number; what is above them names the publisher."""


def trailer(size: int, address: str = "") -> bytes:
    """What follows the header: the address for a reply, and padding.

    Raises:
        ConfigurationError: a message of that size has no room for it.
    """
    where = address.encode()
    least = MIN_SIZE + (len(where) + 1 if address else 0)
    if isinstance(size, bool) or not isinstance(size, int) or size < least:
        raise ConfigurationError(
            f"size is the bytes of a message, here {least} or more (number and times"
            f"{', and the address for the reply' if address else ''}), got {size!r}."
        )
    head = bytes([len(where)]) + where if address else b""
    return head + b"x" * (size - MIN_SIZE - len(head))


def pack(number: int, intended_ns: int, sent_ns: int) -> bytes:
    """The header; times on the clock that all processes share."""
    return _HEADER.pack(number, intended_ns, sent_ns)


def number_of(body: bytes) -> int:
    """The operation's number."""
    number: int = _NUMBER.unpack_from(body)[0]
    return number


def unpack(body: bytes) -> tuple[int, int, int]:
    """number, intended, sent."""
    number, intended, sent = _HEADER.unpack_from(body)
    return number, intended, sent


def address_of(body: bytes) -> str:
    """Where the reply goes."""
    length = body[MIN_SIZE]
    return body[MIN_SIZE + 1 : MIN_SIZE + 1 + length].decode()
