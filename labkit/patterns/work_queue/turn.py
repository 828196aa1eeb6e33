"""Whose turn it is to run a worker, and who ends its lease when nobody waits for it any more."""

from __future__ import annotations

import threading


class Turn:
    """The thread that runs a worker now, if one does."""

    def __init__(self) -> None:
        self._thread: int | None = None
        self._last = False
        self._lock = threading.Lock()  # so that of two who part one knows that it is the last

    @property
    def taken(self) -> bool:
        """Whether a thread runs the worker."""
        return self._thread is not None

    @property
    def ours(self) -> bool:
        """Whether it is the thread that asks: the handler has called us."""
        return self._thread == threading.get_ident()

    def take(self) -> None:
        """This thread runs it from now on."""
        self._thread = threading.get_ident()

    def end(self) -> bool:
        """It no longer does. True: nobody waits for that, and it is the one to end the lease."""
        with self._lock:
            self._thread = None
            return self._last

    def leave_to_it(self) -> bool:
        """Wait no longer; whoever has the turn ends the lease. False if nobody has it."""
        with self._lock:
            self._last = True
            return self.taken

    def begin_anew(self) -> None:
        """Somebody waits for the end again."""
        self._last = False
