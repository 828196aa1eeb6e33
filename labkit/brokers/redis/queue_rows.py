"""From what Redis keeps of a task to what the contract says; what is not ours is kept, too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from labkit.broker import DeadItem, Delivery, Priority
from labkit.brokers.redis.client import REFUSALS
from labkit.brokers.redis.scripts import Argument

Row = Sequence[Any]
"""Place (1, 2, 3), entry, and a flat list of fields and values."""

MOST_DIGITS = 15
"""Of a number that we have written; what is longer is somebody else's."""

_PRIORITIES = dict(enumerate(Priority, 1))
"""By place. As quick as they can be looked up."""


def delivery(worker: str, row: Row) -> Delivery:
    """A task in a worker's hands."""
    place, entry, fields = row
    return _delivery(worker, int(place), entry, fields)


def deliveries(worker: str, taken: Sequence[Any]) -> list[Delivery]:
    """What a script has taken: a place, its tasks, another place, its tasks, …"""
    return [
        _delivery(worker, place, entry, fields)
        for place, rows in zip(taken[::2], taken[1::2], strict=True)
        for entry, fields in rows
    ]


def _delivery(worker: str, place: int, entry: bytes, fields: Sequence[bytes]) -> Delivery:
    priority = _PRIORITIES[place]
    if len(fields) == 4 and fields[0] == b"i" and fields[2] == b"b":  # most are never tried twice
        tag = f"{place} 0 {entry.decode('latin-1')}"
        return Delivery(text(fields[1]), fields[3], 1, worker, priority, (), tag)
    known = _facts(entry, fields)
    unique = "1" if known.get(b"u") == b"1" else "0"
    return Delivery(
        id=text(known[b"i"]),
        body=known[b"b"],
        attempt=_number(known.get(b"a")) + 1,
        worker=worker,
        priority=priority,
        errors=_errors(known.get(b"e")),
        tag=f"{place} {unique} {entry.decode('latin-1')}",
    )


def dead_item(entry: bytes, fields: Sequence[bytes]) -> DeadItem:
    """A dead letter."""
    known = _facts(entry, fields)
    return DeadItem(
        id=text(known[b"i"]),
        body=known[b"b"],
        attempts=_number(known.get(b"a")),
        errors=_errors(known.get(b"e")),
        reason=text(known.get(b"r", b"")),
        died=_moment(known.get(b"t", b"0")),
        tag=text(entry),
    )


def ack_arguments(deliveries: Sequence[Delivery]) -> list[Argument]:
    """What the script must know of each: worker, place, entry, the id if it is unique."""
    arguments: list[Argument] = []
    for item in deliveries:
        unique = item.tag[2] == "1"
        arguments += [*place_of(item), item.id if unique else ""]
    return arguments


def plain_entries(items: Sequence[Delivery]) -> list[Argument]:
    """Their place, and their entries; nothing if they have several, or if one is unique."""
    kind = items[0].tag[:4]
    if kind[2] == "1" or any(item.tag[:4] != kind for item in items):
        return []
    return [kind[0], *(item.tag[4:] for item in items)]


def place_of(item: Delivery) -> tuple[str, str, bytes]:
    """Worker, place and entry: where it is."""
    return item.worker, item.tag[0], item.tag[4:].encode("latin-1")


def errors_json(item: Delivery, error: str) -> str:
    """What its attempts ended with, the last one included."""
    return json.dumps([*item.errors, error] if error else item.errors)


def text(raw: bytes) -> str:
    """A name, whatever its bytes."""
    return raw.decode("utf-8", "backslashreplace")


def _facts(entry: bytes, fields: Sequence[bytes]) -> dict[bytes, bytes]:
    """The fields; of what somebody else has put there, the bytes. The scripts do the same."""
    known = dict(zip(fields[::2], fields[1::2], strict=True))
    if b"i" in known and b"b" in known:
        return known
    return {b"i": entry, b"b": b" ".join(fields)}


def _number(raw: bytes | None) -> int:
    return int(raw) if raw and raw.isdigit() and len(raw) <= MOST_DIGITS else 0


def _moment(raw: bytes) -> float:
    try:
        return float(raw)
    except ValueError:
        return 0.0


def _errors(raw: bytes | None) -> tuple[str, ...]:
    if raw is None or raw == b"[]":
        return ()
    try:
        return tuple(map(str, json.loads(raw)))
    except (ValueError, TypeError, RecursionError):
        return (text(raw),)


def unprepared(reply: object) -> bool:
    """Whether it says that a stream or its group is not there."""
    return isinstance(reply, REFUSALS) and "NOGROUP" in str(reply)
