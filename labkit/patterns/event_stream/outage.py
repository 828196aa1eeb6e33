"""A broker that cannot be reached: told once, and tried again with back-off."""

from __future__ import annotations

import threading

from labkit.backoff import Backoff
from labkit.errors import BrokerUnavailable
from labkit.patterns.event_stream.ledger import Ledger
from labkit.trace import Action


class Outage:
    """True while there is one."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._backoff = Backoff(first=0.02, cap=1.0)
        self._attempts = 0

    def __bool__(self) -> bool:
        return self._attempts > 0

    def began(self, error: BrokerUnavailable) -> None:
        """It cannot be reached; only the first time is told."""
        if not self._attempts:
            self._ledger.tally.add(None, outages=1)
            self._ledger.raised(error)
            self._ledger.about_us(Action.CONNECTION_LOST, str(error))
        self._attempts += 1

    def pause(self, stop: threading.Event, at_most: float) -> None:
        """Wait before the next attempt, in real time; `stop` ends it."""
        stop.wait(min(at_most, self._backoff.wait(self._attempts)))

    def over(self) -> bool:
        """It can be reached; True if it could not be before."""
        if not self._attempts:
            return False
        self._attempts = 0
        self._ledger.about_us(Action.RECONNECTED)
        return True
