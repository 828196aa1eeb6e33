"""What only a real Kafka shows: idempotence, transactions, compaction, retention."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit import servers
from labkit.connection import connect
from labkit.errors import ServerError
from labkit.experiments.kafka_lab import consumer, count_records, fresh_topic, take
from labkit.patterns.event_stream import EventStream, NewEvent

if TYPE_CHECKING:
    from labkit.servers import KafkaServer

SKIPPED = (
    "Skipped: idempotence, transactions, retention and compaction need a real Kafka: "
    "Java 17 and 'python tools/fetch_kafka.py'."
)

_DEADLINE_S = 60.0
_TIMEOUT_MS = 1_000
"""So long a producer here waits for an answer before it sends again."""

_SOON_S = 10.0

_SEGMENT = {"segment.ms": "100"}
"""A file of the log is closed after so long: only closed ones are cleaned or removed."""


@dataclass(frozen=True)
class RealKafka:
    """What was counted.

    Attributes:
        server: which Kafka it was.
        twice_without: how often one record is in the log whose confirmation came too late, without
            idempotence.
        twice_with: the same with idempotence. Both are None where the server cannot be stopped for
            a moment, because it is not ours.
        committed: records that a reader with read_committed gets: one of an aborted transaction
            and one of a committed one were appended.
        uncommitted: the same for read_uncommitted.
        gates_appended: records in a compacted topic: four for each of three flights.
        gates_kept: the flights' records that compaction has left.
        gates_last: whether these are the last ones.
        retained: of five records with a retention of a tenth of a second: how many are left.
        next_offset: where the next record would go, all the same.
    """

    server: str
    twice_without: int | None
    twice_with: int | None
    committed: int
    uncommitted: int
    gates_appended: int
    gates_kept: int
    gates_last: bool
    retained: int
    next_offset: int

    def __repr__(self) -> str:
        lines = [f"On {self.server}:"]
        if self.twice_with is not None:
            lines.append(
                f"idempotence: without, the record is there {self.twice_without} times; "
                f"with, {self.twice_with} time"
            )
        lines += [
            f"transactions: read_committed gets {self.committed} of 2 records, "
            f"read_uncommitted {self.uncommitted}",
            f"compaction: of {self.gates_appended} records {self.gates_kept} are left, "
            f"{'the last of each key' if self.gates_last else 'not the last ones'}",
            f"retention: {self.retained} of 5 records are left; the next gets offset "
            f"{self.next_offset}",
        ]
        return "\n".join(lines)


def try_a_real_kafka(lab: Any) -> RealKafka | None:
    """Count on the lab's Kafka, or on a private one that is started for it.

    Returns:
        what was counted, or None where there is no real Kafka.
    """
    with _real(lab) as found:
        if found is None:
            return None
        real, server = found
        without = None if server is None else _lost_answer(real, server, idempotent=False)
        with_it = None if server is None else _lost_answer(real, server, idempotent=True)
        committed, uncommitted = _transactions(real)
        kept, appended, last = _compaction(real)
        retained, next_offset = _retention(real)
        return RealKafka(
            "a private Kafka" if server is not None else "this Kafka",
            without,
            with_it,
            committed,
            uncommitted,
            appended,
            kept,
            last,
            retained,
            next_offset,
        )


@contextmanager
def _real(lab: Any) -> Iterator[tuple[Any, KafkaServer | None] | None]:
    if not lab.embedded:
        yield lab, None
        return
    try:  # a short pause of the cleaner: nobody waits a quarter of a minute for it
        server = servers.start_kafka(config={"log.cleaner.backoff.ms": 200})
    except ServerError:
        yield None
        return
    with server, connect(server.url) as real:
        yield real, server


def _lost_answer(lab: Any, server: KafkaServer, *, idempotent: bool) -> int:
    """The server stops until the producer has given the connection up: its answer is too late."""
    stream = fresh_topic(lab, f"answers-{'once' if idempotent else 'twice'}")
    topic = lab.kafka.topic(stream.name)
    given_up: list[Any] = []  # what this producer, and no other client, complains of
    with lab.kafka.producer(
        idempotent=idempotent, socket_timeout_ms=_TIMEOUT_MS, error_cb=given_up.append
    ) as producer:
        producer.produce(topic, b"first")
        producer.flush(_DEADLINE_S)
        given_up.clear()
        server.pause()
        try:
            producer.produce(topic, b"gate 7")
            deadline = time.monotonic() + _DEADLINE_S
            while not given_up and time.monotonic() < deadline:
                producer.flush(0.1)
        finally:
            server.resume()
        producer.flush(_DEADLINE_S)
    # what was sent first may be read last, from the connection that was given up
    count = _at_least(1 if idempotent else 2, lambda: count_records(stream) - 1, _SOON_S)
    stream.delete()
    return count


def _at_least(least: int, count: Callable[[], int], within: float = _DEADLINE_S) -> int:
    """Count until there are so many, within a bounded time."""
    deadline = time.monotonic() + within
    while (found := count()) < least and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _transactions(lab: Any) -> tuple[int, int]:
    stream = fresh_topic(lab, "seats")
    topic = lab.kafka.topic(stream.name)
    try:
        with lab.kafka.transaction("desk") as producer:
            producer.produce(topic, b"12A")
            producer.flush(_DEADLINE_S)
            raise _Abort
    except _Abort:
        pass
    with lab.kafka.transaction("desk") as producer:
        producer.produce(topic, b"12C")

    def read(level: str) -> int:
        with consumer(lab, stream.name, level, isolation_level=level) as reader:
            return len(take(reader, 10))

    # the broker writes the end of a transaction into the log a moment after it has promised to
    committed = _at_least(1, lambda: read("read_committed"))
    uncommitted = _at_least(2, lambda: read("read_uncommitted"))
    stream.delete()
    return committed, uncommitted


class _Abort(Exception):
    """Ends a transaction."""


def _compaction(lab: Any) -> tuple[int, int, bool]:
    stream = _configured(
        lab,
        "gates",
        {
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.0",
            "max.compaction.lag.ms": "100",
        },
    )
    flights = ("B6 739", "DL 61", "UA 1496")
    for gate in range(1, 5):
        stream.append_many([NewEvent({"gate": gate}, key=flight) for flight in flights])
    deadline = time.monotonic() + _DEADLINE_S
    found = list(stream.read())
    while len(found) > len(flights) and time.monotonic() < deadline:
        time.sleep(0.2)
        stream.append({"tick": 1}, key="tick")  # what is appended closes the file before it
        found = [event for event in stream.read() if event.key in flights]
    last = {event.content["gate"] for event in found} == {4}
    stream.delete()
    return len(found), 4 * len(flights), last


def _retention(lab: Any) -> tuple[int, int]:
    stream = _configured(lab, "notices", {"retention.ms": "100"})
    stream.append_many(range(5))
    deadline = time.monotonic() + _DEADLINE_S
    while (left := count_records(stream)) and time.monotonic() < deadline:
        time.sleep(0.1)
    [extent] = stream.log.extents()
    stream.delete()
    return left, 0 if extent.end is None else extent.end.order[0] + 1


def _configured(lab: Any, name: str, config: dict[str, str]) -> EventStream:
    stream = EventStream(lab, name, sender="tower")
    if name in lab.kafka.topics():
        stream.delete()
    lab.kafka.create_topic(name, 1, config | _SEGMENT)
    return stream
