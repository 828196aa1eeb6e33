"""A worker: takes tasks, calls its handler, and tells the queue how each one ended."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Self

from labkit.backoff import Backoff
from labkit.errors import (
    BrokerRefused,
    BrokerUnavailable,
    ConfigurationError,
    NotConnected,
    describe,
)
from labkit.patterns.background import Background
from labkit.patterns.work_queue.holdings import Holdings
from labkit.patterns.work_queue.ledger import WorkerLedger
from labkit.patterns.work_queue.queue import WorkQueue
from labkit.patterns.work_queue.retry import RetryPolicy
from labkit.patterns.work_queue.signals import graceful
from labkit.patterns.work_queue.statistics import WorkerStatistics
from labkit.patterns.work_queue.task import Ending, Outcome, Reject, Retry, Task
from labkit.trace import Action

LONGEST_ERROR = 500
"""Characters of an exception that are kept with the task."""

_SLICE_S = 0.1
"""Longest single wait: so long may `stop()` take on an idle worker."""

_RECOVERIES_PER_LEASE = 3

Handler = Callable[[Task], Any]
"""Does the task. None: done. `Retry(…)` or `Reject(…)`: not done. An exception: see the policy."""


class Acknowledge(StrEnum):
    """When a worker tells the queue that a task is done."""

    BEFORE = "before"
    AFTER = "after"
    MANUAL = "manual"


class Worker:
    """Takes tasks from a queue, one step at a time with `run_one()` or in the background.

    At least once with `ack="after"`: a task that its worker did not finish goes to another one. At
    most once with `ack="before"`. What makes a second delivery harmless is an `OnceStore`.

    Args:
        queue: where the tasks come from.
        handler: does a task; see `Handler`.
        name: who works, for traces and statistics.
        retry: what to do when the handler raises.
        prefetch: how many tasks it takes at once. 1 is fair: whoever is free takes the next. More
            saves round trips, and holds tasks that another worker could do.
        ack: "after" the work, "before" it, or "manual": by the handler, with `task.ack()`.
    """

    def __init__(
        self,
        queue: WorkQueue,
        handler: Handler,
        *,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        prefetch: int = 1,
        ack: Acknowledge | str = Acknowledge.AFTER,
    ) -> None:
        if not callable(handler):
            raise ConfigurationError(f"A handler is a function of (task), got {handler!r}.")
        if isinstance(prefetch, bool) or not isinstance(prefetch, int) or prefetch < 1:
            raise ConfigurationError(f"prefetch is a whole number from 1, got {prefetch!r}.")
        if ack not in list(Acknowledge):
            known = ", ".join(repr(policy.value) for policy in Acknowledge)
            raise ConfigurationError(f"ack is one of {known}, got {ack!r}.")
        self.name = f"worker-{secrets.token_hex(2)}" if name is None else name
        if not isinstance(self.name, str) or not self.name:
            raise ConfigurationError(f"A worker's name is a non-empty str, got {name!r}.")
        self.queue = queue
        self._handler = handler
        self._retry = retry or RetryPolicy()
        self._prefetch = prefetch
        self._ack = Acknowledge(ack)
        self._ledger = WorkerLedger(self.name, queue.name, queue.lab)
        self._holdings = Holdings(queue, self.name, self._ledger)
        self._recover_at = 0.0
        self._crashed = self._closing = False
        self._halt = threading.Event()
        self._away = _Away(self._ledger)
        self._background = Background(f"labkit worker {self.name}", self._background_step)

    # --- step by step -------------------------------------------------------------------------

    def take(self, timeout: float = 0.0) -> Task | None:
        """The next task in hand, taken if there is none; not handled yet. None: none came.

        For looking at one step; `run_one()` goes on with this task.
        """
        self._require_foreground()
        return self._next(timeout, self._prefetch)

    def run_one(self, timeout: float = 0.0) -> Outcome | None:
        """Take one task, handle it, and tell the queue how it ended.

        Args:
            timeout: seconds to wait for one; None comes back if none is there by then.

        Raises:
            BrokerUnavailable: the broker is away; what it was not told it will be told later.
        """
        self._require_foreground()
        task = self._next(timeout, self._prefetch)
        if task is None:
            return None
        self._work(self._holdings.waiting.popleft())
        if not self._crashed:
            self._holdings.flush()
        return task.outcome

    def run(self, max_tasks: int | None = None, timeout: float | None = 0.0) -> int:
        """Handle tasks until there are no more; returns how many.

        SIGTERM and Ctrl+C end it after the task in hand. What was taken and not begun goes back.

        Args:
            max_tasks: at most so many; None for no bound.
            timeout: seconds to wait for another task, or for a broker that is away; None: go on
                until `stop()` or a signal.
        """
        self._require_foreground()
        self._halt.clear()
        count, idle_since = 0, time.monotonic()
        with graceful(self._halt.set):
            try:
                while not self._halt.is_set() and (max_tasks is None or count < max_tasks):
                    now = time.monotonic()
                    left = _SLICE_S if timeout is None else idle_since + timeout - now
                    wanted = self._prefetch if max_tasks is None else max_tasks - count
                    wait_s = max(0.0, min(left, _SLICE_S))
                    if self._step(wait_s, min(wanted, self._prefetch), timeout):
                        count, idle_since = count + 1, time.monotonic()
                    elif (left <= 0 and not self._away) or self._crashed:
                        break
            finally:
                self._give_back()
        return count

    # --- in the background --------------------------------------------------------------------

    def start(self) -> Self:
        """Handle tasks in a background thread, until `stop()`. An outage is waited out."""
        self._require_foreground()
        self._halt.clear()
        self._closing = False
        self._background.start()
        return self

    def stop(self, drain: bool = True, timeout: float = 10.0) -> bool:
        """End the work and the lease. Stopping twice is fine.

        Args:
            drain: True: do all that has been taken; False: only what has been begun. The rest
                goes back.
            timeout: seconds to wait for that.

        Returns:
            False if the handler is still busy: it goes on, and its task stays its own.

        Raises:
            LabkitError: what ended the background thread.
        """
        if self._crashed:
            return True
        deadline = time.monotonic() + timeout
        try:
            if drain and self._background.running:
                self._closing = True
                self._background.wait_until(lambda: not self._holdings.waiting, timeout)
            self._halt.set()
            ended = self._background.stop(max(0.0, deadline - time.monotonic()))
        except BaseException:
            self._leave()
            raise
        if ended:
            self._leave()
        return ended

    @property
    def running(self) -> bool:
        """Whether the background thread is there."""
        return self._background.running

    def wait_for(self, count: int, timeout: float = 10.0) -> bool:
        """Wait until `start()` has done `count` tasks in all; False after `timeout` seconds."""
        return self._background.wait_until(lambda: self._ledger["done"] >= count, timeout)

    def crash(self) -> None:
        """Die like a killed process: tell nobody, keep what is in hand, let the lease run out.

        A handler that is running is not stopped, but what comes of it is told to nobody.
        """
        if self._crashed:
            return
        self._crashed = True
        self._halt.set()
        held = self._holdings.crash()
        for task in held:
            self._ledger.ended(task, Ending.CRASHED)
        if not held:
            self._ledger.about_us(Action.CRASHED)
        self._background.stop(0.0)

    # --- what happened ------------------------------------------------------------------------

    def stats(self) -> WorkerStatistics:
        """Counts, errors, latency, up to now."""
        return self._ledger.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop(drain=kind is None)

    def __repr__(self) -> str:
        state = "crashed" if self._crashed else "running" if self.running else "not running"
        held = len(self._holdings.waiting) + len(self._holdings.kept)
        return f"<Worker {self.name!r}: {state}, {self._ledger['done']:,} done, {held} in hand>"

    # --- inside -------------------------------------------------------------------------------

    def _require_foreground(self) -> None:
        if self._crashed:
            raise NotConnected(f"Worker {self.name!r} has crashed. Make a new one.")
        if self._background.running:
            raise ConfigurationError(
                f"Worker {self.name!r} works in the background. Call stop() first."
            )

    def _next(self, timeout: float, count: int) -> Task | None:
        """The first task in hand; looks for dead workers' tasks from time to time."""
        waiting = self._holdings.waiting
        if waiting:
            return waiting[0]
        manual = self.queue.lab.clock.manual
        patience = timeout if manual else self.queue.options.lease / _RECOVERIES_PER_LEASE
        deadline = time.monotonic() + timeout
        while True:
            if manual or time.monotonic() >= self._recover_at:
                self.queue.recover()
                self._recover_at = time.monotonic() + patience
            self._holdings.fill(count, max(0.0, min(patience, deadline - time.monotonic())))
            if waiting:
                return waiting[0]
            if time.monotonic() >= deadline:
                return None

    def _step(self, wait_s: float, count: int, patience: float | None) -> bool:
        """One task, or a wait for one; an outage ends it only after `patience` seconds."""
        try:
            task = None if self._closing and not self._holdings.waiting else self._next(wait_s, count)
            if task is None:
                self._holdings.flush()
            else:
                self._work(self._holdings.waiting.popleft())
                self._holdings.flush_if_due()
        except BrokerUnavailable as error:
            seconds = self._away.since(error)
            if patience is not None and seconds >= patience:
                raise
            self._halt.wait(self._away.pause())
            return False
        self._away.over()
        return task is not None

    def _background_step(self) -> None:
        self._step(_SLICE_S, self._prefetch, None)
        if self._closing and not self._holdings.waiting:
            self._halt.wait(0.01)
        if self._halt.is_set():
            self._give_back()

    def _work(self, task: Task) -> None:
        """Handle it; `task.outcome` says how it ended, unless the broker was away."""
        self._holdings.working = task
        try:
            if task.unreadable is not None:
                reason = task.unreadable.reason
                self._ledger.unreadable(task, reason)
                self._holdings.settle_reject(task, "unreadable", reason, owe=True)
                return
            if self._ack is Acknowledge.BEFORE and not self._holdings.settle_ack(task):
                return  # others have it
            try:
                result = self._handler(task)
            except Exception as error:
                self._failed(task, error)
            except BaseException as error:  # Ctrl+C, sys.exit(): it was not the task's fault
                with contextlib.suppress(BrokerUnavailable, BrokerRefused):
                    self._again(task, 0.0, f"interrupted by {type(error).__name__}")
                raise
            else:
                self._concluded(task, result)
        finally:
            self._holdings.working = None

    def _concluded(self, task: Task, result: Any) -> None:
        if self._crashed:
            task.outcome = Outcome(task.id, Ending.CRASHED, task.attempt)
        elif task.outcome is not None and self._ack is Acknowledge.MANUAL:
            return  # the handler has told
        elif result is None:
            self._returned_none(task)
        elif isinstance(result, Retry):
            pause = self._retry.pause(task.attempt)
            if pause is None:
                self._bury(task, f"gave up after {task.attempt} attempts", result.reason)
            else:
                self._again(task, pause if result.after is None else result.after, result.reason)
        elif isinstance(result, Reject):
            self._bury(task, result.reason)
        else:
            error = TypeError(
                f"A handler returns None, Retry(…) or Reject(…), not {type(result).__name__} "
                f"{str(result)[:40]!r}"
            )
            self._ledger.raised(task, error)
            self._bury(task, "unknown handler result", describe(error))

    def _returned_none(self, task: Task) -> None:
        if self._ack is Acknowledge.AFTER:
            self._holdings.finish(task)
        elif self._ack is Acknowledge.MANUAL:
            self._holdings.kept.add(task)
            task.held()

    def _failed(self, task: Task, error: Exception) -> None:
        self._ledger.raised(task, error)
        text = describe(error)[:LONGEST_ERROR]
        pause = self._retry.pause(task.attempt)
        if not self._retry.cures(error):
            self._bury(task, "an error that another attempt does not cure", text)
        elif pause is None:
            self._bury(task, f"gave up after {task.attempt} attempts", text)
        else:
            self._again(task, pause, text)

    def _again(self, task: Task, pause: float, text: str) -> None:
        if not self._told(task, text):
            self._holdings.settle_nack(task, pause, text, owe=True)

    def _bury(self, task: Task, reason: str, text: str = "") -> None:
        if not self._told(task, text or reason):
            self._holdings.settle_reject(task, reason, text, owe=True)

    def _told(self, task: Task, text: str) -> bool:
        """Whether the queue knows of an end already: then a failure changes nothing any more."""
        if self._ack is Acknowledge.BEFORE and not self._crashed:
            task.outcome = Outcome(task.id, Ending.LOST, task.attempt, text)
            self._ledger.ended(task, Ending.LOST, text)
        return task.outcome is not None

    def _give_back(self) -> None:
        """Where the broker is away, its lease gives it back."""
        try:
            self._holdings.give_back()
        except (BrokerUnavailable, BrokerRefused, NotConnected) as error:
            self._ledger.raised(None, error)

    def _leave(self) -> None:
        try:
            self._holdings.leave()
        except (BrokerUnavailable, BrokerRefused, NotConnected) as error:
            self._ledger.raised(None, error)


class _Away:
    """A broker that cannot be reached: since when, and when to try again."""

    def __init__(self, ledger: WorkerLedger) -> None:
        self._ledger = ledger
        self._backoff = Backoff(first=0.02, cap=1.0)
        self._began: float | None = None
        self._attempts = 0

    def __bool__(self) -> bool:
        return self._began is not None

    def since(self, error: BrokerUnavailable) -> float:
        """It is away; for how many seconds already?"""
        if self._began is None:
            self._began = time.monotonic()
            self._ledger.raised(None, error)
            self._ledger.about_us(Action.CONNECTION_LOST, str(error))
        return time.monotonic() - self._began

    def pause(self) -> float:
        """Seconds until the next attempt."""
        self._attempts += 1
        return self._backoff.wait(self._attempts)

    def over(self) -> None:
        """It is back."""
        if self._began is not None:
            self._began, self._attempts = None, 0
            self._ledger.about_us(Action.RECONNECTED)
