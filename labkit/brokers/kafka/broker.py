"""The broker contract on Kafka."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

from labkit.broker import (
    Capabilities,
    CommandLog,
    Handover,
    QueueOptions,
    Receipt,
)
from labkit.brokers.kafka.capabilities import capabilities
from labkit.brokers.kafka.client import KafkaClient
from labkit.brokers.kafka.mock import MockKafka
from labkit.brokers.kafka.names import to_topic
from labkit.brokers.kafka.place import parse
from labkit.brokers.kafka.producing import Record, append
from labkit.brokers.kafka.pubsub import KafkaSubscription
from labkit.brokers.kafka.queue import KafkaQueue
from labkit.brokers.kafka.reply import KafkaInbox, ReplyLine
from labkit.brokers.kafka.service import KafkaService
from labkit.brokers.kafka.settings import Settings
from labkit.brokers.kafka.stream import KafkaStream
from labkit.brokers.kafka.topics import KafkaTools
from labkit.clock import Clock
from labkit.errors import NotSupported
from labkit.options import Options
from labkit.trace import Trace


def open_broker(
    url: str, options: Options, *, on_close: Callable[[], None] | None = None
) -> KafkaBroker:
    """Open, and see that somebody answers."""
    client = KafkaClient(parse(url, options), options)
    broker = KafkaBroker(client, on_close=on_close)
    try:
        client.probe()
        client.warm_up()
    except BaseException:
        client.close()
        raise
    return broker


class KafkaBroker:
    """Kafka, or librdkafka's mock cluster. Made by `labkit.connect`."""

    def __init__(self, client: KafkaClient, *, on_close: Callable[[], None] | None = None) -> None:
        self._client = client
        self._on_close = on_close
        self._lock = threading.Lock()
        self._replies = ReplyLine(client)
        self._queues: dict[str, KafkaQueue] = {}

    @property
    def name(self) -> str:
        """What it is, with its version."""
        import confluent_kafka

        library = confluent_kafka.libversion()[0]
        if self._client.place.mock:
            return f"embedded Kafka (mock cluster of librdkafka {library})"
        return f"Kafka (librdkafka {library})"

    @property
    def url(self) -> str:
        """Where it is, without the password."""
        if self.embedded:
            return f"kafka+embedded://{self._client.place.name}"
        return self._client.place.shown

    @property
    def embedded(self) -> bool:
        """True for the mock cluster in this process."""
        return self._client.place.embedded

    @property
    def namespace(self) -> str:
        """The prefix on every name, "" for none."""
        return self._client.options.namespace

    @property
    def native(self) -> Any:
        """confluent-kafka's own producer; `lab.kafka` has the rest."""
        return self._client.producer

    @property
    def kafka(self) -> KafkaTools:
        """What Kafka has and no other broker: topics, partitions, transactions."""
        return KafkaTools(self._client)

    @property
    def faults(self) -> MockKafka:
        """The mock cluster, to take brokers down and slow them.

        Raises:
            NotSupported: it is a real Kafka.
        """
        if self._client.cluster is None:
            raise NotSupported(
                "Faults on command are the mock cluster's: labkit.connect('kafka+embedded://'). "
                "A real server of labkit.servers.start_kafka() has kill(), pause() and resume()."
            )
        return self._client.cluster

    @property
    def clock(self) -> Clock:
        """The clock of time stamps, pauses and back-off."""
        return self._client.options.clock

    @property
    def trace(self) -> Trace:
        """What happened over this broker."""
        return self._client.options.trace

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, and why."""
        name = "the embedded Kafka" if self._client.place.mock else self.name
        place = self._client.place
        return capabilities(name, mock=place.mock, partitions=place.partitions)

    def settings(self) -> Settings:
        """What labkit sets in librdkafka, beside the default, and why."""
        return Settings(self._client.place.mock)

    def errors(self) -> list[str]:
        """What librdkafka complained of in the background, oldest first."""
        return self._client.errors()

    def commands(self, last: int = 20) -> CommandLog:
        """The last calls that labkit made, as one would write them with confluent-kafka."""
        return CommandLog(self._client.commands(last))

    def ping(self) -> None:
        """Ask whether it is there; a server that does not answer is given up within a second."""
        self._client.require_open()
        self._client.probe()

    def publish(self, channel: str, body: bytes) -> Receipt:
        """Append one record to the channel's topic; returns once the broker has it."""
        self.publish_many([(channel, body)])
        return Receipt(channel, None)

    def publish_many(self, items: Sequence[tuple[str, bytes]]) -> list[Receipt]:
        """Append many records, in batches that librdkafka makes."""
        topics = {channel: to_topic(self.namespace, channel) for channel, _ in items}
        for topic in topics.values():
            self._client.ensure(topic, 1)
        append(self._client, [Record(topics[channel], body) for channel, body in items])
        return [Receipt(channel, None) for channel, _ in items]

    def open_subscription(self) -> KafkaSubscription:
        """A new listener, with a consumer of its own."""
        return KafkaSubscription(self._client)

    def open_queue(self, name: str, options: QueueOptions) -> KafkaQueue:
        """The queue of that name: all workers of this lab share one member of its group."""
        return KafkaQueue(self._client, name, options)

    def handover(self) -> Handover:
        """How another process opens it, the password included."""
        options = self._client.options
        if self._client.cluster is not None:
            self._client.cluster.known_outside = True
        names = ("namespace", "username", "password", "timeout", "connect_timeout", "tls_ca")
        given = {name: getattr(options, name) for name in names}
        return Handover(
            "labkit.connection:connect",
            {"url": self._client.place.again(self._client.address), **given},
        )

    def open_inbox(self, life: float) -> KafkaInbox:
        """A topic for the replies to one asker."""
        return KafkaInbox(self._client, life)

    def open_service(self, name: str, responder: str, presence: float) -> KafkaService:
        """A responder of the service; those of one lab share a member of its group."""
        return KafkaService(self._client, name, responder, presence)

    def send_reply(self, address: str, body: bytes) -> bool | None:
        """Append to the inbox' topic."""
        return self._replies.send(address, body)

    def open_stream(self, name: str) -> KafkaStream:
        """The topic of that name, as Kafka's own clients see it."""
        return KafkaStream(self._client, name)

    def close(self) -> None:
        """Close every client, and a server that `connect` started."""
        try:
            self._client.close()
        finally:
            if self._on_close is not None:
                self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        space = f", namespace {self.namespace!r}" if self.namespace else ""
        return f"<{self.name} at {self.url}{space}>"
