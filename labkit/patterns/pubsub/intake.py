"""From the connection into the buffer: read, check the number, make room or not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum

from labkit import channels
from labkit.broker import Gap, Received, Unsubscribed
from labkit.errors import BufferFull, ConfigurationError, DecodeError
from labkit.message import Message
from labkit.patterns.pubsub.incoming import Incoming
from labkit.patterns.pubsub.ledger import Ledger
from labkit.patterns.pubsub.sequence import NOTHING, SequenceTracker


class Overflow(StrEnum):
    """What a subscriber does when its buffer is full."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"
    ERROR = "error"


class Intake:
    """The bounded buffer of a subscriber, and the way into it."""

    def __init__(
        self,
        ledger: Ledger,
        capacity: int,
        overflow: Overflow | str,
        max_bytes: int,
        tell: Callable[[Gap], object],
    ) -> None:
        if capacity < 1:
            raise ConfigurationError(f"A buffer holds at least 1 message, got {capacity}.")
        if overflow not in set(Overflow):
            choices = ", ".join(repr(str(choice)) for choice in Overflow)
            raise ConfigurationError(f"overflow is one of {choices}, got {overflow!r}.")
        self.capacity = capacity
        self.waiting: deque[Incoming] = deque()
        self._overflow = Overflow(overflow)
        self._max_bytes = max_bytes
        self._ledger = ledger
        self._tell = tell
        self._tracker = SequenceTracker()

    @property
    def must_wait(self) -> bool:
        """Whether the next message has to stay with the broker for now."""
        return self._overflow is Overflow.BLOCK and len(self.waiting) >= self.capacity

    @property
    def room(self) -> int:
        """How many things to take from the subscription at once."""
        if self._overflow is Overflow.DROP_OLDEST:
            return self.capacity
        room = self.capacity - len(self.waiting)
        return room if self._overflow is Overflow.BLOCK else max(1, room + 1)  # the one too many

    def take(self, items: Sequence[Received | Gap | Unsubscribed]) -> None:
        """Take in what a subscription handed out.

        Raises:
            BufferFull: with the policy "error", if there is no room for the last one.
        """
        self._ledger.received([item for item in items if isinstance(item, Received)])
        waiting, capacity = self.waiting, self.capacity
        for item in items:
            if isinstance(item, Received):
                incoming = self._read(item)
                if incoming is not None:
                    if len(waiting) >= capacity:
                        self._make_room(incoming)
                    waiting.append(incoming)
            elif isinstance(item, Gap):
                self._ledger.gap(item)
                self._tell(item)
            else:
                self._forget(item)

    def read(self, item: Received) -> Incoming | None:
        """The message in a body; an unreadable one is counted and kept for inspection."""
        self._ledger.received([item])
        return self._read(item)

    def _read(self, item: Received) -> Incoming | None:
        channel = item.channel
        try:
            message = Message.decode(item.body, channel=channel, max_bytes=self._max_bytes)
        except DecodeError as error:
            self._ledger.unreadable(channel, error)
            return None
        incoming = Incoming(channel, message, item.pattern)
        seen = self._tracker.observe(channel, message)
        if seen is not NOTHING:
            self._ledger.numbered(incoming, seen)
        return incoming

    def _make_room(self, incoming: Incoming) -> None:
        if self._overflow is Overflow.DROP_OLDEST:
            self._ledger.dropped(self.waiting.popleft())
        elif self._overflow is Overflow.ERROR:
            self._ledger.dropped(incoming)
            raise BufferFull(
                f"{self.capacity:,} messages are waiting and there is no room for one more from "
                f"{incoming.channel!r}; it was dropped and counted. Handle faster, give the "
                "subscriber a larger buffer, or choose another overflow policy."
            )

    def _forget(self, ended: Unsubscribed) -> None:
        """What passes on these channels from now on is not a loss: we do not listen."""
        for channel in self._tracker.channels():
            if channels.matches(ended.name, channel) if ended.pattern else ended.name == channel:
                self._tracker.forget(channel)
