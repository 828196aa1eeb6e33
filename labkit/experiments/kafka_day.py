"""A day with Kafka: one consumer a partition, each with so much time in an hour, and their lag."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import TYPE_CHECKING, Any

from labkit.errors import BrokerUnavailable
from labkit.experiments.kafka_lab import consumer
from labkit.patterns.event_stream import EventStream, NewEvent, Positions

if TYPE_CHECKING:
    import confluent_kafka

    from labkit.data.day import Happening

_DEADLINE_S = 60.0


def watch_lag(
    lab: Any, stream: EventStream, day: Iterable[Happening], *, key: str, each: int
) -> list[tuple[float, Positions]]:
    """Append a day hour by hour to an empty topic, whose group "board" works on it.

    Args:
        lab: a Kafka.
        stream: an empty topic. The group gets as many members as it has partitions.
        day: what happened, in order.
        key: the field of the content that is an event's key.
        each: so many events does each member do in an hour, and commits them.

    Returns:
        at the end of each hour: hours since midnight, and `stream.positions()`; for `plots.lag`.

    Raises:
        BrokerUnavailable: the group has not settled, or gets nothing, within a minute.
    """
    happenings = list(day)
    midnight = happenings[0].time.replace(hour=0, minute=0, second=0, microsecond=0)
    samples: list[tuple[float, Positions]] = []
    waiting: Counter[int] = Counter()  # by partition
    _ = stream.group("board")  # it notes where it begins
    with ExitStack() as stack:
        count = lab.kafka.topics()[stream.name]
        members = [stack.enter_context(consumer(lab, stream.name, "board")) for _ in range(count)]
        owners = _settle(members, count)
        for hour, group in groupby(
            happenings, lambda h: (h.time - midnight).total_seconds() // 3600
        ):
            events = [NewEvent(h.message, key=h.message.content[key]) for h in group]
            waiting.update(event.position.partition for event in stream.append_many(events))
            for number, owner in owners.items():
                due = min(each, waiting[number])
                _work(owner, due)
                waiting[number] -= due
            samples.append((hour + 1, stream.positions()))
    return samples


def _settle(
    members: Sequence[confluent_kafka.Consumer], count: int
) -> dict[int, confluent_kafka.Consumer]:
    """Poll all until each has one partition; who has which."""
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        for member in members:
            member.poll(0.005)  # nothing is in the topic yet
        owned = [[place.partition for place in member.assignment()] for member in members]
        if sorted(owned) == [[number] for number in range(count)]:
            return {number: member for [number], member in zip(owned, members, strict=True)}
    raise BrokerUnavailable(f"The group has not settled within {_DEADLINE_S:g} s. Try again.")


def _work(member: confluent_kafka.Consumer, count: int) -> None:
    """Get so many records, which are there, and commit."""
    deadline = time.monotonic() + _DEADLINE_S
    last = None
    while count and time.monotonic() < deadline:
        message = member.poll(0.1)
        if message is not None and message.error() is None:
            count, last = count - 1, message
    if count:
        raise BrokerUnavailable(f"Nothing came within {_DEADLINE_S:g} s. Run the cell again.")
    if last is not None:
        member.commit(message=last, asynchronous=False)
