"""Waiting for what must come, with a deadline: no test sleeps and hopes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def eventually(
    condition: Callable[[], Found | None], timeout: float = 30.0, every: float = 0.01
) -> Found:
    """What `condition()` gives once it gives something true; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come true within {timeout:g} s")
        time.sleep(every)
    return found


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
