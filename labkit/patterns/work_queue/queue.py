"""The queue as seen by whoever puts tasks into it, and by whoever looks after it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from labkit.broker import BrokerQueue, Depth, Priority, QueueBroker, QueueKind
from labkit.broker import Recovered as RecoveredTask
from labkit.errors import (
    BatchError,
    BrokerRefused,
    BrokerUnavailable,
    ConfigurationError,
    QueueFull,
    describe,
)
from labkit.message import DEFAULT_MAX_BYTES
from labkit.patterns.identity import Home
from labkit.patterns.statistics import ErrorRecord, Tally
from labkit.patterns.work_queue.arguments import check_name, queue_options
from labkit.patterns.work_queue.letters import DeadLetter, DeadLetters
from labkit.patterns.work_queue.stamp import Stamp, Stamped
from labkit.patterns.work_queue.statistics import QueueStatistics
from labkit.patterns.work_queue.task import NewTask, Ticket
from labkit.trace import Action

BROKER = "broker"
_LOOK_AGAIN_S = 0.02
_QUIET_LOOKS = 3


class WorkQueue:
    """A queue of tasks: each goes to one of many workers, **at least once**.

    A task leaves the queue when a worker has acknowledged it. May be used from several threads.

    Args:
        lab: an open broker, from `labkit.connect()`.
        name: names the queue.
        lease: seconds after which a worker that has not been heard counts as dead; its tasks go
            to others then. How long a task takes does not matter.
        max_length: most tasks that wait, are delayed or in flight; None for no bound.
        max_deliveries: a task whose workers died so often is a dead letter; None for no bound.
        kind: how the broker keeps the tasks: "stream" or "list".
        sender: the name in the tasks.
        max_bytes: largest encoded task.
    """

    def __init__(
        self,
        lab: QueueBroker,
        name: str,
        *,
        lease: float = 30.0,
        max_length: int | None = None,
        max_deliveries: int | None = 20,
        kind: QueueKind | str = QueueKind.STREAM,
        sender: str = "producer",
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        check_name("A queue", name)
        check_name("A sender", sender)
        self.lab = lab
        self.name = name
        self.sender = str(sender)  # a StrEnum's member, too
        self.max_bytes = max_bytes
        self.options = queue_options(lease, max_length, max_deliveries, kind)
        self._home = Home(f"WorkQueue {name!r}")
        self._tasks = lab.open_queue(name, self.options)
        self._stamp = Stamp(lab, name, self.sender, max_bytes)
        self._tally = Tally()

    @property
    def tasks(self) -> BrokerQueue:
        """The broker's side of it."""
        self._home.require()
        return self._tasks

    def put(
        self,
        content: Any,
        *,
        id: str | None = None,
        delay: float = 0.0,
        priority: Priority | str = Priority.NORMAL,
        type: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Ticket:
        """Add one task; what the arguments mean stands at `NewTask`.

        Raises:
            ValidationError: it cannot be written down; nothing was sent.
            ConfigurationError: a negative delay, or an unknown priority.
            QueueFull: there is no room.
            BrokerUnavailable: its `sent` tells whether the task may be in.
        """
        self._home.require()
        task = self._stamp.one(NewTask(content, id, delay, priority, type, metadata))
        self._record(Action.SENT, task, actor=self.sender)
        try:
            accepted = self.tasks.put([task.item])
        except BaseException as error:  # Ctrl+C, too: it may have gone out
            self._failed(task, error)
            raise
        [ticket] = self._answered([task], accepted)
        return ticket

    def put_many(self, items: Iterable[Any]) -> list[Ticket]:
        """Add many tasks in few round trips, in order. An item is a content or a `NewTask`.

        Raises:
            QueueFull: there is no room for all; says which are in, and which are duplicates.
            BatchError: says which are in, which are not, and which may be. If one of them cannot
                be written down, none is sent.
        """
        self._home.require()
        tasks = self._stamp.all(list(items))
        if self.lab.trace.enabled:
            for task in tasks:
                self._record(Action.SENT, task, actor=self.sender)
        try:
            accepted = self.tasks.put([task.item for task in tasks])
        except BatchError as error:
            answered = sorted((*error.sent, *error.duplicates))
            twice = set(error.duplicates)
            self._answered([tasks[i] for i in answered], [i not in twice for i in answered])
            for index in sorted((*error.unknown, *error.unsent)):
                self._failed(tasks[index], error)
            raise
        except (BrokerUnavailable, BrokerRefused) as error:  # it was a single one
            self._failed(tasks[0], error)
            raise _as_batch(error) from None
        except BaseException as error:
            for task in tasks:
                self._failed(task, error)
            raise
        return self._answered(tasks, accepted)

    def depth(self) -> Depth:
        """How many tasks are ready, in flight, delayed and dead."""
        return self.tasks.depth()

    def wait_until_done(self, timeout: float = 30.0) -> bool:
        """Wait until no task is ready, in flight or delayed; False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        quiet = 0  # looks in a row: while one place is counted, a task may move to another
        while (quiet := 0 if self.depth().unfinished else quiet + 1) < _QUIET_LOOKS:
            if not quiet and time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_AGAIN_S)
        return True

    def dead_letters(self, limit: int = 1000) -> DeadLetters:
        """The tasks that nobody will try again, oldest first."""
        return DeadLetters(DeadLetter.read(i, self.max_bytes) for i in self.tasks.dead(limit))

    def redrive(self, ids: Iterable[str] | None = None) -> int:
        """Put dead letters back, as if new: all, or those of these ids; returns how many."""
        if isinstance(ids, str):
            raise ConfigurationError(f'redrive takes several ids: redrive(["{ids}"]).')
        letters = self.tasks.dead(max(1, self.depth().dead))
        if ids is not None:
            wanted = set(ids)
            letters = [letter for letter in letters if letter.id in wanted]
        return self.tasks.redrive(letters)

    def purge(self) -> int:
        """Forget every task, those in flight and the dead ones, too; returns how many."""
        return self.tasks.purge()

    def recover(self) -> list[RecoveredTask]:
        """Take tasks from workers whose lease has run out, for others; workers do so, too."""
        found = [replace(t, worker=_name(t.worker)) for t in self.tasks.recover()]
        for task in found:
            self._tally.add(self.name, recovered=1)
            action = Action.DEAD if task.dead else Action.RECOVERED
            self.lab.trace.record(
                BROKER,
                action,
                channel=self.name,
                message_id=task.id,
                detail=f"from {task.worker}, attempt {task.attempt}",
            )
        return found

    def leases(self) -> dict[str, float]:
        """For each worker that holds tasks or may, the seconds until it counts as dead."""
        leases: dict[str, float] = {}
        for worker, left in self.tasks.leases().items():  # of two lives under a name, the longer
            leases[_name(worker)] = max(left, leases.get(_name(worker), left))
        return leases

    def stats(self) -> QueueStatistics:
        """What was put here, up to now."""
        self._home.require()
        return self._tally.fill(QueueStatistics, self.name)

    def __len__(self) -> int:
        return self.depth().unfinished

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<WorkQueue {self.name!r} ({self.options.kind}), {self.lab.name}>"

    # --- inside -------------------------------------------------------------------------------

    def _answered(self, tasks: Sequence[Stamped], accepted: Sequence[bool]) -> list[Ticket]:
        """Of each, whether it is in."""
        taken = list(itertools.compress(tasks, accepted))
        if taken:
            size = sum(len(task.item.body) for task in taken)
            self._tally.add(self.name, messages=len(taken), bytes=size)
            self._tally.seen_at(taken[0].sent_ns)
            self._tally.seen_at(taken[-1].sent_ns)
        if len(taken) < len(tasks):
            self._tally.add(self.name, refused=len(tasks) - len(taken))
        if self.lab.trace.enabled:
            for task, yes in zip(tasks, accepted, strict=True):
                if yes:
                    delay = task.item.delay
                    self._record(Action.ACCEPTED, task, f"in {delay:g} s" if delay else "")
                else:
                    self._record(Action.DUPLICATE, task, "refused: this id is in the queue")
        return [Ticket(task.item.id, yes) for task, yes in zip(tasks, accepted, strict=True)]

    def _failed(self, task: Stamped, error: BaseException) -> None:
        text = describe(error)
        self._tally.add(self.name, failed=1)
        self._tally.errors.append(ErrorRecord(self.name, task.item.id, text))
        full = "the queue is full" if isinstance(error, QueueFull) else text
        self._record(Action.SEND_FAILED, task, full, actor=self.sender)

    def _record(
        self, action: Action, task: Stamped, detail: str = "", *, actor: str = BROKER
    ) -> None:
        self.lab.trace.record(
            actor,
            action,
            channel=self.name,
            message_id=task.item.id,
            label=task.label,
            detail=detail,
        )


def _name(identity: str) -> str:
    """The worker's name; the broker knows it with the number of its life."""
    return identity.rpartition("/")[0] or identity


def _as_batch(error: BrokerUnavailable | BrokerRefused) -> BatchError:
    maybe = isinstance(error, BrokerUnavailable) and error.sent
    return BatchError(str(error), unknown=[0] if maybe else [], unsent=[] if maybe else [0])
