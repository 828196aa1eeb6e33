"""Reading a topic from any place, without a group: a consumer that goes on where it was."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Mapping, Sequence

import confluent_kafka as ck

from labkit.broker import Cursor, Entry
from labkit.brokers.kafka import words
from labkit.brokers.kafka.client import SLICE_S, KafkaClient, Part
from labkit.brokers.kafka.stream_rows import behind, entries
from labkit.errors import BrokerRefused, BrokerUnavailable, NotConnected

READERS_KEPT = 64
"""Consumers of one lab that are kept ready for whoever reads on; each knows one place."""

KEPT_OF_A_TOPIC = 4
"""Of one topic so many: who reads it from its start again and again leaves each of them behind."""

_MANY = 1_000


class Readers:
    """The readers of one lab: who reads on from where it was gets the same one again."""

    def __init__(self, client: KafkaClient) -> None:
        self._client = client
        self._idle: list[_Reader] = []
        self._closed = False
        self._lock = threading.Lock()
        client.on_close(self, self._end)

    def read(self, parts: Sequence[Part], after: Cursor, count: int, timeout: float) -> list[Entry]:
        """At most `count` entries behind `after`; waits for the first."""
        starts = {part: behind(after, part) for part in parts}
        reader = self._take(starts)
        try:
            found = reader.read(count, timeout)
        except BaseException:
            reader.close()
            raise
        with self._lock:
            self._idle.append(reader)
            old = self._too_many(reader.topic)
            if old is not None:
                self._idle.remove(old)
        if old is not None:
            old.close()
        return found

    def forget(self, topic: str) -> None:
        """Close those of a topic that nobody is reading with."""
        with self._lock:
            going = [reader for reader in self._idle if reader.topic == topic]
            self._idle = [reader for reader in self._idle if reader.topic != topic]
        for reader in going:
            reader.close()

    def _end(self) -> None:
        """The lab is closed; those in use are closed when they come back."""
        with self._lock:
            self._closed = True
            going, self._idle = self._idle, []
        for reader in going:
            reader.close()

    def _too_many(self, topic: str) -> _Reader | None:
        """The one that has been idle for longest, where there is one too many."""
        same = [reader for reader in self._idle if reader.topic == topic]
        if len(same) > KEPT_OF_A_TOPIC:
            return same[0]
        return self._idle[0] if len(self._idle) > READERS_KEPT or self._closed else None

    def _take(self, starts: dict[Part, int]) -> _Reader:
        with self._lock:
            for index, reader in enumerate(self._idle):
                if reader.places == starts:
                    return self._idle.pop(index)
        return _Reader(self._client, starts)


class _Reader:
    """One consumer, and what it has fetched that nobody has been given yet."""

    def __init__(self, client: KafkaClient, starts: dict[Part, int]) -> None:
        self._client = client
        self.places = dict(starts)  # what comes next for the one who reads
        self._positions = dict(starts)  # what comes next from the broker
        self._fetched: list[Entry] = []
        self._handed = 0  # so many of these were given to the one who reads
        self._fetched_to = dict(starts)  # behind the last one that was ever fetched
        # as they were last known; at first the consumer finds them by itself
        self._ends: dict[Part, float] = dict.fromkeys(starts, math.inf)
        self._new = True
        self.topic = next(iter(starts))[0]
        self._consumer = client.consumer(
            f"labkit-reader-{secrets.token_hex(4)}", auto_offset_reset="earliest"
        )
        client.log(f"consumer.assign({words.places(starts)})")
        client.assign(self._consumer, starts)

    def read(self, count: int, timeout: float) -> list[Entry]:
        """What is there now, else the first that comes."""
        deadline = time.monotonic() + timeout
        if self._waiting() < count:
            self._read_to_the_ends(count)
        while not self._waiting() and (left := deadline - time.monotonic()) > 0:
            self._client.require_open()
            self._pump(min(left, SLICE_S))
        found = self._fetched[self._handed : self._handed + count]
        self._handed += len(found)
        if self._waiting():
            self.places |= self._behind(found)
        else:
            self.places |= self._fetched_to
            self._fetched, self._handed = [], 0
        return found

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _waiting(self) -> int:
        """Entries that were fetched and that nobody was given yet."""
        return len(self._fetched) - self._handed

    def _read_to_the_ends(self, count: int) -> None:
        """Fetch `count`, or all that is there: up to the ends as they are now.

        Before the ends that are known from earlier there is no need to ask again.
        """
        patience = time.monotonic() + self._client.options.timeout
        # what the first read comes to know of the ends is of now; later ones may find old news
        fresh, self._new = self._new, False
        while self._waiting() < count:
            if self._is_before(self._ends):
                if time.monotonic() > patience:
                    raise BrokerUnavailable(
                        words.unreachable(self._client.place.shown, "nothing came")
                    )
                if self._pump(SLICE_S):
                    patience = time.monotonic() + self._client.options.timeout
                    continue
                if fresh and math.inf not in self._ends.values():
                    continue
            elif fresh:
                return
            self._ends.update(
                self._client.ends(self._positions, committed=not self._client.place.mock)
            )
            fresh = True

    def _is_before(self, ends: Mapping[Part, float]) -> bool:
        return any(self._positions[part] < end for part, end in ends.items())

    def _pump(self, timeout: float) -> bool:
        """Take what the consumer has; whether anything came."""
        try:
            first = self._consumer.poll(timeout)
            if first is None:
                return False
            messages = [first, *self._consumer.consume(_MANY - 1, 0.0)]
        except RuntimeError:  # closed by another thread
            raise NotConnected("This lab is closed. Connect again: labkit.connect(…).") from None
        found = entries(messages, self._told)
        del self._fetched[: self._handed]
        self._handed = 0
        self._fetched += found
        behind = self._behind(found)
        self._fetched_to |= behind
        for part, offset in behind.items():
            self._positions[part] = max(self._positions[part], offset)
        return True

    def _behind(self, entries: Sequence[Entry]) -> dict[Part, int]:
        """The offset behind the last of these in each partition."""
        last = {entry.position.partition: entry.position for entry in entries}
        return {(self.topic, number): place.order[0] + 1 for number, place in last.items()}

    def _told(self, message: ck.Message) -> None:
        """What is no record: the end of a partition, or trouble."""
        error, part = message.error(), (message.topic(), message.partition())
        if error.code() == ck.KafkaError._PARTITION_EOF:
            self._positions[part] = max(self._positions[part], message.offset())
            if self._ends[part] == math.inf:
                self._ends[part] = self._positions[part]
        elif words.away(error):
            self._client.down = True
        elif error.code() != ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise BrokerRefused(f"Kafka at {self._client.place.shown}: {words.of(error)}.")
