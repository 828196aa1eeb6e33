"""A group of readers on Kafka: members share partitions, and commit how far they have got."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import confluent_kafka as ck

from labkit.broker import Committed, Cursor, Entry, Given, GroupState, Holding, Place, Position
from labkit.brokers.kafka.capabilities import refuse
from labkit.brokers.kafka.client import SLICE_S, KafkaClient, Part
from labkit.brokers.kafka.member import Member, set_back
from labkit.brokers.kafka.stream_rows import behind, entry, position
from labkit.errors import BrokerRefused, NotConnected, NotSupported
from labkit.trace import Action

if TYPE_CHECKING:
    from labkit.brokers.kafka.stream import KafkaStream

LONGEST_SILENCE_S = 300.0
"""So long may a member work on what it was given; then its partitions go to others."""

FIRST_JOIN_S = 3.0
"""How long the first poll without a time-out waits to be given partitions."""


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
        new = KafkaMember(self._client, self, self._stream, member)
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
            if not member.closed:
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
        return any(not member.closed for member in list(self._members))

    def given(self) -> dict[Part, int]:
        """The offset behind what was given to this lab's members, in each partition."""
        given: dict[Part, int] = {}
        for member in list(self._members):
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


class KafkaMember:
    """One member; the contract is `labkit.broker.GroupMember`. It belongs to one thread."""

    def __init__(
        self, client: KafkaClient, group: KafkaGroup, stream: KafkaStream, name: str
    ) -> None:
        self._client = client
        self._stream = stream
        self.name = name
        self.closed = False
        self.given: dict[Part, int] = {}  # the offset behind what it was given
        self._committed: dict[Part, int] = {}
        self._ready: deque[ck.Message] = deque()
        self._open: dict[Part, deque[int]] = {}  # given and not committed
        self._waited = False
        client.log(f"consumer.subscribe({[stream.topic]!r})  # group.id={group.id!r}")
        self._member = Member(
            client,
            group.id,
            [stream.topic],
            name=f"{name}/{client.name}",
            longest_silence=LONGEST_SILENCE_S,
            given=self._come,
            taken=self._go,
        )

    @property
    def parts(self) -> list[Part]:
        """Its partitions."""
        return self._member.parts

    @property
    def pending(self) -> int:
        """Entries given and not committed."""
        return sum(map(len, self._open.values()))

    def poll(self, count: int, timeout: float) -> Given:
        """Records of its partitions; Kafka goes on after the last committed one."""
        if self.closed:
            raise NotConnected("This member has left its group. Call group.join() again.")
        deadline = time.monotonic() + timeout
        if not self._waited:
            self._waited = True
            if not self._member.joined and timeout <= 0:
                self._member.wait_joined(FIRST_JOIN_S, self._ready.extend)
        self._pump(0.0, count)  # rebalances are served here, too
        if timeout <= 0 and len(self._ready) < count:
            self._read_to_the_end(count)
        while not self._ready and (left := deadline - time.monotonic()) > 0:
            self._pump(min(left, SLICE_S), count)
        found: list[Entry] = []
        while self._ready and len(found) < count:
            message = self._ready.popleft()
            part = (message.topic(), message.partition())
            self._open.setdefault(part, deque()).append(message.offset())
            self.given[part] = message.offset() + 1
            found.append(entry(message))
        return Given(found)

    def commit(self, cursor: Cursor) -> Committed:
        """Commit the offsets; entries of partitions that others have now come too late."""
        offsets: dict[Part, int] = {}
        counts: dict[Part, list[int]] = {}
        for part, open_ in self._open.items():
            upto = behind(cursor, part)
            done = [offset for offset in open_ if offset < upto]
            if done:
                counts[part] = done
                offsets[part] = done[-1] + 1 if len(done) < len(open_) else self.given[part]
        if not offsets:
            return Committed(0)
        ours = set(self._member.parts)
        mine = {part: offset for part, offset in offsets.items() if part in ours}
        accepted = not mine or self._member.commit(mine)
        late: list[Position] = []
        entries = 0
        for part, done in counts.items():
            for _ in done:
                self._open[part].popleft()
            if accepted and part in mine:
                entries += len(done)
            else:
                late += [position(part, offset) for offset in done]
        self._open = {part: open_ for part, open_ in self._open.items() if open_}
        return Committed(entries, late)

    def acknowledge(self, positions: Sequence[Position]) -> Committed:  # noqa: ARG002
        """Kafka knows only how far one has got."""
        refuse("acknowledge one by one", mock=self._client.place.mock)

    def claim_stale(self, idle: float, count: int) -> Given:  # noqa: ARG002
        """Kafka does it by itself."""
        refuse("claim of stale entries", mock=self._client.place.mock)

    def close(self) -> None:
        """Leave the group: a rebalance gives its partitions to the others. Twice is fine."""
        if not self.closed:
            self.closed = True
            self._member.close()

    def _read_to_the_end(self, count: int) -> None:
        """Nothing with a time-out of 0 means that there is nothing."""
        ends = self._client.ends(self._member.parts)
        patience = time.monotonic() + self._client.options.timeout
        while len(self._ready) < count and not self._member.has_read(ends):
            if not self._member.joined or time.monotonic() > patience:
                return
            self._pump(SLICE_S, count)

    def _pump(self, timeout: float, count: int) -> None:
        """No more than is asked for: what else has been fetched waits in librdkafka."""
        self._ready.extend(self._member.pump(timeout, max(1, count - len(self._ready))))

    def _come(self, parts: list[Part]) -> None:
        for part in parts:  # what it was given before comes again, from the committed offset on
            self._open.pop(part, None)
            self.given.pop(part, None)
        self._record(Action.SUBSCRIBED, parts)

    def _go(self, parts: list[Part]) -> None:
        gone = set(parts)
        self._ready = deque(m for m in self._ready if (m.topic(), m.partition()) not in gone)
        for part in parts:
            self.given.pop(part, None)
        self._record(Action.UNSUBSCRIBED, parts)

    def _record(self, action: Action, parts: list[Part]) -> None:
        numbers = ", ".join(str(number) for _, number in sorted(parts)) or "none"
        self._client.options.trace.record(
            self.name,
            action,
            channel=self._stream.name,
            detail=f"rebalance: partitions {numbers}",
        )


def group_names(client: KafkaClient, topic: str) -> set[str]:
    """The groups of a topic; the mock cluster lists none, so those that this process made."""
    if client.place.mock:
        return set(_made_here(client, topic))
    answer = client.ask(lambda: client.admin.list_consumer_groups().result(client.options.timeout))
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
