"""Services on Kafka, which has none: a topic for each, and its responders are a consumer group.

So each request goes to one of them.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque

import confluent_kafka as ck

from labkit.brokers.kafka.client import SLICE_S, KafkaClient, Part
from labkit.brokers.kafka.member import Member
from labkit.brokers.kafka.names import service_topic
from labkit.brokers.kafka.presence import presence_of
from labkit.errors import BrokerUnavailable, NotConnected

JOIN_WAIT_S = 2.0
"""How long a new responder waits for its partitions; another one may have to let go of them."""

UNTIL = "labkit-until"
"""The header that says until when somebody waits for the reply, seconds since 1970."""

READ_AHEAD = 1_000
"""Requests read ahead; beyond that the others wait in Kafka."""


class KafkaService:
    """One responder's end of a service; the contract is `labkit.broker.Service`."""

    def __init__(self, client: KafkaClient, name: str, responder: str, presence: float) -> None:
        self._client = client
        self._topic = service_topic(client.options.namespace, name)
        client.ensure(self._topic)
        self._id = f"{responder}/{secrets.token_hex(4)}"
        self._life_s = presence
        self._closed = False
        self._feed = _feed(client, self._topic)
        self._feed.open(self)
        presence_of(client).come(self._topic, self._id)

    @property
    def connected(self) -> bool:
        """Whether the broker could be heard at the last look."""
        return not self._closed and not self._client.down

    def poll(self, count: int, timeout: float) -> list[bytes]:
        """At most `count` requests, committed before they are handed out: at most once."""
        deadline = time.monotonic() + timeout
        ends = None if timeout > 0 else self._feed.ends()
        while True:
            if self._closed:
                raise NotConnected("This responder has left its service. Open it again.")
            self._client.require_open()
            left = max(0.0, deadline - time.monotonic())
            wait_s = min(SLICE_S, left if ends is None else SLICE_S)
            found = self._feed.take(self, count, wait_s)
            if found:
                return found
            if ends is None:
                if left <= 0:
                    return []
            elif self._feed.has_read(ends):
                return self._feed.take(self, count, 0.0)
            elif time.monotonic() > deadline + self._client.options.timeout:
                return []

    def close(self) -> None:
        """This responder goes, and says so. Closing twice is fine."""
        if not self._closed:
            self._closed = True
            presence_of(self._client).go(self._topic, self._id)
            self._feed.close(self)

    def abandon(self) -> None:
        """Go as a process that dies; it is missed after its presence."""
        if not self._closed:
            self._closed = True
            presence_of(self._client).die(self._topic, self._id, self._life_s)
            self._feed.close(self)

    @property
    def closed(self) -> bool:
        """Whether it has gone."""
        return self._closed


class _ServiceFeed:
    """The lab's one member of a service's group, shared by its responders."""

    def __init__(self, client: KafkaClient, topic: str) -> None:
        self._client = client
        self._topic = topic
        self._users: set[int] = set()
        self._member: Member | None = None
        self._ready: deque[tuple[Part, int, float, bytes]] = deque()
        self._lock = threading.RLock()

    def open(self, user: KafkaService) -> None:
        """A responder more; the first joins the group."""
        with self._lock:
            self._users.add(id(user))
            if self._member is not None:
                return
            try:
                self._ready.clear()
                self._client.log(f"consumer.subscribe({[self._topic]!r})")
                self._member = Member(
                    self._client,
                    self._topic,
                    [self._topic],
                    name=self._client.name,
                    longest_silence=300.0,
                    taken=self._lost,
                )
                self._member.wait_joined(JOIN_WAIT_S, self._put)
            except BaseException:  # a member whom nobody polls would keep the requests
                self.close(user)
                raise

    def close(self, user: KafkaService) -> None:
        """A responder less; the last leaves the group."""
        with self._lock:
            self._users.discard(id(user))
            if not self._users and self._member is not None:
                member, self._member = self._member, None
                member.close()
                self._ready.clear()

    def ends(self) -> dict[Part, int] | None:
        """Where the requests end now."""
        try:
            count = self._client.partitions(self._topic)
            return self._client.ends((self._topic, n) for n in range(count))
        except BrokerUnavailable:
            self._client.down = True
            return None

    def has_read(self, ends: dict[Part, int]) -> bool:
        """Whether all up to there has been read."""
        with self._lock:
            return self._member is None or self._member.has_read(ends)

    def take(self, user: KafkaService, count: int, timeout: float) -> list[bytes]:
        """Requests for this responder; others wait meanwhile.

        They leave the row once they are committed, not before.
        """
        with self._lock:
            if self._member is None:
                return []
            self._pump(self._member, 0.0 if self._ready else timeout)
            if user.closed:
                return []
            now = time.time()
            chosen = 0
            found: list[bytes] = []
            offsets: dict[Part, int] = {}
            for part, offset, until, body in self._ready:
                if len(found) >= count:
                    break
                chosen += 1
                offsets[part] = offset + 1
                if until >= now:
                    found.append(body)
            if offsets and not self._member.commit(offsets):
                self._pump(self._member, timeout)  # the rebalance that takes them away
                return []
            for _ in range(min(chosen, len(self._ready))):
                self._ready.popleft()
            return found

    def _pump(self, member: Member, timeout: float) -> None:
        self._put(member.pump(timeout, max(1, READ_AHEAD - len(self._ready))))

    def _put(self, messages: list[ck.Message]) -> None:
        for message in messages:
            until = dict(message.headers() or ()).get(UNTIL, b"inf")
            part = (message.topic(), message.partition())
            body = message.value() or b""
            self._ready.append((part, message.offset(), _seconds(until), body))

    def _lost(self, parts: list[Part]) -> None:
        self._ready = deque(item for item in self._ready if item[0] not in parts)


def _feed(client: KafkaClient, topic: str) -> _ServiceFeed:
    feed: _ServiceFeed = client.shared(topic, lambda: _ServiceFeed(client, topic))
    return feed


def _seconds(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")
