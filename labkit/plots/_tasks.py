"""How a trace of work queues is read: from events to what each task went through."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from labkit.errors import ConfigurationError
from labkit.trace import Trace, TraceEvent

_ATTEMPT = re.compile(r"attempt (\d+)")
_DELAY = re.compile(r"(?:in|after|for|delay\w*|wait\w*)\D{0,4}(\d[\d.,]*(?:e-?\d+)?) ?(ms|s)\b")
_FOREIGN = ("subscribed", "timed out", "expired", "late reply")
"""Actions that say: this channel is no queue."""


class Doing(StrEnum):
    """What a task does during one stretch of its life."""

    WAITING = "waiting"
    DELAYED = "put for later"
    RETRY = "waiting for a retry"
    HANDS = "in a worker's hands"
    ORPHANED = "still a dead worker's"


class End(StrEnum):
    """How its time in a worker's hands ended."""

    OPEN = "not finished"
    DONE = "done"
    FAILED = "failed"
    DIED = "worker died"
    LEASE = "lease ran out"
    DEAD = "dead letter"
    RETURNED = "given back"
    LOST = "lost"


@dataclass(slots=True)
class Stretch:
    """A part of a task's life; `end` is None while it lasts.

    In a worker's hands it is `begun` when the worker has ended what it had before.
    """

    doing: Doing
    start: float
    end: float | None = None
    begun: float = 0.0
    worker: str = ""
    attempt: int = 0
    outcome: End = End.OPEN
    note: str = ""
    delay: float | None = None


@dataclass(slots=True)
class Task:
    """One task: its stretches in the order of time, and how it stands at the end."""

    id: str
    label: str
    queue: str
    born: float
    stretches: list[Stretch] = field(default_factory=list)
    fate: End = End.OPEN

    @property
    def attempts(self) -> int:
        """How often it was delivered."""
        return sum(s.doing is Doing.HANDS and s.outcome is not End.RETURNED for s in self.stretches)

    def had(self, *outcomes: End) -> bool:
        """Whether an attempt ended like this."""
        return any(s.outcome in outcomes for s in self.stretches)

    @property
    def current(self) -> Stretch | None:
        """The stretch that lasts."""
        last = self.stretches[-1] if self.stretches else None
        return last if last is not None and last.end is None else None

    def begin(self, doing: Doing, time: float) -> Stretch:
        """The next stretch begins, and the one before ends where it has not yet."""
        self.close(time)
        self.stretches.append(Stretch(doing, time))
        self.fate = End.OPEN
        return self.stretches[-1]

    def close(self, time: float, outcome: End = End.OPEN) -> None:
        """The stretch that lasts ends."""
        if (current := self.current) is None:
            return
        current.end = time
        if current.doing is Doing.HANDS:
            current.outcome = outcome


@dataclass(slots=True)
class Work:
    """What a trace says of its queues."""

    tasks: list[Task]
    first: float
    last: float
    crashes: dict[str, list[float]]
    forgotten: int = 0

    def hands(self) -> list[tuple[Task, Stretch]]:
        """Every time that a worker had a task in hand, in the order of their ends."""
        held = [(t, s) for t in self.tasks for s in t.stretches if s.doing is Doing.HANDS]
        return sorted(held, key=lambda pair: (self.end_of(pair[1]), pair[1].start))

    def end_of(self, stretch: Stretch) -> float:
        """When it ended, or the end of the trace."""
        return self.last if stretch.end is None else stretch.end

    @property
    def workers(self) -> list[str]:
        """Who had a task in hand, in the order of their first."""
        held = sorted((s for _, s in self.hands()), key=lambda s: s.start)
        return list(dict.fromkeys(s.worker for s in held))


def read_tasks(trace: Trace | Iterable[TraceEvent]) -> Work:
    """Read a trace.

    Raises:
        ConfigurationError: no task in it.
    """
    enabled = trace.enabled if isinstance(trace, Trace) else True
    events = sorted(trace, key=lambda event: event.time)
    foreign = {e.channel for e in events if str(e.action) in _FOREIGN}
    foreign |= {f"{channel} reply" for channel in foreign}
    reader = _Reader()
    for event in events:
        if event.channel is None or event.channel not in foreign:
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


def _say_when_begun(work: Work) -> None:
    """A worker that took several tasks at once does one after the other."""
    free: dict[str, float] = {}
    for _, stretch in work.hands():
        end = work.end_of(stretch)
        stretch.begun = min(max(stretch.start, free.get(stretch.worker, stretch.start)), end)
        free[stretch.worker] = end


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
                task.begin(Doing.WAITING, time)
            case "accepted":
                self._accepted(task, event)
            case "send failed" if task.current is not None and len(task.stretches) == 1:
                task.stretches.clear()
            case "delivered" | "redelivered":
                self._taken(task, event)
            case "acked":
                self._ended(task, event, End.DONE)
            case "failed" | "unreadable":
                self._failed(task, event)
            case "late ack":
                self._late(task, event)
            case "retrying":
                self._ended(task, event, End.FAILED)
                waiting = task.begin(Doing.RETRY, time)
                waiting.delay = _delay_in(event.detail)
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
        elif held and held[-1].outcome is End.DIED:
            held[-1].outcome = End.LEASE

    def _accepted(self, task: Task, event: TraceEvent) -> None:
        current, delay = task.current, _delay_in(event.detail)
        if current is not None and current.doing is Doing.WAITING and delay:
            current.doing, current.delay = Doing.DELAYED, delay

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


def _delay_in(detail: str) -> float | None:
    found = _DELAY.search(detail)
    if found is None:
        return None
    return float(found[1].replace(",", "").rstrip(".")) * (1e-3 if found[2] == "ms" else 1.0)


def _error_in(detail: str) -> str:
    """The error in what is told about a failed attempt: without the delay before it."""
    return _DELAY.sub("", detail).strip(" :;,.-")
