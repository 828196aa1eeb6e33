"""A responder's end of request/reply: one queue a service.

A service's queue goes with its last consumer (auto-delete), so that a request published as
`mandatory` comes back at once where nobody serves. A responder consumes with a prefetch of one and
acknowledges when it asks for the next: while it works it is given nothing more. Requests are at
most once: what RabbitMQ delivers again, because somebody died with it, is dropped.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from labkit.brokers.rabbitmq.channel import Channel
from labkit.brokers.rabbitmq.confirms import Outgoing
from labkit.brokers.rabbitmq.core import Core
from labkit.brokers.rabbitmq.end import End
from labkit.brokers.rabbitmq.names import check_short
from labkit.brokers.rabbitmq.sweep import end_consuming
from labkit.errors import BrokerRefused, BrokerUnavailable, LabkitError

LEFT_OVER_MS = 60_000
"""A service's queue that nobody consumes from for so long (a broker that was started anew has it
again, and its responders are gone) is deleted."""

LONGEST_PASS_S = 2.0
"""So long a responder that leaves waits until what it passes on is confirmed."""

_TRIES = 10
_CONSUMER = "service"
"""A consumer's tag, which names it on its channel."""


def service_queue(core: Core, name: str) -> str:
    """Where requests to a service wait."""
    return check_short(f"{core.namespace}labkit.service.{name}", "service")


class RabbitService(End):
    """One responder's end of a service; the contract is `labkit.broker.Service`."""

    def __init__(self, core: Core, name: str, presence: float) -> None:
        self._presence = presence
        self._held: int | None = None  # keeps the consumer's one place taken while we work
        self._passed: list[int] = []  # what came too late, and keeps that place taken, too
        self._passing: list[threading.Thread] = []
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

    def _leave(self) -> None:
        """Cancel the consumer; the last one's queue goes with it.

        First it is cancelled: what a channel has on its way when it is closed would be marked as
        delivered before, and be dropped by the others.
        """
        channel = self._core.usable(self._channel)
        if channel is not None:
            with contextlib.suppress(BrokerUnavailable, BrokerRefused):
                channel.ask(lambda _, done: end_consuming(channel, _CONSUMER, done))
            self._free()
            self._give_back(channel)
            channel.close()

    def abandon(self) -> None:
        """Go without a word: the consumer stays for its presence, and then is missed."""
        if not self._end() or (channel := self._core.usable(self._channel)) is None:
            return

        def vanish() -> None:
            if channel.lost is None:
                end_consuming(channel, _CONSUMER, gone)

        def gone(_: Any) -> None:
            self._forget_passed(channel)
            channel.drop()

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
            channel.acknowledge(tag)

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
            self._pass_on([(method.delivery_tag, properties, body)])
            return
        request = (channel, method.delivery_tag, pushed, method.redelivered, properties, body)
        self._arrive(request)

    def _give_back(self, channel: Channel) -> None:
        """What nobody has asked for yet is for others."""
        with self._changed:
            waiting, self._ready = self._ready, deque()
        self._pass_on([(tag, properties, body) for _, tag, _, _, properties, body in waiting])
        for copies in self._passing:
            copies.join(LONGEST_PASS_S)
        channel.tell(lambda _: self._forget_passed(channel))

    def _pass_on(self, requests: Sequence[tuple[int, Any, bytes]]) -> None:
        """Copies, to another responder, as if these had not come here.

        A requeued one would be marked as delivered before, and be dropped. The originals are
        acknowledged when we have gone: till then they keep our place taken, and no copy can come
        to us. Copies go by the connection that publishes, and nobody waits for them here: while an
        alarm lasts RabbitMQ takes none.
        """
        if not requests:
            return
        copies = [
            Outgoing("", self._queue, body, properties, mandatory=False)
            for _, properties, body in requests
        ]

        def send() -> None:
            with contextlib.suppress(LabkitError):  # requests are at most once
                self._core.send(copies)

        self._passed += (tag for tag, _, _ in requests)
        self._passing.append(threading.Thread(target=send, name="labkit pass on", daemon=True))
        self._passing[-1].start()

    def _forget_passed(self, channel: Channel) -> None:
        for tag in self._passed:
            channel.native.basic_ack(tag)
        self._passed.clear()

    def _begin(self) -> None:
        for left in reversed(range(_TRIES)):
            try:
                with self._opening() as channel:
                    self._consume(channel)
            except BrokerRefused as error:  # 404: the last one has just left, and it with him
                if not left or "404" not in str(error):
                    raise
            else:
                return

    def _consume(self, channel: Channel) -> None:
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
                queue,
                lambda *one: self._come(channel, True, *one),
                consumer_tag=_CONSUMER,
                callback=done,
            )
        )
