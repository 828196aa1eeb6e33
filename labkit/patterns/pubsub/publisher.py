"""The publisher: sends messages to whoever is listening."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

from labkit.broker import PubSubBroker, Receipt
from labkit.errors import (
    BatchError,
    BrokerRefused,
    BrokerUnavailable,
    ConfigurationError,
    LabkitError,
    NotConnected,
    ValidationError,
    describe,
)
from labkit.message import DEFAULT_MAX_BYTES, Message
from labkit.patterns.pubsub.sequence import message_id
from labkit.patterns.statistics import ErrorRecord, PublisherStatistics, Tally
from labkit.trace import Action

DEFAULT_TYPE = "message"


@dataclass(frozen=True, slots=True)
class PeriodicRun:
    """What a periodic publishing did.

    Attributes:
        sent: messages that went out.
        failed: messages that did not; the publisher's statistics have the errors.
        stopped: True if `stop()` ended it before its count.
        latest_s: by how much the latest message missed its time, in seconds.
    """

    sent: int
    failed: int
    stopped: bool
    latest_s: float


class Publisher:
    """Publishes messages under one sender's name.

    At most once: a message goes to those who are subscribed at that moment, and is not kept. May be
    used from several threads; numbers and messages then leave in the same order.

    Args:
        lab: an open broker, from `labkit.connect()`.
        sender: the name in the messages; default one that is unlikely to meet another.
        max_bytes: largest encoded message.
    """

    def __init__(
        self, lab: PubSubBroker, sender: str | None = None, *, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> None:
        self.sender = f"publisher-{secrets.token_hex(2)}" if sender is None else sender
        if not self.sender or not isinstance(self.sender, str):
            raise ConfigurationError(f"A sender is a non-empty str, got {sender!r}.")
        self._lab = lab
        self._max_bytes = max_bytes
        self._epoch: str | None = None
        self._numbers: Counter[str] = Counter()
        self._tally = Tally()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def connect(self) -> Self:
        """See that the broker answers, and start to number messages.

        Raises:
            BrokerUnavailable: it does not.
        """
        self._lab.ping()
        if self._epoch is None:
            self._epoch = self._lab.clock.new_epoch()
            self._numbers.clear()
            self._lab.trace.record(self.sender, Action.CONNECTED)
        return self

    def disconnect(self) -> None:
        """Stop. The broker stays open: others may use it."""
        self.stop()
        if self._epoch is not None:
            self._epoch = None
            self._lab.trace.record(self.sender, Action.DISCONNECTED)

    def publish(
        self,
        channel: str,
        content: Any,
        *,
        type: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Receipt:
        """Send one message.

        Args:
            channel: where.
            content: any JSON value, or a ready `Message` (then without `type` and `metadata`).
            type: what happened, as `noun.verb`; default "message".
            metadata: facts about the message, beside those that labkit adds.

        Raises:
            ValidationError: the message cannot be sent; nothing was.
            BrokerUnavailable: its `sent` tells whether the message may have arrived.
        """
        with self._lock:
            message, body = self._stamp(channel, content, type, metadata)
            self._record(Action.SENT, channel, message)
            try:
                receipt = self._lab.publish(channel, body)
            except BaseException as error:  # Ctrl+C, too: it may have gone out
                if isinstance(error, BrokerRefused) or getattr(error, "sent", True) is False:
                    self._numbers[channel] -= 1  # the number was not used
                self._failed(channel, message, error)
                raise
            self._accepted(receipt, message, body)
            return receipt

    def publish_multiple(self, items: Iterable[tuple[str, Any]]) -> list[Receipt]:
        """Send many (channel, content) pairs in few round trips, in order.

        Raises:
            BatchError: says which were sent, which were not, and which may have been. If one of
                them cannot be encoded, none is sent.
        """
        given = list(items)  # before the lock: a generator may publish, too
        with self._lock:
            before = self._numbers.copy()
            stamped = self._stamp_all(given, before)
            for channel, message, _ in stamped:
                self._record(Action.SENT, channel, message)
            try:
                receipts = self._lab.publish_many([(c, body) for c, _, body in stamped])
            except BatchError as error:
                self._batch_failed(error, stamped, before)
                raise
            for receipt, (_, message, body) in zip(receipts, stamped, strict=True):
                self._accepted(receipt, message, body)
            return receipts

    def publish_periodic(
        self,
        channel: str,
        make: Any | Callable[[int], Any],
        every: float = 1.0,
        count: int | None = None,
    ) -> PeriodicRun:
        """Send a message every `every` seconds, until `count` are sent or `stop()` is called.

        The times are start + n·every: a late message does not make the next one later. A message
        that fails is counted, and the next one is sent at its time.

        Args:
            channel: where.
            make: the content, or a function from the message's number (from 0) to it.
            every: seconds between two messages.
            count: how many; None for as long as nobody calls `stop()`.
        """
        if every <= 0 or (count is not None and count < 0):
            raise ConfigurationError(
                f"Periodic publishing needs every > 0 seconds and count >= 0, "
                f"got every={every}, count={count}."
            )
        self._require_connected()
        self._stop.clear()
        clock = self._lab.clock
        start_ns = clock.monotonic_ns()
        sent = failed = done = 0
        latest_s = 0.0
        while (count is None or done < count) and not self._stop.is_set():
            due_s = done * every
            early_s = due_s - (clock.monotonic_ns() - start_ns) / 1e9
            if early_s > 0 and clock.wait(early_s, self._stop):
                break
            latest_s = max(latest_s, -early_s)
            try:
                self.publish(channel, make(done) if callable(make) else make)
                sent += 1
            except (BrokerUnavailable, BrokerRefused):
                failed += 1  # counted in the statistics, with the error
            done += 1
        return PeriodicRun(sent, failed, count is None or done < count, latest_s)

    def stop(self) -> None:
        """End a running `publish_periodic`, from another thread or from its own `make`."""
        self._stop.set()

    def stats(self) -> PublisherStatistics:
        """Counts per channel, bytes, rate, errors, up to now."""
        return self._tally.publisher(self.sender)

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *exc: object) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        state = "not connected" if self._epoch is None else f"{self._tally['messages']:,} sent"
        return f"<Publisher {self.sender!r}: {state}>"

    def _require_connected(self) -> str:
        if self._epoch is None:
            raise NotConnected(
                f"Publisher {self.sender!r} is not connected. Call connect() first, or use "
                "'with Publisher(lab) as publisher:'."
            )
        return self._epoch

    def _stamp(
        self, channel: str, content: Any, type: str | None, metadata: dict[str, Any] | None
    ) -> tuple[Message, bytes]:
        """The message with its number, and its bytes. Takes the number only if all is well."""
        epoch = self._require_connected()
        if not isinstance(channel, str) or not channel:
            raise ValidationError("channel", "a non-empty str", repr(channel))
        try:
            channel.encode()
        except UnicodeEncodeError:
            raise ValidationError("channel", "Unicode text", repr(channel)) from None
        clock = self._lab.clock
        if isinstance(content, Message):
            if type is not None or metadata is not None:
                raise ConfigurationError(
                    "A ready Message brings its type and metadata; pass it alone."
                )
            message = content
        else:
            message = Message.new(
                type or DEFAULT_TYPE, content, sender=self.sender, metadata=metadata, clock=clock
            )
        number = self._numbers[channel] + 1
        message = message.with_metadata(
            message_id=message_id(self.sender, epoch, channel, number),
            epoch=epoch,
            seq=number,
            sent_ns=clock.monotonic_ns(),
        )
        body = message.encode(self._max_bytes)
        self._numbers[channel] = number
        return message, body

    def _stamp_all(
        self, items: list[tuple[str, Any]], before: Counter[str]
    ) -> list[tuple[str, Message, bytes]]:
        stamped = []
        for index, item in enumerate(items):
            try:
                channel, content = item
                stamped.append((channel, *self._stamp(channel, content, None, None)))
            except NotConnected:
                raise
            except (LabkitError, TypeError, ValueError) as error:
                self._numbers = before
                reason = str(error) if isinstance(error, LabkitError) else "not (channel, content)."
                raise BatchError(
                    f"Item {index} cannot be sent, so none was: {reason}", unsent=range(len(items))
                ) from error
        return stamped

    def _batch_failed(
        self, error: BatchError, stamped: list[tuple[str, Message, bytes]], before: Counter[str]
    ) -> None:
        """Count what went, and take back the numbers of what never left."""
        self._numbers = before
        for index in sorted((*error.sent, *error.unknown)):
            channel, message, _ = stamped[index]
            self._numbers[channel] = message.metadata["seq"]
        for index in error.sent:
            channel, message, body = stamped[index]
            self._accepted(Receipt(channel, None), message, body)
        for index in sorted((*error.unknown, *error.unsent)):
            channel, message, _ = stamped[index]
            self._failed(channel, message, error)

    def _accepted(self, receipt: Receipt, message: Message, body: bytes) -> None:
        reached = receipt.subscriptions
        self._tally.add(
            receipt.channel,
            messages=1,
            bytes=len(body),
            subscriptions=reached or 0,
            unheard=int(reached == 0),
        )
        self._tally.seen_at(message.metadata["sent_ns"])
        detail = "" if reached is None else f"written to {reached}"
        self._record(Action.ACCEPTED, receipt.channel, message, detail, actor="broker")

    def _failed(self, channel: str, message: Message, error: BaseException) -> None:
        self._tally.add(channel, failed=1)
        text = describe(error)
        self._tally.errors.append(ErrorRecord(channel, message.id, text))
        self._record(Action.SEND_FAILED, channel, message, text)

    def _record(
        self,
        action: Action,
        channel: str,
        message: Message,
        detail: str = "",
        *,
        actor: str | None = None,
    ) -> None:
        self._lab.trace.record(
            actor or self.sender,
            action,
            channel=channel,
            message_id=message.id,
            label=message.label,
            detail=detail,
        )
