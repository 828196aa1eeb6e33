"""What a requester writes on its requests: who, which, until when, and where the reply goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from labkit.clock import Clock
from labkit.errors import LabkitError, ValidationError
from labkit.message import Message, format_timestamp
from labkit.patterns.identity import message_id
from labkit.patterns.request_reply.outcome import Pending

Stamped = tuple[Pending, bytes] | LabkitError
"""A request and its bytes, or why it cannot be sent."""


class Stamps:
    """Numbers requests. Not locked: its owner does that."""

    def __init__(self, name: str, clock: Clock, max_bytes: int) -> None:
        self._name = name
        self._clock = clock
        self._max_bytes = max_bytes
        self._epoch = ""
        self._asked = 0
        self._numbers: Counter[str] = Counter()

    def begin(self) -> None:
        """Number from 1 again, in a new epoch: no correlation id comes twice."""
        self._epoch = self._clock.new_epoch()
        self._asked = 0
        self._numbers.clear()

    def stamp_all(
        self,
        reply_to: str,
        questions: Sequence[tuple[str, Any]],
        timeout: float,
        type: str,
        metadata: dict[str, Any] | None,
    ) -> list[Stamped]:
        """A request for each (service, content). A batch leaves at once: it has one time."""
        now, sent_ns = self._clock.now(), self._clock.monotonic_ns()
        always = {
            "reply_to": reply_to,
            "deadline": round(now + timeout, 6),
            "epoch": self._epoch,
            "sent_ns": sent_ns,
        }
        timestamp = format_timestamp(now)
        stamped: list[Stamped] = []
        for service, content in questions:
            if not isinstance(service, str) or not service:
                raise ValidationError("to", "a service's name, a non-empty str", repr(service))
            number = self._numbers[service] + 1
            correlation_id = f"{self._epoch}/{self._asked + 1}"
            facts = {
                "attempt": 1,
                **(metadata or {}),
                "message_id": message_id(self._name, self._epoch, service, number),
                "correlation_id": correlation_id,
                **always,
            }
            try:
                message = Message(type, content, timestamp, self._name, facts)
                body = message.encode(self._max_bytes)
            except ValidationError as error:
                stamped.append(error)
                continue
            self._numbers[service] = number
            self._asked += 1
            deadline = now + timeout
            stamped.append((Pending(service, message, correlation_id, timeout, deadline), body))
        return stamped
