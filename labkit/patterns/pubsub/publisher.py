"""The publisher: sends messages to whoever is listening."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from labkit.broker import PubSubBroker, Receipt
from labkit.errors import BatchError, BrokerRefused, ConfigurationError, NotConnected, describe
from labkit.message import DEFAULT_MAX_BYTES
from labkit.patterns.identity import Home
from labkit.patterns.pubsub.periodic import PeriodicRun, check_period, run_periodically
from labkit.patterns.pubsub.stamping import Stamped, Stamps
from labkit.patterns.statistics import ErrorRecord, PublisherStatistics, Tally
from labkit.trace import Action


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
        self.sender = str(self.sender)  # a StrEnum's member, too
        self._home = Home(f"Publisher {self.sender!r}")
        self._lab = lab
        self._max_bytes = max_bytes
        self._stamps: Stamps | None = None
        self._tally = Tally()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def connect(self) -> Self:
        """See that the broker answers, and start to number messages.

        Raises:
            BrokerUnavailable: it does not.
        """
        self._home.require()
        self._lab.ping()
        if self._stamps is None:
            clock = self._lab.clock
            self._stamps = Stamps(self.sender, clock.new_epoch(), clock, self._max_bytes)
            self._lab.trace.record(self.sender, Action.CONNECTED)
        return self

    def disconnect(self) -> None:
        """Stop. The broker stays open: others may use it."""
        if not self._home.here:
            return
        self.stop()
        if self._stamps is not None:
            self._stamps = None
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
        self._home.require()
        with self._lock:
            stamps = self._require_connected()
            stamped = stamps.stamp(channel, content, type, metadata)
            self._record(Action.SENT, stamped)
            try:
                receipt = self._lab.publish(channel, stamped[2])
            except BaseException as error:  # Ctrl+C, too: it may have gone out
                if isinstance(error, BrokerRefused) or getattr(error, "sent", True) is False:
                    stamps.numbers[channel] -= 1  # the number was not used
                self._failed(stamped, error)
                raise
            self._accepted([receipt], [stamped])
            return receipt

    def publish_multiple(self, items: Iterable[tuple[str, Any]]) -> list[Receipt]:
        """Send many (channel, content) pairs in few round trips, in order.

        Raises:
            BatchError: says which were sent, which were not, and which may have been. If one of
                them cannot be encoded, none is sent.
        """
        self._home.require()
        given = list(items)  # before the lock: a generator may publish, too
        with self._lock:
            stamps = self._require_connected()
            batch = stamps.stamp_all(given)
            for stamped in batch if self._lab.trace.enabled else ():
                self._record(Action.SENT, stamped)
            try:
                receipts = self._lab.publish_many([(c, body) for c, _, body in batch])
            except BatchError as error:
                self._batch_failed(error, batch, stamps)
                raise
            except BaseException as error:  # Ctrl+C, too: they may have gone out
                for stamped in batch:
                    self._failed(stamped, error)
                raise
            self._accepted(receipts, batch)
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
        check_period(every, count)
        self._require_connected()
        self._stop.clear()

        def send(number: int) -> None:
            self.publish(channel, make(number) if callable(make) else make)

        return run_periodically(send, every, count, self._lab.clock, self._stop)

    def stop(self) -> None:
        """End a running `publish_periodic`, from another thread or from its own `make`."""
        self._stop.set()

    def stats(self) -> PublisherStatistics:
        """Counts per channel, bytes, rate, errors, up to now."""
        self._home.require()
        return self._tally.publisher(self.sender)

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *exc: object) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        if not self._home.here:
            return repr(self._home)
        state = "not connected" if self._stamps is None else f"{self._tally['messages']:,} sent"
        return f"<Publisher {self.sender!r}: {state}>"

    def _require_connected(self) -> Stamps:
        if self._stamps is None:
            raise NotConnected(
                f"Publisher {self.sender!r} is not connected. Call connect() first, or use "
                "'with Publisher(lab) as publisher:'."
            )
        return self._stamps

    def _accepted(self, receipts: Sequence[Receipt], batch: Sequence[Stamped]) -> None:
        """Count what the broker took, and write it into the trace."""
        counts: dict[str, list[int]] = {}
        for receipt, (channel, _, body) in zip(receipts, batch, strict=True):
            reached = receipt.subscriptions
            of_channel = counts.get(channel)
            if of_channel is None:
                of_channel = counts[channel] = [0, 0, 0, 0]
            of_channel[0] += 1
            of_channel[1] += len(body)
            of_channel[2] += reached or 0
            of_channel[3] += reached == 0
        for channel, (messages, size, reached, unheard) in counts.items():
            self._tally.add(
                channel, messages=messages, bytes=size, subscriptions=reached, unheard=unheard
            )
        if batch:
            for _, message, _ in (batch[0], batch[-1]):
                self._tally.seen_at(message.metadata["sent_ns"])
        if self._lab.trace.enabled:
            for receipt, stamped in zip(receipts, batch, strict=True):
                reached = receipt.subscriptions
                detail = "" if reached is None else f"written to {reached}"
                self._record(Action.ACCEPTED, stamped, detail, actor="broker")

    def _failed(self, stamped: Stamped, error: BaseException) -> None:
        channel, message, _ = stamped
        self._tally.add(channel, failed=1)
        text = describe(error)
        self._tally.errors.append(ErrorRecord(channel, message.id, text))
        self._record(Action.SEND_FAILED, stamped, text)

    def _batch_failed(self, error: BatchError, batch: list[Stamped], stamps: Stamps) -> None:
        """Count what went, and take back the numbers of what never left."""
        stamps.take_back(batch, error)
        for index in error.sent:
            self._accepted([Receipt(batch[index][0], None)], [batch[index]])
        for index in sorted((*error.unknown, *error.unsent)):
            self._failed(batch[index], error)

    def _record(
        self, action: Action, stamped: Stamped, detail: str = "", *, actor: str | None = None
    ) -> None:
        if not self._lab.trace.enabled:
            return
        channel, message, _ = stamped
        self._lab.trace.record(
            actor or self.sender,
            action,
            channel=channel,
            message_id=message.id,
            label=message.label,
            detail=detail,
        )
