"""Ten messages, and the third cannot be done: what becomes of the other seven?"""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from dataclasses import dataclass

import pandas as pd

from labkit._html import table
from labkit.broker import Support
from labkit.experiments.choosing.at_hand import AtHand, Brokers
from labkit.patterns.event_stream import Event, EventStream
from labkit.patterns.work_queue import RetryPolicy, Task, Worker, WorkQueue

MESSAGES = 10
POISONED = 3
ATTEMPTS = 3
_WAIT_S = 30.0
_runs = itertools.count(1)


class Poison(Exception):
    """The third message cannot be done, however often somebody tries."""


@dataclass(frozen=True, slots=True)
class Poisoned:
    """What became of ten messages.

    Attributes:
        broker: where.
        log_done: by a reader of a log that goes on in order, and stops where it cannot; None
            where there are no streams.
        log_tries: how often that reader came to the third, and began again.
        queue_done: by a worker of a queue.
        queue_dead: put aside by it, with the errors.
    """

    broker: str
    log_done: int | None
    log_tries: int | None
    queue_done: int
    queue_dead: int


class PoisonTable(list[Poisoned]):
    """A row for each broker; shown as a table."""

    def to_frame(self) -> pd.DataFrame:
        """broker, log_done, log_tries, queue_done, queue_dead."""
        return pd.DataFrame(self).astype({"log_done": "Int64", "log_tries": "Int64"})

    def _repr_html_(self) -> str:
        heads = ("broker", "log, in order: done", "tries of the third", "queue: done", "put aside")
        logs = ["no log" if row.log_done is None else row.log_done for row in self]
        rows = [
            (r.broker, log, r.log_tries, r.queue_done, r.queue_dead)
            for r, log in zip(self, logs, strict=True)
        ]
        return table(heads, rows, f"Of {MESSAGES} messages, the third poisoned")


def poison(brokers: Brokers) -> PoisonTable:
    """Do it on every broker, in a log and in a queue."""
    return PoisonTable(_on(broker) for broker in brokers)


def _on(broker: AtHand) -> Poisoned:
    run = f"poison{next(_runs)}"
    queue_done, queue_dead = _in_a_queue(broker, run)
    if broker.capability("stream").support is Support.ABSENT:
        return Poisoned(broker.name, None, None, queue_done, queue_dead)
    return Poisoned(broker.name, *_in_a_log(broker, run), queue_done, queue_dead)


def _work(number: int, done: set[int]) -> None:
    if number == POISONED:
        raise Poison(f"message {number} cannot be done")
    done.add(number)


def _in_a_log(broker: AtHand, run: str) -> tuple[int, int]:
    """In order, one by one, committed after the work; after a failure it begins again."""
    log = EventStream(broker.lab, f"{run}-log", sender="tower")
    for number in range(1, MESSAGES + 1):
        log.append(number, key="one flight")  # one key: one order
    done: set[int] = set()
    tries: list[int] = []

    def handle(event: Event) -> None:
        if event.content == POISONED:
            tries.append(event.content)
        _work(event.content, done)

    for _ in range(ATTEMPTS):
        with log.group("desk").join("Ann") as ann, suppress(Poison):
            ann.run(handle, count=1, timeout=_WAIT_S)
    return len(done), len(tries)


def _in_a_queue(broker: AtHand, run: str) -> tuple[int, int]:
    """Three attempts for each task, then the dead letters."""
    queue = WorkQueue(broker.lab, f"{run}-queue", sender="tower")
    queue.put_many(range(1, MESSAGES + 1))
    done: set[int] = set()

    def handle(task: Task) -> None:
        _work(task.content, done)

    retry = RetryPolicy(attempts=ATTEMPTS, first=0.05)
    with Worker(queue, handle, name="Ann", retry=retry) as ann:
        ann.start()
        deadline = time.monotonic() + _WAIT_S
        while len(done) + len(queue.dead_letters()) < MESSAGES and time.monotonic() < deadline:
            time.sleep(0.05)
    return len(done), len(queue.dead_letters())
