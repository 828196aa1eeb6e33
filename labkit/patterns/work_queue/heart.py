"""A worker's heart: it beats while the worker holds tasks, however long each of them takes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from labkit.errors import BrokerRefused, BrokerUnavailable, NotConnected

BEATS_PER_LEASE = 3
"""How often the lease is renewed in its own time: two beats may be missed."""

_RETRY_S = 0.1


class Heart:
    """One small thread, that ends by itself when there is nothing to beat for.

    Args:
        name: whose.
        lease: seconds that one beat is good for.
        beat: renews the lease; called from the thread.
        needed: whether there is something to beat for.
        note: writes down what a beat raised and should not have; the heart goes on.
    """

    def __init__(
        self,
        name: str,
        lease: float,
        beat: Callable[[], None],
        needed: Callable[[], bool],
        note: Callable[[Exception], None],
    ) -> None:
        self._name = name
        self._every = lease / BEATS_PER_LEASE
        self._beat = beat
        self._needed = needed
        self._note = note
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def beating(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """See that it beats, from the next time on."""
        if self.beating:  # the usual case costs next to nothing
            return
        with self._lock:
            if not self.beating:
                self._stop = threading.Event()
                arguments = (self._stop,)
                self._thread = threading.Thread(
                    target=self._loop, args=arguments, name=f"labkit heart {self._name}"
                )
                self._thread.daemon = True
                self._thread.start()

    def stop(self) -> None:
        """End it now: no beat comes after this."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _loop(self, stop: threading.Event) -> None:
        pause, idle = self._every, 0
        while not stop.wait(pause):
            pause = self._every
            idle = 0 if self._needed() else idle + 1
            if idle > 1 and self._rest(stop):
                return
            if idle:
                continue
            try:
                self._beat()
            except NotConnected:  # the lab was closed before us
                self._rest(stop, even_if_needed=True)
                return
            except (BrokerUnavailable, BrokerRefused):
                pause = min(self._every, _RETRY_S)
            except Exception as error:  # a heart that stops takes its worker's tasks with it
                self._note(error)
                pause = min(self._every, _RETRY_S)

    def _rest(self, stop: threading.Event, *, even_if_needed: bool = False) -> bool:
        """End, unless a task came in this very moment; `start` begins anew."""
        with self._lock:
            if self._needed() and not even_if_needed:
                return False
            if not stop.is_set():
                self._thread = None
            return True
