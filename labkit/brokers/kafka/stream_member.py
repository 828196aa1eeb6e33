"""A member of a stream's group: polls its partitions, and commits how far it has got."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import confluent_kafka as ck

from labkit.broker import Committed, Cursor, Given, Position
from labkit.brokers.kafka.capabilities import refuse
from labkit.brokers.kafka.client import SLICE_S, KafkaClient, Part
from labkit.brokers.kafka.member import Member
from labkit.brokers.kafka.settings import session_s
from labkit.brokers.kafka.stream_rows import behind, entries, position
from labkit.errors import NotConnected
from labkit.trace import Action

if TYPE_CHECKING:
    from labkit.brokers.kafka.stream import KafkaStream

LONGEST_SILENCE_S = 300.0
"""So long may a member work on what it was given; then its partitions go to others."""

FIRST_JOIN_S = 3.0
"""How long the first poll without a time-out waits to be given partitions."""


class KafkaMember:
    """One member; the contract is `labkit.broker.GroupMember`. It belongs to one thread."""

    def __init__(self, client: KafkaClient, group: str, stream: KafkaStream, name: str) -> None:
        self._client = client
        self._stream = stream
        self.name = name
        self.closed = False
        self._missed_at = math.inf  # of a crashed one
        self.given: dict[Part, int] = {}  # the offset behind what it was given
        self._committed: dict[Part, int] = {}
        self._ready: deque[ck.Message] = deque()
        self._open: dict[Part, deque[int]] = {}  # given and not committed
        self._waited = False
        client.log(f"consumer.subscribe({[stream.topic]!r})  # group.id={group!r}")
        self._member = Member(
            client,
            group,
            [stream.topic],
            name=f"{name}/{client.name}",
            longest_silence=LONGEST_SILENCE_S,
            given=self._come,
            taken=self._go,
        )

    @property
    def counts(self) -> bool:
        """Whether Kafka takes it for a member: not once it has left, or is missed."""
        return time.monotonic() < self._missed_at and (not self.closed or self.crashed)

    @property
    def crashed(self) -> bool:
        """Whether it fell silent without leaving."""
        return self._missed_at < math.inf

    @property
    def parts(self) -> list[Part]:
        """Its partitions; those of a crashed one until it is missed."""
        return self._member.parts if self.counts else []

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
        taken = [self._ready.popleft() for _ in range(min(count, len(self._ready)))]
        for message in taken:
            part, offset = (message.topic(), message.partition()), message.offset()
            self._open.setdefault(part, deque()).append(offset)
            self.given[part] = offset + 1
        return Given(entries(taken))

    def commit(self, cursor: Cursor) -> Committed:
        """Commit the offsets; entries of partitions that others have now come too late."""
        offsets: dict[Part, int] = {}
        counts: dict[Part, list[int]] = {}
        for part, open_ in self._open.items():
            upto = behind(cursor, part)
            done = [offset for offset in open_ if offset < upto]
            if done:
                counts[part] = done
                offsets[part] = done[-1] + 1
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

    def crash(self) -> None:
        """Die as a killed process does; its partitions go to others when its session has ended."""
        if not self.closed:
            self.closed = True
            self._missed_at = time.monotonic() + session_s(mock=self._client.place.mock)
            self._member.crash()

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
        kept = [m for m in self._ready if (m.topic(), m.partition()) not in parts]
        self._ready.clear()  # the same deque: a pump that is under way will add to it
        self._ready.extend(kept)
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
