"""The two ends of a load: who sends, and who gets it."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from labkit.errors import BatchError, BrokerUnavailable, LabkitError

MOST_AT_ONCE = 500
"""Operations that are due and go out in one call: one round trip of the brokers here."""

MOST_TAKEN = 256
"""Messages taken in one look, so that sending gets its turn."""

LOOK_S = 0.05
"""Longest single wait, so that an order to stop is heard."""

LEASE_S = 30.0
KEEP_S = 60.0
"""How long a broker keeps what a measurement that was killed has left."""

Arrived = Callable[[int, bytes], None]
"""Called with the end that got a message and with the message."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What could not be sent: positions in the batch, and why."""

    positions: Sequence[int]
    error: LabkitError


class NearEnd(Protocol):
    """Sends operations; with request/reply also gets their replies."""

    @property
    def trailer(self) -> bytes:
        """What follows the header of each message."""

    @property
    def most_at_once(self) -> int:
        """Operations that may go out in one call where many are due."""

    def send(self, bodies: Sequence[bytes], arrived: Arrived) -> Failure | None:
        """Send in one call; what may have been sent is no failure."""

    def collect(self, wait_s: float, arrived: Arrived) -> None:
        """Look for what is done; wait at most so long for the first."""

    @property
    def keeps_order(self) -> bool:
        """Whether what a later one has overtaken is gone for good."""

    def all_lost(self) -> bool:
        """Whether nothing of what has not come can still come."""

    def close(self) -> None:
        """Let go of everything."""


class FarEnd(Protocol):
    """A subscriber, worker or responder."""

    def step(self, wait_s: float, arrived: Arrived) -> int:
        """Take what is there; wait at most so long for the first. Returns how many it took."""

    def close(self) -> None:
        """Let go of everything."""


_OURS = f"{secrets.token_hex(4)}-{os.getpid():x}"


@dataclass(frozen=True, slots=True)
class Name:
    """What a measurement calls its channel, queue or service: its own, so that none mix."""

    text: str

    @classmethod
    def new(cls) -> Name:
        """A name that no other measurement has that runs now.

        A thread measures one thing at a time and uses its name again: a queue may leave empty keys.
        """
        return cls(f"measure-{_OURS}-{threading.get_ident():x}")


def failure(error: LabkitError, count: int) -> Failure | None:
    """What of a batch certainly was not sent; None if all may have been."""
    if isinstance(error, BatchError):
        return Failure(error.unsent, error)
    if isinstance(error, BrokerUnavailable) and error.sent:
        return Failure((), error)
    return Failure(range(count), error)
