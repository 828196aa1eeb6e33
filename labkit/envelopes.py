"""Many envelopes read in one step: the same checks as for one, each made for all at once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from labkit._json import MAX_DEPTH
from labkit.errors import DecodeError
from labkit.message import (
    DEFAULT_MAX_BYTES,
    SHALLOW_BYTES,
    Message,
    is_timestamp,
    may_be_deep,
)

_SHALLOW_OBJECTS = MAX_DEPTH * len('{"":}')
"""In so many bytes objects alone cannot nest too deeply: each has a key."""

_DECODER = msgspec.json.Decoder(Message)


def decode_many(
    bodies: Sequence[bytes], *, channel: str | None = None, max_bytes: int = DEFAULT_MAX_BYTES
) -> Sequence[Message | DecodeError]:
    """Each body's message, or what is wrong with it, in order; nothing is raised for bytes."""
    together = _together(bodies, max_bytes)
    if together is not None:
        return together
    return [_alone(body, channel, max_bytes) for body in bodies]


def _together(bodies: Sequence[bytes], max_bytes: int) -> list[Message] | None:
    """All messages, if every body is one."""
    longest = max(map(len, bodies), default=0)
    if longest > max_bytes or _may_be_deep(bodies, longest):
        return None
    try:
        messages = list(map(_DECODER.decode, bodies))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    good = all(message.type and message.sender for message in messages) and all(
        map(is_timestamp, {message.timestamp for message in messages})
    )
    return messages if good else None


def _may_be_deep(bodies: Sequence[bytes], longest: int) -> bool:
    """Whether one of them has brackets enough to nest too deeply."""
    if longest <= SHALLOW_BYTES:
        return False
    if longest <= _SHALLOW_OBJECTS and b"[" not in b"".join(bodies):
        return False
    return any(map(may_be_deep, bodies))


def _alone(body: bytes, channel: str | None, max_bytes: int) -> Message | DecodeError:
    try:
        return Message.decode(body, channel=channel, max_bytes=max_bytes)
    except DecodeError as error:
        return error
