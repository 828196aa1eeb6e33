"""Dead letters: a topic of them, and a topic that says which have been taken out again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

import confluent_kafka as ck

from labkit.broker import DeadItem
from labkit.brokers.kafka import queue_record, words
from labkit.brokers.kafka.client import KafkaClient, Part
from labkit.brokers.kafka.producing import Record, append
from labkit.errors import BrokerUnavailable


class DeadLetters:
    """A record cannot be taken out of a topic; here another one strikes it out."""

    def __init__(self, client: KafkaClient, topic: str) -> None:
        self._client = client
        self.topic = topic
        self.struck = f"{topic}.struck"

    def prepare(self) -> None:
        """Create the topics, with one partition each: the oldest letter comes first."""
        for topic in (self.topic, self.struck):
            self._client.ensure(topic, 1)

    def count(self) -> int:
        """How many there are."""
        parts = [(topic, 0) for topic in (self.topic, self.struck) if self._there(topic)]
        ends, starts = self._client.ends(parts), self._client.starts(parts)
        length = {part[0]: ends[part] - starts[part] for part in parts}
        return max(0, length.get(self.topic, 0) - length.get(self.struck, 0))

    def read(self, limit: int) -> list[DeadItem]:
        """The oldest ones."""
        if not self._there(self.topic) or limit < 1:
            return []
        gone = {message.key() for message in read_all(self._client, (self.struck, 0))}
        found: list[DeadItem] = []
        for message in read_all(self._client, (self.topic, 0)):
            if str(message.offset()).encode() not in gone:
                found.append(queue_record.read_dead(message))
                if len(found) == limit:
                    break
        return found

    def still_there(self, items: Sequence[DeadItem]) -> list[DeadItem]:
        """Those of them that are not struck out."""
        if not items:
            return []
        self.prepare()
        there = {item.tag for item in self.read(10**9)}
        return [item for item in items if item.tag in there]

    def strike_out(self, items: Sequence[DeadItem]) -> None:
        """They count no more."""
        append(self._client, [Record(self.struck, b"", item.tag.encode()) for item in items])

    def _there(self, topic: str) -> bool:
        return self._client.partitions(topic) > 0


def read_all(client: KafkaClient, part: Part) -> Iterator[ck.Message]:
    """Everything that is in a partition now.

    Raises:
        BrokerUnavailable: it cannot be read to its end.
    """
    [start], [end] = client.starts([part]).values(), client.ends([part]).values()
    if start >= end:
        return
    consumer = client.consumer(f"labkit-reader-{secrets.token_hex(4)}", auto_offset_reset="error")
    try:
        client.assign(consumer, {part: start})
        while True:
            message = consumer.poll(client.options.timeout)
            if message is None:
                raise BrokerUnavailable(words.unreachable(client.place.shown, "no answer"))
            error = message.error()
            if error is None:
                if message.offset() < end:
                    yield message
                if message.offset() >= end - 1:
                    return
            elif error.code() == ck.KafkaError._PARTITION_EOF:
                return
            else:
                raise words.error(client.place.shown, error)
    finally:
        consumer.close()
