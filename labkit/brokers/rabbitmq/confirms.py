"""Publishing with confirms: what became of each message is known, message by message.

RabbitMQ answers each message, when it has it, with an ack, or with a nack where it refuses it (a
full queue). One that was `mandatory` and fits to no queue comes back first. Many are on their way
at a time: the answers of a batch take one round trip, not one each. If the connection breaks, those
without an answer are the uncertain ones, and no others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import pika
from pika import frame, spec

from labkit.brokers.rabbitmq import words
from labkit.brokers.rabbitmq.channel import Channel
from labkit.brokers.rabbitmq.line import Line
from labkit.errors import BrokerRefused, BrokerUnavailable

CHUNK = 500
"""Messages that are handed to the connection's thread at once."""

AHEAD = 4
"""Chunks that are on their way at a time: more would only fill buffers."""

_LOOK_S = 0.25
_METHODS_KEPT = 1_000


class Outgoing(NamedTuple):
    """One message on its way."""

    exchange: str
    key: str
    body: bytes
    properties: pika.BasicProperties
    mandatory: bool = True


class Fate(IntEnum):
    """What became of a message."""

    UNSENT = 0
    UNKNOWN = 1
    CONFIRMED = 2
    RETURNED = 3
    REFUSED = 4


@dataclass(slots=True)
class Batch:
    """What became of some messages, in order; `reason` says why not all were answered."""

    fates: list[Fate]
    reason: str | None = None
    error: BrokerRefused | None = None
    open: int = 0
    answered: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def having(self, *fates: Fate) -> list[int]:
        """The positions of those that ended so."""
        return [index for index, fate in enumerate(self.fates) if fate in fates]

    @property
    def broken(self) -> bool:
        """Whether one of them has no answer."""
        return any(fate in (Fate.UNSENT, Fate.UNKNOWN) for fate in self.fates)

    def failure(self, url: str) -> BrokerUnavailable | BrokerRefused:
        """Of a batch that broke: the error of its one message."""
        if self.error is not None:
            return self.error
        sent = any(fate is Fate.UNKNOWN for fate in self.fates)
        told = f"{self.reason} ({url})" if self.reason else f"No confirm from {url}."
        return BrokerUnavailable(told, sent=sent)


class Confirms:
    """A channel in confirm mode, opened again when it is needed and gone.

    Args:
        line: gives the connection to publish on.
        patience: seconds to wait for the next answer; an alarm's time does not count.
    """

    def __init__(self, line: Callable[[], Line], patience: float) -> None:
        self._line = line
        self._patience = patience
        self._lock = threading.Lock()
        self._channel: _ConfirmChannel | None = None

    def send(self, items: Sequence[Outgoing]) -> Batch:
        """Publish, and wait for the answers.

        Returns:
            what became of each. Nothing is raised for what broke: the batch knows.
        """
        batch = Batch([Fate.UNSENT] * len(items))
        try:
            channel = self._open()
        except BrokerUnavailable as error:
            batch.reason = str(error)
            return batch
        started = 0
        while started < len(items) and channel.lost is None:
            if not self._until(batch, channel, CHUNK * (AHEAD - 1)):
                return self._abandon(batch, channel)
            chunk = range(started, min(len(items), started + CHUNK))
            channel.publish(batch, items, chunk)
            started = chunk.stop
        if not self._until(batch, channel, 0):
            return self._abandon(batch, channel)
        if batch.broken:
            batch.reason, batch.error = channel.lost, channel.error
        return batch

    def close(self) -> None:
        """Close the channel."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _open(self) -> _ConfirmChannel:
        channel = self._channel
        if channel is not None and channel.lost is None:
            return channel
        with self._lock:
            if self._channel is None or self._channel.lost is not None:
                self._channel = _ConfirmChannel(self._line(), self._patience)
            return self._channel

    def _until(self, batch: Batch, channel: _ConfirmChannel, left: int) -> bool:
        """Wait until at most so many have no answer. False: no answer came for too long."""
        answered, deadline = -1, 0.0
        with batch.changed:
            while batch.open > left:
                if batch.answered != answered or channel.line.blocked is not None:
                    answered = batch.answered
                    deadline = time.monotonic() + self._patience
                elif time.monotonic() > deadline:
                    return False
                batch.changed.wait(_LOOK_S)
        return True

    def _abandon(self, batch: Batch, channel: _ConfirmChannel) -> Batch:
        """Its late answers are not waited for, and would be taken for others' if it were used."""
        batch.reason = f"RabbitMQ did not confirm within {self._patience:g} s."
        with self._lock:
            if self._channel is channel:
                self._channel = None
        channel.drop()
        return batch


class _ConfirmChannel(Channel):
    """The channel, and who waits for what."""

    def __init__(self, line: Line, patience: float) -> None:
        self._next = 1
        self._open: dict[int, tuple[Batch, int, Outgoing]] = {}
        self._methods: dict[tuple[str, str, bool], bytes] = {}
        super().__init__(
            line,
            patience,
            on_lost=lambda _: self._lose(),
            setup=lambda native: native.add_on_return_callback(self._returned),
        )
        self.ask(lambda native, done: native.confirm_delivery(self._answered, callback=done))

    def publish(self, batch: Batch, items: Sequence[Outgoing], chunk: range) -> None:
        """Hand a part of a batch to the connection's thread, ready to be written in one go."""
        data = b"".join(self._frames(items[index]) for index in chunk)
        with batch.changed:
            batch.open += len(chunk)

        def go() -> None:
            alive = self.lost is None and not self.ended
            for index in chunk:
                if alive:
                    batch.fates[index] = Fate.UNKNOWN
                    self._open[self._next] = (batch, index, items[index])
                    self._next += 1
                else:
                    self._settle_one(batch, index, Fate.UNSENT)
            if alive:
                try:
                    self.line.write(data)
                except Exception as error:  # the connection breaks under us
                    self.connection_lost(words.reason(error))

        try:
            self.write(go)
        except BrokerUnavailable:
            for index in chunk:
                self._settle_one(batch, index, Fate.UNSENT)

    def _frames(self, item: Outgoing) -> bytes:
        """What `basic_publish` would write; pika writes each frame by itself, with a call each."""
        where = (item.exchange, item.key, item.mandatory)
        method = self._methods.get(where)
        number = self.native.channel_number
        if method is None:
            publish = spec.Basic.Publish(
                exchange=item.exchange, routing_key=item.key, mandatory=item.mandatory
            )
            method = frame.Method(number, publish).marshal()
            if len(self._methods) < _METHODS_KEPT:
                self._methods[where] = method
        header = frame.Header(number, len(item.body), item.properties).marshal()
        most = self.native.connection.params.frame_max - spec.FRAME_HEADER_SIZE - 1
        if len(item.body) <= most:
            body = frame.Body(number, item.body).marshal() if item.body else b""
            return bytes(method + header + body)
        parts = (item.body[at : at + most] for at in range(0, len(item.body), most))
        return b"".join([method, header, *(frame.Body(number, one).marshal() for one in parts)])

    def _answered(self, answer: Any) -> None:
        method = answer.method
        fate = Fate.CONFIRMED if method.NAME == "Basic.Ack" else Fate.REFUSED
        tag = method.delivery_tag
        with self.line.wire.guard:
            those = [number for number in self._open if number <= tag] if method.multiple else [tag]
            for one in those:
                self._answer(one, fate)

    def _answer(self, tag: int, fate: Fate) -> None:
        waiting = self._open.pop(tag, None)
        if waiting is None:
            return
        batch, index, _ = waiting
        returned = batch.fates[index] is Fate.RETURNED
        self._settle_one(batch, index, Fate.RETURNED if returned else fate)

    def _returned(self, _: Any, method: Any, __: Any, body: bytes) -> None:
        """They come back in the order in which they were published, before their ack."""
        where = (method.exchange, method.routing_key)
        with self.line.wire.guard:
            for batch, index, item in self._open.values():
                same = (item.exchange, item.key) == where and item.body == body
                if same and batch.fates[index] is not Fate.RETURNED:
                    batch.fates[index] = Fate.RETURNED
                    return

    def _lose(self) -> None:
        with self.line.wire.guard:
            waiting, self._open = self._open, {}
        for batch, index, _ in waiting.values():
            self._settle_one(batch, index, batch.fates[index])  # UNKNOWN, or RETURNED already

    @staticmethod
    def _settle_one(batch: Batch, index: int, fate: Fate) -> None:
        batch.fates[index] = fate
        with batch.changed:
            batch.open -= 1
            batch.answered += 1
            if batch.open <= CHUNK * (AHEAD - 1):
                batch.changed.notify_all()
