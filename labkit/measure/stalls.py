"""A broker that stands still for a moment: the experiment that shows coordinated omission.

On the embedded broker, and on a simulated one, every call that falls into the stall ends with it. A
real server is frozen from outside (SIGSTOP) and always thawed again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from labkit.clock import Clock
from labkit.errors import ConfigurationError, LabkitError

SECOND_NS = 1_000_000_000


class Freezable(Protocol):
    """A server that can be frozen: `labkit.servers.RedisServer`."""

    def pause(self) -> None:
        """Freeze it."""

    def resume(self) -> None:
        """Let it go on."""


@dataclass(frozen=True, slots=True)
class Stall:
    """The broker stands still once.

    Attributes:
        at: seconds from the end of the warm-up.
        seconds: for how long.
        server: the real server to freeze; None for the embedded broker and a simulated one.
    """

    at: float
    seconds: float
    server: Freezable | None = None

    def __post_init__(self) -> None:
        if not (self.at >= 0 and 0 < self.seconds < float("inf")):
            raise ConfigurationError(
                f"A stall begins at 0 s or later and lasts more than 0 s, got {self!r}."
            )

    def ends_ns(self, now_ns: int, warmup_ns: int) -> int:
        """When a call that is made now can go on: now, unless it falls into the stall."""
        begins = warmup_ns + round(self.at * SECOND_NS)
        ends = begins + round(self.seconds * SECOND_NS)
        return ends if begins <= now_ns < ends else now_ns


@contextmanager
def frozen(server: Freezable) -> Iterator[None]:
    """Within this, the server answers nobody; it goes on afterwards, whatever happens."""
    try:
        server.pause()
        yield
    finally:
        server.resume()


@contextmanager
def freezing(stall: Stall | None, clock: Clock, start_ns: int, warmup_ns: int) -> Iterator[None]:
    """Within this, a stall's real server is frozen when its time comes, by a thread.

    Raises:
        LabkitError: it could not be frozen.
    """
    if stall is None or stall.server is None:
        yield
        return
    server = stall.server
    over = threading.Event()
    problems: list[LabkitError] = []

    def freeze() -> None:
        begins_ns = start_ns + warmup_ns + round(stall.at * SECOND_NS)
        if over.wait(max(0, begins_ns - clock.monotonic_ns()) / SECOND_NS):
            return
        try:
            with frozen(server):
                over.wait(stall.seconds)
        except LabkitError as error:
            problems.append(error)

    thread = threading.Thread(target=freeze, name="labkit stall", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if problems:
        raise problems[0]
