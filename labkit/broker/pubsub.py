"""The contract of publish/subscribe: one to many, **at most once**.

A message reaches those who are subscribed at that moment; nothing is kept, and nothing is sent
again by labkit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import msgspec

from labkit.broker.base import Broker


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What the broker said to one publish.

    Attributes:
        channel: where it went.
        subscriptions: how many subscriptions the broker wrote it to at that moment, or None where
            the broker does not say. Not how many people read it: one client may hold two
            subscriptions that match, and what is written may still be lost on the way.
    """

    channel: str
    subscriptions: int | None


class Received(msgspec.Struct, frozen=True, gc=False):
    """A body that arrived, and why.

    Attributes:
        channel: where it was published.
        body: the bytes.
        pattern: the pattern it matched, or None for a subscription by name.
    """

    channel: str
    body: bytes
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which messages may have been missed, because the connection was gone.

    It is handed out twice: when the loss is noticed, and complete when it is over.

    Attributes:
        channels: the names and patterns that were subscribed.
        started: when the loss was noticed, seconds since 1970.
        ended: when the broker had confirmed all subscriptions again; None while it lasts.
        silent_s: for how long before `started` nothing had been heard; a connection that dies
            quietly may have been dead for that long already.
        reason: what broke.
    """

    channels: tuple[str, ...]
    started: float
    ended: float | None
    silent_s: float
    reason: str

    @property
    def seconds(self) -> float | None:
        """From noticing the loss to being subscribed again; None while it lasts."""
        return None if self.ended is None else self.ended - self.started


@dataclass(frozen=True, slots=True)
class Mark:
    """The end of what was published before `Subscription.mark()` was called."""

    number: int


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """From here on nothing comes for this name; what came before it came first."""

    name: str
    pattern: bool


Polled = Received | Gap | Mark | Unsubscribed
"""What a subscription hands out, in the order in which it happened."""


class Subscription(Protocol):
    """One listener's connection. It belongs to one thread at a time.

    After a lost connection it comes back by itself, with back-off, while it is polled.
    """

    @property
    def connected(self) -> bool:
        """Whether the broker could be heard at the last look."""

    def add(self, *names: str, pattern: bool = False, timeout: float | None = None) -> None:
        """Subscribe; returns once the broker has confirmed every name.

        Raises:
            BrokerUnavailable: no confirmation within `timeout` seconds (default: the one that
                `connect` was given for every answer).
        """

    def remove(self, *names: str, pattern: bool = False, timeout: float | None = None) -> None:
        """Unsubscribe; returns once the broker has confirmed every name."""

    def mark(self) -> int:
        """Ask the broker for a `Mark`: everything published before now is polled before it.

        Returns:
            the mark's number, or 0 where none will come (nothing subscribed, connection lost).
        """

    def poll(self, timeout: float = 0.0) -> Polled | None:
        """The next thing that arrived; None if nothing does within `timeout` seconds."""

    def poll_many(self, timeout: float = 0.0, limit: int = 1_000) -> list[Polled]:
        """What arrived, in order, at most `limit` things: many at the price of one.

        Waits up to `timeout` seconds for the first, and not at all for others. What is not a
        `Received` is the last of its list, so that nothing has been taken from behind it.

        Returns:
            the things; none if nothing came in time.
        """

    def close(self) -> None:
        """Give the connection back. Closing twice is fine."""


@runtime_checkable
class PubSubBroker(Broker, Protocol):
    """Publish/subscribe: one to many, at most once, nothing kept."""

    def publish(self, channel: str, body: bytes) -> Receipt:
        """Send one body.

        Raises:
            BrokerUnavailable: `sent` of the error says whether it may have arrived.
        """

    def publish_many(self, items: Sequence[tuple[str, bytes]]) -> list[Receipt]:
        """Send many bodies in few round trips, in order.

        Raises:
            BatchError: says which were sent, which were not, and which may have been.
        """

    def open_subscription(self) -> Subscription:
        """A new listener, subscribed to nothing yet."""
