"""What tasks went through, in words: the title that states the finding, and the alt text."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.plots._tasks import Doing, End, Task
from labkit.plots._words import listing, plural

CROSSED = (End.FAILED, End.DIED, End.LEASE, End.DEAD, End.LOST)
"""How a task's time in a worker's hands ends badly."""


def life_finding(tasks: Sequence[Task]) -> str:
    """The title: how the tasks ended, and after what."""
    done = [task for task in tasks if task.fate is End.DONE]
    redriven = [task for task in done if task.had(End.DEAD)]
    after_death = [t for t in done if t.had(End.DIED, End.LEASE) and t not in redriven]
    after_retry = [t for t in done if t.had(End.FAILED) and t not in redriven + after_death]
    dead = [task for task in tasks if task.fate is End.DEAD]
    count = len(done) - len(after_death) - len(after_retry) - len(redriven)
    lost = sum(task.fate is End.LOST for task in tasks)
    unfinished = sum(task.fate is End.OPEN for task in tasks)
    if count == len(tasks):
        return f"{plural(count, 'task')}: {'all ' if count > 1 else ''}done at the first attempt"
    parts = [
        (count, f"{count:,} done at the first attempt"),
        (len(after_retry), f"{len(after_retry):,} after a retry"),
        (len(after_death), f"{len(after_death):,} after {_whose(after_death)} died"),
        (len(redriven), f"{len(redriven):,} after a redrive"),
        (len(dead), f"{plural(len(dead), 'dead letter')}"),
        (lost, f"{lost:,} lost"),
        (unfinished, f"{unfinished:,} not finished"),
    ]
    return f"{plural(len(tasks), 'task')}: " + listing([text for number, text in parts if number])


def _whose(tasks: Sequence[Task]) -> str:
    """Which worker died, if it is one."""
    gone = [s for t in tasks for s in t.stretches if s.outcome in (End.DIED, End.LEASE)]
    names = {s.worker for s in gone}
    late = " was late or" if any(s.outcome is End.LEASE for s in gone) else ""
    return (next(iter(names)) if len(names) == 1 else "a worker") + late


def life_alt(tasks: Sequence[Task], caption: str) -> str:
    """The picture in words."""
    told = [life_story(task) for task in tasks]
    head = f"What became of {plural(len(tasks), 'task')}, one row each, time to the right. "
    return head + ". ".join(told) + "." + (f" {caption}" if caption else "")


def life_story(task: Task) -> str:
    """What became of one task."""
    steps = []
    for s in task.stretches:
        if s.doing is Doing.HANDS:
            note = f" ({s.note})" if s.note and s.outcome in CROSSED else ""
            steps.append(f"{s.worker} from {s.start:.3g} s: {s.outcome}{note}")
    return f"{task.label}: " + ("; ".join(steps) or "waiting, never taken")
