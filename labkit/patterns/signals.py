"""SIGTERM and Ctrl+C: what is in hand is finished first, and no lock stands in the way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


def beside(act: Callable[[], object]) -> Callable[[int, FrameType | None], None]:
    """A signal's handler that does this in a thread of its own.

    The signal may have come while the main thread held the very lock that it needs, that of an
    `Event` for which it waits, say: it would wait for itself.
    """

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        threading.Thread(target=act, name="labkit signal", daemon=True).start()

    return handle


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
    in_background = beside(stop)

    def handle(number: int, _: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        in_background(number, None)

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
