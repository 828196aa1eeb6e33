"""The broker contract on RabbitMQ."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from labkit.broker import (
    BrokerStream,
    Capabilities,
    CommandLog,
    Handover,
    QueueOptions,
    Receipt,
)
from labkit.brokers.rabbitmq import declaring, inboxes, publishing, pubsub, reply
from labkit.brokers.rabbitmq.capabilities import NO_STREAMS, capabilities
from labkit.brokers.rabbitmq.core import Core
from labkit.brokers.rabbitmq.hands import Hands
from labkit.brokers.rabbitmq.native import NativeConnection
from labkit.brokers.rabbitmq.queue import RabbitQueue
from labkit.clock import Clock
from labkit.errors import NotSupported
from labkit.options import Options
from labkit.topology import HeaderValue, Topology
from labkit.trace import Trace


def open_broker(
    url: str, options: Options, *, on_close: Callable[[], None] | None = None
) -> RabbitBroker:
    """Open, and see that somebody answers."""
    core = Core(url, options)
    try:
        core.line("consuming")
        core.line("publishing")
    except BaseException:
        core.close()
        raise
    return RabbitBroker(core, on_close=on_close)


class RabbitBroker:
    """A RabbitMQ. Made by `labkit.connect`."""

    def __init__(self, core: Core, *, on_close: Callable[[], None] | None = None) -> None:
        self._core = core
        self._on_close = on_close
        self._native: NativeConnection | None = None
        self._hands: dict[str, Hands] = {}
        self._lock = threading.Lock()
        server = core.line("consuming").server
        told = (server.get("product", b"RabbitMQ"), server.get("version", b""))
        self._name = " ".join(_text(part) for part in told).strip()

    @property
    def name(self) -> str:
        """What it is, with its version: "RabbitMQ 3.10.8"."""
        return self._name

    @property
    def url(self) -> str:
        """Where it is, without the password."""
        return self._core.url

    @property
    def embedded(self) -> bool:
        """Never: RabbitMQ has no honest stand-in."""
        return False

    @property
    def namespace(self) -> str:
        """The prefix on every name, "" for none."""
        return self._core.namespace

    @property
    def native(self) -> Any:
        """pika's own: a `BlockingConnection` to the same broker, for the thread that asks first.

        A namespace is labkit's, and pika knows nothing of it: what labkit calls "work" is
        `f"{lab.namespace}work"` here, and a queue that is declared here under a plain name is one
        that all labs share. labkit reaches it with `connect(…, namespace="")`.
        """
        with self._lock:
            if self._native is None or not self._native.usable:
                self._core.require_open()
                self._native = NativeConnection(self._core.parameters)
            return self._native

    @property
    def clock(self) -> Clock:
        """The clock of time stamps, pauses and back-off."""
        return self._core.options.clock

    @property
    def trace(self) -> Trace:
        """What happened over this broker."""
        return self._core.options.trace

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, and why."""
        return capabilities(self.name)

    @property
    def blocked(self) -> str | None:
        """Why RabbitMQ holds our publishers back ("low on memory"); None while it does not.

        They wait, and go on by themselves when its alarm is over.
        """
        return self._core.blocked

    def commands(self, last: int = 20) -> CommandLog:
        """The last AMQP methods that labkit sent."""
        return CommandLog(self._core.commands(last))

    def ping(self) -> None:
        """Open a channel, and close it."""
        self._core.channel().close()

    def publish(self, channel: str, body: bytes) -> Receipt:
        """Publish one body to the topic exchange, and wait for its confirm."""
        return publishing.publish(self._core, channel, body)

    def publish_many(self, items: Sequence[tuple[str, bytes]]) -> list[Receipt]:
        """Publish many bodies, with one wait for all confirms."""
        return publishing.publish_many(self._core, items)

    def open_subscription(self) -> pubsub.RabbitSubscription:
        """A new listener, with an exclusive queue of its own."""
        return pubsub.RabbitSubscription(self._core)

    def open_queue(self, name: str, options: QueueOptions) -> RabbitQueue:
        """The queue of that name: quorum queues, or a classic one for the kind "list"."""
        with self._lock:
            hands = self._hands.setdefault(name, Hands(self._core))
        return RabbitQueue(self._core, name, options, hands)

    def handover(self) -> Handover:
        """How another process opens it, the password included."""
        options = self._core.options
        names = ("namespace", "username", "password", "timeout", "connect_timeout", "tls_ca")
        given = {name: getattr(options, name) for name in names}
        return Handover("labkit.connection:connect", {"url": self._core.address, **given})

    def open_inbox(self, life: float) -> inboxes.QueueInbox | inboxes.DirectInbox:  # noqa: ARG002
        """An exclusive queue for replies, or direct reply-to (`amqp://…?replies=direct`).

        Both go with the connection, whatever its `life`.
        """
        return inboxes.open_inbox(self._core)

    def open_service(self, name: str, responder: str, presence: float) -> reply.RabbitService:
        """A consumer of the service's queue."""
        self._core.log("<serve>", service=name, responder=responder)
        return reply.RabbitService(self._core, name, presence)

    def send_reply(self, address: str, body: bytes) -> bool:
        """Publish to an inbox; False: it is gone."""
        return inboxes.send_reply(self._core, address, body)

    def declare(self, topology: Topology) -> None:
        """Declare exchanges, queues and bindings, all durable; what is there already stays.

        Raises:
            BrokerRefused: one of them is there with other arguments; says which differ.
        """
        declaring.declare(self._core, topology)

    def remove(self, topology: Topology) -> None:
        """Delete its queues, with what is in them, and its exchanges."""
        declaring.remove(self._core, topology)

    def publish_to(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, HeaderValue] | None = None,
        *,
        mandatory: bool = True,
    ) -> None:
        """Publish one persistent message to an exchange, and wait for its confirm.

        Raises:
            BrokerRefused: no queue is bound for it (`mandatory`), or there is no such exchange.
            BrokerUnavailable: its `sent` tells whether it may have arrived.
        """
        declaring.publish_to(self._core, exchange, routing_key, body, headers, mandatory=mandatory)

    def open_stream(self, name: str) -> BrokerStream:
        """Absent here.

        Raises:
            NotSupported: always; says why.
        """
        raise NotSupported(f"{self.name} has no streams for {name!r}: {NO_STREAMS}")

    def close(self) -> None:
        """Let go of every connection, and of a server that `connect` started."""
        try:
            native, self._native = self._native, None
            self._core.close()
            if native is not None:
                native.let_go()
        finally:
            if self._on_close is not None:
                self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        space = f", namespace {self.namespace!r}" if self.namespace else ""
        held = f", publishers blocked: {self.blocked}" if self.blocked else ""
        return f"<{self.name} at {self.url}{space}{held}>"


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
