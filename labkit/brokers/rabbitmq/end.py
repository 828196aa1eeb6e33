"""What an inbox and a service have in common: a consumer that is polled, and comes back."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from labkit.brokers.rabbitmq.channel import Channel
from labkit.brokers.rabbitmq.core import Core
from labkit.brokers.rabbitmq.sweep import sweep
from labkit.errors import BrokerRefused, BrokerUnavailable, NotConnected

_LONGEST_WAIT_S = 0.25


class End:
    """A consumer whose messages wait until they are polled; it comes back after a loss."""

    def __init__(self, core: Core, queue: str) -> None:
        self._core = core
        self._queue = queue
        self._ready: deque[Any] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._looking = threading.Lock()  # no channel is closed in the middle of a sweep
        self._channel: Channel | None = None
        self._attempts = 0
        self._next_try_at = 0.0
        self._begin()

    @property
    def connected(self) -> bool:
        """Whether RabbitMQ could be heard at the last look."""
        channel = self._channel
        return channel is not None and channel.lost is None

    def close(self) -> None:
        """Let go of it. Closing twice is fine."""
        if self._end():
            self._leave()

    def _begin(self) -> None:
        raise NotImplementedError

    def _leave(self) -> None:
        """Take leave of RabbitMQ, if there is a channel."""
        raise NotImplementedError

    def _opening(self) -> AbstractContextManager[Channel]:
        return self._core.opening(self._wake, lambda: not self._closed)

    def _sweep(self, channel: Channel, count: int, arrive: Callable[..., None]) -> None:
        """What is in the queue now; where the connection breaks, the next wait comes back."""
        with self._looking, contextlib.suppress(BrokerUnavailable):
            if not self._closed:
                sweep(channel, self._queue, count, arrive)

    def _arrive(self, thing: Any) -> None:
        with self._changed:
            self._ready.append(thing)
            self._changed.notify_all()

    def _wake(self, _: str) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wait(self, deadline: float, *, ready: Callable[[], bool]) -> None:
        """Until something is there or the time is up; comes back after a loss."""
        self._require_open()
        while not self._closed:
            self._core.require_open()
            left = deadline - time.monotonic()
            if not self.connected:
                self._recover(max(0.0, min(left, _LONGEST_WAIT_S)))
            with self._changed:
                if ready() or left <= 0 or self._closed:
                    return
                if self.connected:
                    self._changed.wait(min(left, _LONGEST_WAIT_S))
                if self._closed:
                    return

    def _recover(self, timeout: float) -> None:
        pause = self._next_try_at - time.monotonic()
        if pause > 0:
            time.sleep(min(pause, timeout))
            if pause > timeout:
                return
        try:
            self._begin()
            self._attempts = 0
            with self._changed:
                closed = self._closed
            if closed:  # by another thread, which knew nothing of this channel
                self._leave()
        except BrokerUnavailable:
            self._later()
        except BrokerRefused as error:
            self._later()
            if "405" not in str(error):  # the queue of our dead connection is about to go
                raise

    def _later(self) -> None:
        self._attempts += 1
        wait = self._core.options.reconnect.wait(self._attempts)
        self._next_try_at = time.monotonic() + wait

    def _require_open(self) -> None:
        self._core.require_open()
        if self._closed:
            raise NotConnected("It is closed. Open a new one.")

    def _end(self) -> bool:
        """Count as closed from now on; whether this was the first time."""
        with self._changed:
            if self._closed:
                return False
            self._closed = True
            self._changed.notify_all()
        with self._looking:  # a sweep that is under way ends first, and no other begins
            return True
