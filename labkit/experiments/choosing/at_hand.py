"""Which brokers are at hand, each on a private server of its own or inside this program."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Self

from labkit import servers
from labkit._html import table
from labkit.broker import Capability, Lab, Support
from labkit.connection import connect
from labkit.errors import ConfigurationError, ServerError
from labkit.experiments.choosing.memory import resident_mb
from labkit.experiments.kafka_lab import MISSING as HOW_TO_GET_CONFLUENT
from labkit.experiments.rabbitmq_lesson import HOW_TO_GET_PIKA

BROKERS_VARIABLE = "LABKIT_BROKERS"
"""Names those to take, and no others: "redis+embedded,rabbitmq"."""

KNOWN = ("redis+embedded", "redis", "rabbitmq", "kafka", "kafka+embedded")
_EMBEDDED = ("redis+embedded", "kafka+embedded")
_NAMES = {
    "redis+embedded": "embedded",
    "redis": "Redis",
    "rabbitmq": "RabbitMQ",
    "kafka": "Kafka",
    "kafka+embedded": "Kafka mock",
}


@dataclass(frozen=True, eq=False)
class AtHand:
    """One broker.

    Attributes:
        kind: one of `KNOWN`.
        name: what to call it: "Redis".
        lab: open, without a trace.
        server: the private server; None where the broker lives in this program.
        idle_mb: resident memory of the server before anything was done; None likewise.
    """

    kind: str
    name: str
    lab: Lab
    server: Any
    idle_mb: float | None

    @property
    def real(self) -> bool:
        """Whether it is a server; a stand-in's figures say nothing of the real one's speed."""
        return self.server is not None

    def capability(self, name: str) -> Capability:
        """What it can do of this name; absent where its table does not know it."""
        with contextlib.suppress(KeyError):
            return self.lab.capabilities[name]
        return Capability(name, Support.ABSENT, "Its table of capabilities does not name it.")

    def memory_mb(self) -> float | None:
        """Resident memory of the server now, with the processes that belong to it."""
        return None if self.server is None else resident_mb(self.server.pid)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.lab.name}>"


class Brokers(Sequence[AtHand]):
    """All brokers at hand. A context manager; `close()` stops what was started.

    Attributes:
        missing: of those that could not be opened, what is missing and how to get it.
    """

    def __init__(self, found: Sequence[AtHand], missing: dict[str, str], stack: ExitStack) -> None:
        self._found = list(found)
        self._stack = stack
        self.missing = missing

    @property
    def names(self) -> list[str]:
        """What they are called."""
        return [one.name for one in self]

    @property
    def real(self) -> list[AtHand]:
        """Those that are servers."""
        return [one for one in self if one.real]

    def named(self, name: str) -> AtHand:
        """The one of that name."""
        for one in self:
            if one.name == name:
                return one
        raise ConfigurationError(f"{name!r} is not at hand; there are: {', '.join(self.names)}.")

    def close(self) -> None:
        """Close all, and stop their servers. Closing twice is fine."""
        global _current
        if _current is self:
            _current = None
        self._stack.close()

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: Any) -> Any:
        return self._found[index]

    def __iter__(self) -> Iterator[AtHand]:
        return iter(self._found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _rows(self) -> list[tuple[str, str, str]]:
        rows = [
            (one.name, one.lab.name, "a private server" if one.real else "in this program")
            for one in self
        ]
        return rows + [(name, "not here", how) for name, how in self.missing.items()]

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {what}, {where}" for name, what, where in self._rows())

    def _repr_html_(self) -> str:
        return table(("broker", "what it is", "where"), self._rows(), "Brokers at hand")


_current: Brokers | None = None


def open_brokers(only: str | Sequence[str] | None = None) -> Brokers:
    """Open every broker that is at hand; what an earlier call has opened is closed first.

    A real Kafka is taken where there is one, else librdkafka's mock cluster in this program.

    Args:
        only: those to take, of `KNOWN`, as a list or with commas; default `LABKIT_BROKERS`, else
            all.

    Raises:
        ConfigurationError: a name that is not known.
        ServerError: there is none at all.
    """
    global _current
    if _current is not None:
        _current.close()
    wanted = _wanted(only)
    missing: dict[str, str] = {}
    found: list[AtHand] = []
    with ExitStack() as stack:
        for kind in wanted or KNOWN:
            if kind == "kafka+embedded" and not wanted and any(o.kind == "kafka" for o in found):
                continue
            try:
                found.append(_open(kind, stack))
            except ServerError as error:
                missing[_NAMES[kind]] = str(error)
        if not found:
            raise ServerError(f"No broker is at hand. {' '.join(missing.values())}")
        _current = Brokers(found, missing, stack.pop_all())
    return _current


def _wanted(only: str | Sequence[str] | None) -> list[str]:
    given = os.environ.get(BROKERS_VARIABLE, "") if only is None else only
    parts = given.split(",") if isinstance(given, str) else given
    names = [part.strip() for part in parts if part.strip()]
    for name in names:
        if name not in KNOWN:
            raise ConfigurationError(f"{name!r} is no broker; there are: {', '.join(KNOWN)}.")
    return [kind for kind in KNOWN if kind in names]


def _open(kind: str, stack: ExitStack) -> AtHand:
    """Start it, if it is a server, and connect; `stack` gets what ends it."""
    if kind != "redis" and kind != "redis+embedded":
        _require("pika" if kind == "rabbitmq" else "confluent_kafka")
    if kind in _EMBEDDED:
        url = "embedded://" if kind == "redis+embedded" else "kafka+embedded://"
        lab = connect(url, trace=False)
        stack.callback(lab.close)
        return AtHand(kind, _NAMES[kind], lab, None, None)
    server = stack.enter_context(_START[kind]())
    idle_mb = resident_mb(server.pid)
    lab = connect(server.url, trace=False, connect_timeout=10.0)
    stack.callback(lab.close)
    return AtHand(kind, _NAMES[kind], lab, server, idle_mb)


def _start_redis() -> Any:
    # What a subscriber has not read yet waits in a buffer; a limit would cut it off.
    return servers.start_redis(config={"client-output-buffer-limit": "pubsub 0 0 0"})


_START: dict[str, Callable[[], Any]] = {
    "redis": _start_redis,
    "rabbitmq": lambda: servers.start_rabbitmq(timeout=60.0),
    "kafka": lambda: servers.start_kafka(timeout=60.0),
}


def _require(package: str) -> None:
    if find_spec(package) is None:
        raise ServerError(HOW_TO_GET_PIKA if package == "pika" else HOW_TO_GET_CONFLUENT)
