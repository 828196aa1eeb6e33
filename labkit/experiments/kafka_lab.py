"""The Kafka of lab 10: a given one, or the mock cluster; and a lab that copes without either."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from labkit.connection import BROKER_URL_VARIABLE, connect
from labkit.errors import BrokerUnavailable, LabkitError
from labkit.patterns.event_stream import EventStream

if TYPE_CHECKING:
    import confluent_kafka

MISSING = "Install confluent-kafka, which speaks to Kafka: pip install 'messaging-lab[kafka]'."
SKIPPED = "Skipped: this cell needs the package confluent-kafka."

_OPEN = "open_kafka("
_PATIENCE_S = 30.0


def open_kafka() -> Any:
    """The Kafka that LABKIT_BROKER_URL names, or else the mock cluster in this process.

    Without confluent-kafka it prints what is missing, and returns None; in a notebook each further
    cell then says that it is skipped, so that Run All reaches the end.

    Raises:
        LabkitError: confluent-kafka is missing, and this is no notebook.
        BrokerUnavailable: the Kafka that was named does not answer.
    """
    missing = find_spec("confluent_kafka") is None
    _skip_cells(missing)
    if missing:
        print(f"The rest of this notebook is skipped. {MISSING}")
        return None
    given = os.environ.get(BROKER_URL_VARIABLE, "")
    if given.startswith(("kafka://", "kafkas://")):
        return connect(given)
    return connect("kafka+embedded://")


def fresh_topic(lab: Any, name: str, partitions: int = 1) -> EventStream:
    """An empty topic: on a real Kafka the one of an earlier run is deleted, with its groups."""
    stream = EventStream(lab, name, sender="tower")
    if name in lab.kafka.topics():
        stream.delete()
    lab.kafka.create_topic(name, partitions)
    return stream


def count_records(stream: EventStream) -> int:
    """How many records its topic holds; nothing is decoded."""
    return sum(extent.length for extent in stream.log.extents())


@contextmanager
def consumer(lab: Any, name: str, group: str, **more: Any) -> Iterator[confluent_kafka.Consumer]:
    """A consumer of confluent-kafka, subscribed to a topic and closed in the end.

    Args:
        lab: a Kafka.
        name: of the topic.
        group: its group's id is `topic/group`, as labkit's are.
        more: settings of librdkafka, with _ for the dots.
    """
    topic = lab.kafka.topic(name)
    opened = lab.kafka.consumer(f"{topic}/{group}", **more)
    try:
        opened.subscribe([topic])
        yield opened
    finally:
        opened.close()


def take(consumer: confluent_kafka.Consumer, most: int) -> list[confluent_kafka.Message]:
    """Records up to the end of its partitions, at most so many.

    Raises:
        BrokerUnavailable: neither a record nor an end came.
    """
    import confluent_kafka as ck

    found: list[ck.Message] = []
    ended: set[tuple[str | None, int | None]] = set()
    deadline = time.monotonic() + _PATIENCE_S
    while len(found) < most and time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is None:
            if _at_the_end(consumer):  # the end was told to an earlier call, and is told once
                return found
            continue
        error = message.error()
        if error is None:
            found.append(message)
        elif error.code() == ck.KafkaError._PARTITION_EOF:
            ended.add((message.topic(), message.partition()))
            if len(ended) == len(consumer.assignment()):
                return found
    if len(found) < most:
        raise BrokerUnavailable(f"Nothing came within {_PATIENCE_S:g} s. Run the cell again.")
    return found


def next_offset(
    lab: Any,
    name: str,
    group: str,
    commit: Callable[[confluent_kafka.Consumer, confluent_kafka.Message], object] | None = None,
    **settings: Any,
) -> int:
    """Where a second consumer of a group begins, when a first one has been there.

    Args:
        lab: a Kafka.
        name: of a topic with one partition.
        group: a new group. Its first consumer is handed up to five records, and closed.
        commit: called with that consumer and the last of these records; None calls nothing.
        settings: of both consumers, with _ for the dots.

    Returns:
        the offset of the first record that the second one gets; the end if it gets none.
    """
    with consumer(lab, name, group, **settings) as first:
        records = take(first, 5)
        if commit is not None:
            commit(first, records[-1])
    with consumer(lab, name, group, **settings) as second:
        for record in take(second, 1):
            return int(record.offset())
        [place] = second.assignment()
        _, end = second.get_watermark_offsets(place, 5.0)
        return int(end)


def _at_the_end(consumer: confluent_kafka.Consumer) -> bool:
    """Whether it has partitions, and has read each to its end."""
    mine = consumer.assignment()
    for at, stored in zip(consumer.position(mine), consumer.committed(mine, 5.0), strict=True):
        low, high = consumer.get_watermark_offsets(at, 5.0)
        begins = stored.offset if stored.offset >= 0 else low  # of a partition not read yet
        if (at.offset if at.offset >= 0 else begins) < high:
            return False
    return bool(mine)


def _skip_cells(skip: bool) -> None:
    """Let IPython replace each cell that follows by one printed line, or let it be.

    Raises:
        LabkitError: there is no notebook whose cells could be skipped.
    """
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None:
        if skip:
            raise LabkitError(MISSING)
        return
    transformers = shell.input_transformers_post
    transformers[:] = [one for one in transformers if one is not _skipped]
    if skip:
        transformers.append(_skipped)


def _skipped(lines: list[str]) -> list[str]:
    """What runs instead of a cell; the one that opens Kafka may always be tried again."""
    if not "".join(lines).strip() or any(_OPEN in line for line in lines):
        return lines
    return [f"print({SKIPPED!r})\n"]
