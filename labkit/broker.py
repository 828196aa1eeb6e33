"""The contract that every broker keeps: small protocols, nothing else.

A broker says what it can do, capability by capability: `native` (the broker does it), `emulated`
(labkit does it with what the broker has) or `absent`, each with one sentence why. What is absent
raises `NotSupported` with that sentence. One large class with every method would promise what no
broker keeps.

Delivery guarantee of publish/subscribe, on every broker: **at most once**. A message reaches those
who are subscribed at that moment; nothing is kept, nothing is sent again by labkit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from labkit._html import table
from labkit.clock import Clock
from labkit.errors import NotSupported
from labkit.trace import Trace

if TYPE_CHECKING:
    import pandas


class Support(StrEnum):
    """How a broker comes to do a thing."""

    NATIVE = "native"
    EMULATED = "emulated"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing that a broker can do or not, and one sentence why."""

    name: str
    support: Support
    why: str


class Capabilities:
    """What a broker can do, as a table in a notebook; `capabilities["name"]` is one row."""

    def __init__(self, broker: str, rows: Iterable[Capability]) -> None:
        self.broker = broker
        self._rows = {row.name: row for row in rows}

    def __getitem__(self, name: str) -> Capability:
        if name not in self._rows:
            raise KeyError(f"No capability {name!r}; there are: {', '.join(self._rows)}")
        return self._rows[name]

    def __iter__(self) -> Iterator[Capability]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def require(self, name: str) -> Capability:
        """The capability, if the broker has it.

        Raises:
            NotSupported: it is absent; the error says why.
        """
        row = self[name]
        if row.support is Support.ABSENT:
            raise NotSupported(f"{self.broker} has no {name}: {row.why}")
        return row

    def to_frame(self) -> pandas.DataFrame:
        """One row a capability: capability, support, why."""
        import pandas

        rows = [(row.name, str(row.support), row.why) for row in self]
        return pandas.DataFrame(rows, columns=["capability", "support", "why"])

    def __repr__(self) -> str:
        lines = [f"{row.name}: {row.support}. {row.why}" for row in self]
        return "\n".join([f"What {self.broker} can do", *lines])

    def _repr_html_(self) -> str:
        rows = [(row.name, row.support, row.why) for row in self]
        return table(("capability", "support", "why"), rows, f"What {self.broker} can do")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the broker said to one publish.

    Attributes:
        channel: where it went.
        subscriptions: how many subscriptions the broker wrote it to at that moment, or None where
            the broker does not say. Not how many people read it: one client may hold two
            subscriptions that match, and what is written may still be lost on the way.
    """

    channel: str
    subscriptions: int | None


@dataclass(frozen=True, slots=True)
class Received:
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

    Attributes:
        channels: the names and patterns that were subscribed.
        started: when the loss was noticed, seconds since 1970.
        ended: when the broker had confirmed all subscriptions again.
        silent_s: for how long before `started` nothing had been heard; a connection that dies
            quietly may have been dead for that long already.
        reason: what broke.
    """

    channels: tuple[str, ...]
    started: float
    ended: float
    silent_s: float
    reason: str

    @property
    def seconds(self) -> float:
        """From noticing the loss to being subscribed again."""
        return self.ended - self.started


@dataclass(frozen=True, slots=True)
class Mark:
    """The end of what was published before `Subscription.mark()` was called."""

    number: int


class CommandLog(tuple[str, ...]):
    """The native commands that labkit sent, oldest first, one a line when shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(self)


class Subscription(Protocol):
    """One listener's connection. It belongs to one thread at a time.

    After a lost connection it comes back by itself, with back-off, while it is polled.
    """

    @property
    def connected(self) -> bool:
        """Whether the broker could be heard at the last look."""

    def add(self, *names: str, pattern: bool = False, timeout: float = 5.0) -> None:
        """Subscribe; returns once the broker has confirmed every name.

        Raises:
            BrokerUnavailable: no confirmation within `timeout` seconds.
        """

    def remove(self, *names: str, pattern: bool = False, timeout: float = 5.0) -> None:
        """Unsubscribe; returns once the broker has confirmed every name."""

    def mark(self) -> int:
        """Ask the broker for a `Mark`: everything published before now is polled before it.

        Returns:
            the mark's number, or 0 where none will come (nothing subscribed, connection lost).
        """

    def poll(self, timeout: float = 0.0) -> Received | Gap | Mark | None:
        """The next thing that arrived; None if nothing does within `timeout` seconds."""

    def close(self) -> None:
        """Give the connection back. Closing twice is fine."""


@runtime_checkable
class Broker(Protocol):
    """What every broker has, whatever its patterns."""

    @property
    def name(self) -> str:
        """What it is, with its version: "Redis 7.0.15", "embedded (fakeredis 2.40.0)"."""

    @property
    def url(self) -> str:
        """Where it is, without the password."""

    @property
    def embedded(self) -> bool:
        """True where the broker is Python in this process: figures are then not a broker's."""

    @property
    def namespace(self) -> str:
        """A prefix on every name, so that a class can share one server; "" for none."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, and why."""

    @property
    def native(self) -> object:
        """The client library's own object, to do what labkit does not."""

    @property
    def clock(self) -> Clock:
        """The clock of time stamps, pauses and back-off."""

    @property
    def trace(self) -> Trace:
        """What happened over this broker."""

    def commands(self, last: int = 20) -> CommandLog:
        """The last native commands that labkit sent."""

    def ping(self) -> None:
        """Ask whether it is there.

        Raises:
            BrokerUnavailable: it is not; the error says what to do.
        """

    def close(self) -> None:
        """Let go of every connection, and of a server that `connect` started."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


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
