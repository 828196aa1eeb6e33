"""A worker process that is killed in the middle of a task, on a real Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from labkit import servers
from labkit.connection import BROKER_URL_VARIABLE, connect
from labkit.errors import ServerError
from labkit.patterns.work_queue import Task, Worker, WorkQueue

TASKS = 6
LEASE_S = 0.5
QUEUE = "rebooking"
_DEADLINE_S = 30.0


@dataclass(frozen=True)
class Killed:
    """What became of the tasks.

    Attributes:
        server: which server it was.
        put: tasks put.
        begun_by_the_dead: how many the killed worker had begun.
        done: tasks done in the end.
        second_attempts: how many of them were done at a second attempt.
        back_after_s: from the kill until a task of the dead worker was taken by another.
    """

    server: str
    put: int
    begun_by_the_dead: int
    done: int
    second_attempts: int
    back_after_s: float


def kill_worker_in_the_middle() -> Killed | None:
    """Start a private Redis and a worker process; kill it while it works; let another go on.

    Returns:
        what happened, or None where there is no Redis or Valkey to start (see `labkit doctor`).
    """
    try:
        server = servers.start_redis()
    except ServerError:
        return None
    with (
        server,
        connect(server.url) as lab,
        tempfile.TemporaryDirectory(prefix="labkit-") as folder,
    ):
        queue = WorkQueue(lab, QUEUE, lease=LEASE_S)
        queue.put_many([{"flight": f"B6 {n}"} for n in range(TASKS)])
        note = Path(folder) / "begun"
        begun = _kill_one(server.url, note)
        killed_at = time.monotonic()
        attempts: list[int] = []
        back_after_s: list[float] = []

        def handler(task: Task) -> None:
            attempts.append(task.attempt)
            if task.attempt > 1:
                back_after_s.append(time.monotonic() - killed_at)

        with Worker(queue, handler, name="second") as second:
            while queue.depth().unfinished and time.monotonic() < killed_at + _DEADLINE_S:
                second.run(timeout=0.1)
        return Killed(
            server=lab.name,
            put=TASKS,
            begun_by_the_dead=begun,
            done=len(attempts),
            second_attempts=sum(attempt > 1 for attempt in attempts),
            back_after_s=round(min(back_after_s, default=0.0), 2),
        )


def _kill_one(url: str, note: Path) -> int:
    """Run a worker in a process until it has begun a task, then kill it; how many it has begun."""
    environment = {**os.environ, BROKER_URL_VARIABLE: url}
    with subprocess.Popen([sys.executable, "-m", __name__, str(note)], env=environment) as process:
        try:
            deadline = time.monotonic() + _DEADLINE_S
            while not note.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            process.kill()
    return len(note.read_text().splitlines()) if note.exists() else 0


def _work_slowly(note: Path) -> None:
    """The life of the worker that will be killed."""

    def handler(task: Task) -> None:
        with note.open("a") as file:
            file.write(f"{task.id}\n")
        time.sleep(_DEADLINE_S)

    with connect() as lab:
        Worker(WorkQueue(lab, QUEUE, lease=LEASE_S), handler, name="first").run_one(_DEADLINE_S)


if __name__ == "__main__":
    _work_slowly(Path(sys.argv[1]))
