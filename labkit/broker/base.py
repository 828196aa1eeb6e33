"""What every broker has, whatever its patterns: a name, a place, a clock, capabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


class CommandLog(tuple[str, ...]):
    """The native commands that labkit sent, oldest first, one a line when shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(self)


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
