"""The subscriber: listens, hands on what it hears, and counts what it did not hear."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, Self

from labkit.broker import PubSubBroker, Received, Subscription
from labkit.errors import ConfigurationError, NotConnected
from labkit.message import DEFAULT_MAX_BYTES
from labkit.patterns.background import Background
from labkit.patterns.identity import Home
from labkit.patterns.pubsub.delivery import Delivery, body_of
from labkit.patterns.pubsub.dispatch import GapHandler, Handler, Predicate
from labkit.patterns.pubsub.incoming import Inbox
from labkit.patterns.pubsub.intake import Intake, Overflow
from labkit.patterns.pubsub.ledger import Ledger
from labkit.patterns.pubsub.receiving import receive, receive_published, receive_waiting
from labkit.patterns.statistics import SubscriberStatistics
from labkit.trace import Action

DEFAULT_BUFFER = 10_000
"""Messages that a subscriber holds between receiving and handling."""

HISTORY_KEPT = 1_000
"""Handled messages that `history()` can show, at most."""

_SLICE_S = 0.05
"""Longest single wait of the background listener: so long a call from another thread waits, and for
the handler that is running."""


class Subscriber:
    """Receives messages, step by step with `drain()` or in the background with `listen()`.

    At most once: what is published while this subscriber is not subscribed, or while its
    connection is down, never arrives; it is counted as soon as it can be known. One that a filter
    or an exception in a handler stopped does not come again either.

    Args:
        lab: an open broker, from `labkit.connect()`.
        name: who is listening, for traces and statistics.
        buffer: how many messages wait between receiving and handling.
        overflow: what happens to one more: "block" leaves it with the broker (a real one cuts off
            a reader that is too slow), "drop_oldest" drops and counts the oldest, "error" drops
            and counts the new one and raises `BufferFull`.
        max_bytes: larger bodies count as unreadable.
    """

    def __init__(
        self,
        lab: PubSubBroker,
        name: str | None = None,
        *,
        buffer: int = DEFAULT_BUFFER,
        overflow: Overflow | str = Overflow.BLOCK,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self.name = f"subscriber-{secrets.token_hex(2)}" if name is None else name
        self._home = Home(f"Subscriber {self.name!r}")
        self._lab = lab
        self._max_bytes = max_bytes
        self._subscription: Subscription | None = None
        self._ledger = Ledger(self.name, lab)
        self._delivery = Delivery(self._ledger, min(buffer, HISTORY_KEPT))
        self._intake = Intake(self._ledger, buffer, overflow, max_bytes, self._delivery.tell)
        self._handled_before_listening = 0
        self._background = Background(f"labkit subscriber {self.name}", self._listen_step)

    def connect(self) -> Self:
        """Open a connection of its own.

        Raises:
            BrokerUnavailable: no broker answers.
        """
        self._home.require()
        if self._subscription is None:
            self._subscription = self._lab.open_subscription()
            self._ledger.about_us(Action.CONNECTED)
        return self

    def disconnect(self) -> None:
        """Stop listening and give the connection back. The broker stays open."""
        if not self._home.here:
            return
        try:
            self.stop()
        except NotConnected:
            pass  # the lab was closed before us: there is nothing left to stop
        finally:
            if self._subscription is not None:
                self._subscription.close()
                self._subscription = None
                self._ledger.about_us(Action.DISCONNECTED)

    @property
    def connected(self) -> bool:
        """Whether the broker could be heard at the last look."""
        return self._subscription is not None and self._subscription.connected

    def subscribe(self, *names: str, timeout: float | None = None) -> None:
        """Listen to these channels; returns once the broker has confirmed them.

        Raises:
            BrokerUnavailable: it did not, within `timeout` seconds (default: that of `connect`).
        """
        self._change(names, pattern=False, add=True, timeout=timeout)

    def psubscribe(self, *patterns: str, timeout: float | None = None) -> None:
        """Listen to all channels that match these patterns: `flights.*`."""
        self._change(patterns, pattern=True, add=True, timeout=timeout)

    def unsubscribe(self, *names: str) -> None:
        """Stop listening to these channels."""
        self._change(names, pattern=False, add=False)

    def punsubscribe(self, *patterns: str) -> None:
        """Stop listening to these patterns."""
        self._change(patterns, pattern=True, add=False)

    def set_message_callback(self, callback: Handler | None) -> None:
        """Call `callback(channel, message)` for every message that no route takes."""
        self._delivery.dispatch.set_callback(callback)

    def set_gap_callback(self, callback: GapHandler | None) -> None:
        """Call `callback(gap)` when the connection is lost and when it is back (`gap.ended`)."""
        self._delivery.dispatch.set_gap_callback(callback)

    def route(
        self,
        channel: str | None = None,
        handler: Handler | None = None,
        *,
        type: str | None = None,
    ) -> None:
        """Call `handler(channel, message)` for messages on a channel pattern, of a type, or both.

        `route("alerts.*", page_someone)`; `route(type="flight.cancelled", handler=rebook)`. Both
        may hold Redis patterns. Every route that fits is called.
        """
        if handler is None:
            raise ConfigurationError('A route needs a handler: route("alerts.*", handler).')
        self._delivery.dispatch.add_route(channel, type, handler)

    def filter(self, predicate: Predicate) -> None:
        """Handle only messages for which `predicate(message)` is true; the others are counted."""
        self._delivery.dispatch.add_filter(predicate)

    def drain(self, max_messages: int | None = None, timeout: float = 0.0) -> Inbox:
        """Receive all that was published before this call, and handle it.

        Args:
            max_messages: handle at most so many; the rest stays in the buffer.
            timeout: if there are fewer than `max_messages` (or, without it, none), wait so many
                seconds for more.

        Returns:
            the messages handled, filtered ones left out.

        Raises:
            BufferFull: with `overflow="error"`, when the buffer had no room.
        """
        if self._background.running:
            raise ConfigurationError(
                f"Subscriber {self.name!r} is listening in the background. Call stop() before "
                "drain(), or read what it has handled in history()."
            )
        subscription, intake = self._require_connected(), self._intake
        deadline = time.monotonic() + timeout
        handled = Inbox()
        wanted = 1 if max_messages is None else max_messages
        # Who waits for a number needs no mark of what was published: it comes, or time is up.
        patient = max_messages is not None and timeout > 0
        caught_up = False
        while True:
            here, left = len(handled) + len(intake.waiting), deadline - time.monotonic()
            if patient and here < wanted and left > 0:
                receive(subscription, intake, left)
            else:
                caught_up = receive_published(subscription, intake)
            while intake.waiting and len(handled) != max_messages:
                incoming = intake.waiting.popleft()
                if self._delivery.handle(incoming):
                    handled.append(incoming)
                if self._subscription is not subscription:  # a handler has disconnected us
                    return handled
            if len(handled) == max_messages:
                return handled
            left = deadline - time.monotonic()
            if len(handled) >= wanted or left <= 0:
                if caught_up or not subscription.connected:
                    return handled
            elif caught_up or not subscription.connected:
                receive(subscription, intake, left)

    def inject(self, channel: str, content: Any, *, type: str | None = None) -> Inbox:
        """Handle a message as if it had arrived on `channel`, without any broker.

        Args:
            channel: where it is said to come from.
            content: a JSON value, a ready `Message`, or bytes as a broker would deliver them.
            type: the message's type, if `content` is a value; default "message".

        Returns:
            the message, unless it was unreadable or filtered out.
        """
        self._home.require()
        body = body_of(content, type, self._lab.clock, self._max_bytes)
        return self._background.run(lambda: self._handle_injected(Received(channel, body)))

    def listen(self) -> None:
        """Receive and handle in a background thread, until `stop()` or `disconnect()`.

        The thread runs the same steps as `drain()`; it prints nothing. Handlers run in it.
        """
        self._require_connected()
        if not self._background.running:
            self._handled_before_listening = self._ledger.tally["handled"]
        self._background.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """End `listen()`; False if its current step takes longer than `timeout` seconds.

        A step takes as long as the handler, or an attempt to reach the broker again. Called from a
        handler, it returns False at once, and the listening ends after that handler.

        Raises:
            Exception: what has ended the listening before: `BufferFull` with `overflow="error"`.
        """
        return not self._home.here or self._background.stop(timeout)

    @property
    def listening(self) -> bool:
        """Whether the background thread is running."""
        return self._background.running

    def wait_for(self, count: int, timeout: float = 5.0) -> bool:
        """Wait until `listen()` has handled `count` messages; False after `timeout` seconds."""
        self._home.require()
        enough = self._handled_before_listening + count
        return self._background.wait_until(lambda: self._ledger.tally["handled"] >= enough, timeout)

    def history(self) -> Inbox:
        """The last messages handled, oldest first, at most `HISTORY_KEPT`."""
        return Inbox(list(self._delivery.history))

    def stats(self) -> SubscriberStatistics:
        """Counts per channel, bytes, rate, losses, gaps, errors, latency, up to now."""
        self._home.require()
        return self._ledger.tally.subscriber(self.name)

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *exc: object) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        if not self._home.here:
            return repr(self._home)
        state = "listening" if self.listening else "connected"
        if not self.connected:
            state = "connection lost, coming back" if self._subscription else "not connected"
        return f"<Subscriber {self.name!r}: {state}, {self._ledger.tally['handled']:,} handled>"

    def _require_connected(self) -> Subscription:
        self._home.require()
        if self._subscription is None:
            raise NotConnected(
                f"Subscriber {self.name!r} is not connected. Call connect() first, or use "
                "'with Subscriber(lab) as subscriber:'."
            )
        return self._subscription

    def _change(
        self, names: tuple[str, ...], *, pattern: bool, add: bool, timeout: float | None = None
    ) -> None:
        subscription = self._require_connected()
        change: Callable[..., None] = subscription.add if add else subscription.remove
        self._background.run(lambda: change(*names, pattern=pattern, timeout=timeout))
        for name in names:
            self._ledger.about_us(Action.SUBSCRIBED if add else Action.UNSUBSCRIBED, name)

    def _listen_step(self) -> None:
        """One step of the background thread: take in what is there, and handle it."""
        subscription, intake = self._require_connected(), self._intake
        if not intake.waiting:
            receive(subscription, intake, _SLICE_S)
        receive_waiting(subscription, intake)
        until = time.monotonic() + _SLICE_S
        while intake.waiting:
            self._delivery.handle(intake.waiting.popleft())
            if self._background.is_wanted or time.monotonic() > until:
                return

    def _handle_injected(self, item: Received) -> Inbox:
        incoming = self._intake.read(item)
        return Inbox([incoming] if incoming and self._delivery.handle(incoming) else [])
