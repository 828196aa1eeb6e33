"""What tasks go through, from the queue through workers' hands to their ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


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

    In a worker's hands it is `begun` when the worker has `finished` what it had before; both are
    estimates where several tasks were acknowledged `together`.
    """

    doing: Doing
    start: float
    end: float | None = None
    begun: float = 0.0
    finished: float = 0.0
    together: bool = False
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
    put_again: float | None = None

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

    def refuse(self) -> None:
        """It was not put again after all: all stays as it was."""
        self.stretches.pop()
        self.put_again = None
        self.fate = self.stretches[-1].outcome if self.stretches else End.OPEN

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

    def moments(self) -> list[float]:
        """When anything happened."""
        spans = [s for task in self.tasks for s in task.stretches]
        return [t for s in spans for t in (s.start, self.end_of(s), s.begun or s.start)]

    @property
    def workers(self) -> list[str]:
        """Who had a task in hand, in the order of their first."""
        held = sorted((s for _, s in self.hands()), key=lambda s: s.start)
        return list(dict.fromkeys(s.worker for s in held))
