"""One task: call the handler, and tell the queue what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from labkit.errors import BrokerRefused, BrokerUnavailable, ConfigurationError, describe
from labkit.patterns.work_queue.arguments import clean_text
from labkit.patterns.work_queue.holdings import Holdings
from labkit.patterns.work_queue.ledger import WorkerLedger
from labkit.patterns.work_queue.retry import RetryPolicy
from labkit.patterns.work_queue.task import Ending, Outcome, Reject, Retry, Task

LONGEST_ERROR = 500
"""Characters of an exception that are kept with the task."""

Handler = Callable[[Task], Any]
"""Does the task. None: done. `Retry(…)` or `Reject(…)`: not done. An exception: see the policy.

`sys.exit()` is an exception like the others: it ends the attempt, not the worker, and a policy
that does not say otherwise tries the task again.
"""


class Acknowledge(StrEnum):
    """When a worker tells the queue that a task is done."""

    BEFORE = "before"
    AFTER = "after"
    MANUAL = "manual"


def acknowledge(given: Acknowledge | str) -> Acknowledge:
    """By name."""
    known = [policy.value for policy in Acknowledge]
    if given not in known:
        names = ", ".join(map(repr, known))
        raise ConfigurationError(f"ack is one of {names}, got {given!r}.")
    return Acknowledge(given)


class Handling:
    """A handler, and the rules for what it returns and raises."""

    def __init__(
        self,
        handler: Handler,
        policy: RetryPolicy,
        ack: Acknowledge,
        holdings: Holdings,
        ledger: WorkerLedger,
    ) -> None:
        self._handler = handler
        self._policy = policy
        self._ack = ack
        self._holdings = holdings
        self._ledger = ledger

    def work(self, task: Task) -> None:
        """Handle it; `task.outcome` says how it ended, unless the broker was away."""
        self._holdings.working = task
        try:
            if task.unreadable is not None:
                reason = task.unreadable.reason
                self._ledger.unreadable(task, reason)
                self._holdings.settle_reject(task, "unreadable", reason, owe=True)
                return
            if self._ack is Acknowledge.BEFORE and not self._acked_first(task):
                return  # others have it
            try:
                result = self._handler(task)
            except (Exception, SystemExit) as error:  # sys.exit() is the task's end, not ours
                self._failed(task, error)
            except BaseException as error:  # Ctrl+C: it was not the task's fault
                with contextlib.suppress(BrokerUnavailable, BrokerRefused):
                    self._again(task, 0.0, f"interrupted by {type(error).__name__}")
                raise
            else:
                if result is None and self._ack is Acknowledge.AFTER:  # the usual case
                    self._holdings.finish(task)
                else:
                    self._concluded(task, result)
        finally:
            self._holdings.working = None

    def _acked_first(self, task: Task) -> bool:
        try:
            return self._holdings.settle_ack(task, Ending.BEGUN)
        except (BrokerUnavailable, BrokerRefused):
            self._holdings.waiting.appendleft(task)  # not begun: ask again
            raise

    def _concluded(self, task: Task, result: Any) -> None:
        if self._holdings.dead:
            task.outcome = Outcome(task.id, Ending.CRASHED, task.attempt)
        elif task.outcome is not None and self._ack is Acknowledge.MANUAL:
            return  # the handler has told
        elif result is None:
            if self._ack is Acknowledge.MANUAL:
                self._holdings.keep(task)
            else:
                task.outcome = Outcome(task.id, Ending.DONE, task.attempt)
                self._ledger.worked()
        elif isinstance(result, Retry):
            pause = self._policy.pause(task.attempt)
            if pause is None:
                self._bury(task, f"gave up after {task.attempt} attempts", result.reason)
            else:
                self._again(task, pause if result.after is None else result.after, result.reason)
        elif isinstance(result, Reject):
            self._bury(task, result.reason)
        else:
            error = TypeError(
                f"A handler returns None, Retry(…) or Reject(…), not {type(result).__name__}"
            )
            self._ledger.raised(task, error)
            self._bury(task, "unknown handler result", describe(error))

    def _failed(self, task: Task, error: Exception | SystemExit) -> None:
        self._ledger.raised(task, error)
        text = clean_text(error)[:LONGEST_ERROR]
        pause = self._policy.pause(task.attempt)
        if not self._policy.cures(error):
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
        if self._ack is Acknowledge.BEFORE and not self._holdings.dead:
            task.outcome = Outcome(task.id, Ending.LOST, task.attempt, text)
            self._ledger.ended(task, Ending.LOST, text)
        return task.outcome is not None
