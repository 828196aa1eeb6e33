"""Handlers that worker processes import: what they do is written where a SIGKILL cannot take it."""

from __future__ import annotations

import os
import subprocess
import time
from functools import lru_cache
from pathlib import Path

from labkit import OnceStore, Task

FOLDER = "LABKIT_TEST_FOLDER"


@lru_cache
def _effects(folder: str) -> int:
    return os.open(Path(folder) / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@lru_cache
def _store(folder: str) -> OnceStore:
    store = OnceStore(Path(folder) / "once.db")
    store.connection.execute("CREATE TABLE IF NOT EXISTS rebookings (flight TEXT)")
    return store


def note(task: Task) -> None:
    """An effect that is not idempotent: one line in a file."""
    os.write(_effects(os.environ[FOLDER]), f"{task.id}|{os.getpid()}|{task.attempt}\n".encode())


def rebook(task: Task) -> None:
    """The same, and beside it one that is."""
    note(task)
    _store(os.environ[FOLDER]).run(
        task.id, lambda db: db.execute("INSERT INTO rebookings VALUES (?)", (task.id,)).rowcount
    )


def slow(task: Task) -> None:
    """Long enough to be killed in it."""
    note(task)
    time.sleep(task.content if isinstance(task.content, int | float) else 30)


def shout(task: Task) -> None:
    """Prints, as handlers of students do."""
    print("shouting", task.content, flush=True)
    note(task)


def read_stdin(task: Task) -> None:
    """Reads what it finds on standard input, as does whatever it starts: `cat`, a compiler."""
    found = os.read(0, 100) + subprocess.run(["cat"], stdout=subprocess.PIPE, check=True).stdout
    path = Path(os.environ[FOLDER]) / "read"
    path.write_bytes(found)
    note(task)
