"""Records, offsets and cursors: what Kafka calls them, and what labkit does."""

from __future__ import annotations

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


def entry(message: ck.Message) -> Entry:
    """The entry in a record; its headers are what else it holds."""
    key, headers = message.key(), message.headers()
    place = Position(str(message.offset()), message.partition())
    name = None if key is None else text(key)
    if not headers:
        return Entry(place, message.value(), name)
    return Entry(place, message.value(), name, more={head: value or b"" for head, value in headers})
