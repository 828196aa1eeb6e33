"""A group of readers on Kafka: members share partitions, and commit how far they have got."""

from __future__ import annotations

import contextlib
import time
import weakref
from typing import TYPE_CHECKING, Any

import confluent_kafka as ck

from labkit.broker import Cursor, GroupState, Holding, Place
from labkit.brokers.kafka.client import KafkaClient, Part
from labkit.brokers.kafka.member import set_back
from labkit.brokers.kafka.stream_member import KafkaMember
from labkit.brokers.kafka.stream_rows import behind, position
from labkit.errors import BrokerRefused, NotSupported

if TYPE_CHECKING:
    from labkit.brokers.kafka.stream import KafkaStream


class KafkaGroup:
    """One group on one topic; the contract is `labkit.broker.StreamGroup`."""

    def __init__(self, client: KafkaClient, stream: KafkaStream, name: str) -> None:
        self._client = client
        self._stream = stream
        self.name = name
        self.id = f"{stream.topic}/{name}"
        self._members: weakref.WeakSet[KafkaMember] = client.shared(
            f"members of {self.id}", weakref.WeakSet
        )

    def create(self, start: Cursor | None) -> None:
        """Commit where a new group begins; an old one stays where it is."""
        parts = self._stream.parts
        names = _made_here(self._client, self._stream.topic)
        known = self._client.committed(self.id, parts)
        new = [part for part in parts if known[part][0] < 0]
        names.add(self.name)
        if not new or self._busy():
            return
        if start is None:
            offsets = self._client.ends(new)
        else:
            offsets = {part: behind(start, part) for part in new}
        with contextlib.suppress(BrokerRefused):  # somebody is a member already, and has begun
            self._client.set_committed(self.id, offsets)

    def join(self, member: str) -> KafkaMember:
        """A new member; it gets its partitions while it polls."""
        new = KafkaMember(self._client, self.id, self._stream, member)
        self._members.add(new)
        return new

    def done(self) -> dict[Part, int]:
        """The offset up to which everything is committed, in each partition."""
        parts = self._stream.parts
        known = self._client.committed(self.id, parts)
        return {part: max(0, offset) for part, (offset, _) in known.items()}

    def state(self) -> GroupState:
        """Committed offsets beside the ends; what was given is known of this lab's members."""
        parts = self._stream.parts
        ends, starts, done = self._client.ends(parts), self._client.starts(parts), self.done()
        given = self.given()
        places = []
        for part in parts:
            first = max(done[part], starts[part])
            reached = given.get(part)
            known = reached is not None and reached >= first
            places.append(
                Place(
                    part[1],
                    position(part, reached - 1) if reached else None,
                    position(part, done[part] - 1) if done[part] else None,
                    ends[part] - reached if known and reached is not None else None,
                    reached - first if known and reached is not None else None,
                    max(0, ends[part] - first),
                )
            )
        pending: dict[str, int | None] = {}
        for member in list(self._members):
            if member.counts:
                pending[member.name] = (pending.get(member.name) or 0) + member.pending
        for name in self._elsewhere():
            pending.setdefault(name, None)
        return GroupState(self.name, tuple(places), pending)

    def holdings(self, limit: int) -> list[Holding]:
        """The partitions of each member."""
        rows = [
            Holding(member.name, part[1], None, None, None)
            for member in list(self._members)
            for part in member.parts
        ]
        rows += [
            Holding(name, number, None, None, None)
            for name, numbers in self._elsewhere().items()
            for number in numbers
        ]
        return sorted(rows, key=lambda row: row.partition)[:limit]

    def reset(self, cursor: Cursor) -> None:
        """Commit other offsets; Kafka allows it only while nobody is a member."""
        offsets = {part: behind(cursor, part) for part in self._stream.parts}
        deadline = time.monotonic() + self._client.options.timeout
        while not self._busy():
            try:
                return set_back(self._client, self.id, [self._stream.topic], offsets)
            except BrokerRefused:  # a member that has just left may still count
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)
        raise BrokerRefused(
            f"The group {self.name!r} has members, and Kafka sets it back only while it has none. "
            "Close them first."
        )

    def delete(self) -> None:
        """Delete the group with its offsets."""
        if self._client.place.mock:
            raise NotSupported(
                "The mock cluster cannot delete a group; with another name a new one begins."
            )
        [future] = self._client.admin.delete_consumer_groups([self.id]).values()
        with contextlib.suppress(BrokerRefused):  # it has never committed anything
            self._client.ask(lambda: future.result(self._client.options.timeout))
        _made_here(self._client, self._stream.topic).discard(self.name)

    def _busy(self) -> bool:
        return any(member.counts for member in list(self._members))

    def given(self) -> dict[Part, int]:
        """The offset behind what was given to this lab's members, in each partition."""
        given: dict[Part, int] = {}
        for member in list(self._members):
            if member.counts:
                given.update(member.given)
        return given

    def _elsewhere(self) -> dict[str, list[int]]:
        """Members of other processes, with their partitions; the mock cluster does not tell."""
        if self._client.place.mock:
            return {}
        [future] = self._client.admin.describe_consumer_groups([self.id]).values()
        try:
            group = self._client.ask(lambda: future.result(self._client.options.timeout))
        except BrokerRefused:
            return {}
        ours = self._client.name
        return {
            member.client_id.partition("/")[0]: [
                place.partition
                for place in (member.assignment.topic_partitions if member.assignment else ())
            ]
            for member in group.members
            if not member.client_id.endswith(f"/{ours}")
        }


def group_names(client: KafkaClient, topic: str) -> set[str]:
    """The groups of a topic; the mock cluster lists none, so those that this process made.

    Raises:
        BrokerUnavailable: a broker did not answer: its groups would be missing.
    """
    if client.place.mock:
        return set(_made_here(client, topic))

    def listed() -> Any:
        answer = client.admin.list_consumer_groups().result(client.options.timeout)
        for error in answer.errors:
            raise error if isinstance(error, ck.KafkaException) else ck.KafkaException(error)
        return answer

    answer = client.ask(listed)
    start = f"{topic}/"
    return {
        group.group_id.removeprefix(start)
        for group in answer.valid
        if group.group_id.startswith(start)
    }


def _made_here(client: KafkaClient, topic: str) -> set[str]:
    if client.cluster is not None:
        return client.cluster.groups.setdefault(topic, set())
    found: set[str] = client.shared(f"groups of {topic}", set)
    return found
