"""An asker's end of request/reply: where the replies arrive, in one of AMQP's two ways.

An **exclusive queue** of one's own, which goes with the connection; a reply to one that is gone
comes back. Or RabbitMQ's **direct reply-to**: no queue at all, the reply goes straight to the
channel of the asker. Nothing has to be declared for an asker that comes for one question; in return
a reply for which there is no room or nobody is dropped, so that the responder has to ask first
whether the asker is still there. `connect("amqp://…?replies=direct")` chooses it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

import pika

from labkit.broker import Sent
from labkit.brokers.rabbitmq.channel import Channel
from labkit.brokers.rabbitmq.confirms import Fate, Outgoing
from labkit.brokers.rabbitmq.core import Core
from labkit.brokers.rabbitmq.end import End
from labkit.brokers.rabbitmq.getting import get
from labkit.brokers.rabbitmq.reply import service_queue
from labkit.errors import BrokerRefused, BrokerUnavailable

_INBOX = "labkit.inbox."
_DIRECT = "amq.rabbitmq.reply-to"
_TRANSIENT = pika.BasicProperties(delivery_mode=1)


def open_inbox(core: Core) -> QueueInbox | DirectInbox:
    """In the way that the address of the broker asks for."""
    return DirectInbox(core) if core.direct_replies else QueueInbox(core)


def send_reply(core: Core, address: str, body: bytes) -> bool:
    """Publish to an inbox through the default exchange; False if it is gone.

    Raises:
        BrokerUnavailable: its `sent` tells whether the reply may have arrived.
    """
    direct = address.startswith(f"{_DIRECT}.")
    if not direct and not address.startswith(core.namespace + _INBOX):
        return False  # the address came with a request: it may not name any queue there is
    if direct and not _there(core, address):
        return False
    # RabbitMQ takes a direct address for no queue: a mandatory reply would always come back
    batch = core.send([Outgoing("", address, body, _TRANSIENT, mandatory=not direct)])
    if batch.broken:
        raise batch.failure(core.url)
    return batch.fates[0] is Fate.CONFIRMED


class _Inbox(End):
    """One asker's inbox; the contract is `labkit.broker.ReplyInbox`."""

    address: str

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

    def _look(self, count: int) -> None:
        raise NotImplementedError

    def _sent(self, fate: Fate, told: BrokerUnavailable | BrokerRefused | None) -> Sent:
        if fate is Fate.CONFIRMED:
            return None  # to somebody; RabbitMQ does not say how many there are
        if fate is Fate.RETURNED:
            return 0
        if fate is Fate.REFUSED or isinstance(told, BrokerRefused):
            return told or BrokerRefused("RabbitMQ refused the request (basic.nack).")
        return BrokerUnavailable(str(told), sent=fate is Fate.UNKNOWN)


class QueueInbox(_Inbox):
    """An exclusive queue: it goes when the connection does, which is sooner than its `life`."""

    def __init__(self, core: Core) -> None:
        self.address = f"{core.namespace}{_INBOX}{secrets.token_hex(8)}"
        super().__init__(core, self.address)

    def _leave(self) -> None:
        """Delete the queue."""
        channel = self._core.usable(self._channel)
        if channel is not None:
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

    def _begin(self) -> None:
        queue = self._queue
        with self._opening() as channel:
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


class DirectInbox(_Inbox):
    """Direct reply-to. After a lost connection its address is another one."""

    def __init__(self, core: Core) -> None:
        super().__init__(core, _DIRECT)

    def _leave(self) -> None:
        """Close the channel: whoever replies now learns it."""
        channel = self._core.usable(self._channel)
        if channel is not None:
            channel.close()

    def _look(self, count: int) -> None:  # noqa: ARG002
        """What was sent to the channel before it answers this has arrived then."""
        channel = self._channel
        assert channel is not None
        with self._looking:
            if not self._closed:
                channel.ask(lambda native, done: native.basic_qos(callback=done))

    def _begin(self) -> None:
        self._core.log("basic.consume", queue=_DIRECT, auto_ack=True)
        with self._opening() as channel:
            channel.ask(
                lambda native, done: native.basic_consume(
                    _DIRECT,
                    lambda *delivery: self._arrive(delivery[3]),
                    auto_ack=True,
                    callback=done,
                )
            )
            self.address = _own_address(channel)
        self._channel = channel


def _own_address(channel: Channel) -> str:
    """What RabbitMQ writes in place of the general name, where others can read it: so read it."""
    answer = channel.ask(
        lambda native, done: native.queue_declare("", exclusive=True, callback=done)
    )
    queue: str = answer.method.queue
    seen: list[str] = []
    properties = pika.BasicProperties(delivery_mode=1, reply_to=_DIRECT)
    channel.tell(lambda native: native.basic_publish("", queue, b"", properties))
    get(channel, queue, 1, lambda _, method, said, body: seen.append(said.reply_to))  # noqa: ARG005
    channel.ask(lambda native, done: native.queue_delete(queue, callback=done))
    if not seen:
        raise BrokerRefused("RabbitMQ tells no address for direct replies.")
    return seen[0]


def _there(core: Core, address: str) -> bool:
    """Whether an asker still waits at this direct address."""
    try:
        core.call("queue_declare", address, passive=True)
    except BrokerRefused as error:
        if "404" not in str(error):
            raise
        return False
    return True
