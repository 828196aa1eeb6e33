"""Subscriptions: a queue of one's own, bound to the topic exchange of all channels."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

import pika

from labkit.broker import Gap, Mark, Polled, Unsubscribed
from labkit.brokers.rabbitmq.arrivals import PREFETCH, Arrivals, Name, matching
from labkit.brokers.rabbitmq.channel import Channel
from labkit.brokers.rabbitmq.confirms import Fate, Outgoing
from labkit.brokers.rabbitmq.core import HEARTBEAT_S, Core
from labkit.brokers.rabbitmq.names import binding_key, check_names
from labkit.brokers.rabbitmq.publishing import exchange_of
from labkit.errors import BrokerRefused, BrokerUnavailable, NotConnected

_LONGEST_WAIT_S = 0.25
_MARK = "labkit.mark"


@dataclass
class _Loss:
    """An interruption that lasts."""

    gap: Gap
    reason: str
    next_try_at: float
    attempts: int = 0


class RabbitSubscription:
    """One listener; the contract is `labkit.broker.Subscription`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._queue = f"{core.namespace}labkit.subscription.{secrets.token_hex(8)}"
        self._names: dict[Name, int] = {}  # with the number of the last change
        self._changes = 0
        self._marks = 0
        self._arrivals = Arrivals()
        self._changed = self._arrivals.changed
        self._loss: _Loss | None = None
        self._closed = False
        self._channel: Channel | None = None
        self._begin()

    @property
    def connected(self) -> bool:
        """Whether RabbitMQ could be heard at the last look."""
        return self._loss is None and not self._closed

    def add(self, *names: str, pattern: bool = False, timeout: float | None = None) -> None:
        """Subscribe: bind the queue; returns once RabbitMQ has confirmed every binding."""
        check_names(names)
        self._require_open()
        before = dict(self._names)
        for name in names:
            self._changes += 1
            self._names[name, pattern] = self._changes
        try:
            self._carry_out("SUBSCRIBE", names, pattern, timeout)
        except BaseException:
            self._names = before
            raise

    def remove(self, *names: str, pattern: bool = False, timeout: float | None = None) -> None:
        """Unsubscribe: unbind; what was published before still comes first."""
        check_names(names)
        self._require_open()
        left = [(name, self._names.get((name, pattern), 0)) for name in names]
        keys = {self._key((name, pattern)) for name in names}
        others = [name for name in self._names if name not in {(one, pattern) for one in names}]
        useless = keys - {self._key(name) for name in others}
        self._until_connected("UNSUBSCRIBE", names, timeout)
        for key in sorted(useless):
            self._bind(key, away=True)
        for name, change in left:
            self._note(f"-{change:d}.{int(pattern)}.{name}")

    def mark(self) -> int:
        """Ask for a `Mark`: a message to our own queue, behind what is in it."""
        self._require_open()
        if self._loss is not None or not self._names or self._core.blocked is not None:
            return 0
        self._marks += 1
        try:
            routed = self._note(f"mark {self._marks}")
        except (BrokerUnavailable, BrokerRefused):
            return 0
        return self._marks if routed else 0

    def poll(self, timeout: float = 0.0) -> Polled | None:
        """The next message, gap or mark; None if nothing comes within `timeout` seconds."""
        things = self.poll_many(timeout, 1)
        return things[0] if things else None

    def poll_many(self, timeout: float = 0.0, limit: int = 1_000) -> list[Polled]:
        """What arrived, at most `limit` things; what is no `Received` is the last of its list."""
        deadline = time.monotonic() + timeout
        while True:
            self._require_open()
            things = self._taken(limit)
            left = deadline - time.monotonic()
            if things:
                return things
            if self._loss is not None:
                self._recover(self._loss, max(0.0, min(left, _LONGEST_WAIT_S)))
                if left <= 0 and not self._arrivals:
                    return []
                continue
            if left <= 0:
                return []
            with self._changed:
                if not self._arrivals and self._loss is None and not self._closed:
                    self._changed.wait(min(left, _LONGEST_WAIT_S))

    def close(self) -> None:
        """Close the channel; the queue goes with it. Closing twice is fine."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._leave()

    def _leave(self) -> None:
        channel = self._core.usable(self._channel)
        if channel is not None:
            channel.tell(lambda native: native.queue_delete(self._queue))
            channel.close()

    # --- bindings -----------------------------------------------------------------------------

    @staticmethod
    def _key(name: Name) -> str:
        return binding_key(name[0]) if name[1] else name[0]

    def _carry_out(
        self, what: str, names: tuple[str, ...], pattern: bool, timeout: float | None
    ) -> None:
        if self._loss is None and self._channel is not None:
            try:
                for name in names:
                    self._bind(self._key((name, pattern)))
                return
            except BrokerUnavailable:
                pass  # coming back binds all names
        self._until_connected(what, names, timeout)
        for name in names:
            self._bind(self._key((name, pattern)))

    def _until_connected(self, what: str, names: tuple[str, ...], timeout: float | None) -> None:
        within = self._core.options.timeout if timeout is None else timeout
        deadline = time.monotonic() + within
        while self._loss is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise BrokerUnavailable(
                    f"{what} {', '.join(names)}: no confirmation from {self._core.url} within "
                    f"{within:g} s. {self._loss.reason}",
                    sent=True,
                )
            self._recover(self._loss, min(left, _LONGEST_WAIT_S))

    def _bind(self, key: str, *, away: bool = False) -> None:
        assert self._channel is not None
        exchange, queue = exchange_of(self._core), self._queue
        method = "queue.unbind" if away else "queue.bind"
        self._core.log(method, queue=queue, exchange=exchange, routing_key=key)

        def ask(native: Any, done: Any) -> None:
            change = native.queue_unbind if away else native.queue_bind
            change(queue, exchange, key, callback=done)

        self._channel.ask(ask)

    def _note(self, text: str) -> bool:
        """A message to ourselves, through the default exchange: it stands behind all before it."""
        properties = pika.BasicProperties(type=_MARK, delivery_mode=1)
        batch = self._core.confirms.send([Outgoing("", self._queue, text.encode(), properties)])
        if batch.broken:
            raise batch.failure(self._core.url)
        return batch.fates[0] is Fate.CONFIRMED

    # --- arrivals -----------------------------------------------------------------------------

    def _begin(self) -> None:
        """Declare exchange and queue, and consume."""
        self._core.declare_exchange(exchange_of(self._core), "topic")
        with self._core.opening(self._lose, lambda: not self._closed) as channel:
            self._channel = channel
            self._consume(channel)

    def _consume(self, channel: Channel) -> None:
        queue = self._queue
        self._core.log("queue.declare", queue=queue, exclusive=True, auto_delete=True)
        channel.ask(
            lambda native, done: native.queue_declare(
                queue, exclusive=True, auto_delete=True, callback=done
            )
        )
        channel.ask(lambda native, done: native.basic_qos(prefetch_count=PREFETCH, callback=done))
        for key in sorted({self._key(name) for name in self._names}):
            self._bind(key)
        self._core.log("basic.consume", queue=queue, prefetch=PREFETCH)
        channel.ask(
            lambda native, done: native.basic_consume(
                queue, lambda *delivery: self._arrived(channel, *delivery), callback=done
            )
        )

    def _arrived(self, channel: Channel, _: Any, method: Any, properties: Any, body: bytes) -> None:
        """In the connection's thread."""
        self._arrivals.heard_at = time.monotonic()
        things: list[Polled]
        if not method.exchange and properties.type == _MARK:
            things = self._read_note(body.decode())
        else:
            things = matching(tuple(self._names), method.routing_key, body)
        with self._changed:
            if channel is self._channel:
                self._arrivals.add(things, method.delivery_tag)

    def _read_note(self, text: str) -> list[Polled]:
        if text.startswith("mark "):
            return [Mark(int(text[5:]))]
        change, pattern, name = text[1:].split(".", 2)
        if self._names.get((name, bool(int(pattern)))) == int(change):  # not added again meanwhile
            del self._names[name, bool(int(pattern))]
        return [Unsubscribed(name, bool(int(pattern)))]

    def _taken(self, limit: int) -> list[Polled]:
        things, last = self._arrivals.take(limit)
        channel = self._channel
        if last and channel is not None:
            channel.acknowledge(last, multiple=True)
        return things

    def _require_open(self) -> None:
        if self._closed:
            raise NotConnected("This subscription is closed. Open a new one.")
        self._core.require_open()

    # --- losses -------------------------------------------------------------------------------

    def _lose(self, why: str) -> None:
        """In the connection's thread."""
        now = time.monotonic()
        with self._changed:
            if self._closed or self._loss is not None:
                return
            gap = Gap(
                channels=tuple(sorted({name for name, _ in tuple(self._names)})),
                started=self._core.options.clock.now(),
                ended=None,
                silent_s=min(now - self._arrivals.heard_at, 2.0 * HEARTBEAT_S),
                reason=why,
            )
            self._loss = _Loss(gap, why, now)
            self._arrivals.lose(gap if gap.channels else None)

    def _recover(self, loss: _Loss, timeout: float) -> None:
        """Wait for the next attempt's time, at most `timeout`, then declare and bind anew."""
        pause = loss.next_try_at - time.monotonic()
        if pause > timeout:
            time.sleep(timeout)
            return
        time.sleep(max(0.0, pause))
        earlier = self._arrivals.set_aside()
        try:
            self._begin()
        except (BrokerUnavailable, BrokerRefused) as error:
            self._arrivals.put_back(earlier)
            loss.reason = str(error)
            loss.attempts += 1
            wait = self._core.options.reconnect.wait(loss.attempts)
            loss.next_try_at = time.monotonic() + wait
            return
        with self._changed:
            if self._channel is None or self._channel.lost is not None:  # again, just now
                self._arrivals.put_back(earlier)
                return
            self._loss = None
            ended = replace(loss.gap, ended=self._core.options.clock.now())
            self._arrivals.resume(earlier, ended if loss.gap.channels else None)
            closed = self._closed
        if closed:  # by another thread, which knew nothing of this channel
            self._leave()
