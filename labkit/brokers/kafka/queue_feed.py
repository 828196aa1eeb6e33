"""What a lab has read of a queue: its one member of the group, and who holds which task.

A consumer group gives partitions to members, not tasks to workers. So that a lab may have more
workers than partitions, and each may be done in any order, all workers of a lab share one member.
What is committed is the prefix: the first offset of each partition that is not done yet.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import confluent_kafka as ck

from labkit.broker import Delivery
from labkit.brokers.kafka import queue_record, words
from labkit.brokers.kafka.client import KafkaClient, Part
from labkit.brokers.kafka.member import Member
from labkit.brokers.kafka.queue_record import Item
from labkit.errors import BrokerUnavailable


class _Ledger:
    """One partition: what was read and is not committed, in order."""

    def __init__(self) -> None:
        self.open: deque[int] = deque()
        self.done: set[int] = set()
        self.next = 0

    def read(self, offset: int) -> bool:
        """A record has come; False if it was here already."""
        if offset < self.next:
            return False
        self.open.append(offset)
        self.next = offset + 1
        return True

    def prefix(self, done: Iterable[int]) -> int | None:
        """What to commit if these are done, too; None if the prefix stays as it is."""
        more = set(done)
        for offset in self.open:
            if offset not in self.done and offset not in more:
                return offset if offset != self.open[0] else None
        return self.next if self.open else None

    def finish(self, done: Iterable[int]) -> None:
        """These are done, and committed as far as they can be."""
        self.done.update(done)
        while self.open and self.open[0] in self.done:
            self.done.discard(self.open.popleft())

    def reached(self, end: int) -> int:
        """What to commit if all before `end` is done, too."""
        left = (offset for offset in self.open if offset >= end and offset not in self.done)
        return next(left, max(end, self.next))

    def skip_to(self, offset: int) -> None:
        """All before it is committed."""
        self.finish([each for each in self.open if each < offset])
        self.next = max(self.next, offset)


class QueueFeed:
    """Shared by all `KafkaQueue`s of one name in a lab."""

    def __init__(self, client: KafkaClient, group: str, topics: Sequence[str]) -> None:
        self._client = client
        self._group = group
        self._topics = topics
        self._member: Member | None = None
        self._told = False
        self._ledgers: dict[Part, _Ledger] = {}
        self._ready: deque[Item] = deque()
        self._later: list[tuple[float, int, Item]] = []
        self._held: dict[str, tuple[str, Item]] = {}  # by tag: worker and task
        self._serial = itertools.count(1)
        self.leases: dict[str, float] = {}  # by worker: when it ends
        self.lock = threading.RLock()
        self._pumping = threading.Lock()
        self._committing = threading.Lock()  # never taken by what serves a rebalance
        self._news = threading.Condition()

    # --- reading ------------------------------------------------------------------------------

    def join(self, longest_silence: float) -> None:
        """Be a member, from the first worker on."""
        with self.lock:
            if self._member is None:
                self._forget()
                self._told = False
                self._member = Member(
                    self._client,
                    self._group,
                    self._topics,
                    name=self._client.name,
                    longest_silence=longest_silence,
                    given=self._given,
                    taken=self._taken,
                )

    def tell_joined(self) -> None:
        """Show, once, how the group was joined."""
        if not self._told:
            self._told = True
            self._client.log(f"consumer.subscribe({self._topics!r})  # group.id={self._group!r}")

    def leave_if_idle(self) -> None:
        """Without workers and tasks in hand, the partitions are for others."""
        with self.lock:
            member = self._member
            if member is None or self.leases or self._held:
                return
            self._member = None
            self._forget()
        member.close()

    def pump(self, timeout: float) -> None:
        """Serve the group and take in what comes; one thread does it for all."""
        if not self._pumping.acquire(blocking=False):
            with self._news:
                self._news.wait(min(timeout, 0.02) or 0.001)
            return
        try:
            member = self._member
            if member is None:
                return
            messages = member.pump(timeout)
            with self.lock:
                if self._member is member:  # else it has left: others are given these
                    for message in messages:
                        self._put(message)
        finally:
            self._pumping.release()
            with self._news:
                self._news.notify_all()

    def has_read(self, ends: dict[Part, int]) -> bool:
        """Whether all that is ours up to there is here."""
        with self.lock:
            return self._member is None or self._member.has_read(ends)

    def waiting(self, now: float) -> int:
        """How many tasks are here for whoever asks; those whose time has come are among them."""
        with self.lock:
            while self._later and self._later[0][0] <= now:
                self._ready.append(heapq.heappop(self._later)[2])
            return len(self._ready)

    # --- tasks in hand ------------------------------------------------------------------------

    def hand_out(self, worker: str, count: int) -> list[Delivery]:
        """The oldest ones that are ready."""
        found: list[Delivery] = []
        with self.lock:
            while self._ready and len(found) < count:
                item = self._ready.popleft()
                tag = f"{item.part[1]}:{item.offset}:{next(self._serial)}"
                self._held[tag] = (worker, item)
                found.append(item.delivery(worker, tag))
        return found

    def held(self, delivery: Delivery) -> Item | None:
        """The task, if this delivery of it still counts."""
        with self.lock:
            worker, item = self._held.get(delivery.tag, ("", None))
            return item if worker == delivery.worker else None

    def held_by(self, workers: Iterable[str]) -> list[Delivery]:
        """All that these workers hold."""
        names = set(workers)
        with self.lock:
            return [
                item.delivery(worker, tag)
                for tag, (worker, item) in self._held.items()
                if worker in names
            ]

    def give_back(self, delivery: Delivery) -> bool:
        """As if never taken; False if it is not in that worker's hands."""
        with self.lock:
            item = self.held(delivery)
            if item is None:
                return False
            del self._held[delivery.tag]
            self._ready.append(item)
            return True

    def done(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Commit; False for each that is not in that worker's hands any more.

        Raises:
            BrokerUnavailable: nothing is changed here; it may be committed.
        """
        # what the others have done must be known to whoever commits next
        if not self._committing.acquire(timeout=self._client.options.timeout):
            reason = "an earlier commit has no answer yet"
            shown = words.unreachable(self._client.place.shown, reason, sent=True)
            raise BrokerUnavailable(shown, sent=True)
        try:
            return self._commit(deliveries)
        finally:
            self._committing.release()

    def _commit(self, deliveries: Sequence[Delivery]) -> list[bool]:
        with self.lock:
            ours = [self.held(delivery) for delivery in deliveries]
            by_part: dict[Part, list[int]] = {}
            for item in ours:
                if item is not None:
                    by_part.setdefault(item.part, []).append(item.offset)
            offsets = {}
            ledgers = {part: self._ledgers[part] for part in by_part}
            for part, done in by_part.items():
                reached = ledgers[part].prefix(done)
                if reached is not None:
                    offsets[part] = reached
            member = self._member
        if offsets and (member is None or not member.commit(offsets)):
            return [False] * len(deliveries)  # others have them; the rebalance takes them away
        with self.lock:
            answers = [
                item is not None and tag.tag in self._held
                for item, tag in zip(ours, deliveries, strict=True)
            ]
            for part, done in by_part.items():
                if self._ledgers.get(part) is ledgers[part]:  # else it was read anew
                    ledgers[part].finish(done)
            for delivery in deliveries:
                self._held.pop(delivery.tag, None)
        return answers

    def in_hand(self, topic: str) -> tuple[int, int]:
        """Of one topic: tasks in workers' hands, and tasks done whose commit must wait."""
        with self.lock:
            held = sum(item.part[0] == topic for _, item in self._held.values())
            done = sum(len(log.done) for part, log in self._ledgers.items() if part[0] == topic)
            return held, done

    def skip_to(self, ends: dict[Part, int]) -> bool:
        """Forget all up to there, and commit that; False if we are no member."""
        with self._pumping, self._committing:
            with self.lock:
                member, ledgers = self._member, dict(self._ledgers)
                if member is None or not ledgers.keys() >= ends.keys():
                    return False
                offsets = {part: ledgers[part].reached(end) for part, end in ends.items()}
            if not member.commit(offsets):
                return False
            with contextlib.suppress(ck.KafkaException, RuntimeError):
                member.seek(offsets)  # what it reads nevertheless, the ledger refuses
            with self.lock:
                self._drop(offsets)
                for part, offset in offsets.items():
                    ledgers[part].skip_to(offset)
            return True

    # --- inside -------------------------------------------------------------------------------

    def _put(self, message: ck.Message) -> None:
        item = queue_record.read(message)
        with self.lock:
            ledger = self._ledgers.setdefault(item.part, _Ledger())
            if not ledger.read(item.offset):
                return
            if item.due:
                heapq.heappush(self._later, (item.due, next(self._serial), item))
            else:
                self._ready.append(item)

    def _given(self, parts: list[Part]) -> None:
        with self.lock:
            for part in parts:
                self._ledgers[part] = _Ledger()

    def _taken(self, parts: list[Part]) -> None:
        """Other members have these now: what is in hand will be done by them, too."""
        with self.lock:
            self._drop(dict.fromkeys(parts, math.inf))
            for part in parts:
                self._ledgers.pop(part, None)

    def _drop(self, ends: Mapping[Part, float]) -> None:
        """Nobody is given what is before these offsets, and nobody holds it."""

        def stays(item: Item) -> bool:
            return item.offset >= ends.get(item.part, 0)

        self._ready = deque(filter(stays, self._ready))
        self._later = [entry for entry in self._later if stays(entry[2])]
        heapq.heapify(self._later)
        self._held = {tag: held for tag, held in self._held.items() if stays(held[1])}

    def _forget(self) -> None:
        self._ready.clear()
        self._later.clear()
        self._held.clear()
        self._ledgers.clear()


def feed_of(client: KafkaClient, group: str, topics: Sequence[str]) -> QueueFeed:
    """The one of this lab."""
    make: Callable[[], QueueFeed] = lambda: QueueFeed(client, group, topics)  # noqa: E731
    found: QueueFeed = client.shared(group, make)
    return found
