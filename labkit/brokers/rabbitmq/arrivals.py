"""What has arrived at a subscription and was not polled yet, and which of it to acknowledge."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable

from labkit import channels as naming
from labkit.broker import Gap, Polled, Received

PREFETCH = 2_000
"""Messages that the broker sends ahead of our acknowledgement; the others wait with it."""

Name = tuple[str, bool]
"""A name, and whether it is a pattern."""

Waiting = deque[tuple[Polled | None, int]]
"""Things, each with the delivery tag that it is the last one of, or 0."""


def matching(names: Iterable[Name], channel: str, body: bytes) -> list[Polled]:
    """One for each name and pattern that a message matches, exactly."""
    found: list[Polled] = []
    for name, is_pattern in names:
        if not is_pattern and name == channel:
            found.append(Received(channel, body))
        elif is_pattern and naming.matches(name, channel):
            found.append(Received(channel, body, name))
    return found


class Arrivals:
    """Filled in the connection's thread, emptied by whoever polls.

    Attributes:
        changed: to be held while something is added or looked at.
        heard_at: when the last message came, on the monotonic clock.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.heard_at = time.monotonic()
        self._waiting: Waiting = deque()
        self._unacknowledged = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, things: list[Polled], tag: int) -> None:
        """What one message became; its tag goes with the last thing, or alone."""
        self._waiting.extend((thing, 0) for thing in things[:-1])
        self._waiting.append((things[-1] if things else None, tag))
        self.changed.notify_all()

    def take(self, limit: int) -> tuple[list[Polled], int]:
        """At most `limit` things, and the tag up to which to acknowledge now, or 0."""
        things: list[Polled] = []
        last = 0
        with self.changed:
            while self._waiting and len(things) < limit:
                thing, tag = self._waiting.popleft()
                if tag:
                    self._unacknowledged += 1
                    last = tag
                if thing is None:
                    continue
                things.append(thing)
                if type(thing) is not Received:
                    break
            if not last or (self._waiting and self._unacknowledged < PREFETCH // 4):
                return things, 0
            self._unacknowledged = 0
        return things, last

    def lose(self, gap: Gap | None) -> None:
        """The connection is gone: the tags are void."""
        self._waiting = deque((thing, 0) for thing, _ in self._waiting)
        self._unacknowledged = 0
        if gap is not None:
            self._waiting.append((gap, 0))
        self.changed.notify_all()

    def set_aside(self) -> Waiting:
        """What is there, while a new connection begins."""
        with self.changed:
            earlier, self._waiting = self._waiting, deque()
            self._unacknowledged = 0
            return earlier

    def put_back(self, earlier: Waiting) -> None:
        """The new connection came to nothing, and what it brought is void."""
        with self.changed:
            self._waiting = earlier

    def resume(self, earlier: Waiting, gap: Gap | None) -> None:
        """What was there before comes first, then the gap, then what is new; `changed` is held."""
        if gap is not None:
            earlier.append((gap, 0))
        self._waiting.extendleft(reversed(earlier))
