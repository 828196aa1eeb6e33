"""What a subscription hands out, made of what Redis says; and what it knows of a loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labkit.broker import Gap, Mark, Polled, Received, Unsubscribed
from labkit.brokers.redis.names import Channels, from_wire


def read_thing(reply: list[Any], namespace: str, channels: Channels) -> Polled | None:
    """What one reply is; None for one that only confirms, or says that somebody is there."""
    kind, first = reply[0], reply[1]
    if kind == b"message":
        return Received(channels[first], reply[2])
    if kind == b"pmessage":
        matched = from_wire(namespace, first, pattern=True)
        return Received(channels[reply[2]], reply[3], matched)
    if kind == b"pong" and first.isdigit():
        return Mark(int(first))
    if kind in (b"unsubscribe", b"punsubscribe") and first is not None:
        pattern = kind == b"punsubscribe"
        return Unsubscribed(from_wire(namespace, first, pattern=pattern), pattern)
    return None


@dataclass
class Loss:
    """A lost connection, why we are not back yet, and the attempts to come back."""

    gap: Gap
    reason: str
    next_try_at: float
    attempts: int = 0
