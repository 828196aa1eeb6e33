"""What a worker writes down: each thing once in the counts and once in the trace."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

from labkit.broker import Broker
from labkit.errors import describe
from labkit.patterns.statistics import ErrorRecord, Latency, Tally
from labkit.patterns.work_queue.statistics import WorkerStatistics
from labkit.patterns.work_queue.task import Ending, Task
from labkit.trace import Action

_ACTIONS = {
    Ending.BEGUN: Action.ACKED,
    Ending.DONE: Action.ACKED,
    Ending.RETRYING: Action.RETRYING,
    Ending.DEAD: Action.DEAD,
    Ending.RETURNED: Action.RETURNED,
    Ending.LATE: Action.LATE_ACK,
    Ending.LOST: Action.FAILED,
    Ending.CRASHED: Action.CRASHED,
}
_COUNTS = {
    Ending.DONE: "done",
    Ending.RETRYING: "retried",
    Ending.DEAD: "dead",
    Ending.RETURNED: "returned",
    Ending.LATE: "late_acks",
    Ending.LOST: "lost",
}


class WorkerLedger:
    """The books of one worker."""

    def __init__(self, name: str, queue: str, lab: Broker) -> None:
        self._name = name
        self._queue = queue
        self._clock = lab.clock
        self._trace = lab.trace
        self._tally = Tally()

    def taken(self, tasks: Sequence[Task]) -> None:
        """Deliveries have come."""
        now_ns = self._clock.monotonic_ns()
        again = [task for task in tasks if task.attempt > 1]
        self._tally.add(
            self._queue,
            messages=len(tasks),
            bytes=sum(len(task.delivery.body) for task in tasks),
            redelivered=len(again),
        )
        self._tally.seen_at(now_ns)
        self._measure(tasks, now_ns)
        if self._trace.enabled:
            for task in tasks:
                action = Action.REDELIVERED if task.attempt > 1 else Action.DELIVERED
                self._about(action, task, f"attempt {task.attempt}" if task.attempt > 1 else "")

    def all_done(self, tasks: Sequence[Task]) -> None:
        """Many have been acknowledged together."""
        self._tally.add(self._queue, done=len(tasks))
        if self._trace.enabled:
            for task in tasks:
                self._about(Action.ACKED, task)

    def ended(self, task: Task, ending: Ending, detail: str = "", *, unsure: bool = False) -> None:
        """A task and the worker have parted."""
        if ending is Ending.LATE and unsure:
            self._tally.add(self._queue, unsure_acks=1)
            detail = "the answer to the first one was lost"
        elif ending in _COUNTS:
            self._tally.add(self._queue, **{_COUNTS[ending]: 1})
        if ending in _ACTIONS and self._trace.enabled:
            self._about(_ACTIONS[ending], task, detail)

    def worked(self) -> None:
        """One that had been acknowledged before has been done, too."""
        self._tally.add(self._queue, done=1)

    def unreadable(self, task: Task, reason: str) -> None:
        """Its bytes are no message."""
        self._tally.add(self._queue, unreadable=1)
        self._about(Action.UNREADABLE, task, reason)

    def raised(self, task: Task | None, error: BaseException) -> None:
        """A handler, or the broker, raised."""
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].name}, line {frames[-1].lineno}" if frames and task else ""
        task_id = None if task is None else task.id
        self._tally.errors.append(ErrorRecord(self._queue, task_id, describe(error), where))

    def broker_lost(self, error: Exception) -> None:
        """The broker cannot be reached, or refuses."""
        self._tally.add(self._queue, outages=1)
        self.raised(None, error)
        self.about_us(Action.CONNECTION_LOST, str(error))

    def broker_back(self) -> None:
        """It can be reached."""
        self.about_us(Action.RECONNECTED)

    def about_us(self, action: Action, detail: str = "") -> None:
        """Something about the worker itself."""
        self._trace.record(self._name, action, channel=self._queue, detail=detail)

    def stats(self) -> WorkerStatistics:
        """The counts, now."""
        latency = Latency.of(list(self._tally.latencies_ns))
        return self._tally.fill(WorkerStatistics, self._name, latency=latency)

    def __getitem__(self, name: str) -> int:
        return self._tally[name]

    def _measure(self, tasks: Sequence[Task], now_ns: int) -> None:
        """How long those took that were put on the clock that we read."""
        clock = f"{self._clock.id}."
        for task in tasks:
            if task.unreadable is not None:
                continue
            facts = task.message.metadata
            epoch, sent_ns = facts.get("epoch"), facts.get("sent_ns")
            if type(sent_ns) is int and isinstance(epoch, str) and epoch.startswith(clock):
                if not 0 <= sent_ns <= now_ns:
                    continue  # no word of ours
                self._tally.latencies_ns.append(now_ns - sent_ns)

    def _about(self, action: Action, task: Task, detail: str = "") -> None:
        self._trace.record(
            self._name,
            action,
            channel=self._queue,
            message_id=task.id,
            label=task.label,
            detail=detail,
        )
