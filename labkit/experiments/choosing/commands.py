"""What one task becomes in each broker's own words."""

from __future__ import annotations

import itertools
from typing import Any

from labkit.experiments.choosing.at_hand import Brokers
from labkit.patterns.work_queue import Worker, WorkQueue

_WAIT_S = 20.0
_WIDTH = 96
_runs = itertools.count(1)


def commands_of_a_task(brokers: Brokers, last: int = 5) -> dict[str, list[str]]:
    """Put one task on each broker, and let a worker do it.

    Returns:
        from each broker's name to the last commands of its client, each cut to one line.
    """
    found = {}
    for broker in brokers:
        queue = WorkQueue(broker.lab, f"one-task-{next(_runs)}", sender="desk")
        queue.put("B6 739")
        with Worker(queue, lambda _: None, name="Ann") as ann:
            ann.run_one(_WAIT_S)
        lab: Any = broker.lab
        found[broker.name] = [_cut(str(line)) for line in lab.commands(last)]
    return found


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
