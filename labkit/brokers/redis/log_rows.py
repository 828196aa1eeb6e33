"""Between what Redis keeps of a log and the contract's values."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from labkit.broker import Cursor, Entry, Position
from labkit.errors import ConfigurationError

BEGINNING = "0-0"
"""Before the first id that there can be."""

_ID = re.compile(r"(\d+)-(\d+)", re.ASCII)
_LARGEST = 2**64 - 1
_BODY, _KEY, _REVISION = b"body", b"key", b"revision"


@dataclass(frozen=True, slots=True)
class Pending:
    """A row of XPENDING."""

    id: str
    member: str
    idle_ms: int
    attempt: int


def position(entry_id: bytes) -> Position:
    """An entry's id as a position."""
    return Position(entry_id.decode())


def position_or_none(entry_id: bytes | None) -> Position | None:
    """None where Redis says nothing, or 0-0."""
    return None if not entry_id or entry_id == BEGINNING.encode() else position(entry_id)


def after(cursor: Cursor) -> str:
    """The id behind which a cursor reads on.

    Raises:
        ConfigurationError: a position of another broker.
    """
    for place in cursor.values():
        if place.partition or _ID.fullmatch(place.text) is None:
            raise ConfigurationError(
                f"{place} is no position of a Redis stream, which looks like 1362718800000-0."
            )
    return cursor[0].text if 0 in cursor else BEGINNING


def cursor(entry_id: str) -> dict[int, Position]:
    """A cursor that reads on behind this id."""
    return {} if entry_id == BEGINNING else {0: Position(entry_id)}


def id_after(entry_id: str) -> str:
    """The next id that there can be."""
    ms, sequence = map(int, entry_id.split("-"))
    return f"{ms + 1}-0" if sequence == _LARGEST else f"{ms}-{sequence + 1}"


def id_before(entry_id: str) -> str:
    """The id that comes just before; 0-0 before all."""
    ms, sequence = map(int, entry_id.split("-"))
    if sequence:
        return f"{ms}-{sequence - 1}"
    return f"{ms - 1}-{_LARGEST}" if ms else BEGINNING


def entries(rows: Sequence[Any], attempt: int | None = None) -> list[Entry]:
    """Rows of XRANGE or XREADGROUP."""
    try:
        found = [
            Entry(Position(entry_id.decode()), body, key.decode(), int(revision), attempt)
            for entry_id, (first, key, second, revision, third, body) in rows
            if first == _KEY and second == _REVISION and third == _BODY
        ]
    except ValueError:
        found = []
    if len(found) == len(rows):  # all are as we write them, with a key
        return found
    return [_entry(entry_id, fields, attempt) for entry_id, fields in rows]


def _entry(entry_id: bytes, fields: Sequence[bytes], attempt: int | None) -> Entry:
    """Ours, or somebody else's."""
    place = Position(entry_id.decode())
    if len(fields) == 2 and fields[0] == _BODY:
        return Entry(place, fields[1], None, None, attempt)
    if tuple(fields[::2]) == (_KEY, _REVISION, _BODY):
        with contextlib.suppress(ValueError):
            return Entry(place, fields[5], fields[1].decode(), int(fields[3]), attempt)
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    body, key, revision = (named.pop(name, None) for name in (_BODY, _KEY, _REVISION))
    return Entry(
        place,
        body,
        None if key is None else key.decode("utf-8", "backslashreplace"),
        int(revision) if revision is not None and revision.isdigit() else None,
        attempt,
        {name.decode("utf-8", "backslashreplace"): value for name, value in named.items()},
    )
