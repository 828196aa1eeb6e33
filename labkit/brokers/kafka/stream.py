"""A log on Kafka: a topic and its partitions, read by anybody, and consumer groups on it.

The topic has the name that the caller gave it, the key is the record's key, the body its value: any
other client reads and writes the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

import confluent_kafka as ck

from labkit.broker import (
    Appended,
    Cursor,
    Doomed,
    Entry,
    Extent,
    GroupState,
    NewEntry,
    Position,
)
from labkit.brokers.kafka import words
from labkit.brokers.kafka.capabilities import refuse
from labkit.brokers.kafka.client import KafkaClient, Part
from labkit.brokers.kafka.names import to_topic
from labkit.brokers.kafka.producing import Record, append
from labkit.brokers.kafka.reader import Readers
from labkit.brokers.kafka.stream_group import KafkaGroup, group_names
from labkit.brokers.kafka.stream_rows import behind, position
from labkit.errors import ConfigurationError, TrimRefused


class KafkaStream:
    """One topic; the contract is `labkit.broker.BrokerStream`."""

    def __init__(self, client: KafkaClient, name: str) -> None:
        client.require_open()
        self._client = client
        self.name = name
        self.topic = to_topic(client.options.namespace, name)
        self._readers: Readers = client.shared("readers", lambda: Readers(client))

    def append(self, entries: Sequence[NewEntry]) -> list[Appended]:
        """Append; the key decides the partition, in the order given within each."""
        if not entries:
            return []
        self._client.ensure(self.topic)
        records = [
            Record(
                self.topic,
                entry.body,
                None if entry.key is None else entry.key.encode(),
                timestamp_ms=max(0, entry.time_ms),
            )
            for entry in entries
        ]
        landed = append(self._client, records)
        return [Appended(Position(str(place.offset), place.partition)) for place in landed]

    def append_expected(self, entries: Sequence[NewEntry], expected: int) -> list[Appended]:  # noqa: ARG002
        """Kafka cannot."""
        self._refuse("expected revision")

    def revision(self, key: str) -> int:  # noqa: ARG002
        """Kafka does not count them."""
        self._refuse("expected revision")

    def read(self, after: Cursor, count: int, timeout: float) -> list[Entry]:
        """Fetch from every partition; waits in Kafka for the first."""
        if count < 1:
            return []
        parts = self._parts()
        if not parts:
            return self._wait_for_topic(after, count, timeout)
        return self._readers.read(parts, after, count, timeout)

    def extents(self) -> list[Extent]:
        """The oldest and the newest offset of each partition; gaps in between are counted, too."""
        parts = self._parts()
        starts, ends = self._client.starts(parts), self._client.ends(parts)
        return [
            Extent(
                part[1],
                ends[part] - starts[part],
                position(part, starts[part]) if ends[part] > starts[part] else None,
                position(part, ends[part] - 1) if ends[part] > starts[part] else None,
                position(part, ends[part] - 1) if ends[part] else None,
                starts[part],
            )
            for part in parts
        ]

    def at(self, seconds: float) -> Cursor:
        """The broker looks for the first record from then on, in each partition."""
        if self._client.place.mock:
            self._refuse("read from a time")
        found = self._client.at(self._parts(), round(seconds * 1000))
        return _cursor(found)

    def before(self, position: Position) -> Cursor:
        """The offset before; of other partitions nothing is said, so they begin at their start."""
        [offset] = position.order[:1]
        if len(position.order) != 1:
            raise ConfigurationError(f"{position} is no place in Kafka; one looks like 2:57.")
        return {position.partition: Position(str(offset - 1), position.partition)} if offset else {}

    def cut(self, keep: int) -> Cursor:
        """`keep` before the end, in each partition."""
        ends = self._client.ends(self._parts())
        return _cursor({part: max(0, end - keep) for part, end in ends.items()})

    def doomed(self, cursor: Cursor) -> Doomed:
        """What every group has not committed of what would go."""
        starts = self._client.starts(self._parts())
        upto = {part: behind(cursor, part) for part in starts if part[1] in cursor}
        entries = sum(max(0, end - starts[part]) for part, end in upto.items())
        unread: dict[str, int] = {}
        pending: dict[str, int] = {}
        for name in sorted(group_names(self._client, self.topic)):
            group = KafkaGroup(self._client, self, name)
            done, given = group.done(), group.given()
            for part, end in upto.items():
                first = max(done.get(part, 0), starts[part])
                reached = max(first, given.get(part, first))
                if end > reached:
                    unread[name] = unread.get(name, 0) + end - reached
                if min(end, reached) > first:
                    pending[name] = pending.get(name, 0) + min(end, reached) - first
        return Doomed(entries, unread, pending)

    def trim(self, cursor: Cursor, *, force: bool) -> Doomed:
        """DeleteRecords, in each partition."""
        if self._client.place.mock:
            self._refuse("trim")
        doomed = self.doomed(cursor)
        if (doomed.unread or doomed.pending) and not force:
            raise TrimRefused(self.name, doomed.unread, doomed.pending)
        if doomed.entries:
            ends = {part: behind(cursor, part) for part in self._parts() if part[1] in cursor}
            self._client.log(f"admin.delete_records({words.places(ends)})")
            places = [ck.TopicPartition(*part, end) for part, end in ends.items()]
            for future in self._client.admin.delete_records(places).values():
                self._client.ask(lambda f=future: f.result(self._client.options.timeout))  # type: ignore[misc]
        return doomed

    def open_group(self, name: str, start: Cursor | None) -> KafkaGroup:
        """The group of that name; a new one commits at once where it begins."""
        self._client.ensure(self.topic)
        group = KafkaGroup(self._client, self, name)
        group.create(start)
        return group

    def groups(self) -> list[GroupState]:
        """Where each group stands, by name."""
        if not self._parts():
            return []
        names = group_names(self._client, self.topic)
        return [KafkaGroup(self._client, self, name).state() for name in sorted(names)]

    def delete(self) -> int:
        """Delete the groups and the topic; returns how many entries there were."""
        if self._client.place.mock:
            self._refuse("stream deletion")
        parts = self._parts()
        if not parts:
            return 0
        count = sum(extent.length for extent in self.extents())
        for name in group_names(self._client, self.topic):
            KafkaGroup(self._client, self, name).delete()
        self._readers.forget(self.topic)
        self._client.delete_topic(self.topic)
        return count

    @property
    def parts(self) -> list[Part]:
        """Its partitions; none while nobody has appended."""
        return self._parts()

    def _parts(self) -> list[Part]:
        return [(self.topic, number) for number in range(self._client.partitions(self.topic))]

    def _wait_for_topic(self, after: Cursor, count: int, timeout: float) -> list[Entry]:
        """Somebody may be the first to append."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))
            if parts := self._parts():
                left = max(0.0, deadline - time.monotonic())
                return self._readers.read(parts, after, count, left)
        return []

    def _refuse(self, name: str) -> NoReturn:
        refuse(name, mock=self._client.place.mock)


def _cursor(offsets: Mapping[Part, int]) -> Cursor:
    """Just before these offsets."""
    return {part[1]: position(part, offset - 1) for part, offset in offsets.items() if offset > 0}
