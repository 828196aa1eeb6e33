"""Where a worker's tasks come from: what it has in hand, the queue, and workers that have died."""

from __future__ import annotations

import time
from collections.abc import Callable

from labkit.patterns.work_queue.holdings import Holdings
from labkit.patterns.work_queue.queue import WorkQueue
from labkit.patterns.work_queue.task import Task

RECOVERIES_PER_LEASE = 3
"""How often a worker looks for the tasks of dead ones."""


class Supply:
    """The tasks of one worker, as it wants them."""

    def __init__(self, queue: WorkQueue, holdings: Holdings) -> None:
        self._queue = queue
        self._holdings = holdings
        self._manual = queue.lab.clock.manual
        self._recover_every = queue.options.lease / RECOVERIES_PER_LEASE
        self._recover_at = 0.0

    def next(
        self, timeout: float, count: int, ended: Callable[[], bool] = lambda: False
    ) -> Task | None:
        """The first task in hand; if there is none, at most `count` are taken from the queue.

        Looks for dead workers' tasks from time to time. None: none came within `timeout` seconds,
        or before `ended()`.
        """
        waiting = self._holdings.waiting
        if waiting:
            return waiting[0]
        deadline = time.monotonic() + timeout
        while not self._holdings.dead:
            if self._manual or time.monotonic() >= self._recover_at:
                self._queue.recover()
                self._recover_at = time.monotonic() + self._recover_every
            until = deadline if self._manual else min(deadline, self._recover_at)
            self._holdings.fill(count, max(0.0, until - time.monotonic()))
            if waiting:
                return waiting[0]
            if ended() or time.monotonic() >= deadline:
                break
        return None
