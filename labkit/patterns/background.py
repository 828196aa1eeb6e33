"""A step, run over and over in one thread, and the calls that other threads put in between."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from labkit.errors import LabkitError, describe

Result = TypeVar("Result")

CALL_WITHIN_S = 30.0
"""How long a call of another thread waits for its turn: for as long as a step may take."""


class _Run:
    """One life of the thread, with a stop of its own."""

    def __init__(self, name: str, loop: Callable[[_Run], None]) -> None:
        self.stop = threading.Event()
        self.error: Exception | None = None
        self.thread = threading.Thread(target=loop, args=(self,), name=name, daemon=True)

    @property
    def is_here(self) -> bool:
        return threading.current_thread() is self.thread


class Background:
    """Runs `step` in a daemon thread between `start()` and `stop()`.

    An exception out of a step ends the thread and comes out of `stop()`: a step handles what it can
    go on after. A step in which nothing happens lasts a fraction of a second, or whoever stops the
    thread ends it.
    """

    def __init__(self, name: str, step: Callable[[], object]) -> None:
        self._name = name
        self._step = step
        self._run_now: _Run | None = None
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()  # held by whoever starts a run, or makes calls in its place
        self._stepped = threading.Condition()

    @property
    def running(self) -> bool:
        """Whether the thread is alive."""
        return self._run_now is not None and self._run_now.thread.is_alive()

    @property
    def is_wanted(self) -> bool:
        """Whether the thread is asked to stop, or to make a call: a long step then ends early."""
        run = self._run_now
        return not self._calls.empty() or (run is not None and run.stop.is_set())

    def start(self, timeout: float = 5.0) -> None:
        """Start the thread; nothing happens if it runs. One that is just ending is waited for.

        Raises:
            LabkitError: the last run does not end within `timeout` seconds.
        """
        with self._lock:
            run = self._run_now
            if run is not None and run.thread.is_alive():
                if not run.stop.is_set():
                    return
                if run.is_here:
                    raise LabkitError(f"{self._name}: it cannot start again before it has ended.")
                run.thread.join(timeout)
                if run.thread.is_alive():
                    raise LabkitError(f"{self._name}: its last step has not ended yet; wait.")
            self._run_now = _Run(self._name, self._loop)
            self._run_now.thread.start()

    def stop(self, timeout: float) -> bool:
        """End the thread after its current step; False if it has not ended within `timeout`.

        Raises:
            Exception: the one that ended the thread.
        """
        run = self._run_now
        if run is None:
            return True
        run.stop.set()
        if run.is_here:
            return False
        run.thread.join(timeout)
        error, run.error = run.error, None
        if error is not None:
            raise error
        return not run.thread.is_alive()

    def run(self, call: Callable[[], Result], timeout: float = CALL_WITHIN_S) -> Result:
        """Run `call` between two steps, in the thread if it runs, else here and now.

        Raises:
            LabkitError: its turn did not come within `timeout` seconds.
        """
        run = self._run_now
        if run is not None and run.is_here:
            return call()
        with self._lock:
            if not self.running:
                return call()
            future: Future[Result] = Future()
            self._calls.put(lambda: _settle(future, call))
        deadline = time.monotonic() + timeout
        while not future.done():
            if not self.running:  # it ended before it came to our call
                with self._lock:
                    self._make_calls()
            elif time.monotonic() > deadline and future.cancel():
                raise LabkitError(f"{self._name} has been busy for {timeout:g} s; try again later.")
            wait([future], timeout=0.05)
        return future.result()

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait for a condition that steps bring about; False after `timeout`, or if none come."""
        deadline = time.monotonic() + timeout
        with self._stepped:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0 or not self.running:
                    return condition()
                self._stepped.wait(min(left, 0.1))
        return True

    def _loop(self, run: _Run) -> None:
        while not run.stop.is_set():
            self._make_calls()
            try:
                self._step()
            except Exception as error:
                run.error = error
                break
            except BaseException as error:
                run.error = LabkitError(f"{self._name} was ended by {describe(error)}.")
                break
            finally:
                with self._stepped:
                    self._stepped.notify_all()
        self._make_calls()

    def _make_calls(self) -> None:
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return
            call()


def _settle(future: Future[Result], call: Callable[[], Result]) -> None:
    if not future.set_running_or_notify_cancel():
        return  # its caller has given up
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)
