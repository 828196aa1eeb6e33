"""The empty task: it counts itself, and at a few counts the worker's process says so.

Counting costs every system the same: an addition and a comparison a task.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

PREFIX = "mark "
"""How a line begins that is for the benchmark; systems print lines of their own, too."""

_LOOK_S = 1.0

_done = 0
_next = 0
_marks: list[int] = []


def empty_at(marks: Sequence[int]) -> None:
    """Say so when so many tasks have been done."""
    global _next
    _marks[:] = sorted(marks)
    _next = _marks.pop(0)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def empty(*_: object) -> None:
    """The task."""
    global _done
    _done += 1
    if _done == _next:
        _mark()


def _mark() -> None:
    global _next
    say({"done": _done, "at": time.perf_counter(), "rss": resident_bytes()})
    _next = _marks.pop(0) if _marks else 0


def say(facts: Mapping[str, Any]) -> None:
    """One line for the benchmark, past those who put a logger behind sys.stdout."""
    os.write(1, f"{PREFIX}{json.dumps(facts)}\n".encode())


def resident_bytes() -> int | None:
    """What this process has in memory; None where nobody can tell."""
    try:
        import psutil
    except ImportError:
        return None
    return int(psutil.Process().memory_info().rss)


def _end_with_parent(parent: int) -> None:
    """Whatever ended the benchmark: no worker goes on without it."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)
