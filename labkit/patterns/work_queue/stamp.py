"""From what is put to what a broker keeps: an id, a time, and the bytes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import msgspec

from labkit._json import check_json
from labkit.broker import Broker, Priority, QueueItem
from labkit.errors import BatchError, ConfigurationError, MessageTooLarge, ValidationError
from labkit.message import Message, format_timestamp
from labkit.patterns.identity import message_id
from labkit.patterns.work_queue.arguments import priority_of
from labkit.patterns.work_queue.task import DEFAULT_TYPE, NewTask


class Stamped(msgspec.Struct, frozen=True, gc=False):
    """A task to be put, and what is written down about it.

    Attributes:
        item: what the broker keeps.
        sent_ns: when it was put, on the broker's monotonic clock.
        label: what a person would call it; "" where no trace is kept.
    """

    item: QueueItem
    sent_ns: int
    label: str


class Stamp:
    """Makes tasks out of contents, and gives each that has none an id of its own.

    A batch comes through here task by task, so this must be quick: the envelope is made and checked
    once, and its metadata, which nobody else has seen yet, is completed in place.
    """

    def __init__(self, lab: Broker, queue: str, sender: str, max_bytes: int) -> None:
        self._clock = lab.clock
        self._trace = lab.trace
        self._sender = sender
        self._max_bytes = max_bytes
        self._epoch = lab.clock.new_epoch()
        self._prefix = message_id(sender, self._epoch, queue, 0).removesuffix("0")
        self._numbers = itertools.count(1)  # a step of it is one step for all threads

    def one(self, new: NewTask) -> Stamped:
        """A task with all that can be said of it.

        Raises:
            ValidationError: it cannot be written down.
            ConfigurationError: a negative delay, an unknown priority, an id that is none.
        """
        if not (new.delay >= 0 and math.isfinite(new.delay)):
            raise ConfigurationError(f"A delay is in seconds from now, got {new.delay}.")
        priority = priority_of(new.priority)
        if new.id is not None and (not isinstance(new.id, str) or not new.id):
            raise ConfigurationError(f"A task's id is a non-empty str, got {new.id!r}.")
        if isinstance(new.content, Message):
            if new.type is not None or new.metadata is not None:
                raise ConfigurationError(
                    "A ready Message brings its type and metadata; pass it alone."
                )
            message = new.content.with_metadata()  # a copy, to be completed
        else:
            message = self._message(new.type or DEFAULT_TYPE, new.content, new.metadata)
        return self._stamped(message, new.id, new.delay, priority)

    def all(self, items: Sequence[Any]) -> list[Stamped]:
        """A batch; an item is a content or a `NewTask`.

        Raises:
            BatchError: one of them cannot be put, so none is.
        """
        stamped: list[Stamped] = []
        traced = self._trace.enabled
        try:
            for item in items:
                if isinstance(item, NewTask | Message):
                    stamped.append(self.one(item if isinstance(item, NewTask) else NewTask(item)))
                elif traced:
                    message = self._message(DEFAULT_TYPE, item, None)
                    stamped.append(self._stamped(message, None, 0.0, Priority.NORMAL))
                else:
                    stamped.append(self._plain(item))
        except (ValidationError, ConfigurationError) as error:
            raise BatchError(
                f"Task {len(stamped)} cannot be put, so none was: {error}",
                unsent=range(len(items)),
            ) from error
        return stamped

    def _message(self, kind: str, content: Any, given: dict[str, Any] | None) -> Message:
        metadata = {} if given is None else given.copy() if type(given) is dict else given
        return Message(kind, content, format_timestamp(self._clock.now()), self._sender, metadata)

    def _stamped(
        self, message: Message, given: str | None, delay: float, priority: Priority
    ) -> Stamped:
        task_id = given or f"{self._prefix}{next(self._numbers)}"
        facts = message.metadata
        facts["message_id"] = task_id
        facts["epoch"] = self._epoch
        if priority is not Priority.NORMAL:
            facts["priority"] = priority.name.lower()
        facts["sent_ns"] = sent_ns = self._clock.monotonic_ns()
        body = message.encode(self._max_bytes)
        item = QueueItem(task_id, body, given is not None, delay, priority)
        return Stamped(item, sent_ns, message.label if self._trace.enabled else "")

    def _plain(self, content: Any) -> Stamped:
        """A bare content, where nobody asks what to call it: nothing else needs to be checked."""
        timestamp = format_timestamp(self._clock.now())
        check_json("content", content)
        task_id = f"{self._prefix}{next(self._numbers)}"
        sent_ns = self._clock.monotonic_ns()
        facts = {"message_id": task_id, "epoch": self._epoch, "sent_ns": sent_ns}
        try:
            body = _ENCODER.encode(_Envelope(DEFAULT_TYPE, content, timestamp, self._sender, facts))
        except (ValueError, RecursionError):  # it says what is wrong with it
            body = Message(DEFAULT_TYPE, content, timestamp, self._sender, facts).encode()
        if len(body) > self._max_bytes:
            raise MessageTooLarge(len(body), self._max_bytes)
        return Stamped(QueueItem(task_id, body), sent_ns, "")


class _Envelope(msgspec.Struct):
    """The fields of a `Message`, whose check would cost more than all the rest."""

    type: str
    content: Any
    timestamp: str
    sender: str
    metadata: dict[str, Any]


_ENCODER = msgspec.json.Encoder()
