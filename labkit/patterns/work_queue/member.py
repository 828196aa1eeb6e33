"""One worker of a pool: a thread of this process, or a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import fields
from typing import IO, Any

from labkit.broker import Handover
from labkit.errors import ConfigurationError
from labkit.patterns.work_queue.handling import Handler
from labkit.patterns.work_queue.naming import name_of
from labkit.patterns.work_queue.queue import WorkQueue
from labkit.patterns.work_queue.retry import RetryPolicy
from labkit.patterns.work_queue.statistics import WorkerStatistics
from labkit.patterns.work_queue.worker import Worker
from labkit.trace import Action

BUSY_EXIT = 75
"""What a process ends with whose handler was still busy when its time was up."""

READY_WITHIN_S = 30.0
"""How long a process may take to import its handler and to connect."""


class ProcessMember:
    """A worker process, as its parent sees it."""

    def __init__(self, name: str, setup: Mapping[str, Any], queue: WorkQueue) -> None:
        self.name = name
        self._trace = queue.lab.trace
        self._queue = queue.name
        self._stats: WorkerStatistics | None = None
        self._error: str | None = None
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "labkit.patterns.work_queue.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(json.dumps(setup))
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout,), name=f"labkit {name}", daemon=True
        )
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def idle(self) -> bool:
        """Whether it has ended, and need not be waited for."""
        return not self.alive

    def wait_ready(self) -> None:
        """Return once it works.

        Raises:
            ConfigurationError: it does not; says why.
        """
        if self._ready.wait(READY_WITHIN_S) and self._error is None:
            return
        self._process.kill()
        reason = self._error or f"no sign of life within {READY_WITHIN_S:g} s"
        raise ConfigurationError(f"Worker process {self.name!r} did not start: {reason}")

    def kill(self) -> None:
        """SIGKILL: it tells nobody anything any more."""
        if self.alive:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._trace.record(self.name, Action.CRASHED, channel=self._queue, detail="SIGKILL")

    def ask_to_stop(self, drain: bool, timeout: float) -> None:
        """Tell it, and how long it may take; does not wait."""
        self._say(f"{'drain' if drain else 'stop'} {timeout}")

    def wait_stopped(self, timeout: float) -> bool:
        """Wait for its end; False: it was busy for longer, and was killed or ended itself."""
        try:
            self._process.wait(timeout)
            ended = True
        except subprocess.TimeoutExpired:
            self.kill()
            ended = False
        self._reader.join()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        return ended and self._process.returncode != BUSY_EXIT

    def stats(self) -> WorkerStatistics | None:
        """Its counts as it last told them, at most a fraction of a second old."""
        return self._stats

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it is gone
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # half a line: it was killed while writing
                    self._take(*json.loads(line))
        if not self._ready.is_set():
            self._error = self._error or "it ended at once"
            self._ready.set()

    def _take(self, kind: str, *facts: Any) -> None:
        if kind == "trace":
            actor, action, at, more = facts
            self._trace.record(actor, Action(action), at=at, **more)
        elif kind == "stats":
            self._stats = WorkerStatistics(**{**facts[0], "errors": ()})
        elif kind == "ready":
            self._ready.set()
        elif kind == "error":
            self._error = facts[0]
            self._ready.set()


def process_setup(
    handover: Handover,
    queue: WorkQueue,
    handler: Handler,
    retry: RetryPolicy,
    worker: Mapping[str, Any],
    stop_timeout: float,
) -> dict[str, Any]:
    """What a worker process must know. It holds the password."""
    options = queue.options
    policy = {f.name: getattr(retry, f.name) for f in fields(retry) if f.init}
    for name in ("retry_on", "give_up_on"):
        policy[name] = [name_of(kind, "exceptions") for kind in policy[name]]
    return {
        "opener": handover.opener,
        "arguments": handover.arguments,
        "path": sys.path,
        "trace": queue.lab.trace.enabled,
        "handler": name_of(handler, "handler"),
        "retry": policy,
        "worker": dict(worker),
        "stop_timeout": stop_timeout,
        "queue": {
            "name": queue.name,
            "lease": options.lease,
            "max_length": options.max_length,
            "max_deliveries": options.max_deliveries,
            "kind": options.kind,
            "sender": queue.sender,
            "max_bytes": queue.max_bytes,
        },
    }


class ThreadMember:
    """A worker in a thread of this process."""

    def __init__(self, worker: Worker) -> None:
        self.name = worker.name
        self.worker = worker
        self._drain = True
        worker.start()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.worker.running and not self.worker.crashed

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do, and can end at once."""
        return self.worker.idle

    def wait_ready(self) -> None:
        """It works at once."""

    def kill(self) -> None:
        """As `Worker.crash`."""
        self.worker.crash()

    def ask_to_stop(self, drain: bool, timeout: float) -> None:
        """Tell it; does not wait."""
        del timeout  # comes with `wait_stopped`
        self._drain = drain
        self.worker.ask_to_stop(drain)

    def wait_stopped(self, timeout: float) -> bool:
        """Wait for its end; False if it is still busy then."""
        return self.worker.stop(self._drain, timeout)

    def stats(self) -> WorkerStatistics | None:
        """Its counts."""
        return self.worker.stats()
