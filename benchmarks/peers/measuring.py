"""One measurement: a process that fills a queue and empties it, and what it tells of that."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _bench import program

from peers import MANY, OURS, PREFETCH, Entry
from peers.counting import PREFIX, empty_at, say

WARM_UP = 200
"""Tasks done before the clock starts; two whole prefetches."""

PATIENCE_S = 120.0
"""A process that has said nothing for so long hangs."""

_CHUNK, _MOST_WAITING = 10_000, 50_000
_LOOK_S = 0.01


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one process: tasks a second."""

    work: float
    put_many: float
    put: float


def measure(script: Path, entry: Entry, prefetch: int, tasks: int, puts: int) -> Figures:
    """Fill a queue, empty it, in a process of its own.

    The time of the work is from the end of the warm-up to the end of the last task that counts.
    """
    with _process(script, prefetch, "--measure", entry.module, str(tasks), str(puts)) as process:
        put, first, last = _lines(process, 3)
    return Figures(tasks / (last["at"] - first["at"]), put["put_many"], put["put"])


def measure_here(entry: Entry, tasks: int, puts: int) -> None:
    """The process that `measure` starts."""
    system = entry.load()
    empty_at([WARM_UP, WARM_UP + tasks])
    print("ready", flush=True)
    system.put_many(WARM_UP)
    many_s = _seconds(system.put_many, tasks)
    system.put_one_by_one(WARM_UP)
    one_s = _seconds(system.put_one_by_one, puts)
    say({"put_many": tasks / many_s, "put": puts / one_s})
    system.work()


def measure_memory(script: Path, url: str, tasks: int) -> tuple[int, int] | None:
    """Resident bytes of our worker after a tenth of the tasks and after all of them.

    They are put meanwhile, so that the queue is never empty and never long. None: psutil is not
    there to ask.
    """
    marks = f"{tasks // 10},{tasks}"
    with _process(script, MANY, "--work", OURS.module, marks) as process:
        _put_as_it_works(url, tasks, process)
        early, late = (mark["rss"] for mark in _lines(process, 2))
    return None if early is None or late is None else (early, late)


def work_here(entry: Entry, marks: list[int]) -> None:
    """The process that `measure_memory` starts."""
    system = entry.load()
    empty_at(marks)
    print("ready", flush=True)
    system.work()


def _put_as_it_works(url: str, tasks: int, worker: subprocess.Popen[str]) -> None:
    import labkit
    from peers import NAME

    with labkit.connect(url, trace=False) as lab:
        queue = labkit.WorkQueue(lab, NAME)
        for start in range(0, tasks, _CHUNK):
            queue.put_many([None] * min(_CHUNK, tasks - start))
            while queue.depth().unfinished > _MOST_WAITING and worker.poll() is None:
                time.sleep(_LOOK_S)


@contextmanager
def _process(script: Path, prefetch: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    os.environ[PREFETCH] = str(prefetch)
    with program(script, *arguments) as process:
        hangs = threading.Timer(PATIENCE_S, process.kill)
        hangs.start()
        try:
            yield process
        finally:
            hangs.cancel()


def _lines(process: subprocess.Popen[str], count: int) -> list[dict[str, Any]]:
    """What it says for us, among what it says."""
    found: list[dict[str, Any]] = []
    assert process.stdout is not None
    while len(found) < count:
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(process.args[2:4])} ended early, or hung.")  # type: ignore[index]
        if line.startswith(PREFIX):
            found.append(json.loads(line.removeprefix(PREFIX)))
    return found


def _seconds(put: Any, count: int) -> float:
    began = time.perf_counter()
    put(count)
    return time.perf_counter() - began
