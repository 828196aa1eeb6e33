"""What goes into a queue, what a handler gets, and how it ended."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from labkit.broker import Delivery, Priority
from labkit.errors import ConfigurationError, DecodeError
from labkit.message import Message
from labkit.patterns.work_queue.arguments import clean_text

DEFAULT_TYPE = "task"


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be put, with more than its content.

    Attributes:
        content: any JSON value, or a ready `Message`.
        id: names the task and makes it unique: while it is in the queue (dead letters count,
            too), another of the same id is refused. None: a new name, never refused.
        delay: seconds to wait before a worker may have it.
        priority: "low", "normal", "high" or a `Priority`.
        type: what is asked, as `noun.verb`.
        metadata: facts about the task, beside those that labkit adds.
    """

    content: Any
    id: str | None = None
    delay: float = 0.0
    priority: Priority | str = Priority.NORMAL
    type: str | None = None
    metadata: dict[str, Any] | None = None


class Ticket(msgspec.Struct, frozen=True, gc=False):
    """What the queue said to a put.

    Attributes:
        id: names the task.
        accepted: False: a task of this id is in the queue already, and this one was refused.
    """

    id: str
    accepted: bool


@dataclass(frozen=True, slots=True)
class Retry:
    """A handler's result: try again.

    Attributes:
        after: seconds until then; None leaves it to the worker's `RetryPolicy`.
        reason: kept with the task, as text; an exception is described.

    Raises:
        ConfigurationError: `after` is negative, or not finite.
    """

    after: float | None = None
    reason: str = "asked to be tried again"

    def __post_init__(self) -> None:
        if self.after is not None and not _is_delay(self.after):
            raise ConfigurationError(f"Retry(after=…) is in seconds from now, got {self.after}.")
        object.__setattr__(self, "reason", clean_text(self.reason))


@dataclass(frozen=True, slots=True)
class Reject:
    """A handler's result: nobody shall try again; to the dead letters.

    Attributes:
        reason: kept with the task, as text; an exception is described.
    """

    reason: str = "rejected"

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", clean_text(self.reason))


def _is_delay(seconds: float) -> bool:
    return seconds >= 0 and math.isfinite(seconds)


class Ending(StrEnum):
    """How a worker and a task parted."""

    BEGUN = "begun"
    DONE = "done"
    RETRYING = "retrying"
    DEAD = "dead"
    RETURNED = "returned"
    LATE = "late ack"
    LOST = "lost"
    HELD = "held"
    CRASHED = "crashed"


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How one task ended in one worker's hands.

    Attributes:
        id: names the task.
        what: done; retrying (it comes back); dead (a dead letter now); late ack (the lease had
            run out, and others have the task); lost (it failed after it had been acknowledged);
            begun (acknowledged before the work, which is still to come); held (manual
            acknowledgement is still to come); crashed (nobody was told).
        attempt: the how manyeth delivery it was, from 1.
        detail: the error, or why.
        delay: seconds until it is tried again, if it is.
    """

    id: str
    what: Ending
    attempt: int
    detail: str = ""
    delay: float | None = None


class Hands(Protocol):
    """What a task needs of the worker that holds it."""

    by_hand: bool
    """Whether handlers acknowledge."""

    def settle_ack(self, task: Task) -> bool:
        """It is done."""

    def settle_nack(self, task: Task, delay: float, error: str) -> bool:
        """It is to be tried again."""

    def settle_reject(self, task: Task, reason: str) -> bool:
        """It goes to the dead letters."""

    def prolong(self, seconds: float) -> None:
        """The lease runs so long from now."""


class Task:
    """A task in a worker's hands; what a handler is called with.

    Attributes:
        id: names the task: the key for doing it once.
        attempt: the how manyeth delivery this is, from 1.
        errors: what earlier attempts ended with, oldest first.
        priority: as it was put.
        worker: whose hands.
    """

    __slots__ = ("_decoded", "_hands", "attempt", "delivery", "errors", "id", "outcome", "worker")

    def __init__(
        self, delivery: Delivery, decoded: Message | DecodeError, worker: str, hands: Hands
    ) -> None:
        self.id = delivery.id
        self.attempt = delivery.attempt
        self.errors = delivery.errors
        self.worker = worker
        self.delivery = delivery
        self.outcome: Outcome | None = None
        self._decoded = decoded
        self._hands = hands

    @property
    def message(self) -> Message:
        """The whole message.

        Raises:
            DecodeError: its bytes are not one; a handler never gets such a task.
        """
        if isinstance(self._decoded, DecodeError):
            raise self._decoded
        return self._decoded

    @property
    def content(self) -> Any:
        """What is to be done."""
        return self.message.content

    @property
    def priority(self) -> Priority:
        """As it was put."""
        return self.delivery.priority

    @property
    def unreadable(self) -> DecodeError | None:
        """What is wrong with its bytes, if something is."""
        return self._decoded if isinstance(self._decoded, DecodeError) else None

    @property
    def label(self) -> str:
        """What a person would call it."""
        return "" if isinstance(self._decoded, DecodeError) else self._decoded.label

    def ack(self) -> bool:
        """It is done. Only with `ack="manual"`.

        Returns:
            False if the lease had run out and others have the task.
        """
        return self._settle(lambda: self._hands.settle_ack(self))

    def nack(self, delay: float = 0.0, error: str = "given back") -> bool:
        """Try again, in `delay` seconds. Only with `ack="manual"`. False as in `ack`."""
        if not _is_delay(delay):
            raise ConfigurationError(f"A delay is in seconds from now, got {delay}.")
        return self._settle(lambda: self._hands.settle_nack(self, delay, error))

    def reject(self, reason: str) -> bool:
        """To the dead letters. Only with `ack="manual"`. False as in `ack`."""
        return self._settle(lambda: self._hands.settle_reject(self, reason))

    def extend(self, seconds: float) -> None:
        """Let the worker's lease run `seconds` from now, if it ends earlier.

        The worker's heart-beat does so by itself, except on a clock that the lesson controls.
        """
        if not seconds > 0:
            raise ConfigurationError(f"A lease is prolonged by some seconds, got {seconds}.")
        self._hands.prolong(seconds)

    def _settle(self, settle: Callable[[], bool]) -> bool:
        if not self._hands.by_hand:
            raise ConfigurationError(
                f'Worker {self.worker!r} acknowledges by itself. Make it with ack="manual", or '
                "let the handler return None, Retry(…) or Reject(…)."
            )
        if self.outcome is not None and self.outcome.what is not Ending.HELD:
            raise ConfigurationError(f"Task {self.id!r} has ended: {self.outcome.what}.")
        return settle()

    def __repr__(self) -> str:
        return f"<Task {self.id!r}, attempt {self.attempt}>"
