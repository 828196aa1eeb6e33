"""Reading on as events come, through outages, until told to stop."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Self

from labkit.broker import BrokerStream, Cursor, Position
from labkit.errors import BrokerUnavailable
from labkit.patterns.event_stream.event import Event
from labkit.patterns.event_stream.ledger import Ledger
from labkit.patterns.event_stream.places import lost_partitions
from labkit.patterns.outage import Outage
from labkit.trace import Action

LONGEST_WAIT_S = 0.25
"""Longest single wait for the broker: so late may a `stop()` be noticed."""


class Follower:
    """An iterator over a stream as it grows. It belongs to one thread; any may call `stop()`.

    A broker that goes away is waited for, with back-off, and reading goes on where it was: a log
    has no gaps. One that comes back with less than had been read has lost events, and that is told.
    """

    def __init__(
        self,
        log: BrokerStream,
        stream: str,
        cursor: Cursor,
        ledger: Ledger,
        *,
        timeout: float | None,
        batch: int,
    ) -> None:
        self._log = log
        self._stream = stream
        self._cursor = dict(cursor)
        self._fetched = dict(cursor)
        self._ledger = ledger
        self._timeout = timeout
        self._batch = batch
        self._ready: deque[Event] = deque()
        self._stop = threading.Event()
        self._outage = Outage(ledger.broker_lost, ledger.broker_back)

    @property
    def cursor(self) -> dict[int, Position]:
        """Where it stands: behind the last event that it has handed out."""
        return dict(self._cursor)

    @property
    def connected(self) -> bool:
        """Whether the broker could be heard at the last look."""
        return not self._outage

    def stop(self) -> None:
        """End the iteration; from any thread."""
        self._stop.set()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while not self._ready:
            left = LONGEST_WAIT_S if deadline is None else deadline - time.monotonic()
            if self._stop.is_set():
                raise StopIteration
            self._fetch(min(max(0.0, left), LONGEST_WAIT_S))
            if not self._ready and left <= 0:
                raise StopIteration
        if self._stop.is_set():
            raise StopIteration
        event = self._ready.popleft()
        self._cursor[event.position.partition] = event.position
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        places = ", ".join(map(str, self._cursor.values())) or "the beginning"
        return f"<Follower of {self._stream!r}, behind {places}>"

    def _fetch(self, timeout: float) -> None:
        try:
            if self._outage:
                self._look_for_losses()
            entries = self._log.read(self._fetched, self._batch, timeout)
        except BrokerUnavailable as error:
            self._outage.since(error)
            self._stop.wait(min(max(timeout, 0.01), self._outage.pause()))
            return
        self._outage.over()
        for entry in entries:
            self._fetched[entry.position.partition] = entry.position
        found = self._ledger.read(entries)
        self._ledger.tally.add(self._stream, read=len(entries))
        if self._ledger.tracing:
            for event in found:
                self._ledger.about(Action.DELIVERED, event, actor="follower")
        self._ready += found

    def _look_for_losses(self) -> None:
        """The broker is back: does it still have what we have read?"""
        lost = lost_partitions(self._log, self._fetched)
        self._outage.over()
        if not lost:
            return
        self._ledger.tally.add(None, rewound=1)
        self._ledger.about_us(
            Action.LOST, "the broker came back without events that had been read; reading on"
        )
        for partition in lost:  # its places may be given anew
            self._fetched.pop(partition)
            self._cursor.pop(partition, None)
