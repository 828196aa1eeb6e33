"""Records, offsets and cursors: what Kafka calls them, and what labkit does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import confluent_kafka as ck

from labkit.broker import Cursor, Entry, Position
from labkit.brokers.kafka.client import Part
from labkit.brokers.kafka.queue_record import text

_NO_HEADERS: Mapping[str, bytes] = {}  # one for all: nobody writes into it


def position(part: Part, offset: int) -> Position:
    """The place of a record."""
    return Position(str(offset), part[1])


def behind(cursor: Cursor, part: Part) -> int:
    """The offset to go on with; 0 for the beginning."""
    place = cursor.get(part[1])
    return 0 if place is None else place.order[0] + 1


def entries(
    messages: Sequence[ck.Message], told: Callable[[ck.Message], object] = lambda _: None
) -> list[Entry]:
    """The entries in records; headers are what else they hold.

    Args:
        messages: records, and what is none: the end of a partition, or trouble.
        told: is given what is no record, afterwards.
    """
    try:
        found = _made(messages, bytes.decode)
    except (UnicodeDecodeError, TypeError):  # a key that is no text: rare, and slower
        found = _made(messages, text)
    if len(found) < len(messages):
        for message in messages:
            if message.error() is not None:
                told(message)
    return found


def _made(messages: Sequence[ck.Message], decoded: Callable[[bytes], str]) -> list[Entry]:
    """A quarter of what reading costs is spent here: nothing is called that can be spared."""
    return [
        Entry(
            Position(str(message.offset()), message.partition()),
            message.value(),
            None if (key := message.key()) is None else decoded(key),
            None,
            None,
            _more(headers) if (headers := message.headers()) else _NO_HEADERS,
        )
        for message in messages
        if message.error() is None
    ]


def _more(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, bytes]:
    return {name: value or b"" for name, value in headers}
