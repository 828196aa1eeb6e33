"""What is where on a Kafka: its topics, where their partitions begin and end, what is committed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import confluent_kafka as ck
from confluent_kafka.admin import NewTopic, OffsetSpec

from labkit.brokers.kafka import words
from labkit.brokers.kafka.line import KafkaLine
from labkit.brokers.kafka.place import Place
from labkit.errors import BrokerRefused, BrokerUnavailable
from labkit.options import Options

SLICE_S = 0.1
"""Longest single wait inside librdkafka, so that a close or Ctrl+C is noticed."""

LEADERS_S = 1.0
"""Longest wait for the leaders of new partitions; then a consumer has looked for them itself."""

Part = tuple[str, int]
"""A topic and the number of a partition of it."""


class KafkaClient(KafkaLine):
    """Everything that labkit asks of one Kafka. May be used from several threads."""

    def __init__(self, place: Place, options: Options) -> None:
        super().__init__(place, options)
        self._topics: dict[str, int] = {}
        self.known_topics = 0  # grows with each topic made here

    def topics(self) -> dict[str, int]:
        """All topics, with how many partitions each has."""
        found = self.ask(lambda: self.admin.list_topics(timeout=self.options.timeout))
        self._topics = {
            name: len(topic.partitions)
            for name, topic in found.topics.items()
            if topic.error is None
        }
        return self._topics

    def partitions(self, topic: str) -> int:
        """How many partitions it has; 0 if it is not there."""
        return self._topics.get(topic) or self.topics().get(topic, 0)

    def ensure(self, topic: str, partitions: int | None = None, *, quiet: bool = False) -> int:
        """Create the topic if it is not there; how many partitions it has.

        `quiet`: leave no line in `broker.commands()`.
        """
        if count := self._topics.get(topic):
            return count
        if count := self.topics().get(topic, 0):
            return count
        wanted = partitions or self.place.partitions
        if not quiet:
            self.log(f"admin.create_topics([NewTopic({topic!r}, {wanted})])")
        if self.cluster is not None:
            self.cluster.create_topic(topic, wanted)
        elif self.place.mock:
            self.ask(  # it makes it, then
                lambda: self.producer.list_topics(topic, timeout=self.options.timeout)
            )
        else:
            self._create(topic, wanted)
        self.known_topics += 1
        return self.see_at_work(topic)

    def see_at_work(self, topic: str) -> int:
        """Wait until a new topic is there, and its partitions' leaders do what they are asked.

        One that is not at work yet refuses a first batch, and may take the second: the first, sent
        again, then counts as a duplicate and is lost. One that tells its end is at work.

        Returns:
            how many partitions it has.
        """
        deadline = time.monotonic() + self.options.timeout
        while not (count := self.topics().get(topic, 0)):
            if time.monotonic() > deadline:
                raise BrokerUnavailable(f"The topic {topic!r} was created and is not there yet.")
            time.sleep(0.005)
        if not self.place.mock:
            self.ends((topic, number) for number in range(count))
        return count

    def delete_topic(self, topic: str) -> None:
        """Delete a topic; returns when it is gone."""
        self.log(f"admin.delete_topics([{topic!r}])")
        admin = self.admin  # kept until it has answered: `ask` may drop the lab's
        [future] = admin.delete_topics([topic]).values()
        self.ask(lambda: future.result(self.options.timeout))
        deadline = time.monotonic() + self.options.timeout
        while topic in self.topics() and time.monotonic() < deadline:
            time.sleep(0.01)

    def assign(
        self, consumer: ck.Consumer, places: Mapping[Part, int], *, beside: bool = False
    ) -> None:
        """Let a consumer read from these offsets on; `beside` what it reads already.

        By itself it would ask only within a second where the partitions' leaders are.
        """
        listed = [ck.TopicPartition(*part, offset) for part, offset in places.items()]
        if beside:
            consumer.incremental_assign(listed)
        else:
            consumer.assign(listed)
        topics = {topic for topic, _ in places}
        with contextlib.suppress(ck.KafkaException):
            consumer.list_topics(topics.pop() if len(topics) == 1 else None, timeout=LEADERS_S)

    def ends(self, parts: Iterable[Part], *, committed: bool = False) -> dict[Part, int]:
        """The offset behind the last record of each partition.

        `committed`: the last one that a transaction may still take back is not counted.
        """
        isolation = ck.IsolationLevel.READ_COMMITTED if committed else None
        return self._offsets(parts, OffsetSpec.latest(), isolation)

    def starts(self, parts: Iterable[Part]) -> dict[Part, int]:
        """The offset of the oldest record of each partition."""
        return self._offsets(parts, OffsetSpec.earliest())

    def at(self, parts: Iterable[Part], milliseconds: int) -> dict[Part, int]:
        """The offset of the first record from a time on; the end if there is none."""
        parts = list(parts)
        ends = self.ends(parts)
        found = self._offsets(parts, OffsetSpec.for_timestamp(milliseconds))
        return {part: ends[part] if found[part] < 0 else found[part] for part in parts}

    def committed(self, group: str, parts: Sequence[Part]) -> dict[Part, tuple[int, str]]:
        """What a group has committed: offset (-1 for nothing) and what it wrote beside it."""
        if not parts:
            return {}
        asked = [ck.TopicPartition(*part) for part in parts]
        looker = self.looker(group)
        answer = self.ask(lambda: looker.committed(asked, self.options.timeout), again=True)
        return {
            (place.topic, place.partition): (max(-1, place.offset), place.metadata or "")
            for place in answer
        }

    def set_committed(self, group: str, offsets: Mapping[Part, int]) -> None:
        """Write what a group has committed; nobody may be a member of it."""
        self.log(f"consumer.commit({words.places(offsets)})  # group.id={group!r}")
        places = [ck.TopicPartition(*part, offset) for part, offset in offsets.items()]
        looker = self.looker(group)
        answer = self.ask(lambda: looker.commit(offsets=places, asynchronous=False), again=True)
        for place in answer:
            if place.error is not None:
                raise BrokerRefused(f"Kafka refuses the offsets: {words.of(place.error)}.")

    def _create(self, topic: str, partitions: int) -> None:
        admin = self.admin
        [future] = admin.create_topics(
            [NewTopic(topic, num_partitions=partitions, replication_factor=-1)],
            request_timeout=self.options.timeout,
        ).values()

        def question() -> None:
            try:
                future.result(self.options.timeout)
            except ck.KafkaException as error:
                if error.args[0].code() != ck.KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

        self.ask(question)

    def _offsets(
        self, parts: Iterable[Part], spec: OffsetSpec, isolation: Any = None
    ) -> dict[Part, int]:
        asked = {ck.TopicPartition(*part): spec for part in parts}
        if not asked:
            return {}
        more = {} if isolation is None else {"isolation_level": isolation}

        def question() -> dict[Part, int]:
            admin = self.admin
            futures = admin.list_offsets(asked, request_timeout=self.options.timeout, **more)
            return {
                (place.topic, place.partition): future.result(self.options.timeout).offset
                for place, future in futures.items()
            }

        found: dict[Part, int] = self.ask(question, again=True)
        return found
