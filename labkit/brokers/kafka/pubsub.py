"""A subscription on Kafka: it reads whole topics by itself, from where they ended when it came.

A channel is a topic. Kafka keeps what is published, so a subscriber whose connection breaks goes on
where it was: a `Gap` comes only where the records themselves are gone. No consumer group is needed:
there is nothing to share and nothing to commit, and nobody has to wait for a rebalance.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque

import confluent_kafka as ck

from labkit import channels as naming
from labkit.broker import Gap, Mark, Polled, Received, Unsubscribed
from labkit.brokers.kafka import words
from labkit.brokers.kafka.client import SLICE_S, KafkaClient, Part
from labkit.brokers.kafka.listening import Listenings
from labkit.brokers.kafka.names import from_topic, to_topic
from labkit.errors import BrokerRefused, BrokerUnavailable, NotConnected

LOOK_S = 1.0
"""How often a subscription by pattern asks for topics that are new."""

_MANY = 1_000


class KafkaSubscription:
    """One consumer, which reads without a group. It belongs to one thread at a time."""

    def __init__(self, client: KafkaClient) -> None:
        self._client = client
        self._namespace = client.options.namespace
        self._consumer = client.consumer(
            f"labkit-subscriber-{secrets.token_hex(4)}", auto_offset_reset="error"
        )
        self._listening = Listenings(self._namespace)
        self._positions: dict[Part, int] = {}
        self._behind: set[Part] = set()  # whose next records are gone
        self._ready: deque[Polled] = deque()
        self._marks: deque[tuple[int, dict[Part, int]]] = deque()
        self._asked = 0
        self._looked_at, self._looked_topics = 0.0, client.known_topics
        self._closed = False
        self._lock = threading.RLock()
        client.on_close(self, self.close)

    @property
    def connected(self) -> bool:
        """Whether the broker could be heard at the last look."""
        return not self._closed and not self._client.down

    def add(self, *names: str, pattern: bool = False, timeout: float | None = None) -> None:
        """Subscribe; returns once the end of every partition is known, where reading begins."""
        del timeout  # the broker answers within the lab's time-out, or an error does
        naming.check_names(names)
        with self._lock:
            self._require_open()
            topics = [to_topic(self._namespace, name) for name in names if not pattern]
            for topic in topics:
                self._client.ensure(topic, 1)
            known = self._client.topics()
            new = self._listening.new(names, pattern)
            parts = {
                item: [
                    (topic, part)
                    for topic, count in known.items()
                    if self._listening.matches(item, topic)
                    for part in range(count)
                ]
                for item in new
            }
            every = {part for found in parts.values() for part in found}
            ends = self._client.ends(every)
            for item in new:
                item.starts = {part: ends[part] for part in parts[item]}
            self._listening.add(new)
            self._assign({part: ends[part] for part in every if part not in self._positions})

    def remove(self, *names: str, pattern: bool = False, timeout: float | None = None) -> None:
        """Unsubscribe; what was published before comes before the `Unsubscribed`."""
        naming.check_names(names)
        within = self._client.options.timeout if timeout is None else timeout
        with self._lock:
            self._require_open()
            gone = self._listening.named(names, pattern)
            heard = {
                part
                for part in self._positions
                if any(item in gone for item in self._listening.hear(part[0]))
            }
            self._read_to(self._client.ends(heard), within)
            self._listening.remove(gone)
            self._ready += [Unsubscribed(name, pattern) for name in names]
            idle = [part for part in self._positions if not self._listening.hear(part[0])]
            if idle:
                self._client.log(f"consumer.incremental_unassign({_listed(idle)})")
                self._consumer.incremental_unassign([ck.TopicPartition(*part) for part in idle])
                for part in idle:
                    del self._positions[part]
                self._behind.difference_update(idle)

    def mark(self) -> int:
        """Ask for a `Mark`: it comes when all has been read up to where the topics end now."""
        with self._lock:
            self._require_open()
            if not self._listening:
                return 0
            try:
                self._look_for_topics(self._looked_at + LOOK_S < time.monotonic())
                ends = self._client.ends(self._positions)
            except BrokerUnavailable:
                self._client.down = True
                return 0
            self._asked += 1
            self._marks.append((self._asked, ends))
            self._settle_marks()
            return self._asked

    def poll(self, timeout: float = 0.0) -> Polled | None:
        """The next message, gap or mark; None if nothing comes within `timeout` seconds."""
        self._wait(timeout)
        with self._lock:
            return self._ready.popleft() if self._ready else None

    def poll_many(self, timeout: float = 0.0, limit: int = _MANY) -> list[Polled]:
        """What arrived, at most `limit` things; what is no `Received` is the last of its list."""
        self._wait(timeout)
        things: list[Polled] = []
        with self._lock:
            while self._ready and len(things) < limit:
                things.append(self._ready.popleft())
                if type(things[-1]) is not Received:
                    break
        return things

    def close(self) -> None:
        """Close the consumer. Closing twice is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._client.closed_already(self)
            self._consumer.close()

    # --- inside -------------------------------------------------------------------------------

    def _wait(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            with self._lock:
                self._require_open()
                if not self._ready:
                    self._pump(min(left, SLICE_S))
                if self._ready or left <= 0:
                    return

    def _pump(self, timeout: float) -> None:
        """Take in what is here, or comes within `timeout` seconds."""
        if self._listening.has_patterns:
            now = time.monotonic()
            new_here = self._looked_topics != self._client.known_topics
            if new_here or now - self._looked_at > LOOK_S:
                try:
                    self._look_for_topics(True)
                except BrokerUnavailable:
                    self._client.down = True
                    self._looked_at = time.monotonic()  # the question took its time
        if not self._positions:
            time.sleep(timeout)
            return
        first = self._consumer.poll(timeout)
        failure: BaseException | None = None
        if first is not None:
            for message in (first, *self._consumer.consume(_MANY, 0.0)):
                try:
                    self._take(message)
                except BaseException as error:  # the others are here, and come only once
                    failure = failure or error
        if self._behind:
            self._catch_up()
        self._settle_marks()
        if failure is not None:
            raise failure

    def _take(self, message: ck.Message) -> None:
        error = message.error()
        part = (message.topic(), message.partition())
        if error is not None:
            self._trouble(error, part, message)
            return
        self._client.down = False
        if part not in self._positions:
            return  # unsubscribed meanwhile
        topic, offset = part[0], message.offset()
        self._positions[part] = offset + 1
        channel = from_topic(self._namespace, topic) or topic
        for item in self._listening.hear(topic):
            if offset >= item.starts.get(part, 0):
                matched = item.name if item.pattern else None
                self._ready.append(Received(channel, message.value() or b"", matched))

    def _trouble(self, error: ck.KafkaError, part: Part, message: ck.Message) -> None:
        code = error.code()
        if code == ck.KafkaError._PARTITION_EOF:
            self._client.down = False
            if part in self._positions:
                self._positions[part] = max(self._positions[part], message.offset())
        elif code in (ck.KafkaError._AUTO_OFFSET_RESET, ck.KafkaError.OFFSET_OUT_OF_RANGE):
            self._behind.add(part)
        elif code == ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._positions.pop(part, None)  # somebody deleted it
        elif words.away(error):
            self._client.down = True
        else:
            raise BrokerRefused(f"Kafka at {self._client.place.shown}: {words.of(error)}.")

    def _catch_up(self) -> None:
        """Until it is told where to go on, librdkafka reads nothing more of these partitions."""
        try:
            for part in list(self._behind):
                if part in self._positions:
                    self._gone(part)
                self._behind.discard(part)
        except BrokerUnavailable:  # the next pump tries again
            self._client.down = True

    def _gone(self, part: Part) -> None:
        """Retention has destroyed records before they were read here: go on with the oldest."""
        [start] = self._client.starts([part]).values()
        self._consumer.seek(ck.TopicPartition(*part, start))
        missed = start - self._positions.get(part, start)
        now = self._client.now()
        channel = from_topic(self._namespace, part[0]) or part[0]
        reason = f"retention has destroyed {max(0, missed):,} records before they were read"
        self._ready.append(Gap((channel,), now, now, 0.0, reason))
        self._positions[part] = start

    def _read_to(self, ends: dict[Part, int], within: float) -> None:
        deadline = time.monotonic() + within
        while any(self._positions.get(part, end) < end for part, end in ends.items()):
            left = deadline - time.monotonic()
            if left <= 0:
                raise BrokerUnavailable(
                    f"What was published before could not be read from "
                    f"{self._client.place.shown} within {within:g} s."
                )
            self._pump(min(left, SLICE_S))

    def _settle_marks(self) -> None:
        while self._marks:
            number, ends = self._marks[0]
            if any(self._positions.get(part, end) < end for part, end in ends.items()):
                return
            self._marks.popleft()
            self._ready.append(Mark(number))

    def _look_for_topics(self, ask: bool) -> None:
        """Topics that are new and match a pattern are read from their beginning."""
        if not self._listening.has_patterns:
            return
        new_here = self._looked_topics != self._client.known_topics
        if not ask and not new_here:
            return
        self._looked_at, self._looked_topics = time.monotonic(), self._client.known_topics
        found = {
            (topic, part): 0
            for topic, count in self._client.topics().items()
            for part in range(count)
            if (topic, part) not in self._positions and self._listening.hear(topic)
        }
        self._assign(found)

    def _assign(self, places: dict[Part, int]) -> None:
        if not places:
            return
        self._client.log(f"consumer.incremental_assign({words.places(places)})")
        self._client.assign(self._consumer, places, beside=True)
        self._positions.update(places)

    def _require_open(self) -> None:
        if self._closed:
            raise NotConnected("This subscription is closed. Open a new one.")
        self._client.require_open()


def _listed(parts: list[Part]) -> str:
    return ", ".join(f"{topic}[{number}]" for topic, number in parts[:8])
