"""A broker that cannot be reached, or refuses: since when, and when to try again."""

from __future__ import annotations

import time

from labkit.backoff import Backoff
from labkit.patterns.work_queue.ledger import WorkerLedger
from labkit.trace import Action


class Outage:
    """True while there is one. A worker waits it out."""

    def __init__(self, ledger: WorkerLedger) -> None:
        self._ledger = ledger
        self._backoff = Backoff(first=0.02, cap=1.0)
        self._began: float | None = None
        self._attempts = 0

    def __bool__(self) -> bool:
        return self._began is not None

    def since(self, error: Exception) -> float:
        """It is away; for how many seconds already?"""
        if self._began is None:
            self._began = time.monotonic()
            self._ledger.raised(None, error)
            self._ledger.about_us(Action.CONNECTION_LOST, str(error))
        return time.monotonic() - self._began

    def pause(self) -> float:
        """Seconds until the next attempt."""
        self._attempts += 1
        return self._backoff.wait(self._attempts)

    def over(self) -> None:
        """It is back."""
        if self._began is not None:
            self._began, self._attempts = None, 0
            self._ledger.about_us(Action.RECONNECTED)
