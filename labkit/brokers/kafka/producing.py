"""Appending records, and learning what became of each: nothing is sent and forgotten."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import confluent_kafka as ck

from labkit.brokers.kafka import words
from labkit.brokers.kafka.client import SLICE_S, KafkaClient
from labkit.errors import BatchError, BrokerUnavailable, LabkitError

GRACE_S = 2.0
"""How much later than promised librdkafka may report; then the fate of a record is unknown."""

_POLL_EVERY = 500
_FULL = "the producer's buffer is full, and the broker takes nothing from it"


class Record(NamedTuple):
    """What is to be appended."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Mapping[str, bytes] | None = None
    timestamp_ms: int = 0
    partition: int = -1


class Landed(NamedTuple):
    """Where a record is."""

    partition: int
    offset: int


Outcome: TypeAlias = Landed | ck.KafkaError | None
"""Of one record: where it is, what the broker or librdkafka says, or None: not sent."""


class _Reports:
    """The delivery reports of one batch."""

    def __init__(self, count: int) -> None:
        self.outcomes: list[Outcome] = [None] * count
        self._lock = threading.Lock()
        self.due = count

    def tell(self, index: int, error: ck.KafkaError | None, message: ck.Message) -> None:
        """librdkafka's delivery callback."""
        if error is None and message.offset() is None:
            # "a duplicate", says the broker, and not of what: seen where it was not in the log
            error = ck.KafkaError(ck.KafkaError._MSG_TIMED_OUT)
        self.outcomes[index] = (
            Landed(message.partition(), message.offset()) if error is None else error
        )
        with self._lock:
            self.due -= 1


def append(client: KafkaClient, records: Sequence[Record], shown: str = "") -> list[Landed]:
    """Append all; returns once the broker has confirmed each (`acks=all`).

    Raises:
        BrokerUnavailable, BrokerRefused: for a single record.
        BatchError: says which are in, which are not, and which may be.
    """
    outcomes = send(client, records, shown)
    landed = [outcome for outcome in outcomes if isinstance(outcome, Landed)]
    if len(landed) == len(records):
        return landed
    raise _failure(client, outcomes)


def send(client: KafkaClient, records: Sequence[Record], shown: str = "") -> list[Outcome]:
    """Append, and wait for every delivery report."""
    if not records:
        return []
    client.log(shown or _shown(records))
    producer = client.producer
    reports = _Reports(len(records))
    patience = client.options.timeout + GRACE_S
    room_s = client.options.timeout / 2  # before what fills the buffer is given up, and makes room
    queued = 0
    try:
        for index, record in enumerate(records):
            if not _produce(producer, record, partial(reports.tell, index), room_s):
                break
            queued = index + 1
            if queued % _POLL_EVERY == 0:
                producer.poll(0)
        reports.due -= len(records) - queued
    except ck.KafkaException as error:
        reports.due -= len(records) - queued
        reports.outcomes[queued] = error.args[0]
        if error.args[0].fatal():
            client.renew_producer()
    deadline = time.monotonic() + patience
    while reports.due > 0 and time.monotonic() < deadline:
        producer.poll(SLICE_S)
    for index in range(queued):
        if reports.outcomes[index] is None:
            reports.outcomes[index] = ck.KafkaError(ck.KafkaError._MSG_TIMED_OUT)
    if any(
        isinstance(o, ck.KafkaError) and o.code() == ck.KafkaError._FATAL for o in reports.outcomes
    ):
        client.renew_producer()
    return reports.outcomes


def _produce(producer: ck.Producer, record: Record, report: object, patience: float) -> bool:
    """Hand it to librdkafka; False if its buffer stays full."""
    deadline = None
    while True:
        try:
            producer.produce(
                record.topic,
                record.value,
                record.key,
                partition=record.partition,
                on_delivery=report,
                timestamp=record.timestamp_ms,
                headers=None if record.headers is None else list(record.headers.items()),
            )
        except BufferError:
            now = time.monotonic()
            deadline = deadline or now + patience
            if now > deadline:
                return False
            producer.poll(SLICE_S)
        else:
            return True


def _failure(client: KafkaClient, outcomes: Sequence[Outcome]) -> LabkitError:
    errors = [o for o in outcomes if isinstance(o, ck.KafkaError)]
    if any(outcome is None for outcome in outcomes):
        reason = f"Kafka at {client.place.shown}: {_FULL}. Wait, or append less at once."
        failure: LabkitError = BrokerUnavailable(reason, sent=False)
        if len(outcomes) == 1:
            return failure
    else:
        failure = words.error(client.place.shown, errors[0], sent=True)
        if len(outcomes) == 1:
            return failure
    maybe = {i for i, o in enumerate(outcomes) if isinstance(o, ck.KafkaError) and words.away(o)}
    return BatchError(
        str(failure),
        sent=[i for i, o in enumerate(outcomes) if isinstance(o, Landed)],
        unknown=sorted(maybe),
        unsent=[i for i, o in enumerate(outcomes) if not isinstance(o, Landed) and i not in maybe],
    )


def _shown(records: Sequence[Record]) -> str:
    first = records[0]
    key = "" if first.key is None else f", key={first.key!r}"
    more = f"  # and {len(records) - 1:,} more" if len(records) > 1 else ""
    size = 0 if first.value is None else len(first.value)
    return f"producer.produce({first.topic!r}, <{size:,} bytes>{key}){more}"
