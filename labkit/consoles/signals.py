"""What ends a program from outside, and doing something about it for a while."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

END_SIGNALS = tuple(
    number
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK")  # SIGHUP: the terminal was closed
    if (number := getattr(signal, name, None)) is not None
)
"""Ask a program to end; Ctrl+C (SIGINT) is a person's own."""

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def on_signals(numbers: Iterable[int], handler: Handler) -> Iterator[None]:
    """Have `handler` called for these signals, while the block runs in the main thread.

    One that is ignored stays so: `nohup` asks for that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in numbers}
    mine = [n for n, was in before.items() if was is not signal.SIG_IGN]
    for number in mine:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number] or signal.SIG_DFL)


@contextmanager
def as_interrupt() -> Iterator[None]:
    """Let what asks the program to end do what Ctrl+C does: raise `KeyboardInterrupt`."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    with on_signals(END_SIGNALS, interrupt):
        yield
