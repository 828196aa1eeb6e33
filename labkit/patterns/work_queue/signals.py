"""SIGTERM and Ctrl+C while a worker works: the task in hand is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def graceful(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first SIGTERM or Ctrl+C, and let its usual effect come at the end.

    A second Ctrl+C interrupts at once. Outside the main thread, where Python delivers no signals,
    nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        # In a thread of its own: the signal may have come while this one held the very lock that
        # stopping needs.
        threading.Thread(target=stop, name="labkit stop", daemon=True).start()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if signal.SIGINT in received:
        raise KeyboardInterrupt
    if received:
        raise SystemExit(128 + received[0])
