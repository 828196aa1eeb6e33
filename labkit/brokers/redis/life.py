"""Saying "I am still here" to Redis, again and again, whatever the owner is busy with."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence

from labkit.brokers.redis.client import REFUSALS, Command, ExchangeBroken, RedisClient
from labkit.brokers.redis.words import refusal
from labkit.errors import BrokerRefused, BrokerUnavailable, NotConnected

BEATS_PER_LIFE = 3
"""How often an owner says that it lives before it would count as dead."""


class Life:
    """Keys that live as long as their owner: a thread renews them, and they expire without it.

    Renewing does not wait for the owner's next step: a handler may take longer than the life, and
    whoever reads a notebook longer still. It leaves no line in `broker.commands()`, where it would
    stand between the reader's own.

    Args:
        client: how to reach Redis.
        renew: commands that begin or prolong the life.
        end: the command that ends it.
        seconds: how long the keys live without renewal.

    Raises:
        BrokerUnavailable: it could not begin.
        BrokerRefused: Redis answered with an error.
    """

    def __init__(
        self, client: RedisClient, *, renew: Sequence[Command], end: Command, seconds: float
    ) -> None:
        self._client = client
        self._renew = renew
        self._end = end
        self._every = seconds / BEATS_PER_LIFE
        self._lock = threading.Lock()  # so that no beat comes after the end
        self._over = threading.Event()
        self._renewed_at = 0.0
        self._process = os.getpid()
        self.renew()
        self._thread = threading.Thread(target=self._beat, name="labkit life", daemon=True)
        self._thread.start()

    def renew(self) -> None:
        """Prolong the life now; nothing happens once it is over."""
        with self._lock:
            if self._over.is_set():
                return
            try:
                replies = self._client.exchange(*self._renew, shown=[])
            except ExchangeBroken as broken:
                raise broken.cause from None
        for reply in replies:
            if isinstance(reply, REFUSALS):
                raise refusal(self._client.url, str(self._renew[0][0]), reply)
        self._renewed_at = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the last renewal."""
        return time.monotonic() - self._renewed_at

    def end(self) -> None:
        """End it now. Where Redis cannot be reached, the keys expire. A fork ends nothing."""
        if self._process == os.getpid() and not self._over.is_set():
            self.abandon()
            with contextlib.suppress(BrokerUnavailable, BrokerRefused, NotConnected):
                self._client.call(*self._end)

    def abandon(self) -> None:
        """No longer renew; the keys live on for as long as they have."""
        if self._process != os.getpid():
            return  # the thread is the parent's, and so may be whoever holds the lock
        self._over.set()
        with self._lock:
            pass  # a beat that had begun is done
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(self._every):
            try:
                self.renew()
            except NotConnected:  # the lab was closed before us
                return
            except (BrokerUnavailable, BrokerRefused):
                continue  # the next beat may get through
