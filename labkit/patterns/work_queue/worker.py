"""A worker: takes tasks, calls its handler, and tells the queue how each one ended."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable
from typing import Self

from labkit.errors import BrokerRefused, BrokerUnavailable, ConfigurationError, NotConnected
from labkit.patterns.background import Background
from labkit.patterns.identity import Home
from labkit.patterns.outage import Outage
from labkit.patterns.signals import graceful
from labkit.patterns.work_queue.arguments import check_worker
from labkit.patterns.work_queue.handling import Acknowledge, Handler, Handling, acknowledge
from labkit.patterns.work_queue.holdings import Holdings
from labkit.patterns.work_queue.ledger import WorkerLedger
from labkit.patterns.work_queue.queue import WorkQueue
from labkit.patterns.work_queue.retry import RetryPolicy
from labkit.patterns.work_queue.statistics import WorkerStatistics
from labkit.patterns.work_queue.supply import Supply
from labkit.patterns.work_queue.task import Ending, Outcome, Task
from labkit.patterns.work_queue.turn import Turn
from labkit.trace import Action

_SLICE_S = 0.1
"""Longest single wait, where nothing can end it: so long may `stop()` take on an idle worker."""

_LONG_SLICE_S = 5.0
"""Longest single wait, where `stop()` ends it: so late may a silent broker be noticed."""


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
        self.name = f"worker-{secrets.token_hex(2)}" if name is None else name
        check_worker(self.name, handler, prefetch)
        policy = acknowledge(ack)
        self._home = Home(f"Worker {self.name!r}")
        self.queue = queue
        self._prefetch = prefetch
        self._ledger = WorkerLedger(self.name, queue.name, queue.lab)
        self._holdings = Holdings(
            queue, self.name, self._ledger, by_hand=policy is Acknowledge.MANUAL
        )
        self._handling = Handling(
            handler, retry or RetryPolicy(), policy, self._holdings, self._ledger
        )
        self._supply = Supply(queue, self._holdings)
        long = self._holdings.interruptible and not queue.lab.clock.manual
        self._slice_s = _LONG_SLICE_S if long else _SLICE_S
        self._closing = False
        self._turn = Turn()
        self._halt = threading.Event()
        self._outage = Outage(self._ledger.broker_lost, self._ledger.broker_back)
        self._background = Background(f"labkit worker {self.name}", self._background_step)

    # --- step by step -------------------------------------------------------------------------

    def take(self, timeout: float = 0.0) -> Task | None:
        """The next task in hand, taken if there is none; not handled yet. None: none came.

        For looking at one step; `run_one()` goes on with this task.
        """
        self._require_foreground()
        return self._supply.next(timeout, self._prefetch)

    def run_one(self, timeout: float = 0.0) -> Outcome | None:
        """Take one task, handle it, and tell the queue how it ended.

        Args:
            timeout: seconds to wait for one; None comes back if none is there by then.

        Raises:
            BrokerUnavailable: the broker is away; what it was not told it will be told later.
        """
        self._require_foreground()
        self._supply.next(timeout, self._prefetch)
        task = self._holdings.begin()
        if task is None:
            return None
        self._handling.work(task)
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
        self._turn.begin_anew()
        count, idle_since = 0, time.monotonic()
        with graceful(lambda: self.ask_to_stop(drain=False)):
            self._turn.take()
            try:
                while not self._halt.is_set() and (max_tasks is None or count < max_tasks):
                    until = math.inf if timeout is None else idle_since + timeout
                    left = until - time.monotonic()
                    wanted = self._prefetch if max_tasks is None else max_tasks - count
                    wait_s = max(0.0, min(left, self._slice_s))
                    if self._step(wait_s, min(wanted, self._prefetch), timeout):
                        count, idle_since = count + 1, time.monotonic()
                    elif (left <= 0 and not self._outage) or self._holdings.dead:
                        break
            finally:
                self._part(self._holdings.give_back)
                self._end_turn()
        return count

    # --- in the background --------------------------------------------------------------------

    def start(self) -> Self:
        """Handle tasks in a background thread, until `stop()`. An outage is waited out."""
        self._require_foreground()
        self._halt.clear()
        self._turn.begin_anew()
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
            False if the handler is still busy: it goes on with its task, then the lease ends.

        Raises:
            LabkitError: what ended the background thread.
        """
        if self._holdings.dead or not self._home.here:
            return True
        if self._turn.ours:  # called by the handler
            self.ask_to_stop(drain=False)
            self._background.stop(0.0)
            self._turn.leave_to_it()
            return False
        deadline = time.monotonic() + timeout
        try:
            if drain and self._background.running:
                self.ask_to_stop()
                self._background.wait_until(lambda: not self._holdings.waiting, timeout)
            self.ask_to_stop(drain=False)
            ended = self._background.stop(max(0.0, deadline - time.monotonic()))
            while self._turn.taken and time.monotonic() < deadline:
                time.sleep(0.005)  # another thread's run() finishes its task
        except BaseException:
            self._part(self._holdings.leave)
            raise
        if (not ended or self._turn.taken) and self._turn.leave_to_it():
            return False
        self._closing = False
        self._part(self._holdings.leave)
        return True

    def ask_to_stop(self, drain: bool = True) -> None:
        """Take no more tasks, and do not wait; `stop()` does. For several that stop together."""
        if drain:
            self._closing = True
        else:
            self._halt.set()
        self._holdings.interrupt()

    @property
    def crashed(self) -> bool:
        """Whether `crash()` was called."""
        return self._holdings.dead

    @property
    def idle(self) -> bool:
        """Whether it has no task in hand that is to be done, or it is its handler that asks."""
        holdings = self._holdings
        return self._turn.ours or holdings.dead or not (holdings.waiting or holdings.working)

    @property
    def running(self) -> bool:
        """Whether the background thread is there."""
        return self._background.running

    def wait_for(self, count: int, timeout: float = 10.0) -> bool:
        """Wait until `start()` has done `count` tasks in all; False after `timeout` seconds."""
        self._home.require()
        return self._background.wait_until(lambda: self._ledger["done"] >= count, timeout)

    def crash(self) -> None:
        """Die like a killed process: tell nobody, keep what is in hand, let the lease run out.

        A handler that is running is not stopped, but what comes of it is told to nobody.
        """
        self._home.require()
        if self._holdings.dead:
            return
        held = self._holdings.crash()  # first, so that nothing is given back
        self.ask_to_stop(drain=False)
        for task in held:
            self._ledger.ended(task, Ending.CRASHED)
        if not held:
            self._ledger.about_us(Action.CRASHED)
        self._background.stop(0.0)

    # --- what happened ------------------------------------------------------------------------

    def stats(self) -> WorkerStatistics:
        """Counts, errors, latency, up to now."""
        self._home.require()
        return self._ledger.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop(drain=kind is None)

    def __repr__(self) -> str:
        if not self._home.here:
            return repr(self._home)
        state = "crashed" if self._holdings.dead else "running" if self.running else "not running"
        held = len(self._holdings.waiting) + len(self._holdings.kept)
        return f"<Worker {self.name!r}: {state}, {self._ledger['done']:,} done, {held} in hand>"

    # --- inside -------------------------------------------------------------------------------

    def _require_foreground(self) -> None:
        self._home.require()
        if self._holdings.dead:
            raise NotConnected(f"Worker {self.name!r} has crashed. Make a new one.")
        if self._background.running:
            raise ConfigurationError(
                f"Worker {self.name!r} works in the background. Call stop() first."
            )

    def _parting(self) -> bool:
        """Whether it is to take no more."""
        return self._closing or self._halt.is_set()

    def _step(self, wait_s: float, count: int, patience: float | None) -> bool:
        """One task, or a wait for one; an outage ends it only after `patience` seconds."""
        try:
            if not (self._holdings.waiting or self._parting()):
                soon = min(wait_s, _SLICE_S) if self._outage else wait_s
                self._supply.next(soon, count, self._parting)
                self._outage.over()
            task = None if self._halt.is_set() else self._holdings.begin()
            if task is None:
                self._holdings.flush()
            else:
                self._handling.work(task)
                self._holdings.flush_if_due()
        except (BrokerUnavailable, BrokerRefused) as error:
            seconds = self._outage.since(error)
            if patience is not None and seconds >= patience:
                raise
            self._halt.wait(self._outage.pause())
            return False
        self._outage.over()
        return task is not None

    def _background_step(self) -> None:
        self._turn.take()
        try:
            self._step(self._slice_s, self._prefetch, None)
            if self._halt.is_set():
                self._part(self._holdings.give_back)
            if self._halt.is_set() or (self._closing and not self._holdings.waiting):
                time.sleep(0.01)  # until somebody stops us
        finally:
            self._end_turn()

    def _end_turn(self) -> None:
        if self._turn.end() and not self._holdings.dead:
            self._part(self._holdings.leave)

    def _part(self, part: Callable[[], None]) -> None:  # where that fails, the lease gives back
        try:
            part()
        except (BrokerUnavailable, BrokerRefused, NotConnected) as error:
            self._ledger.raised(None, error)
