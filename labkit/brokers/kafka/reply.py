"""Replies on Kafka: one topic for all of them, of which each asker's inbox reads a partition.

A reply goes into the partition that the inbox reads, with the inbox as its key.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence

import confluent_kafka as ck

from labkit.broker import Sent
from labkit.brokers.kafka import words
from labkit.brokers.kafka.client import SLICE_S, KafkaClient, Part
from labkit.brokers.kafka.names import replies_topic, service_topic
from labkit.brokers.kafka.presence import others_serve, presence_of
from labkit.brokers.kafka.producing import Landed, Record, append, send
from labkit.brokers.kafka.service import UNTIL
from labkit.errors import BrokerRefused, BrokerUnavailable, NotConnected


class KafkaInbox:
    """One asker's inbox; the contract is `labkit.broker.ReplyInbox`."""

    def __init__(self, client: KafkaClient, life: float) -> None:
        del life  # nothing is kept for an inbox but records, which retention removes
        self._client = client
        topic = replies_topic(client.options.namespace)
        count = client.ensure(topic)
        self._part: Part = (topic, secrets.randbelow(count))
        self._id = secrets.token_hex(8)
        self.address = f"{self._part[1]}.{self._id}"
        [self._position] = client.ends([self._part]).values()
        self._consumer = client.consumer(f"labkit-inbox-{self._id}", auto_offset_reset="earliest")
        client.assign(self._consumer, {self._part: self._position})
        self._found: list[bytes] = []  # taken from the consumer, and not given out yet
        self._lock = threading.RLock()
        self._closed = False
        client.on_close(self, self.close)

    @property
    def connected(self) -> bool:
        """Whether the broker could be heard at the last look."""
        return not self._closed and not self._client.down

    def send(self, service: str, bodies: Sequence[bytes], keep: float) -> list[Sent]:
        """Append to the service's topic, if somebody may serve it."""
        if not bodies:
            return []
        client = self._client
        try:
            topic = service_topic(client.options.namespace, service)
            present: int | None = presence_of(client).count(topic)
            if not present:
                present = others_serve(client, topic)
            if present == 0:
                return [0] * len(bodies)
            client.ensure(topic)
        except BrokerUnavailable as error:
            return [BrokerUnavailable(str(error))] * len(bodies)
        except BrokerRefused as error:
            return [error] * len(bodies)
        headers = {UNTIL: f"{time.time() + keep:.3f}".encode()}
        key = secrets.token_bytes(8)
        records = [
            Record(topic, body, key + index.to_bytes(4), headers)
            for index, body in enumerate(bodies)
        ]
        shown = f"producer.produce({topic!r}, <request>)  # {len(bodies):,} times"
        outcomes: list[Sent] = []
        for outcome in send(client, records, shown):
            if isinstance(outcome, Landed):
                outcomes.append(present)
            elif outcome is None:
                outcomes.append(BrokerUnavailable("The producer's buffer is full."))
            else:
                outcomes.append(words.error(client.place.shown, outcome, sent=True))
        return outcomes

    def poll(self, count: int, timeout: float) -> list[bytes]:
        """At most `count` bodies; waits up to `timeout` seconds for the first."""
        end = None if timeout > 0 else self._end()
        deadline = time.monotonic() + timeout
        patience = deadline + self._client.options.timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            wait_s = min(SLICE_S, left if end is None else SLICE_S)
            with self._lock:
                self._require_open()
                if self._found:
                    wait_s = 0.0
                while len(self._found) < count:
                    message = self._consumer.poll(wait_s)
                    if message is None:
                        break
                    self._found += self._take(message)  # if it raises, the next poll gives these
                    wait_s = 0.0
                if end is None:
                    done = bool(self._found) or left <= 0
                else:
                    done = self._position >= end or time.monotonic() > patience
                if done or len(self._found) >= count:
                    found, self._found = self._found[:count], self._found[count:]
                    return found

    def close(self) -> None:
        """Forget the inbox; what comes for it is read by nobody. Closing twice is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._client.closed_already(self)
            self._consumer.close()

    def _end(self) -> int | None:
        try:
            [end] = self._client.ends([self._part]).values()
        except BrokerUnavailable:
            self._client.down = True
            return None
        return end

    def _take(self, message: ck.Message) -> list[bytes]:
        error = message.error()
        if error is None:
            self._client.down = False
            self._position = message.offset() + 1
            return [message.value() or b""] if message.key() == self._id.encode() else []
        if error.code() == ck.KafkaError._PARTITION_EOF:
            self._position = max(self._position, message.offset())
        elif words.away(error):
            self._client.down = True
        else:
            raise BrokerRefused(f"Kafka at {self._client.place.shown}: {words.of(error)}.")
        return []

    def _require_open(self) -> None:
        if self._closed:
            raise NotConnected("This inbox is closed. Open a new one.")
        self._client.require_open()


class ReplyLine:
    """Sends replies to inboxes."""

    def __init__(self, client: KafkaClient) -> None:
        self._client = client

    def send(self, address: str, body: bytes) -> bool | None:
        """Append to the partition that the inbox reads; nobody can know whether it still does."""
        partition, dot, inbox = address.partition(".")
        if not dot or not partition.isdecimal():
            return False
        topic = replies_topic(self._client.options.namespace)
        if int(partition) >= self._client.ensure(topic):
            return False
        record = Record(topic, body, inbox.encode(), partition=int(partition))
        append(self._client, [record], f"producer.produce({topic!r}, <reply>)")
        return None
