"""Request/reply: one queue a service, one exclusive queue an inbox.

A service's queue goes with its last consumer (auto-delete), so that a request published as
`mandatory` comes back at once where nobody serves. A responder consumes with a prefetch of one and
acknowledges when it asks for the next: while it works it is given nothing more. Requests are at
most once: what RabbitMQ delivers again, because somebody died with it, is dropped.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import pika

from labkit.broker import Sent
from labkit.brokers.rabbitmq.channel import Channel
from labkit.brokers.rabbitmq.confirms import Fate, Outgoing
from labkit.brokers.rabbitmq.core import Core
from labkit.brokers.rabbitmq.end import End
from labkit.brokers.rabbitmq.names import check_short
from labkit.errors import BrokerRefused, BrokerUnavailable

LEFT_OVER_MS = 60_000
"""A service's queue that nobody consumes from for so long (a broker that was started anew has it
again, and its responders are gone) is deleted."""

_PASSED = "labkit-passed-on"
_MOST_PASSES = 20
_INBOX = "labkit.inbox."
_TRANSIENT = pika.BasicProperties(delivery_mode=1)


def service_queue(core: Core, name: str) -> str:
    """Where requests to a service wait."""
    return check_short(f"{core.namespace}labkit.service.{name}", "service")


def send_reply(core: Core, address: str, body: bytes) -> bool:
    """Publish to an inbox through the default exchange; False if it came back."""
    if not address.startswith(core.namespace + _INBOX):
        return False  # the address came with a request: it may not name any queue there is
    batch = core.send([Outgoing("", address, body, _TRANSIENT)])
    if batch.broken:
        raise batch.failure(core.url)
    return batch.fates[0] is Fate.CONFIRMED


class RabbitInbox(End):
    """One asker's inbox; the contract is `labkit.broker.ReplyInbox`.

    Its queue is exclusive: it goes when the connection does, which is sooner than its `life`.
    """

    def __init__(self, core: Core) -> None:
        self.address = f"{core.namespace}{_INBOX}{secrets.token_hex(8)}"
        super().__init__(core, self.address)

    def send(self, service: str, bodies: Sequence[bytes], keep: float) -> list[Sent]:
        """Publish to the service's queue, mandatory, with one wait for all confirms."""
        self._require_open()
        properties = pika.BasicProperties(
            delivery_mode=1, reply_to=self.address, expiration=str(max(1, round(keep * 1000)))
        )
        queue = service_queue(self._core, service)
        self._core.log("<request>", service=service, count=len(bodies))
        batch = self._core.send([Outgoing("", queue, body, properties) for body in bodies])
        told = batch.failure(self._core.url) if batch.broken else None
        return [self._sent(fate, told) for fate in batch.fates]

    def poll(self, count: int, timeout: float) -> list[bytes]:
        """At most `count` bodies; waits for the first."""
        self._require_open()
        if not self._ready and timeout <= 0 and self.connected:
            self._look(count)
        self._wait(time.monotonic() + timeout, ready=lambda: bool(self._ready))
        with self._changed:
            return [self._ready.popleft() for _ in range(min(count, len(self._ready)))]

    def close(self) -> None:
        """Delete the queue. Closing twice is fine."""
        channel = self._end()
        if channel is not None and channel.lost is None and not self._core.closed:
            channel.tell(lambda native: native.queue_delete(self._queue))
            channel.close()

    def _look(self, count: int) -> None:
        """See that what is there has arrived: it comes before the answer to a second consumer."""
        channel = self._channel
        assert channel is not None

        def arrive(native: Any, method: Any, _: Any, body: bytes) -> None:
            native.basic_ack(method.delivery_tag)
            self._arrive(body)

        self._sweep(channel, count, arrive)

    def _sent(self, fate: Fate, told: BrokerUnavailable | BrokerRefused | None) -> Sent:
        if fate is Fate.CONFIRMED:
            return None  # to somebody; RabbitMQ does not say how many there are
        if fate is Fate.RETURNED:
            return 0
        if fate is Fate.REFUSED or isinstance(told, BrokerRefused):
            return told or BrokerRefused("RabbitMQ refused the request (basic.nack).")
        return BrokerUnavailable(str(told), sent=fate is Fate.UNKNOWN)

    def _begin(self) -> None:
        channel = self._core.channel(on_lost=self._wake)
        queue = self._queue
        self._core.log("queue.declare", queue=queue, exclusive=True, auto_delete=True)
        channel.ask(
            lambda native, done: native.queue_declare(
                queue, exclusive=True, auto_delete=True, callback=done
            )
        )
        channel.ask(
            lambda native, done: native.basic_consume(
                queue, lambda *delivery: self._arrive(delivery[3]), auto_ack=True, callback=done
            )
        )
        self._channel = channel


class RabbitService(End):
    """One responder's end of a service; the contract is `labkit.broker.Service`."""

    def __init__(self, core: Core, name: str, presence: float) -> None:
        self._presence = presence
        self._held: int | None = None  # keeps the consumer's one place taken while we work
        self._polling = False
        super().__init__(core, service_queue(core, name))

    def poll(self, count: int, timeout: float) -> list[bytes]:
        """At most `count` requests that no other responder gets; waits for the first."""
        deadline = time.monotonic() + timeout
        self._require_open()
        found = self._take(count)
        if found:
            return found
        if timeout <= 0:
            if self.connected:
                self._look(count)
            return self._take(count)
        self._free()
        self._wait(deadline, ready=lambda: bool(self._ready))
        return [] if self._closed else self._take(count)

    def close(self) -> None:
        """Cancel the consumer; the last one's queue goes with it. Closing twice is fine."""
        channel = self._end()
        if channel is not None and channel.lost is None and not self._core.closed:
            self._free()
            self._give_back(channel)
            channel.close()

    def abandon(self) -> None:
        """Go without a word: the consumer stays for its presence, and then is missed."""
        channel = self._end()
        if channel is None:
            return

        def vanish() -> None:
            if channel.lost is None:
                channel.native.close()

        channel.tell(lambda _: channel.line.later(self._presence, vanish))

    def _take(self, count: int) -> list[bytes]:
        """From what has arrived. What is handed out is done with, as far as RabbitMQ cares."""
        found: list[bytes] = []
        with self._changed:
            while self._ready and len(found) < count:
                channel, tag, pushed, redelivered, _, body = self._ready.popleft()
                if channel is not self._channel:
                    continue
                if redelivered:
                    self._acknowledge(tag)
                    continue
                if pushed and self._held is None:
                    self._held = tag
                else:
                    self._acknowledge(tag)
                found.append(body)
        return found

    def _acknowledge(self, tag: int) -> None:
        channel = self._channel
        if channel is not None:
            channel.tell(lambda native: native.basic_ack(tag))

    def _free(self) -> None:
        """The consumer's place is free: RabbitMQ gives the next one."""
        held, self._held = self._held, None
        if held is not None:
            self._acknowledge(held)

    def _look(self, count: int) -> None:
        """What is in the queue now; at the end all that was pushed has arrived, too."""
        channel = self._channel
        assert channel is not None
        self._sweep(channel, count, lambda *one: self._come(channel, False, *one))

    def _come(
        self, channel: Channel, pushed: bool, _: Any, method: Any, properties: Any, body: bytes
    ) -> None:
        """In the connection's thread."""
        if self._closed and pushed:
            self._pass_on(channel, method.delivery_tag, properties, body)
            return
        request = (channel, method.delivery_tag, pushed, method.redelivered, properties, body)
        self._arrive(request)

    def _give_back(self, channel: Channel) -> None:
        """What nobody has asked for yet is for others."""
        with self._changed:
            waiting, self._ready = self._ready, deque()

        def pass_on(_: Any) -> None:
            for _channel, tag, _pushed, _again, properties, body in waiting:
                self._pass_on(channel, tag, properties, body)

        channel.tell(pass_on)

    def _pass_on(self, channel: Channel, tag: int, properties: Any, body: bytes) -> None:
        """In the connection's thread: to another responder, as if it had not come here.

        A requeued one would be marked as delivered before, and be dropped. One that comes back
        again and again finds nobody else: it is kept, and goes with us.
        """
        headers = dict(properties.headers or {})
        passes = headers.get(_PASSED, 0)
        if passes >= _MOST_PASSES:
            return
        properties.headers = headers | {_PASSED: passes + 1}
        channel.native.basic_publish("", self._queue, body, properties)
        channel.native.basic_ack(tag)

    def _begin(self) -> None:
        channel = self._core.channel(on_lost=self._wake)
        queue, self._held = self._queue, None
        arguments = {"x-expires": LEFT_OVER_MS}
        self._core.log("queue.declare", queue=queue, durable=True, auto_delete=True)
        channel.ask(
            lambda native, done: native.queue_declare(
                queue, durable=True, auto_delete=True, arguments=arguments, callback=done
            )
        )
        channel.ask(lambda native, done: native.basic_qos(prefetch_count=1, callback=done))
        self._channel = channel
        self._core.log("basic.consume", queue=queue, prefetch=1)
        channel.ask(
            lambda native, done: native.basic_consume(
                queue, lambda *one: self._come(channel, True, *one), callback=done
            )
        )
