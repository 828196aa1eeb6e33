"""A step, run over and over in one thread, and the calls that other threads put in between."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


class Background:
    """Runs `step` in a daemon thread between `start()` and `stop()`.

    An exception out of a step ends the thread and comes out of `stop()`: a step handles what it can
    go on after. A step lasts a fraction of a second when nothing happens.
    """

    def __init__(self, name: str, step: Callable[[], object]) -> None:
        self._name = name
        self._step = step
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._stepped = threading.Condition()
        self._error: Exception | None = None

    @property
    def running(self) -> bool:
        """Whether the thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; nothing happens if it runs."""
        with self._lock:
            if self.running:
                return
            self._stop.clear()
            self._error = None
            self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
            self._thread.start()

    def stop(self, timeout: float) -> bool:
        """End the thread after its current step; False if that takes longer than `timeout`.

        Raises:
            Exception: the one that ended the thread.
        """
        self._stop.set()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        error, self._error = self._error, None
        if error is not None:
            raise error
        return not thread.is_alive()

    def run(self, call: Callable[[], Result]) -> Result:
        """Run `call` between two steps, in the thread if it runs, else here and now."""
        if threading.current_thread() is self._thread:
            return call()
        with self._lock:
            if not self.running:
                return call()
            future: Future[Result] = Future()
            self._calls.put(lambda: _settle(future, call))
        while True:
            try:
                return future.result(timeout=0.1)
            except TimeoutError:
                if future.done():
                    raise
                if not self.running:  # it ended before it came to our call
                    self._run_calls()

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait for a condition that steps bring about; False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._stepped:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._stepped.wait(min(left, 0.1))
        return True

    def _loop(self) -> None:
        while not self._stop.is_set():
            self._run_calls()
            try:
                self._step()
            except Exception as error:
                self._error = error
                break
            finally:
                with self._stepped:
                    self._stepped.notify_all()
        self._run_calls()

    def _run_calls(self) -> None:
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return
            call()


def _settle(future: Future[Result], call: Callable[[], Result]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)
