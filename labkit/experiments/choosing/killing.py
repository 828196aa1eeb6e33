"""A worker that is killed in the middle of a task: a process of its own, where there is a server.

What lives in this program cannot be reached from another one; there the worker crashes instead, as
`Worker.crash()` does it: it tells nobody, and keeps what it has in hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from labkit.connection import BROKER_URL_VARIABLE, connect
from labkit.errors import ServerError
from labkit.experiments.choosing.at_hand import AtHand
from labkit.patterns.work_queue import Task, Worker, WorkQueue

DONE_BEFORE = 3
"""Tasks that it does before the one in which it dies."""

_DEADLINE_S = 30.0


def kill_one(broker: AtHand, queue: WorkQueue) -> list[int]:
    """Let a worker do `DONE_BEFORE` tasks, and kill it in the next.

    Returns:
        the "number" of each task that it has begun, in order; the last one is not finished.

    Raises:
        ServerError: its process did not come so far.
    """
    if not broker.real:
        return _crash(queue)
    with tempfile.TemporaryDirectory(prefix="labkit-") as folder:
        note = Path(folder) / "begun"
        note.touch()
        environment = {**os.environ, BROKER_URL_VARIABLE: broker.server.url}
        arguments = [str(note), queue.name, str(queue.options.lease)]
        command = [sys.executable, "-m", __name__, *arguments]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
            try:
                deadline = time.monotonic() + _DEADLINE_S
                while len(begun := _read(note)) <= DONE_BEFORE:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise ServerError("The worker that was to be killed did not get to work.")
                    time.sleep(0.005)
            finally:
                process.kill()
        return begun


def _read(note: Path) -> list[int]:
    """The whole lines."""
    return [int(line) for line in note.read_text().splitlines(keepends=True) if line[-1] == "\n"]


def _crash(queue: WorkQueue) -> list[int]:
    begun: list[int] = []
    worker = Worker(queue, lambda task: begun.append(task.content["number"]), name="killed")
    for _ in range(DONE_BEFORE):
        worker.run_one(_DEADLINE_S)
    task = worker.take(_DEADLINE_S)
    worker.crash()
    return [*begun, *([] if task is None else [task.content["number"]])]


def _work_and_hang(note: Path, name: str, lease: float) -> None:
    """The life of the worker that will be killed."""

    def handler(task: Task) -> None:
        with note.open("a") as file:
            file.write(f"{task.content['number']}\n")
        if len(_read(note)) > DONE_BEFORE:
            time.sleep(_DEADLINE_S)

    with connect(connect_timeout=10.0) as lab:
        worker = Worker(WorkQueue(lab, name, lease=lease), handler, name="killed")
        for _ in range(DONE_BEFORE + 1):
            worker.run_one(_DEADLINE_S)


if __name__ == "__main__":
    _work_and_hang(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
