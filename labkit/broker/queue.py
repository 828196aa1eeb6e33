"""The contract of a work queue: each task to one of many workers, **at least once**.

A task leaves the queue only when it is acknowledged. A worker holds a *lease*; when it stops
renewing it, its tasks go back to the others. A worker that was only slow may then do a task that
somebody else does, too: its late acknowledgement says so. What comes back, for whatever reason,
goes to the end of its priority.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Protocol, runtime_checkable

import msgspec

from labkit.broker.base import Broker


class Priority(IntEnum):
    """Which task goes first; within one priority, the older one."""

    LOW = 0
    NORMAL = 1
    HIGH = 2


class QueueKind(StrEnum):
    """How the broker keeps the tasks, where it has a choice."""

    STREAM = "stream"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """How a queue behaves; all who use it name the same.

    Attributes:
        lease: seconds after which a worker that has not been heard counts as dead.
        max_length: most tasks that wait, are delayed or in flight; None for no bound.
        max_deliveries: a task that was delivered so often without an end goes to the dead letters:
            it may be what kills its workers. None for no bound.
        kind: how the broker keeps the tasks.
    """

    lease: float = 30.0
    max_length: int | None = None
    max_deliveries: int | None = 20
    kind: QueueKind = QueueKind.STREAM


class QueueItem(msgspec.Struct, frozen=True, gc=False):  # many are made: quicker than a dataclass
    """A task to be put.

    Attributes:
        id: names the task.
        body: the bytes.
        unique: refuse it while a task of the same id is in the queue (dead ones count, too).
        delay: seconds to wait before a worker may have it.
        priority: which goes first.
    """

    id: str
    body: bytes
    unique: bool = False
    delay: float = 0.0
    priority: Priority = Priority.NORMAL


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A task in a worker's hands.

    Attributes:
        id: names the task.
        body: the bytes.
        attempt: the how manyeth delivery this is, from 1.
        worker: whose hands.
        priority: as it was put.
        errors: what earlier attempts ended with, oldest first.
        tag: how the broker knows this delivery.
    """

    id: str
    body: bytes
    attempt: int
    worker: str
    priority: Priority
    errors: tuple[str, ...]
    tag: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """A task taken from a dead worker.

    Attributes:
        id: names the task.
        worker: the dead one.
        attempt: the delivery that came to nothing.
        dead: it was delivered too often, and is now a dead letter.
    """

    id: str
    worker: str
    attempt: int
    dead: bool


@dataclass(frozen=True, slots=True)
class DeadItem:
    """A task that nobody will try again, unless it is redriven.

    Attributes:
        id: names the task.
        body: the bytes.
        attempts: how often it was delivered.
        errors: what each attempt ended with, oldest first.
        reason: why it is here.
        died: when, seconds since 1970.
        tag: how the broker knows it.
    """

    id: str
    body: bytes
    attempts: int
    errors: tuple[str, ...]
    reason: str
    died: float
    tag: str


@dataclass(frozen=True, slots=True)
class Depth:
    """How many tasks are where."""

    ready: int
    in_flight: int
    delayed: int
    dead: int

    @property
    def unfinished(self) -> int:
        """All but the dead ones."""
        return self.ready + self.in_flight + self.delayed


@dataclass(frozen=True, slots=True)
class Handover:
    """How another process opens a broker. It holds the password: to be handed over in private.

    Attributes:
        opener: the function that opens it, as "module:name".
        arguments: its arguments, in what JSON can hold.
    """

    opener: str
    arguments: dict[str, Any]

    def __repr__(self) -> str:
        return f"Handover({self.opener!r})"  # no credentials


class BrokerQueue(Protocol):
    """One named queue. Its methods may be called from several threads."""

    def put(self, items: Sequence[QueueItem]) -> list[bool]:
        """Add tasks, in few round trips; False for each that was refused as not unique.

        Raises:
            QueueFull: there is no room for one of them; says which are in, and which were refused
                as not unique (`duplicates`).
            BatchError: the connection broke; says which are in, which are not, which may be.
            BrokerUnavailable, BrokerRefused: the same, for a single one.
        """

    def take(self, worker: str, count: int, timeout: float) -> list[Delivery]:
        """At most `count` tasks for this worker, whose lease is renewed; waits for the first."""

    def ack(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """These are done. False: the lease had run out, and the task was given to others."""

    def ack_and_take(
        self, done: Sequence[Delivery], worker: str, count: int
    ) -> tuple[list[bool], list[Delivery]]:
        """`ack` and `take` without waiting, in one round trip if the broker can."""

    def retry(self, delivery: Delivery, delay: float, error: str) -> bool:
        """Try again after `delay` seconds. False as in `ack`."""

    def bury(self, delivery: Delivery, reason: str, error: str) -> bool:
        """To the dead letters. False as in `ack`."""

    def release(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Give back what was not begun; it does not count as an attempt. False as in `ack`."""

    def renew(self, worker: str, seconds: float | None = None) -> None:
        """The worker is alive: its lease runs `seconds` (default the queue's lease) from now.

        It is never made shorter.
        """

    def leave(self, worker: str) -> None:
        """The worker goes; what it still holds is for `recover`, at once."""

    def recover(self) -> list[Recovered]:
        """Give the tasks of workers whose lease has run out back to the queue."""

    def depth(self) -> Depth:
        """How many tasks are where."""

    def dead(self, limit: int = 100) -> list[DeadItem]:
        """The dead letters, oldest first."""

    def redrive(self, items: Sequence[DeadItem]) -> int:
        """Put dead letters back, as if new; returns how many were still there."""

    def purge(self) -> int:
        """Forget every task; returns how many there were, dead ones included."""

    def leases(self) -> dict[str, float]:
        """For each worker, the seconds that its lease still runs (negative: it is dead)."""


@runtime_checkable
class Interruptible(Protocol):
    """A `BrokerQueue` that likes long waits: another thread can end them."""

    def interrupt(self, worker: str) -> None:
        """The wait of this worker's `take`, or else its next wait, ends at once."""


@runtime_checkable
class QueueBroker(Broker, Protocol):
    """Work queues: each task to one of many, at least once."""

    def open_queue(self, name: str, options: QueueOptions) -> BrokerQueue:
        """The queue of that name; it exists as soon as somebody uses it."""

    def handover(self) -> Handover:
        """How another process opens this broker.

        Raises:
            NotSupported: it lives in this process alone.
        """
