"""A broker that cannot be reached, or refuses: told once, and tried again with back-off."""

from __future__ import annotations

import time
from collections.abc import Callable

from labkit.backoff import Backoff


class Outage:
    """True while there is one.

    Args:
        lost: told when one begins, with what was raised.
        back: told when it is over.
    """

    def __init__(self, lost: Callable[[Exception], object], back: Callable[[], object]) -> None:
        self._lost = lost
        self._back = back
        self._backoff = Backoff(first=0.02, cap=1.0)
        self._began: float | None = None
        self._attempts = 0

    def __bool__(self) -> bool:
        return self._began is not None

    def since(self, error: Exception) -> float:
        """The broker is away; for how many seconds already? Only the first time is told."""
        if self._began is None:
            self._began = time.monotonic()
            self._lost(error)
        return time.monotonic() - self._began

    def pause(self) -> float:
        """Seconds until the next attempt."""
        self._attempts += 1
        return self._backoff.wait(self._attempts)

    def over(self) -> None:
        """It is back."""
        if self._began is not None:
            self._began, self._attempts = None, 0
            self._back()
