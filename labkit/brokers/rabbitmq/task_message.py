"""A task as an AMQP message: its id, its body, and in headers what happened to it before."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from typing import Any

import pika

from labkit.broker import DeadItem, Priority, QueueItem
from labkit.broker.queue import Delivery

ID = "labkit-id"
ATTEMPTS = "labkit-attempts"
ERRORS = "labkit-errors"
PRIORITY = "labkit-priority"
UNIQUE = "labkit-unique"
REASON = "labkit-reason"
DIED = "labkit-died-ms"
LETTER = "labkit-letter"

_SHORT = 60
_MOST_TEXT = 2_000
"""Characters of one error or reason: all headers of a message are one frame of 128 KiB."""

_MOST_ERRORS = 20
_WORDS = {Priority.LOW: "low", Priority.NORMAL: "normal", Priority.HIGH: "high"}
_SOMEBODY_DIED = "a worker died with it, or its connection broke"


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """What a message says of its task.

    Attributes:
        attempts: how often it was delivered before, and came to nothing.
        errors: what each attempt ended with.
        unique: its id is in the set of ids.
    """

    id: str
    body: bytes
    priority: Priority = Priority.NORMAL
    attempts: int = 0
    errors: tuple[str, ...] = ()
    unique: bool = False

    @classmethod
    def new(cls, item: QueueItem) -> TaskMessage:
        """Of a task that is put."""
        return cls(item.id, item.body, item.priority, unique=item.unique)

    @classmethod
    def read(cls, method: Any, properties: Any, body: bytes, fallback: str) -> TaskMessage:
        """Of a message, whoever published it."""
        headers = properties.headers or {}
        errors = _errors(headers.get(ERRORS))
        again = _count(headers.get("x-delivery-count"))  # quorum queues count
        if not again and method.redelivered:  # classic ones know that there was one
            again = 1
        attempts = _count(headers.get(ATTEMPTS)) + again
        priority = headers.get(PRIORITY)
        return cls(
            id=str(headers.get(ID) or properties.message_id or fallback),
            body=body,
            priority=Priority(priority) if priority in (0, 1, 2) else Priority.NORMAL,
            attempts=attempts,
            errors=errors + (_SOMEBODY_DIED,) * again,
            unique=bool(headers.get(UNIQUE)),
        )

    @classmethod
    def again(cls, delivery: Delivery, *, counts: bool, error: str, unique: bool) -> TaskMessage:
        """Of a task that comes back: `counts`, if the delivery was an attempt."""
        errors = (*delivery.errors, error) if error else delivery.errors
        attempts = delivery.attempt if counts else delivery.attempt - 1
        return cls(delivery.id, delivery.body, delivery.priority, attempts, errors, unique)

    @property
    def word(self) -> str:
        """Its priority, as in routing keys."""
        return _WORDS[self.priority]

    def properties(self, **more: Any) -> pika.BasicProperties:
        """Persistent, with what is worth saying."""
        headers: dict[str, Any] = {
            name: value[:_MOST_TEXT] if isinstance(value, str) else value
            for name, value in more.items()
        }
        if self.attempts:
            headers[ATTEMPTS] = self.attempts
        if self.errors:
            headers[ERRORS] = json.dumps(_fitting(self.errors))
        if self.priority is not Priority.NORMAL:
            headers[PRIORITY] = int(self.priority)
        if self.unique:
            headers[UNIQUE] = True
        if len(self.id) > _SHORT:  # AMQP's own property is a short string
            headers[ID] = self.id
        return pika.BasicProperties(
            delivery_mode=2,
            message_id=self.id[:_SHORT],
            priority=int(self.priority),
            headers=headers or None,
        )

    def delivery(self, worker: str, tag: str) -> Delivery:
        """In a worker's hands."""
        return Delivery(
            self.id, self.body, self.attempts + 1, worker, self.priority, self.errors, tag
        )


def dead_item(method: Any, properties: Any, body: bytes) -> DeadItem:
    """A dead letter: labkit's own, or one of RabbitMQ's, which writes `x-death`."""
    headers = properties.headers or {}
    task = TaskMessage.read(_NotAgain, properties, body, f"letter-{method.delivery_tag}")
    died, reason = headers.get(DIED), headers.get(REASON)
    if reason is None:
        why = str(headers.get("x-first-death-reason", "put here by somebody else"))
        reason = f"RabbitMQ put it here: {why}"
        with contextlib.suppress(AttributeError, IndexError, KeyError, TypeError, ValueError):
            died = round(headers["x-death"][0]["time"].timestamp() * 1000)
    letter = headers.get(LETTER) or f"{task.id} {died}"
    return DeadItem(
        id=task.id,
        body=body,
        attempts=max(task.attempts, 0),
        errors=task.errors,
        reason=str(reason),
        died=died / 1000 if isinstance(died, int) else time.time(),
        tag=str(letter),
    )


class _NotAgain:
    """A dead letter that was looked at before is delivered again, and that is no attempt."""

    redelivered = False


def _fitting(errors: tuple[str, ...]) -> list[str]:
    """As many as fit into the headers: the first ones and the last ones."""
    texts = [text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…" for text in errors]
    if len(texts) <= _MOST_ERRORS:
        return texts
    half = _MOST_ERRORS // 2
    left_out = f"({len(texts) - 2 * half} more attempts, whose errors are left out)"
    return [*texts[:half], left_out, *texts[-half:]]


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _errors(value: Any) -> tuple[str, ...]:
    with contextlib.suppress(ValueError, TypeError):
        found = json.loads(value)
        if isinstance(found, list):
            return tuple(map(str, found))
    return ()
