"""Time, injected: the same code runs on the wall clock and on one that a lesson controls.

Waiting for a network, and for it to come back, is always real time. Everything else that asks what
time it is, or wants to pause (time stamps, delays, leases, periodic publishing), asks a `Clock`.
"""

from __future__ import annotations

import itertools
import os
import secrets
import threading
import time
from datetime import UTC, datetime
from typing import Protocol

from labkit.errors import ConfigurationError


class Clock(Protocol):
    """What labkit needs to know about time."""

    @property
    def id(self) -> str:
        """Names the clock: latencies are only taken between two readings of one clock."""

    @property
    def manual(self) -> bool:
        """True where time passes only when somebody says so: then nothing beats by itself."""

    def now(self) -> float:
        """Seconds since 1970 (UTC), for timestamps."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never run backwards, for intervals."""

    def wait(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Pause; return True at once when `stop` is set."""

    def new_epoch(self) -> str:
        """A name for one run of one publisher, unique on this clock and starting with its id."""


class SystemClock:
    """The clock of this machine."""

    manual = False

    def __init__(self) -> None:
        self.id = secrets.token_hex(3)
        self._epochs = itertools.count(1)

    def now(self) -> float:
        """Seconds since 1970 (UTC)."""
        return time.time()

    def monotonic_ns(self) -> int:
        """Nanoseconds that never run backwards."""
        return time.monotonic_ns()

    def wait(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Pause; return True at once when `stop` is set."""
        if stop is not None:
            return stop.wait(max(0.0, seconds))
        time.sleep(max(0.0, seconds))
        return False

    def new_epoch(self) -> str:
        """A name for one run of one publisher."""
        return f"{self.id}.{os.getpid():x}.{next(self._epochs)}"  # also apart after a fork

    def __repr__(self) -> str:
        return "SystemClock()"


class StepClock:
    """A clock for lessons: every reading is `tick` seconds after the last, pauses take no time.

    What a lab shows is then an order of events, the same on every machine, instead of this
    machine's microseconds.

    Args:
        start: ISO-8601 time of the first reading.
        tick: seconds between two readings.
        name: begins the names of publishers' runs; two labs that publish under one sender's name
            over one broker need two.
    """

    manual = True

    def __init__(
        self, start: str = "2013-03-08T05:00:00Z", tick: float = 1.0, *, name: str = "step"
    ) -> None:
        if not tick >= 0:
            raise ConfigurationError(f"A clock does not run backwards: tick={tick}.")
        try:
            began = datetime.fromisoformat(start)
        except ValueError:
            raise ConfigurationError(
                f"A clock starts at an ISO-8601 time, got {start!r}."
            ) from None
        self._started = (began if began.tzinfo else began.replace(tzinfo=UTC)).timestamp()
        self._tick_ns = round(tick * 1e9)
        self._elapsed_ns = 0
        self._lock = threading.Lock()
        self._epochs = itertools.count(1)
        self.id = name

    def now(self) -> float:
        """Seconds since 1970 (UTC)."""
        return self._started + self.monotonic_ns() / 1e9

    def monotonic_ns(self) -> int:
        """Nanoseconds that never run backwards."""
        with self._lock:
            reading = self._elapsed_ns
            self._elapsed_ns += self._tick_ns
            return reading

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        if seconds < 0:
            raise ConfigurationError(f"A clock does not run backwards: advance({seconds}).")
        with self._lock:
            self._elapsed_ns += round(seconds * 1e9)

    def wait(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Pause; return True at once when `stop` is set."""
        if stop is not None and stop.is_set():
            return True
        self.advance(max(0.0, seconds))
        return stop is not None and stop.is_set()

    def new_epoch(self) -> str:
        """A name for one run of one publisher."""
        return f"{self.id}.{next(self._epochs)}"

    def __repr__(self) -> str:
        return f"StepClock(at {self._elapsed_ns / 1e9:g} s, tick {self._tick_ns / 1e9:g} s)"
