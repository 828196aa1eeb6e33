"""Request/reply on Kafka, which has none: a topic for a service, and one for all replies.

The responders of a service are a consumer group, so that each request goes to one of them. A reply
goes to the topic of replies, into the partition that the inbox reads, with the inbox as its key.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence

import confluent_kafka as ck

from labkit.broker import Sent
from labkit.brokers.kafka import words
from labkit.brokers.kafka.client import SLICE_S, KafkaClient, Part
from labkit.brokers.kafka.member import Member
from labkit.brokers.kafka.names import INTERNAL, to_topic
from labkit.brokers.kafka.presence import Presence, others_serve, presence_of
from labkit.brokers.kafka.producing import Landed, Record, append, send
from labkit.errors import BrokerRefused, BrokerUnavailable, NotConnected

REPLIES = "replies"
JOIN_WAIT_S = 2.0
"""How long a new responder waits for its partitions; another one may have to let go of them."""

_UNTIL = "labkit-until"


class KafkaInbox:
    """One asker's inbox; the contract is `labkit.broker.ReplyInbox`."""

    def __init__(self, client: KafkaClient, life: float) -> None:
        del life  # nothing is kept for an inbox but records, which retention removes
        self._client = client
        topic = _replies(client)
        count = client.ensure(topic)
        self._part: Part = (topic, secrets.randbelow(count))
        self._id = secrets.token_hex(8)
        self.address = f"{self._part[1]}.{self._id}"
        [self._position] = client.ends([self._part]).values()
        self._consumer = client.consumer(f"labkit-inbox-{self._id}", auto_offset_reset="earliest")
        self._consumer.assign([ck.TopicPartition(*self._part, self._position)])
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
            topic = _service(client, service)
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
        headers = {_UNTIL: f"{time.time() + keep:.3f}".encode()}
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
        found: list[bytes] = []
        while True:
            left = max(0.0, deadline - time.monotonic())
            wait_s = min(SLICE_S, left if end is None else SLICE_S)
            with self._lock:
                self._require_open()
                message = self._consumer.poll(0.0 if found else wait_s)
                while message is not None:
                    found += self._take(message)
                    if len(found) >= count:
                        return found
                    message = self._consumer.poll(0.0)
            if found and (end is None or self._position >= end):
                return found
            if (end is None and left <= 0) or (end is not None and self._position >= end):
                return found
            if end is not None and time.monotonic() > deadline + self._client.options.timeout:
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


class KafkaService:
    """One responder's end of a service; the contract is `labkit.broker.Service`."""

    def __init__(self, client: KafkaClient, name: str, responder: str, presence: float) -> None:
        self._client = client
        self._topic = _service(client, name)
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
            if self._member is None:
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
        """Requests for this responder; others wait meanwhile."""
        with self._lock:
            if self._member is None:
                return []
            if not self._ready:
                self._put(self._member.pump(timeout))
            found: list[tuple[Part, int, float, bytes]] = []
            if user.closed:
                return []
            now = time.time()
            offsets: dict[Part, int] = {}
            while self._ready and len(found) < count:
                request = self._ready.popleft()
                offsets[request[0]] = request[1] + 1
                if request[2] >= now:
                    found.append(request)
            if offsets:
                self._member.commit(offsets)
            return [request[3] for request in found]

    def _put(self, messages: list[ck.Message]) -> None:
        for message in messages:
            until = dict(message.headers() or ()).get(_UNTIL, b"inf")
            part = (message.topic(), message.partition())
            body = message.value() or b""
            self._ready.append((part, message.offset(), _seconds(until), body))

    def _lost(self, parts: list[Part]) -> None:
        self._ready = deque(item for item in self._ready if item[0] not in parts)


class ReplyLine:
    """Sends replies to inboxes."""

    def __init__(self, client: KafkaClient) -> None:
        self._client = client

    def send(self, address: str, body: bytes) -> bool | None:
        """Append to the partition that the inbox reads; nobody can know whether it still does."""
        partition, dot, inbox = address.partition(".")
        if not dot or not partition.isdecimal():
            return False
        topic = _replies(self._client)
        if int(partition) >= self._client.ensure(topic):
            return False
        record = Record(topic, body, inbox.encode(), partition=int(partition))
        append(self._client, [record], f"producer.produce({topic!r}, <reply>)")
        return None


def _feed(client: KafkaClient, topic: str) -> _ServiceFeed:
    feed: _ServiceFeed = client.shared(topic, lambda: _ServiceFeed(client, topic))
    return feed


def _service(client: KafkaClient, name: str) -> str:
    return to_topic(client.options.namespace, name, f"{INTERNAL}service.")


def _replies(client: KafkaClient) -> str:
    return to_topic(client.options.namespace, REPLIES, INTERNAL)


def _seconds(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")


__all__ = ["KafkaInbox", "KafkaService", "Presence", "ReplyLine"]
