"""What queues and workers count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from labkit.patterns.statistics import Latency, Statistics


@dataclass(frozen=True, kw_only=True, repr=False)
class QueueStatistics(Statistics):
    """What was put into a queue here; `messages` counts the tasks that it took.

    Attributes:
        refused: tasks whose id was in the queue already.
        failed: tasks that were not put, or may not have been.
        recovered: tasks taken from dead workers here.
    """

    role = "Queue"

    refused: int
    failed: int
    recovered: int


@dataclass(frozen=True, kw_only=True, repr=False)
class WorkerStatistics(Statistics):
    """What a worker did; `messages` counts the deliveries that it took.

    Attributes:
        done: tasks that it did and acknowledged.
        retried: attempts that failed, and of which another follows.
        dead: tasks that it sent to the dead letters.
        returned: tasks that it gave back unbegun.
        redelivered: deliveries that were not the task's first.
        late_acks: ends that came after the lease had run out: others have, or had, the task.
        unsure_acks: ends whose answer was lost with a connection; the broker may have had them.
        lost: tasks that failed after they had been acknowledged (with `ack="before"`).
        unreadable: deliveries that were no message.
        outages: times in which the broker could not be reached.
        latency: from putting to taking, for tasks put in this process; else None.
    """

    role = "Worker"

    done: int
    retried: int
    dead: int
    returned: int
    redelivered: int
    late_acks: int
    unsure_acks: int
    lost: int
    unreadable: int
    outages: int
    latency: Latency | None = None

    @property
    def rate(self) -> float | None:
        """Tasks done per second between the first and the last delivery; None below two."""
        return (self.done - 1) / self.seconds if self.done > 1 and self.seconds else None

    def as_json(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {"channels": dict(self.channels), "errors": [], "latency": None}


def merged(name: str, parts: Sequence[WorkerStatistics]) -> WorkerStatistics:
    """Several workers as one; its table has one row a worker."""
    counters = WorkerStatistics.counters()
    rows: Mapping[str, Mapping[str, int]] = {part.name: part.counts() for part in parts}
    counts: dict[str, Any] = {c: sum(getattr(part, c) for part in parts) for c in counters}
    return WorkerStatistics(
        name=name,
        seconds=max((part.seconds for part in parts), default=0.0),
        channels=rows,
        errors=tuple(error for part in parts for error in part.errors),
        **counts,
    )
