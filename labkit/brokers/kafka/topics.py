"""What Kafka has and no other broker: `lab.kafka`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import confluent_kafka as ck
from confluent_kafka.admin import NewTopic

from labkit.brokers.kafka import settings
from labkit.brokers.kafka.capabilities import capabilities
from labkit.brokers.kafka.client import KafkaClient
from labkit.brokers.kafka.names import from_topic, to_topic
from labkit.brokers.kafka.partitioner import PARTITIONERS, partition_of
from labkit.errors import BrokerRefused, ConfigurationError


class KafkaTools:
    """Topics, partitions, producers of one's own, transactions; names get the lab's namespace."""

    def __init__(self, client: KafkaClient) -> None:
        self._client = client

    def create_topic(
        self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> None:
        """Create a topic.

        Args:
            name: of the channel or stream that it is.
            partitions: how many parts; more can be added later, and then keys move.
            config: settings of the topic: `{"cleanup.policy": "compact"}`; a real Kafka only.

        Raises:
            NotSupported: a setting that the mock cluster does not know.
            BrokerRefused: it is there already, or Kafka does not want it.
        """
        topic = self.topic(name)
        if not 1 <= partitions <= 1_000:
            raise ConfigurationError(f"A topic has from 1 to 1,000 partitions, got {partitions}.")
        if self._client.topics().get(topic):
            raise BrokerRefused(f"There is a topic {name!r} already.")
        if config is None:
            self._client.ensure(topic, partitions)
            return
        self._require("topic administration")
        new = NewTopic(topic, num_partitions=partitions, replication_factor=-1, config=dict(config))
        self._client.log(f"admin.create_topics([NewTopic({topic!r}, {partitions}, {config})])")
        [future] = self._client.admin.create_topics([new]).values()
        self._client.ask(lambda: future.result(self._client.options.timeout))
        self._client.see_at_work(topic)

    def delete_topic(self, name: str) -> None:
        """Delete a topic with all that is in it."""
        self._require("topic administration")
        self._client.delete_topic(self.topic(name))

    def topics(self) -> dict[str, int]:
        """The topics of this namespace, with how many partitions each has."""
        found = self._client.topics().items()
        names = {from_topic(self._client.options.namespace, topic): n for topic, n in found}
        return {name: count for name, count in sorted(names.items(), key=str) if name is not None}

    def topic(self, name: str) -> str:
        """What Kafka calls a channel or stream of this lab."""
        return to_topic(self._client.options.namespace, name)

    def partition_of(
        self, name: str, key: str | bytes, partitioner: str = "consistent_random"
    ) -> int:
        """Where a key goes, as librdkafka computes it.

        Args:
            name: of the topic; its number of partitions decides with the key.
            key: the key.
            partitioner: "consistent_random" (CRC-32, librdkafka's default) or "murmur2_random"
                (what Java clients do).
        """
        count = self._client.partitions(self.topic(name))
        if not count:
            raise ConfigurationError(f"There is no topic {name!r} yet. Append to it, or create it.")
        return partition_of(key.encode() if isinstance(key, str) else key, count, partitioner)

    @contextmanager
    def producer(
        self, *, idempotent: bool = True, partitioner: str = "consistent_random", **more: Any
    ) -> Iterator[ck.Producer]:
        """A confluent-kafka producer of one's own, flushed at the end.

        Args:
            idempotent: False shows what librdkafka does by default: duplicates after a retry.
            partitioner: see `partition_of`.
            more: settings of librdkafka, with _ for the dots: `linger_ms=5`.
        """
        if partitioner not in PARTITIONERS:
            raise ConfigurationError(
                f"partitioner is one of {', '.join(PARTITIONERS)}, got {partitioner!r}."
            )
        config = self._client.config(*settings.PRODUCER, **more)
        config |= {"enable.idempotence": idempotent, "partitioner": partitioner}
        producer = ck.Producer(config)
        try:
            yield producer
        finally:
            producer.flush(self._client.options.timeout)

    @contextmanager
    def transaction(
        self, name: str, offsets: Sequence[ck.TopicPartition] = (), group: Any = None
    ) -> Iterator[ck.Producer]:
        """Records that are all committed at the end of the block, or, after an error, none of them.

        Kafka marks each partition a moment after it has said yes: readers see them soon, not at
        once.

        Args:
            name: the transactional id: another producer of that name ends this one.
            offsets: what a consumer has done with it, committed in the same transaction.
            group: that consumer's `consumer_group_metadata()`.

        Raises:
            NotSupported: on the mock cluster, whose readers see aborted records.
        """
        self._require("transactions")
        config = self._client.config(*settings.PRODUCER)
        config["transactional.id"] = to_topic(self._client.options.namespace, name)
        producer, seconds = ck.Producer(config), self._client.options.timeout
        self._client.ask(lambda: producer.init_transactions(max(seconds, 10.0)))
        producer.begin_transaction()
        try:
            yield producer
            if offsets:
                producer.send_offsets_to_transaction(list(offsets), group, seconds)
        except BaseException:
            self._client.ask(lambda: producer.abort_transaction(seconds))
            raise
        self._client.ask(lambda: producer.commit_transaction(seconds))

    def offsets_at(self, name: str, seconds: float) -> dict[int, int]:
        """In each partition, the offset of the first record from that moment on."""
        self._require("read from a time")
        topic = self.topic(name)
        parts = [(topic, number) for number in range(self._client.partitions(topic))]
        found = self._client.at(parts, round(seconds * 1000))
        return {part[1]: offset for part, offset in found.items()}

    def consumer(self, group: str, **more: Any) -> ck.Consumer:
        """A confluent-kafka consumer of one's own, with labkit's safe settings. Close it."""
        rows = settings.group(mock=self._client.place.mock)
        return self._client.consumer(group, *rows, **more)

    def _require(self, name: str) -> None:
        mock = self._client.place.mock
        capabilities("the embedded Kafka" if mock else "Kafka", mock=mock).require(name)

    def __repr__(self) -> str:
        return f"<Kafka at {self._client.place.shown}: {len(self.topics())} topics>"
