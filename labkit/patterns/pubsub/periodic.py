"""Publishing at fixed times."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from labkit.clock import Clock
from labkit.errors import BrokerRefused, BrokerUnavailable, ConfigurationError


@dataclass(frozen=True, slots=True)
class PeriodicRun:
    """What a periodic publishing did.

    Attributes:
        sent: messages that went out.
        failed: messages that did not; the publisher's statistics have the errors.
        stopped: True if `stop()` ended it before its count.
        latest_s: by how much the latest message missed its time, in seconds.
    """

    sent: int
    failed: int
    stopped: bool
    latest_s: float


def check_period(every: float, count: int | None) -> None:
    """Refuse what is no period, and less than no messages."""
    if every <= 0 or (count is not None and count < 0):
        raise ConfigurationError(
            f"Periodic publishing needs every > 0 seconds and count >= 0, "
            f"got every={every}, count={count}."
        )


def run_periodically(
    send: Callable[[int], object],
    every: float,
    count: int | None,
    clock: Clock,
    stop: threading.Event,
) -> PeriodicRun:
    """Call `send` with 0, 1, 2, … at start + n·every seconds, until `count` or `stop`."""
    start_ns = clock.monotonic_ns()
    sent = failed = done = 0
    latest_s = 0.0
    while (count is None or done < count) and not stop.is_set():
        early_s = done * every - (clock.monotonic_ns() - start_ns) / 1e9
        if early_s > 0 and clock.wait(early_s, stop):
            break
        latest_s = max(latest_s, -early_s)
        try:
            send(done)
            sent += 1
        except (BrokerUnavailable, BrokerRefused):
            failed += 1  # counted in the statistics, with the error
        done += 1
    return PeriodicRun(sent, failed, count is None or done < count, latest_s)
