"""Checks of lab 11: choose a broker. Tables of capabilities and figures: no server here."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pandas as pd

from labkit import Worker, WorkQueue
from labkit.broker import Lab
from labkit.errors import BrokerUnavailable
from labkit.exercises.framework import Wrong, exercise

TABLE = "a table"
"""The answer where no broker is needed."""

ABSENT: dict[str, frozenset[str]] = {
    "Redis": frozenset({"partitions", "replay for late subscribers"}),
    "RabbitMQ": frozenset(
        {"stream", "consumer groups", "partitions", "acknowledge one by one", "expected revision"}
        | {"subscriber count", "replay for late subscribers"}
    ),
    "Kafka": frozenset(
        {"delayed tasks", "priorities", "tasks in order", "requests in order"}
        | {"order across channels", "subscriber count", "closed inbox known"}
        | {"acknowledge one by one", "expected revision"}
    ),
}
"""Of the capabilities in the lab's table, those that a broker has not. A test compares them."""

_JOBS: dict[str, tuple[str, frozenset[str]]] = {
    "audit": (
        "The audit reads the whole day once more next week, with a question that nobody has yet.",
        frozenset({"stream", "consumer groups", "replay for late subscribers"}),
    ),
    "rebooking": (
        "Passengers of a flight that leaves soon come first; who finds no seat is tried again in "
        "ten minutes.",
        frozenset({"delayed tasks", "priorities", "leases", "dead letters", "work queue"}),
    ),
}
_STRONG = {"audit": frozenset({"stream"}), "rebooking": frozenset({"delayed tasks", "priorities"})}


@exercise(
    "11.1",
    "Choose for three jobs",
    expects=dict,
    correct="Each choice rests on a capability that another broker lacks, or on needing none.",
)
def check_choices(choices: dict[str, Any], _lab: Lab) -> None:
    """The broker can do it; the reason belongs to the job, and decides against another broker."""
    for job in ("audit", "rebooking", "report"):
        if job not in choices:
            raise Wrong(f"There is no choice for {job!r}.", "Keep the three keys of the dict.")
        if not (isinstance(choices[job], tuple | list) and len(choices[job]) == 2):
            raise Wrong(
                f"The choice for {job!r} is {choices[job]!r}.",
                'A pair: what you take, and why, as in ("Redis", "publish/subscribe").',
            )
    for job in _JOBS:
        _check_choice(job, *choices[job])
    taken, why = choices["report"]
    if taken in ABSENT:
        raise Wrong(
            f"For ten reports a day you take {taken}, a server that has to be run and watched.",
            "The program has a database already. What does a broker add to ten rows a day?",
        )
    if taken != TABLE:
        raise Wrong(
            f"For the report you take {taken!r}.",
            f'One of "Redis", "RabbitMQ", "Kafka" and "{TABLE}".',
        )
    if why is not None:
        raise Wrong(
            f"A table has no capability of a broker, and you name {why!r}.",
            f'Where no broker is needed, none decides: ("{TABLE}", None).',
        )


def _check_choice(job: str, taken: Any = None, why: Any = None) -> None:
    what, fitting = _JOBS[job]
    if taken == TABLE:
        raise Wrong(
            f"For {job!r} you take a table, and would have to write what a broker can do.",
            f"{what} Which row of the capabilities is that?",
        )
    if taken not in ABSENT:
        raise Wrong(
            f"For {job!r} you take {taken!r}.",
            f'One of "Redis", "RabbitMQ", "Kafka" and "{TABLE}".',
        )
    if lacking := sorted(_STRONG[job] & ABSENT[taken]):
        raise Wrong(
            f"For {job!r} you take {taken}, where {lacking[0]!r} is absent.",
            f"{what} Look at the row {lacking[0]!r} of the table, and take one that has it.",
        )
    if not isinstance(why, str) or why not in fitting:
        raise Wrong(
            f"Your reason for {job!r} is {why!r}.",
            f"{what} The reason is the name of the one capability that this needs, as the table "
            "writes it.",
        )
    if why in ABSENT[taken]:
        raise Wrong(
            f"You take {taken} for its {why!r}, and there it is absent.",
            "Read the row again: which broker has it?",
        )
    if not any(why in absent for absent in ABSENT.values()):
        raise Wrong(
            f"{why!r} does not decide for {job!r}: every broker comes to it somehow.",
            "Look for a row that the job needs and that is absent on one of them.",
        )


class _FailingQueue:
    """A queue that goes away in the middle: a proxy that can refuse a put."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self.fails_at = 0
        self.puts = 0

    def put(self, content: Any, **more: Any) -> Any:
        self.puts += 1
        if self.puts == self.fails_at:
            raise BrokerUnavailable("The broker went away before the task was in.", sent=False)
        return self._queue.put(content, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


@exercise(
    "11.2",
    "Later, on a broker that cannot wait",
    expects="function",
    correct="A crash between the two steps costs a second try, and no task.",
    may_raise=True,
)
def check_put_due(put_due: Callable[[sqlite3.Connection, Any, int], Any], lab: Lab) -> None:
    """Those that are due and no others, oldest first; then the broker goes away in the middle."""
    database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    database.execute("create table later (id integer primary key, due integer, what text)")
    rows = [(30, "c"), (10, "a"), (90, "z"), (20, "b")]
    database.executemany("insert into later (due, what) values (?, ?)", rows)
    queue = _FailingQueue(WorkQueue(lab, "exercise 2", sender="desk"))
    put_due(database, queue, 30)
    got, left = _all_of(queue._queue), _left(database)
    if not got:
        raise Wrong(
            "Nothing is in the queue, and three tasks are due.",
            "For each row with due <= now: queue.put(what), then delete the row.",
        )
    if "z" in got:
        raise Wrong(
            "A task that is due at 90 went into the queue at 30.",
            "Only rows with due <= now.",
        )
    if sorted(got) == ["a", "b"]:
        raise Wrong(
            "At 30, the task that is due at 30 is still waiting.",
            "Due means due <= now, and not only due < now.",
        )
    if sorted(got) != ["a", "b", "c"]:
        raise Wrong(
            f"At 30 the tasks a, b and c are due, and the queue has {sorted(map(str, got))}.",
            "Put the column `what` of each row, as it is.",
        )
    if set(left) & set(got):
        raise Wrong(
            "The tasks are in the queue and still in the table: the next call puts them again.",
            "Delete a row when its task is in the queue.",
        )
    if left != ["z"]:
        raise Wrong("The task that is due at 90 is gone.", "Delete only what you have put.")
    if got != ["a", "b", "c"]:
        raise Wrong(f"The tasks came in the order {got}.", "Oldest first: order by due.")
    _check_outage(put_due, database, queue)


def _check_outage(
    put_due: Callable[[sqlite3.Connection, Any, int], Any],
    database: sqlite3.Connection,
    queue: _FailingQueue,
) -> None:
    database.execute("delete from later")
    rows = [(1, "d"), (2, "e"), (3, "f")]
    database.executemany("insert into later (due, what) values (?, ?)", rows)
    queue.puts, queue.fails_at = 0, 2
    with suppress(BrokerUnavailable):
        put_due(database, queue, 5)
    in_queue, left = _all_of(queue._queue), _left(database)
    lost = [what for _, what in rows if what not in in_queue and what not in left]
    if lost:
        raise Wrong(
            f"The broker went away at the second task, and {' and '.join(lost)} is in neither "
            "place now.",
            "Put first, delete after it, for each row.",
            "And let the exception stop you: who catches it and deletes has lost the task.",
        )
    if in_queue == ["d"] and "d" in left:
        raise Wrong(
            "The broker went away at the second task. The first one is in the queue, and in the "
            "table as well.",
            "Delete each row as soon as its task is in: not at the end, nor in one transaction.",
        )


def _all_of(queue: WorkQueue) -> list[Any]:
    """What is in the queue, in order; it is empty afterwards."""
    found: list[Any] = []
    with Worker(queue, lambda task: found.append(task.content), name="check") as worker:
        worker.run()
    return found


def _left(database: sqlite3.Connection) -> list[str]:
    return [what for (what,) in database.execute("select what from later order by due")]


def _figures(*rows: tuple[Any, ...]) -> pd.DataFrame:
    columns = ["broker", "job", "real", "support", "p50_ms", "p99_ms"]
    return pd.DataFrame(rows, columns=columns)


@exercise(
    "11.3",
    "How far apart?",
    expects="function",
    correct="Servers only, each job by itself, and what was not measured is not 0.",
)
def check_apart(apart: Callable[[pd.DataFrame], Any], _lab: Lab) -> None:
    """A stand-in, an absent one, a job with one server only, rows in any order."""

    def ask(*rows: tuple[Any, ...]) -> dict[str, float]:
        got = apart(_figures(*rows))
        if isinstance(got, pd.Series):
            got = got.to_dict()
        if not isinstance(got, Mapping):
            raise Wrong(
                f"The function returned a {type(got).__name__}, not a dict.",
                'From each job to its ratio: {"fan-out": 4.0}.',
            )
        return {str(job): float(ratio) for job, ratio in got.items()}

    redis = ("Redis", "seats", True, "emulated", 1.0, 2.0)
    rabbit = ("RabbitMQ", "seats", True, "native", 3.0, 8.0)
    got = ask(redis, rabbit)
    if _close(got, {"seats": 3.0}):
        raise Wrong(
            "You compared p50 with p50.",
            "Who waits longest is not seen by the median: the column is p99_ms.",
        )
    if _close(got, {"seats": 0.25}):
        raise Wrong("You say 0.25.", "The slowest divided by the fastest: 1 or more.")
    if not _close(got, {"seats": 4.0}):
        raise Wrong(
            f"Redis has a p99 of 2 ms, RabbitMQ of 8; that is {{'seats': 4.0}}, and you say {got}.",
            "For each job the greatest p99_ms, divided by the smallest.",
        )
    got = ask(("embedded", "seats", False, "emulated", 0.1, 0.2), redis, rabbit)
    if not _close(got, {"seats": 4.0}):
        raise Wrong(
            f"With the embedded broker in the frame you say {got}, and not {{'seats': 4.0}}.",
            "Its figures are figures of Python. Keep the rows where `real` is true.",
        )
    absent = ("RabbitMQ", "replay", True, "absent", math.nan, math.nan)
    log = [("Redis", "replay", True, "native", 0.2, 0.5), absent]
    log.append(("Kafka", "replay", True, "native", 1.0, 5.0))
    got = ask(*log, redis, rabbit)
    if set(got) == {"seats"} or not math.isfinite(got.get("replay", math.nan)):
        raise Wrong(
            f"RabbitMQ has no figure for the replay; the other two have, and you say {got}.",
            "What was not measured is left out, and the others stay: dropna.",
        )
    if not _close(got, {"replay": 10.0, "seats": 4.0}):
        raise Wrong(
            f"Two jobs: {{'replay': 10.0, 'seats': 4.0}}, and you say {got}.",
            "Each job by itself: groupby.",
        )
    got = ask(log[0], absent, redis, rabbit)
    if not _close(got, {"seats": 4.0}):
        raise Wrong(
            f"The replay was measured on one server only, and you say {got}.",
            "One figure is not far from anything: leave such a job out.",
        )


def _close(got: Mapping[str, float], right: Mapping[str, float]) -> bool:
    return set(got) == set(right) and all(math.isclose(got[j], right[j]) for j in right)
