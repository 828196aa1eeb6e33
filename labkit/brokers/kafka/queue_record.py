"""A task as a record: its body is the value, its id the key, the rest is in headers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import confluent_kafka as ck

from labkit.broker import DeadItem, Delivery, Priority
from labkit.brokers.kafka.client import Part
from labkit.brokers.kafka.producing import Record

ATTEMPT, ERRORS, DUE, REASON, DIED = "attempt", "errors", "due", "reason", "died"
ATTEMPTS_SHOWN = 20
"""Errors of earlier attempts that travel with a task: the last ones."""
TEXT_SHOWN = 3_000
"""Characters kept of a reason or an error: a record has an upper size, headers included."""


@dataclass(slots=True, eq=False)
class Item:
    """A record that was read and is not done.

    Attributes:
        part, offset: where it is.
        attempt: the how manyeth delivery the next one is, from 1.
        due: before then it must wait, seconds since 1970.
        moved: a copy of it is elsewhere already, and only the commit is missing.
    """

    part: Part
    offset: int
    id: str
    body: bytes
    attempt: int
    errors: tuple[str, ...]
    due: float
    moved: bool = False

    def delivery(self, worker: str, tag: str) -> Delivery:
        """As it is handed to a worker."""
        return Delivery(self.id, self.body, self.attempt, worker, Priority.NORMAL, self.errors, tag)


def read(message: ck.Message) -> Item:
    """The task in a record, whoever wrote it."""
    headers = headers_of(message)
    key, offset = message.key(), message.offset()
    part = (message.topic(), message.partition())
    return Item(
        part,
        offset,
        f"{part[1]}:{offset}" if key is None else text(key),
        message.value() or b"",
        max(1, _whole(headers.get(ATTEMPT))),
        _errors(headers.get(ERRORS)),
        _number(headers.get(DUE)),
    )


def record(
    topic: str,
    task_id: str,
    body: bytes,
    *,
    attempt: int = 1,
    errors: tuple[str, ...] = (),
    due: float = 0.0,
) -> Record:
    """The record of a task that waits, or waits again."""
    headers: dict[str, bytes] = {}
    if attempt > 1:
        headers[ATTEMPT] = str(attempt).encode()
    if errors:
        headers[ERRORS] = _short(errors)
    if due:
        headers[DUE] = f"{due:.6f}".encode()
    return Record(topic, body, task_id.encode("utf-8", "backslashreplace"), headers or None)


def dead_record(topic: str, item: Item, errors: tuple[str, ...], reason: str, now: float) -> Record:
    """The record of a dead letter."""
    headers = {
        ATTEMPT: str(item.attempt).encode(),
        ERRORS: _short(errors),
        REASON: reason[:TEXT_SHOWN].encode("utf-8", "backslashreplace"),
        DIED: f"{now:.6f}".encode(),
    }
    return Record(topic, item.body, item.id.encode("utf-8", "backslashreplace"), headers)


def read_dead(message: ck.Message) -> DeadItem:
    """The dead letter in a record."""
    headers = headers_of(message)
    return DeadItem(
        id=text(message.key() or b""),
        body=message.value() or b"",
        attempts=_whole(headers.get(ATTEMPT)),
        errors=_errors(headers.get(ERRORS)),
        reason=text(headers.get(REASON, b"")),
        died=_number(headers.get(DIED)),
        tag=str(message.offset()),
    )


def headers_of(message: ck.Message) -> Mapping[str, bytes]:
    """The headers; of two of one name the last."""
    return {name: value or b"" for name, value in message.headers() or ()}


def text(raw: bytes | str) -> str:
    """A name, whatever its bytes."""
    return raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")


def _short(errors: tuple[str, ...]) -> bytes:
    shown = [error[:TEXT_SHOWN] for error in errors[-ATTEMPTS_SHOWN:]]
    return json.dumps(shown).encode()


def _errors(raw: bytes | None) -> tuple[str, ...]:
    if not raw:
        return ()
    try:
        return tuple(map(str, json.loads(raw)))
    except (ValueError, TypeError):
        return (text(raw),)


def _whole(raw: bytes | None) -> int:
    return int(raw) if raw and raw.isdigit() else 0


def _number(raw: bytes | None) -> float:
    try:
        return float(raw or b"0")
    except ValueError:
        return 0.0
