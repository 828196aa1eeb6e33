"""The broker contract on Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from labkit.broker import (
    Capabilities,
    Capability,
    CommandLog,
    Handover,
    QueueOptions,
    Receipt,
    Support,
)
from labkit.brokers.redis import publishing, queues
from labkit.brokers.redis.client import RedisClient, Reply
from labkit.brokers.redis.log import CAPABILITIES as LOG_CAPABILITIES
from labkit.brokers.redis.log import RedisStream
from labkit.brokers.redis.pubsub import RedisSubscription
from labkit.brokers.redis.queue import RedisQueue
from labkit.brokers.redis.reply import RedisInbox, RedisService, ReplyLine
from labkit.clock import Clock
from labkit.errors import NotSupported
from labkit.options import Options
from labkit.trace import Trace


def open_broker(
    url: str, options: Options, *, on_close: Callable[[], None] | None = None
) -> RedisBroker:
    """Open, and see that somebody answers."""
    client = RedisClient(url, options)
    broker = RedisBroker(client, on_close=on_close)
    try:
        if client.embedded:
            client.probe()
        else:
            client.name = _server_name(client.probe("INFO", "server"))
    except BaseException:
        client.close()
        raise
    return broker


class RedisBroker:
    """Redis, Valkey or fakeredis. Made by `labkit.connect`."""

    def __init__(self, client: RedisClient, *, on_close: Callable[[], None] | None = None) -> None:
        self._client = client
        self._on_close = on_close
        self._replies = ReplyLine(client)

    @property
    def name(self) -> str:
        """What it is, with its version."""
        return self._client.name

    @property
    def url(self) -> str:
        """Where it is, without the password."""
        return self._client.url

    @property
    def embedded(self) -> bool:
        """True for fakeredis in this process."""
        return self._client.embedded

    @property
    def namespace(self) -> str:
        """The prefix on every name, "" for none."""
        return self._client.options.namespace

    @property
    def native(self) -> Any:
        """redis-py's client: a `redis.Redis` (for the embedded broker, a `fakeredis.FakeRedis`)."""
        return self._client.native

    @property
    def clock(self) -> Clock:
        """The clock of time stamps, pauses and back-off."""
        return self._client.options.clock

    @property
    def trace(self) -> Trace:
        """What happened over this broker."""
        return self._client.options.trace

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, and why."""
        return _capabilities("the embedded broker" if self.embedded else self.name, self.embedded)

    def commands(self, last: int = 20) -> CommandLog:
        """The last commands that labkit sent to Redis, as one would type them into redis-cli."""
        return CommandLog(self._client.commands(last))

    def ping(self) -> None:
        """Ask whether it is there; a server that does not answer is given up within a second."""
        self._client.probe()

    def publish(self, channel: str, body: bytes) -> Receipt:
        """PUBLISH one body."""
        reply = self._client.call("PUBLISH", self.namespace + channel, body)
        return Receipt(channel, int(reply))

    def publish_many(self, items: Sequence[tuple[str, bytes]]) -> list[Receipt]:
        """PUBLISH many bodies; `publishing` says how."""
        return publishing.publish_many(self._client, items)

    def open_subscription(self) -> RedisSubscription:
        """A new listener, on a connection of its own."""
        return RedisSubscription(self._client)

    def open_queue(self, name: str, options: QueueOptions) -> RedisQueue:
        """The queue of that name, on streams or lists as `options` say."""
        return queues.open_queue(self._client, name, options)

    def handover(self) -> Handover:
        """How another process opens it, the password included."""
        if self.embedded:
            raise NotSupported(
                "The embedded broker is Python in this process, and no other process can reach "
                "it. Start a server with 'labkit up' and connect to that, or use threads."
            )
        options = self._client.options
        names = ("namespace", "username", "password", "database", "timeout", "connect_timeout")
        given = {name: getattr(options, name) for name in (*names, "tls_ca")}
        return Handover("labkit.connection:connect", {"url": self._client.address, **given})

    def open_inbox(self, life: float) -> RedisInbox:
        """A list for replies, and a key that says that it is open."""
        return RedisInbox(self._client, life)

    def open_service(self, name: str, responder: str, presence: float) -> RedisService:
        """An entry among the service's responders, and a connection that takes its requests."""
        return RedisService(self._client, name, responder, presence)

    def send_reply(self, address: str, body: bytes) -> bool:
        """RPUSH to an inbox; False if it is closed or forgotten."""
        return self._replies.send(address, body)

    def open_stream(self, name: str) -> RedisStream:
        """The stream of that name, as Redis' own clients see it."""
        return RedisStream(self._client, name)

    def close(self) -> None:
        """Let go of every connection, and of a server that `connect` started."""
        try:
            self._client.close()
        finally:
            if self._on_close is not None:
                self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        space = f", namespace {self.namespace!r}" if self.namespace else ""
        return f"<{self.name} at {self.url}{space}>"


def _server_name(reply: Reply) -> str:
    """What it calls itself: "Redis 7.0.15", "Valkey 9.0.1"."""
    if not isinstance(reply, bytes):
        return "Redis, or a stand-in that does not tell"
    facts = dict(line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)
    if "valkey_version" in facts:
        return f"Valkey {facts['valkey_version']}"
    return f"Redis {facts.get('redis_version', '')}".strip()


def _capabilities(name: str, embedded: bool) -> Capabilities:
    native, absent = Support.NATIVE, Support.ABSENT
    return Capabilities(
        name,
        [
            Capability(
                "publish/subscribe", native, "PUBLISH writes to all who are subscribed now."
            ),
            Capability("patterns", native, "PSUBSCRIBE takes globs; * also matches dots."),
            Capability(
                "batches", native, "Many PUBLISH commands go in one round trip (a pipeline)."
            ),
            Capability(
                "confirmed subscription",
                native,
                "Redis answers each SUBSCRIBE; labkit waits for it.",
            ),
            Capability(
                "order across channels",
                native,
                "One server writes to a subscriber in the order in which it was published.",
            ),
            Capability(
                "subscriber count",
                native,
                "PUBLISH answers how many subscriptions it wrote to at that moment.",
            ),
            Capability(
                "databases apart",
                absent,
                "Pub/Sub ignores the database number; use a namespace.",
            ),
            *queues.CAPABILITIES,
            *LOG_CAPABILITIES,
            Capability(
                "request/reply",
                Support.EMULATED,
                "Redis has no reply-to; labkit takes a list for a service and one for an inbox.",
            ),
            Capability(
                "requests in order",
                native,
                "A list is taken from in the order in which it was filled.",
            ),
            Capability(
                "closed inbox known",
                Support.EMULATED,
                "An inbox has a key that says that it is open; a script looks before it replies.",
            ),
            Capability(
                "nobody serves, known at once",
                Support.EMULATED,
                "Responders renew an entry that expires; one that died counts until then.",
            ),
            Capability(
                "replay for late subscribers",
                absent,
                "Redis Pub/Sub keeps nothing; a stream does (lab 06).",
            ),
            Capability(
                "delivery receipts",
                absent,
                "PUBLISH counts the subscriptions it wrote to, not who read the message.",
            ),
            Capability(
                "cut-off of slow subscribers",
                absent if embedded else native,
                "The embedded broker's buffers have no bound."
                if embedded
                else "Redis closes a connection whose output buffer passes "
                "client-output-buffer-limit.",
            ),
        ],
    )
