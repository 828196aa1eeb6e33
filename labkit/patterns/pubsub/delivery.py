"""From the buffer to the handlers: an exception in one of them is counted, and ends nothing."""

from __future__ import annotations

from collections import deque
from typing import Any

from labkit.broker import Gap
from labkit.clock import Clock
from labkit.message import Message
from labkit.patterns.pubsub.dispatch import Dispatch
from labkit.patterns.pubsub.incoming import Incoming
from labkit.patterns.pubsub.ledger import Ledger
from labkit.patterns.pubsub.stamping import DEFAULT_TYPE


class Delivery:
    """The way from one subscriber's buffer to its handlers.

    Attributes:
        dispatch: who gets what.
        history: the last messages that were handled.
    """

    def __init__(self, ledger: Ledger, kept: int) -> None:
        self.dispatch = Dispatch()
        self.history: deque[Incoming] = deque(maxlen=kept)
        self._ledger = ledger

    def handle(self, incoming: Incoming) -> bool:
        """Filter, then call the handlers. An exception in one is counted and ends nothing.

        Returns:
            whether it was handed on; False for one that a filter kept away, or could not judge.
        """
        ledger, dispatch, message = self._ledger, self.dispatch, incoming.message
        if dispatch.predicates:
            try:
                if not dispatch.wants(message):
                    ledger.filtered(incoming)
                    return False
            except Exception as error:
                ledger.failed(incoming, error)
                return False
        ledger.delivered(incoming)
        for handler in dispatch.handlers(incoming):
            try:
                handler(incoming.channel, message)
            except (Exception, SystemExit) as error:
                ledger.failed(incoming, error)
        self.history.append(incoming)
        ledger.tally.handled(incoming.channel)
        return True

    def tell(self, gap: Gap) -> None:
        """Call who wants to hear of gaps."""
        callback = self.dispatch.gap_callback
        if callback is not None:
            try:
                callback(gap)
            except (Exception, SystemExit) as error:
                self._ledger.told(error)


def body_of(content: Any, type: str | None, clock: Clock, max_bytes: int) -> bytes:
    """The bytes in which a broker would deliver it."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, Message):
        return content.encode(max_bytes)
    message = Message.new(type or DEFAULT_TYPE, content, sender="inject", clock=clock)
    return message.encode(max_bytes)
