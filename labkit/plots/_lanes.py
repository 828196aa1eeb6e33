"""What workers did, lane by lane, and what that amounts to in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from labkit.plots._tasks import End, Stretch, Task, Work
from labkit.plots._timeline import seconds
from labkit.plots._words import listing, plural

_MATTERS = 0.05
"""Idle time worth a title, as a share of the whole."""
_NAMED = 2
_COUNTED = 8


@dataclass(frozen=True, slots=True)
class Block:
    """One task in one worker's hands: held from `taken`, worked on from `begun` to `end`."""

    task: Task
    stretch: Stretch
    taken: float
    begun: float
    end: float


@dataclass(slots=True)
class Lane:
    """One worker's blocks, in the order of time, between the first take and the last end of all."""

    worker: str
    blocks: list[Block]
    first: float
    last: float
    crashes: list[float]

    @property
    def busy(self) -> float:
        """Seconds of work."""
        return sum(block.end - block.begun for block in self.blocks)

    @property
    def done(self) -> int:
        """Tasks that it ended well."""
        return sum(block.stretch.outcome is End.DONE for block in self.blocks)

    @property
    def death(self) -> float | None:
        """When it died, if it did not come back."""
        latest = max(block.taken for block in self.blocks)
        return min((crash for crash in self.crashes if crash >= latest), default=None)

    @property
    def idle(self) -> list[tuple[float, float]]:
        """When it had nothing to work on."""
        over = self.last if self.death is None else self.death
        spans, since = [], self.first
        for block in self.blocks:
            if block.begun > since:
                spans.append((since, block.begun))
            since = max(since, block.end)
        return [*spans, (since, over)] if over > since else spans

    @property
    def waited(self) -> float:
        """Seconds of that."""
        return sum(end - start for start, end in self.idle)


def worker_lanes(work: Work) -> list[Lane]:
    """The lanes of all who had a task in hand, by name."""
    hands = work.hands()
    if not hands:
        return []
    first = min(stretch.start for _, stretch in hands)
    last = max(work.end_of(stretch) for _, stretch in hands)
    lanes = []
    for worker in sorted(work.workers):
        blocks = [
            Block(task, stretch, stretch.start, stretch.begun, stretch.finished)
            for task, stretch in hands
            if stretch.worker == worker
        ]
        blocks.sort(key=lambda block: (block.begun, block.end))
        lanes.append(Lane(worker, blocks, first, last, work.crashes.get(worker, [])))
    return lanes


def lanes_finding(lanes: Sequence[Lane]) -> str:
    """The title: how the work was shared, and who sat idle for it."""
    count = sum(lane.done for lane in lanes)
    most = max(lanes, key=lambda lane: lane.done)
    least = min(lane.done for lane in lanes)
    tasks = plural(count, "task")
    if len(lanes) == 1:
        return f"{most.worker} alone did {tasks} in {seconds(most.busy)} of work"
    span = lanes[0].last - lanes[0].first
    stuck, idlers, holders = _stuck(lanes)
    if stuck > _MATTERS * span and len(holders) <= _NAMED:
        idle = f"{_some(idlers)} sat idle for {seconds(stuck)}"
        if len(holders) == 1:
            done = next(lane.done for lane in lanes if lane.worker == holders[0])
            return f"{holders[0]} did {done:,} of {count:,}; {idle} while it held tasks not begun"
        return f"{tasks} done; {idle} while {listing(holders)} held tasks not begun"
    if dead := [lane.worker for lane in lanes if lane.death is not None]:
        living = {lane.worker: lane.done for lane in lanes if lane.worker not in dead}
        told = [f"{name} {done:,}" for name, done in living.items()][:_COUNTED]
        return f"{_some(dead)} died; {tasks} done" + (f": {listing(told)}" if told else "")
    if most.done >= 1.5 * count / len(lanes) and most.done - least > 1:
        others = sum(lane.waited for lane in lanes if lane is not most)
        return f"{most.worker} did {most.done:,} of {count:,}; the others waited {seconds(others)}"
    shares = listing([f"{lane.done:,}" for lane in lanes])
    if len(lanes) > _COUNTED:
        shares = f"{least:,} to {most.done:,} each"
    busy = sum(lane.busy for lane in lanes) / (span * len(lanes) or 1)
    return f"{len(lanes)} workers shared {tasks}: {shares}, busy {busy:.0%} of the time"


def _stuck(lanes: Sequence[Lane]) -> tuple[float, list[str], list[str]]:
    """Seconds that workers sat idle while others held tasks not begun; who, and which others."""
    total = 0.0
    idlers: list[str] = []
    holders: list[str] = []
    for lane in lanes:
        mine = 0.0
        for start, end in lane.idle:
            held = list(_held_by_others(lanes, lane, start, end))
            mine += _union([(left, right) for left, right, _ in held])
            holders += [name for _, _, name in held]
        if mine > 0:
            total += mine
            idlers.append(lane.worker)
    return total, idlers, list(dict.fromkeys(holders))


def _held_by_others(
    lanes: Sequence[Lane], lane: Lane, start: float, end: float
) -> Iterator[tuple[float, float, str]]:
    for other in lanes:
        for block in other.blocks if other is not lane else []:
            left, right = max(start, block.taken), min(end, block.begun)
            if left < right:
                yield left, right, other.worker


def _union(spans: Sequence[tuple[float, float]]) -> float:
    """The length of spans that may overlap."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _some(names: Sequence[str]) -> str:
    return listing(names) if len(names) <= _NAMED else f"{len(names)} others"


def lanes_alt(lanes: Sequence[Lane], caption: str) -> str:
    """The picture in words."""
    told = [
        f"{lane.worker}: {listing(counts(lane))}, busy {seconds(lane.busy)}, "
        f"idle {seconds(lane.waited)}"
        for lane in lanes
    ]
    head = "Lanes of work, one a worker, time to the right, a block for each task in its hands. "
    return head + "; ".join(told) + "." + (f" {caption}" if caption else "")


def counts(lane: Lane) -> list[str]:
    """How a worker's tasks ended, in words."""
    outcomes = [block.stretch.outcome for block in lane.blocks]
    words = {End.FAILED: "failed", End.LOST: "lost", End.RETURNED: "given back"}
    parts = [f"{lane.done:,} done"]
    parts += [f"{outcomes.count(end):,} {word}" for end, word in words.items() if end in outcomes]
    if End.DEAD in outcomes:
        parts.append(plural(outcomes.count(End.DEAD), "dead letter"))
    return parts + (["died"] if lane.death is not None else [])
