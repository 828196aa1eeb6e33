"""How a trace of work queues is read: from events to what each task went through."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from labkit.errors import ConfigurationError
from labkit.plots._calls import services_in
from labkit.plots._tasks import Doing, End, Stretch, Task, Work
from labkit.trace import Trace, TraceEvent

_ATTEMPT = re.compile(r"attempt (\d+)")
_AGAIN = re.compile(r"in (\d[\d.]*(?:e[-+]?\d+)?) s(?:: (.*))?", re.DOTALL)
_LATER = re.compile(r"\b(?:in|for|delayed) (\d[\d.]*) s\b")
_EARLIER = re.compile(r"(\d[\d.]*(?:e[-+]?\d+)?) s earlier")
_TOGETHER = 0.02
"""Acknowledgements so close together, as a share of the work before them, were one."""
OF_QUEUES = frozenset(
    ("redelivered", "acked", "late ack", "retrying", "dead", "returned", "recovered")
)
"""Actions that say: this channel is a queue."""


def read_tasks(trace: Trace | Iterable[TraceEvent]) -> Work:
    """Read a trace.

    Raises:
        ConfigurationError: no task in it.
    """
    enabled = trace.enabled if isinstance(trace, Trace) else True
    events = sorted(trace, key=lambda event: event.time)
    reader = _Reader()
    queues = _queues(events)
    for event in events:
        if event.channel in queues or event.channel is None:
            reader.take(event)
    tasks = [task for task in reader.tasks.values() if task.stretches]
    if not tasks:
        why = (
            "put some into a queue first, and let a worker run."
            if enabled
            else "it was switched off (enabled=False), so nothing was recorded."
        )
        raise ConfigurationError(f"The trace holds no task to draw: {why}")
    times = [t for task in tasks for s in task.stretches for t in (s.start, s.end or s.start)]
    last = max(times + [t for died in reader.crashes.values() for t in died])
    forgotten = trace.forgotten if isinstance(trace, Trace) else 0
    work = Work(tasks, min(times), last, reader.crashes, forgotten)
    _say_when_begun(work)
    return work


def _queues(events: Sequence[TraceEvent]) -> set[str | None]:
    """Channels that are queues for sure; if there are none, all that may be."""
    sure = {event.channel for event in events if str(event.action) in OF_QUEUES}
    if sure:
        return sure
    services = services_in(events)
    other = services | {f"{name} reply" for name in services}
    other |= {e.channel or "" for e in events if str(e.action) == "subscribed"}
    return {event.channel for event in events if event.channel not in other}


def _say_when_begun(work: Work) -> None:
    """A worker that took several tasks at once does one after the other."""
    by_worker: defaultdict[str, list[Stretch]] = defaultdict(list)
    for _, stretch in work.hands():
        stretch.finished = work.end_of(stretch) - stretch.finished
        by_worker[stretch.worker].append(stretch)
    for held in by_worker.values():
        held.sort(key=lambda s: (s.finished, s.start))
        free = float("-inf")
        while held:
            began = max(held[0].start, min(free, held[0].finished))
            count = _acknowledged_together(held, began)
            group, held = held[:count], held[count:]
            free = group[-1].finished
            for i, stretch in enumerate(group):
                stretch.begun = max(stretch.start, began + (free - began) * i / count)
                stretch.finished = max(stretch.begun, began + (free - began) * (i + 1) / count)
                stretch.together = count > 1


def _acknowledged_together(held: Sequence[Stretch], began: float) -> int:
    """How many of the next tasks got one acknowledgement: how long each took is not known."""
    count = 1
    for one, other in pairwise(held):
        near = max(0.001, _TOGETHER * (one.finished - began))
        done = one.outcome is End.DONE and other.outcome is End.DONE
        if not done or other.start >= one.finished or other.finished - one.finished > near:
            break
        count += 1
    return count


class _Reader:
    """Takes events in the order of time."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.crashes: dict[str, list[float]] = {}

    def take(self, event: TraceEvent) -> None:
        action = str(event.action)
        if action == "crashed":
            self._crashed(event)
        elif event.message_id is None:
            return
        elif action in ("sent", "delivered", "redelivered") or event.message_id in self.tasks:
            self._about(self._task(event), action, event)

    def _task(self, event: TraceEvent) -> Task:
        key = event.message_id or ""
        task = self.tasks.get(key)
        if task is None:
            task = Task(key, event.label or key, event.channel or "?", event.time)
            self.tasks[key] = task
        return task

    def _about(self, task: Task, action: str, event: TraceEvent) -> None:
        time = event.time
        match action:
            case "sent" if task.current is None:
                task.put_again = time
                task.begin(Doing.WAITING, time)
            case "accepted":
                self._accepted(task, event)
            case "send failed" if task.current is not None and len(task.stretches) == 1:
                task.stretches.clear()
            case "delivered" | "redelivered":
                self._taken(task, event)
            case "acked":
                self._ended(task, event, End.DONE)
            case "duplicate" if task.stretches and task.stretches[-1].start == task.put_again:
                task.refuse()
            case "failed" | "unreadable":
                self._failed(task, event)
            case "late ack":
                self._late(task, event)
            case "retrying":
                self._ended(task, event, End.FAILED)
                delay = delay_in(event.detail)
                task.begin(Doing.WAITING if delay is None else Doing.RETRY, time).delay = delay
            case "dead":
                self._ended(task, event, End.DEAD)
            case "lost":
                self._ended(task, event, End.LOST)
            case "returned":
                self._ended(task, event, End.RETURNED)
                task.begin(Doing.WAITING, time)
            case "recovered":
                self._recovered(task, time)

    def _failed(self, task: Task, event: TraceEvent) -> None:
        if (current := task.current) is not None:
            current.note = event.detail
        elif task.fate is End.DONE:  # acknowledged before the work, which then failed
            task.stretches[-1].note = event.detail
            self._ended(task, event, End.LOST)

    def _late(self, task: Task, event: TraceEvent) -> None:
        """The worker was slow, not dead: its lease had run out."""
        held = [s for s in task.stretches if s.doing is Doing.HANDS and s.worker == event.actor]
        if held and held[-1].end is None:
            task.close(event.time, End.LEASE)

    def _accepted(self, task: Task, event: TraceEvent) -> None:
        current, later = task.current, _LATER.search(event.detail)
        if later and current is not None and current.doing is Doing.WAITING:
            current.doing, current.delay = Doing.DELAYED, float(later[1])

    def _taken(self, task: Task, event: TraceEvent) -> None:
        current = task.current
        if current is not None and current.doing is Doing.HANDS:
            task.close(event.time, self._why_gone(current))
        if current is not None and current.delay is not None:
            _split(task, current, event.time)
        hands = task.begin(Doing.HANDS, event.time)
        hands.worker = event.actor
        found = _ATTEMPT.search(event.detail)
        hands.attempt = int(found[1]) if found else task.attempts

    def _why_gone(self, hands: Stretch) -> End:
        died = any(time >= hands.start for time in self.crashes.get(hands.worker, []))
        return End.DIED if died else End.LEASE

    def _ended(self, task: Task, event: TraceEvent, outcome: End) -> None:
        """An attempt ends; what the trace says of it afterwards counts, too."""
        earlier = _EARLIER.search(event.detail)
        held = [s for s in task.stretches if s.doing is Doing.HANDS and s.worker == event.actor]
        current = task.current
        if current is not None:
            if current.doing is Doing.HANDS and held and held[-1] is not current:
                return  # a slow worker's word about a task that is somebody else's now
            if current.doing is Doing.HANDS and not current.note and outcome is not End.DONE:
                current.note = _error_in(event.detail)
            if current.doing is Doing.HANDS and current.worker != event.actor:
                task.close(event.time, self._why_gone(current))
            else:
                current.finished = float(earlier[1]) if earlier else 0.0  # before its end
                task.close(event.time, outcome)
                current.outcome = outcome if outcome in (End.DEAD, End.LOST) else current.outcome
        elif held:
            held[-1].outcome, held[-1].end = outcome, event.time
        if outcome in (End.DONE, End.DEAD, End.LOST):
            task.fate = outcome

    def _recovered(self, task: Task, time: float) -> None:
        current = task.current
        if current is None:
            return
        if current.doing is Doing.HANDS:
            task.close(time, self._why_gone(current))
        task.begin(Doing.WAITING, time)

    def _crashed(self, event: TraceEvent) -> None:
        self.crashes.setdefault(event.actor, []).append(event.time)
        for task in self.tasks.values():
            current = task.current
            if (
                current is not None
                and current.doing is Doing.HANDS
                and current.worker == event.actor
            ):
                task.close(event.time, End.DIED)
                task.begin(Doing.ORPHANED, event.time).worker = event.actor


def _split(task: Task, current: Stretch, taken: float) -> None:
    """A delay ends when it is over, and the task waits from then on until it is taken."""
    over = current.start + (current.delay or 0.0)
    if over < taken:
        task.begin(Doing.WAITING, over)


def delay_in(detail: str) -> float | None:
    """The seconds until a task is tried again, told with its failure."""
    again = _AGAIN.fullmatch(detail)
    return float(again[1]) if again else None


def _error_in(detail: str) -> str:
    """The error in what is told about a failed attempt."""
    again = _AGAIN.fullmatch(detail)
    text = (again[2] or "") if again else detail
    return text.partition(": ")[2] if text.startswith("gave up after") else text
