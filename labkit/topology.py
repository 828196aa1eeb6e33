"""Exchanges, queues and bindings as values, and where a message goes: what AMQP 0-9-1 says.

A small description is enough to declare a topology on a RabbitMQ (`lab.declare(topology)`), to draw
it (`labkit.plots.routing`), and to predict where a message goes and why (`topology.route(…)`)
without any broker. The rules are those of RabbitMQ:

* direct: the binding's key is the routing key;
* topic: word by word, between dots; `*` is one word, `#` any number of them, also none;
* fanout: always;
* headers: all (or any) of the binding's headers are the message's; a value of None asks only for
  the name; names that begin with `x-` do not count, unless x-match is all-with-x or any-with-x.

A queue gets one copy, however many bindings lead to it. What fits no binding goes to the alternate
exchange, if there is one, and is lost otherwise; a `mandatory` message comes back instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from labkit._topic_keys import why_topic_fits
from labkit.errors import ConfigurationError

Kind = Literal["direct", "topic", "fanout", "headers"]
Match = Literal["all", "any", "all-with-x", "any-with-x"]
HeaderValue = str | int | bool | None

DEFAULT_EXCHANGE = ""
"""The nameless exchange: every queue is bound to it with its own name."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Takes messages and keeps none.

    Attributes:
        kind: how it chooses: direct, topic, fanout or headers.
        alternate: the exchange for what fits no binding of this one; None for none.
    """

    name: str
    kind: Kind = "direct"
    alternate: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or self.kind not in get_args(Kind):
            raise ConfigurationError(
                f"An exchange has a name and a kind ({', '.join(get_args(Kind))}), got {self}."
            )


@dataclass(frozen=True, slots=True)
class Queue:
    """Keeps messages until they are acknowledged.

    Attributes:
        arguments: as in queue.declare: {"x-queue-type": "quorum", "x-max-length": 100}.
    """

    name: str
    arguments: Mapping[str, str | int | bool] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigurationError(f"A queue has a name, got {self.name!r}.")


@dataclass(frozen=True, slots=True)
class Binding:
    """Leads from an exchange to a queue, or to another exchange.

    Attributes:
        source: the exchange.
        target: the queue's name, or the exchange's.
        key: for a direct exchange the key itself, for a topic exchange its pattern.
        headers: for a headers exchange, what a message must have.
        match: whether it must have all of them or any.
        to: what the target is.
    """

    source: str
    target: str
    key: str = ""
    headers: Mapping[str, HeaderValue] = field(default_factory=dict, hash=False)
    match: Match = "all"
    to: Literal["queue", "exchange"] = "queue"

    @property
    def text(self) -> str:
        """Its key, or its headers, in short."""
        if not self.headers:
            return self.key
        asked = (
            name if value is None else f"{name}={value}" for name, value in self.headers.items()
        )
        return f"{self.match}: {', '.join(asked)}"

    def fits(self, kind: Kind, key: str, headers: Mapping[str, HeaderValue]) -> str | None:
        """Why a message takes this way; None if it does not."""
        if kind == "fanout":
            return "a fanout exchange sends everything everywhere"
        if kind == "direct":
            return f"the routing key is {key!r}" if key == self.key else None
        if kind == "topic":
            return why_topic_fits(self.key, key)
        return _headers(self, headers)


@dataclass(frozen=True, slots=True)
class Step:
    """One binding that a message was held against.

    Attributes:
        taken: whether it went this way.
        why: what fits, or what does not.
    """

    binding: Binding
    taken: bool
    why: str


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message goes, and why.

    Attributes:
        queues: each gets one copy; in the order of their names.
        steps: every binding that was looked at, in order.
    """

    exchange: str
    routing_key: str
    queues: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def unroutable(self) -> bool:
        """Nobody gets it: it is dropped, or comes back where it is mandatory."""
        return not self.queues

    def __repr__(self) -> str:
        where = ", ".join(self.queues) or "nowhere: it is dropped, or comes back if mandatory"
        lines = [f"{self.exchange or '(default exchange)'} with {self.routing_key!r} → {where}"]
        for step in self.steps:
            verb = "takes" if step.taken else "skips"
            binding = step.binding
            way = f"{binding.source} [{binding.text}] {binding.target}"
            lines.append(f"  {verb} {way}: {step.why}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Topology:
    """Exchanges, queues and bindings.

    Raises:
        ConfigurationError: a name twice, or a binding from or to something that is not there.
    """

    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()

    def __post_init__(self) -> None:
        for name in ("exchanges", "queues", "bindings"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        exchanges = [one.name for one in self.exchanges]
        queues = [one.name for one in self.queues]
        for names, what in ((exchanges, "exchange"), (queues, "queue")):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ConfigurationError(f"Two {what}s are named {min(twice)!r}; one is enough.")
        for one in self.exchanges:
            if one.alternate is not None and one.alternate not in exchanges:
                raise ConfigurationError(
                    f"{one.name!r} has {one.alternate!r} as its alternate, which is no exchange "
                    "of this topology. Add Exchange(…)."
                )
        for binding in self.bindings:
            there = queues if binding.to == "queue" else exchanges
            missing = (
                f"exchange {binding.source!r}"
                if binding.source not in exchanges
                else f"{binding.to} {binding.target!r}"
                if binding.target not in there
                else None
            )
            if missing:
                raise ConfigurationError(
                    f"{binding} needs the {missing}, which is not in this topology. Add it."
                )

    def exchange(self, name: str) -> Exchange:
        """The exchange of that name.

        Raises:
            ConfigurationError: there is none.
        """
        for one in self.exchanges:
            if one.name == name:
                return one
        known = ", ".join(one.name for one in self.exchanges) or "none"
        raise ConfigurationError(f"No exchange {name!r} in this topology; there are: {known}.")

    def route(
        self,
        exchange: str,
        routing_key: str = "",
        headers: Mapping[str, HeaderValue] | None = None,
    ) -> Route:
        """Where a message that is published so goes, and why.

        Raises:
            ConfigurationError: there is no such exchange (RabbitMQ would close the channel, 404).
        """
        if exchange == DEFAULT_EXCHANGE:
            return self._by_name(routing_key)
        self.exchange(exchange)
        steps: list[Step] = []
        queues: dict[str, None] = {}
        waiting, seen = [exchange], {exchange}
        while waiting:
            name = waiting.pop(0)
            found = list(self._from(self.exchange(name), routing_key, headers or {}))
            steps += found
            targets = [(step.binding.to, step.binding.target) for step in found if step.taken]
            queues |= dict.fromkeys(target for to, target in targets if to == "queue")
            following = [target for to, target in targets if to == "exchange"]
            alternate = self.exchange(name).alternate
            if not targets and alternate is not None:
                following = [alternate]
            for one in following:
                if one not in seen:  # what went there once does not go again
                    seen.add(one)
                    waiting.append(one)
        return Route(exchange, routing_key, tuple(sorted(queues)), tuple(steps))

    def _by_name(self, key: str) -> Route:
        found = any(queue.name == key for queue in self.queues)
        return Route(DEFAULT_EXCHANGE, key, (key,) if found else (), ())

    def _from(
        self, exchange: Exchange, key: str, headers: Mapping[str, HeaderValue]
    ) -> Iterator[Step]:
        for binding in self.bindings:
            if binding.source == exchange.name:
                why = binding.fits(exchange.kind, key, headers)
                no = "the headers differ" if exchange.kind == "headers" else f"{key!r} does not fit"
                yield Step(binding, why is not None, why or no)


def _headers(binding: Binding, headers: Mapping[str, HeaderValue]) -> str | None:
    counted = {
        name: value
        for name, value in binding.headers.items()
        if binding.match.endswith("-with-x") or not name.startswith("x-")
    }
    same = [name for name, value in counted.items() if _has(headers, name, value)]
    if binding.match.startswith("all"):
        if len(same) < len(counted):
            return None
        return f"all of {', '.join(same)} are the same" if same else "nothing is asked for"
    return f"{', '.join(same)} is the same" if same else None


def _has(headers: Mapping[str, HeaderValue], name: str, value: HeaderValue) -> bool:
    """The same kind of value and the same value; None asks for the name only."""
    if name not in headers:
        return False
    return value is None or (type(headers[name]) is type(value) and headers[name] == value)
