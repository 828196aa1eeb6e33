"""Records, offsets and cursors: what Kafka calls them, and what labkit does."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import confluent_kafka as ck

from labkit.broker import Cursor, Entry, Position
from labkit.brokers.kafka.client import Part
from labkit.brokers.kafka.queue_record import text


def position(part: Part, offset: int) -> Position:
    """The place of a record."""
    return Position(str(offset), part[1])


def behind(cursor: Cursor, part: Part) -> int:
    """The offset to go on with; 0 for the beginning."""
    place = cursor.get(part[1])
    return 0 if place is None else place.order[0] + 1


def entries(
    messages: Iterable[ck.Message], told: Callable[[ck.Message], object] = lambda _: None
) -> list[Entry]:
    """The entries in records; headers are what else they hold.

    Args:
        messages: records, and what is none: the end of a partition, or trouble.
        told: is given what is no record.
    """
    found: list[Entry] = []
    add = found.append
    for message in messages:  # a quarter of what reading costs: calls are spared here
        if message.error() is not None:
            told(message)
            continue
        key, headers = message.key(), message.headers()
        try:
            name = None if key is None else key.decode()
        except (UnicodeDecodeError, AttributeError):
            name = text(key)
        place = Position(str(message.offset()), message.partition())
        if headers:
            more = {head: value or b"" for head, value in headers}
            add(Entry(place, message.value(), name, more=more))
        else:
            add(Entry(place, message.value(), name))
    return found
