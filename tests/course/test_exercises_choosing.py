"""The checks of lab 11: solutions pass, stubs are known, wrong answers are told apart."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import labkit
from labkit.broker import Support
from labkit.brokers.kafka.capabilities import capabilities as kafka_table
from labkit.brokers.rabbitmq.capabilities import capabilities as rabbitmq_table
from labkit.errors import BrokerUnavailable
from labkit.exercises import lab11
from labkit.exercises.grading import assert_grades
from labkit.experiments.choosing.jobs import JOBS


def stub(*_: Any) -> Any:
    return ...


def test_what_the_check_takes_for_absent_is_absent_in_the_tables() -> None:
    names = {name for job in JOBS for name in (job.capability, *job.also)}
    with labkit.connect("embedded://") as embedded:
        tables = {
            "Redis": embedded.capabilities,
            "RabbitMQ": rabbitmq_table("RabbitMQ"),
            "Kafka": kafka_table("Kafka", mock=False),
        }
    for broker, table in tables.items():
        known = {row.name: row.support for row in table}
        absent = {n for n in names if known.get(n, Support.ABSENT) is Support.ABSENT}
        assert absent == lab11.ABSENT[broker]


def test_choices() -> None:
    right = {
        "audit": ("Kafka", "stream"),
        "rebooking": ("RabbitMQ", "priorities"),
        "report": ("a table", None),
    }

    def but(**changed: Any) -> dict[str, Any]:
        return {**right, **changed}

    assert_grades(
        lab11.check_choices,
        solution=right,
        also_right=[
            but(audit=("Redis", "consumer groups"), rebooking=("Redis", "delayed tasks")),
            but(audit=("Kafka", "replay for late subscribers")),
        ],
        stub={"audit": (..., ...), "rebooking": (..., ...), "report": (..., ...)},
        wrong=[
            (but(audit=("RabbitMQ", "work queue")), "where 'stream' is absent"),
            (but(rebooking=("Kafka", "work queue")), "where 'delayed tasks' is absent"),
            (but(rebooking=("Redis", "work queue")), "does not decide"),
            (but(audit=("Kafka", "it is fast")), "'it is fast'"),
            (but(audit=("Redis", "replay for late subscribers")), "there it is absent"),
            (but(rebooking=("Redis", ["delayed tasks", "priorities"])), "Your reason"),
            (but(report=("RabbitMQ", "work queue")), "For ten reports a day you take RabbitMQ"),
            (but(audit=("a table", None)), "For 'audit' you take a table"),
            (but(report=("a table", "work queue")), "you name 'work queue'"),
            (but(rebooking="Redis"), "The choice for 'rebooking' is 'Redis'"),
            (but(audit=("Pulsar", "stream")), "you take 'Pulsar'"),
            ({"audit": ("Kafka", "stream")}, "no choice for 'rebooking'"),
        ],
    )


def _due(database: Any, now: int, order: str = "due", sign: str = "<=") -> list[Any]:
    question = f"select id, what from later where due {sign} ? order by {order}"
    return list(database.execute(question, (now,)))


def _delete(database: Any, row: int) -> None:
    database.execute("delete from later where id = ?", (row,))


def test_put_due() -> None:
    def solution(database: Any, queue: Any, now: int) -> None:
        for row, what in _due(database, now):
            queue.put(what)
            _delete(database, row)

    def delete_first(database: Any, queue: Any, now: int) -> None:
        for row, what in _due(database, now):
            _delete(database, row)
            queue.put(what)

    def swallow(database: Any, queue: Any, now: int) -> None:
        for row, what in _due(database, now):
            with suppress(BrokerUnavailable):
                queue.put(what)
            _delete(database, row)

    def delete_at_the_end(database: Any, queue: Any, now: int) -> None:
        rows = _due(database, now)
        for _, what in rows:
            queue.put(what)
        for row, _ in rows:
            _delete(database, row)

    def one_transaction(database: Any, queue: Any, now: int) -> None:
        with database:
            database.execute("begin")
            solution(database, queue, now)

    def never_delete(database: Any, queue: Any, now: int) -> None:
        for _, what in _due(database, now):
            queue.put(what)

    def too_late(database: Any, queue: Any, now: int) -> None:
        for row, what in _due(database, now, sign="<"):
            queue.put(what)
            _delete(database, row)

    def all_of_them(database: Any, queue: Any, _: int) -> None:
        solution(database, queue, 1_000)

    def any_order(database: Any, queue: Any, now: int) -> None:
        for row, what in _due(database, now, order="id"):
            queue.put(what)
            _delete(database, row)

    def delete_all(database: Any, queue: Any, now: int) -> None:
        for _, what in _due(database, now):
            queue.put(what)
        database.execute("delete from later")

    def whole_row(database: Any, queue: Any, now: int) -> None:
        for row in _due(database, now):
            queue.put(list(row))
            _delete(database, row[0])

    def idle(database: Any, _queue: Any, now: int) -> None:
        _due(database, now)

    assert_grades(
        lab11.check_put_due,
        solution=solution,
        stub=stub,
        wrong=[
            (delete_first, "e is in neither place"),
            (delete_at_the_end, "in the table as well"),
            (never_delete, "still in the table"),
            (too_late, "due at 30 is still waiting"),
            (all_of_them, "due at 90 went into the queue"),
            (any_order, "in the order"),
            (delete_all, "due at 90 is gone"),
            (whole_row, "a, b and c are due"),
            (idle, "Nothing is in the queue"),
        ],
    )
    assert "neither place" in lab11.check_put_due(swallow).text
    assert "in the table as well" in lab11.check_put_due(one_transaction).text


def test_apart() -> None:
    def solution(figures: Any) -> Any:
        servers = figures[figures.real].dropna(subset=["p99_ms"])
        p99 = servers.groupby("job").p99_ms
        ratios = (p99.max() / p99.min())[p99.count() > 1]
        return ratios.to_dict()

    def by_hand(figures: Any) -> Any:
        found: dict[str, list[float]] = {}
        for row in figures.itertuples():
            if row.real and row.support != "absent":
                found.setdefault(row.job, []).append(row.p99_ms)
        return {job: max(all_) / min(all_) for job, all_ in found.items() if len(all_) > 1}

    def ratio(figures: Any, column: str = "p99_ms") -> Any:
        grouped = figures.groupby("job")[column]
        return (grouped.max() / grouped.min()).to_dict()

    def rows_counted(figures: Any) -> Any:
        grouped = figures[figures.real].groupby("job").p99_ms
        return (grouped.max() / grouped.min())[grouped.size() > 1].to_dict()

    def zero(figures: Any) -> Any:
        servers = figures[figures.real]
        wide = servers.fillna({"p99_ms": 0.0}).groupby("job").p99_ms
        return (wide.max() / wide.min()).to_dict()

    def whole(figures: Any) -> Any:
        servers = figures[figures.real].dropna(subset=["p99_ms"])
        return dict.fromkeys(servers.job, servers.p99_ms.max() / servers.p99_ms.min())

    assert_grades(
        lab11.check_apart,
        solution=solution,
        also_right=[by_hand],
        stub=stub,
        wrong=[
            (lambda figures: ratio(figures), "With the embedded broker in the frame"),
            (lambda figures: ratio(figures[figures.real], "p50_ms"), "p50 with p50"),
            (lambda figures: {j: 1 / r for j, r in solution(figures).items()}, "0.25"),
            (zero, "no figure for the replay"),
            (whole, "Two jobs"),
            (lambda figures: ratio(figures[figures.real]), "on one server only"),
            (lambda figures: 4.0 * len(figures), "returned a float"),
            (lambda figures: {"seats": 6.0 + len(figures)}, "8; that is"),
        ],
    )
    assert "on one server only" in lab11.check_apart(rows_counted).text
