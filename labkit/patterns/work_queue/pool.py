"""Several workers on one queue, in threads or in processes."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Self

from labkit.errors import ConfigurationError
from labkit.patterns.identity import Home
from labkit.patterns.work_queue.handling import Acknowledge, Handler, acknowledge
from labkit.patterns.work_queue.member import ProcessMember, ThreadMember, process_setup
from labkit.patterns.work_queue.queue import WorkQueue
from labkit.patterns.work_queue.retry import RetryPolicy
from labkit.patterns.work_queue.statistics import WorkerStatistics, merged
from labkit.patterns.work_queue.worker import Worker

DEFAULT_STOP_S = 10.0

IDLE_ENDS_WITHIN_S = 1.0
"""What one that has nothing to do gets beyond the time to stop: it ends in a fraction of that."""

_LOOK_AGAIN_S = 0.01


class WorkerPool:
    """Workers that share a queue's tasks. A context manager that starts and stops them.

    Threads share this process' memory and its one interpreter: right for work that waits. Processes
    share nothing: right for work that computes, and for handlers that may crash; the handler must
    then live in a module. Processes end when this one does, whatever ends it.

    Args:
        queue: where the tasks come from.
        handler: does a task.
        workers: how many.
        processes: False: threads; True: processes.
        name: workers are called "<name>-0", "<name>-1", …
        retry, prefetch, ack: as for `Worker`.

    Raises:
        NotSupported: processes on a broker that lives in this one.
        ConfigurationError: a handler that another process cannot import.
    """

    def __init__(
        self,
        queue: WorkQueue,
        handler: Handler,
        workers: int = 4,
        *,
        processes: bool = False,
        name: str = "worker",
        retry: RetryPolicy | None = None,
        prefetch: int = 1,
        ack: Acknowledge | str = Acknowledge.AFTER,
    ) -> None:
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise ConfigurationError(f"A pool has 1 worker or more, got {workers!r}.")
        self._home = Home(f"WorkerPool {name!r}")
        self.queue = queue
        self.processes = processes
        self._names = [f"{name}-{index}" for index in range(workers)]
        self._handler = handler
        self._retry = retry or RetryPolicy()
        self._options: dict[str, Any] = {"prefetch": prefetch, "ack": acknowledge(ack)}
        self._members: dict[str, ProcessMember | ThreadMember] = {}
        self._past: list[WorkerStatistics] = []
        self._lock = threading.Lock()
        Worker(queue, handler, name=name, retry=self._retry, **self._options)  # arguments right?
        if processes:
            self._check_processes()

    def start(self) -> Self:
        """Start the workers that do not run; one that was killed begins a new life.

        Raises:
            ConfigurationError: a process could not start; says why.
        """
        self._home.require()
        started = []
        for index, name in enumerate(self._names):
            member = self._members.get(name)
            if member is not None and member.alive:
                continue
            if member is not None:
                self._part_with(member)
            started.append(self._member(index, name))
            self._members[name] = started[-1]
        try:
            for member in started:
                member.wait_ready()
        except BaseException:
            self.stop(drain=False, timeout=1.0)
            raise
        return self

    def stop(self, drain: bool = True, timeout: float = DEFAULT_STOP_S) -> bool:
        """Stop all. True: none had to be left or killed while it was busy; else a warning names it.

        Args:
            drain: True: do all that has been taken; False: only what has been begun.
            timeout: seconds to wait. A process that is busy for longer is killed; its tasks go to
                others when its lease has run out.

        Raises:
            LabkitError: what ended one of the workers; all have been stopped then.
        """
        if not self._home.here:  # the workers are those of a fork's parent
            return True
        deadline = time.monotonic() + timeout
        members = list(self._members.values())
        for member in members:
            member.ask_to_stop(drain, timeout)
        busy: list[str] = []
        errors: list[Exception] = []
        for member in _as_they_end(members, deadline):
            left = max(0.0, deadline - time.monotonic())
            if member.idle:  # to give up its lease takes a moment, whoever else was busy so long
                left = max(left, IDLE_ENDS_WITHIN_S)
            try:
                if not member.wait_stopped(left):
                    busy.append(member.name)
            except Exception as error:  # the others must be stopped all the same
                errors.append(error)
        for member in members:
            self._part_with(member)
        if errors:
            raise errors[0]
        if busy:
            _warn_of(sorted(busy), timeout, killed=self.processes)
        return not busy

    def kill(self, index: int) -> None:
        """Kill one worker: SIGKILL for a process, `crash()` in a thread. `start()` replaces it."""
        self._home.require()
        name = self._names[index]
        if name not in self._members:
            raise ConfigurationError(f"Worker {name!r} does not run. Call start() first.")
        self._members[name].kill()

    @property
    def alive(self) -> int:
        """How many workers run."""
        return sum(member.alive for member in list(self._members.values()))

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that run as processes."""
        members = list(self._members.values())
        return [m.pid for m in members if isinstance(m, ProcessMember) and m.alive]

    def stats(self) -> WorkerStatistics:
        """All counts together; the table has one row a worker."""
        now = [stats for m in list(self._members.values()) if (stats := m.stats()) is not None]
        lives: dict[str, list[WorkerStatistics]] = {}
        for part in (*self._past, *now):
            lives.setdefault(part.name, []).append(part)
        return merged("all", [merged(name, parts) for name, parts in sorted(lives.items())])

    def __len__(self) -> int:
        return len(self._names)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop(drain=kind is None)

    def __repr__(self) -> str:
        what = "processes" if self.processes else "threads"
        return f"<WorkerPool on {self.queue.name!r}: {self.alive} of {len(self)} {what} run>"

    # --- inside -------------------------------------------------------------------------------

    def _check_processes(self) -> None:
        if self.queue.lab.clock.manual:
            raise ConfigurationError(
                "A clock that the lesson controls cannot be shared with other processes. Connect "
                "without clock=…, or use threads."
            )
        self._setup(0, self._names[0])

    def _setup(self, index: int, name: str) -> dict[str, Any]:
        return process_setup(
            self.queue.lab.handover(),
            self.queue,
            self._handler,
            self._retry.for_worker(index),
            {"name": name, **self._options},
            DEFAULT_STOP_S,
        )

    def _member(self, index: int, name: str) -> ProcessMember | ThreadMember:
        if self.processes:
            return ProcessMember(name, self._setup(index, name), self.queue)
        retry = self._retry.for_worker(index)
        return ThreadMember(
            Worker(self.queue, self._handler, name=name, retry=retry, **self._options)
        )

    def _part_with(self, member: ProcessMember | ThreadMember) -> None:
        """Keep its counts; once, although several threads may stop the pool."""
        with self._lock:
            if self._members.get(member.name) is not member:
                return
            del self._members[member.name]
            stats = member.stats()
            if stats is not None:
                self._past.append(stats)


def _warn_of(busy: Sequence[str], timeout: float, *, killed: bool) -> None:
    what = "killed" if killed else "left to finish"
    warnings.warn(
        f"Still busy, and {what}: {', '.join(busy)}. stop() waited up to {timeout:g} s; give it a "
        "longer timeout if tasks take longer.",
        RuntimeWarning,
        stacklevel=3,
    )


def _as_they_end(
    members: Sequence[ProcessMember | ThreadMember], deadline: float
) -> Iterator[ProcessMember | ThreadMember]:
    """First who has nothing more to do, so that nobody waits for the busy ones."""
    waiting = list(members)
    while waiting:
        late = time.monotonic() >= deadline
        for member in [m for m in waiting if late or m.idle]:
            waiting.remove(member)
            yield member
        if waiting:
            time.sleep(min(_LOOK_AGAIN_S, max(0.0, deadline - time.monotonic())))
