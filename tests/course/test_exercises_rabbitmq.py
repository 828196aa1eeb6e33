"""The checks of lab 09, on a real node; and what a lesson does where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from labkit.exercises import lab09
from labkit.exercises.grading import assert_grades
from labkit.experiments import rabbitmq_lesson
from labkit.servers import RabbitServer
from labkit.topology import Binding

pika = pytest.importorskip("pika", reason="pika is not installed")
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def stub(*_: Any) -> Any:
    return ...


@pytest.fixture
def lesson(rabbitmq_server: RabbitServer) -> Iterator[rabbitmq_lesson.Lesson]:
    with rabbitmq_lesson.start_lesson(url=rabbitmq_server.url) as lesson:
        yield lesson


def test_bind_board() -> None:
    def bound(*pairs: tuple[str, str]) -> Any:
        return lambda: [Binding("flights", queue, key) for queue, key in pairs]

    coast = [("coast", "*.*.LAX"), ("coast", "*.*.SFO")]
    board = [("board", "departed.JFK.*"), ("board", "cancelled.JFK.*")]
    assert_grades(
        lab09.check_bind_board,
        solution=bound(*board, *coast),
        also_right=[bound(*board, ("coast", "#.LAX"), ("coast", "#.SFO"))],
        stub=stub,
        wrong=[
            (lambda: {"board": "departed.JFK.*"}, "no list of Bindings"),
            (lambda: [Binding("desks", "board", "#")], "cannot be declared"),
            (bound(*board), "No binding leads to the queue 'coast'"),
            (bound(*board[:1], *coast), "does not reach the queue 'board'"),
            (bound(("board", "#.JFK"), *coast), "arrived.LAX.JFK reaches the queue 'board'"),
            (bound(("board", "*.JFK.*"), *coast), "reaches the queue 'board', and should not"),
            (bound(*board, *coast[:1]), "does not reach the queue 'coast'"),
            (bound(*board, ("coast", "#")), "reaches the queue 'coast', and should not"),
        ],
    )


@pytest.mark.usefixtures("lesson")
def test_publish_safely() -> None:
    def publisher(
        confirms: bool = True, properties: Any = PERSISTENT, mandatory: bool = True, key: str = ""
    ) -> Any:
        def publish(channel, queue, body):
            if confirms:
                channel.confirm_delivery()
            try:
                channel.basic_publish("", key or queue, body, properties, mandatory=mandatory)
            except pika.exceptions.UnroutableError:
                return False
            return True

        return publish

    def lets_it_out(channel, queue, body):
        channel.confirm_delivery()
        channel.basic_publish("", queue, body, PERSISTENT, mandatory=True)
        return True

    def returns_nothing(channel, queue, body):
        channel.confirm_delivery()
        channel.basic_publish("", queue, body, PERSISTENT, mandatory=True)

    def declares(channel, queue, body):
        channel.queue_declare(queue, durable=True)
        return lets_it_out(channel, queue, body)

    def asks_first(channel, queue, body):
        channel.confirm_delivery()
        try:
            channel.queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return False
        channel.basic_publish("", queue, body, PERSISTENT)
        return True

    def confirms_too_late(channel, queue, body):
        channel.basic_publish("", queue, body, PERSISTENT, mandatory=True)
        channel.confirm_delivery()
        return True

    assert_grades(
        lab09.check_publish_safely,
        solution=publisher(),
        stub=stub,
        wrong=[
            (lambda *_: True, "Nothing was published"),
            (publisher(key="elsewhere", mandatory=False), "did not arrive"),
            (publisher(properties=None), "not persistent"),
            (publisher(confirms=False), "did not ask for confirms"),
            (returns_nothing, "you return None"),
            (publisher(mandatory=False), "the message is lost, and you return True"),
            (lets_it_out, "raises UnroutableError"),
            (declares, "You declared the queue"),
            (asks_first, "it may go in between"),
        ],
    )
    assert "did not ask for confirms" in lab09.check_publish_safely(confirms_too_late).text


@pytest.mark.usefixtures("lesson")
def test_work_fairly() -> None:
    def worker(prefetch: int | None = 1, before: bool = False, after: bool = True) -> Any:
        def work(channel, queue, handler):
            def on_task(channel, method, _properties, body):
                if before:
                    channel.basic_ack(method.delivery_tag)
                handler(body)
                if after:
                    channel.basic_ack(method.delivery_tag)

            if prefetch is not None:
                channel.basic_qos(prefetch_count=prefetch)
            channel.basic_consume(queue, on_task)

        return work

    def automatic(channel, queue, handler):
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(queue, lambda *given: handler(given[-1]), auto_ack=True)

    def too_late(channel, queue, handler):
        channel.basic_consume(queue, lambda *given: handler(given[-1]))
        channel.basic_qos(prefetch_count=1)

    def in_a_finally(channel, queue, handler):
        def on_task(channel, method, _properties, body):
            try:
                handler(body)
            finally:
                channel.basic_ack(method.delivery_tag)

        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(queue, on_task)

    def wrong_argument(channel, queue, handler):
        def on_task(channel, method, properties, _body):
            handler(properties)
            channel.basic_ack(method.delivery_tag)

        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(queue, on_task)

    def never_returns(channel, queue, handler):
        worker()(channel, queue, handler)
        channel.start_consuming()

    def loops(channel, queue, handler):
        channel.basic_qos(prefetch_count=1)
        for method, _properties, body in channel.consume(queue):
            handler(body)
            channel.basic_ack(method.delivery_tag)

    def takes(channel, queue, handler):
        while True:
            _method, _properties, body = channel.basic_get(queue, auto_ack=True)
            handler(body)

    def requeues(channel, queue, handler):
        def on_task(channel, method, _properties, body):
            try:
                handler(body)
            except ConnectionError:
                channel.basic_nack(method.delivery_tag)
            else:
                channel.basic_ack(method.delivery_tag)

        channel.basic_qos(0, 1)
        channel.basic_consume(queue=queue, on_message_callback=on_task)

    assert_grades(
        lab09.check_work_fairly,
        solution=worker(),
        also_right=[requeues],
        stub=stub,
        wrong=[
            (lambda *_: 1, "not subscribed"),
            (automatic, "auto_ack"),
            (worker(prefetch=None), "no prefetch"),
            (too_late, "after the subscription"),
            (worker(prefetch=5), "A prefetch of 5"),
            (wrong_argument, "handler was given"),
            (worker(after=False), "not acknowledged"),
            (in_a_finally, "its task is gone"),
            (never_returns, "start_consuming() never returns"),
            (loops, "a loop without an end"),
            (takes, "nobody is subscribed"),
        ],
    )
    too_early = lab09.check_work_fairly(worker(before=True, after=False))
    assert "of the other five still waited" in too_early.text


def test_a_third_hint_goes_further_than_the_second() -> None:
    def everything_from_jfk() -> Any:
        keys = [("board", "*.JFK.*"), ("coast", "*.*.LAX"), ("coast", "*.*.SFO")]
        return [Binding("flights", queue, key) for queue, key in keys]

    assert "too generous" in lab09.check_bind_board(everything_from_jfk, hint=2).text
    assert "several bindings" in lab09.check_bind_board(everything_from_jfk, hint=3).text


def test_keys_and_headers_of_the_day_say_the_same() -> None:
    flights = rabbitmq_lesson.flight_keys()
    assert len(flights) == 979
    assert ("cancelled.LGA.BOS", {"what": "cancelled", "from": "LGA", "to": "BOS"}) in flights
    assert sum(headers["what"] == "cancelled" for _, headers in flights) == 180


def test_where_no_node_can_be_started_a_restart_is_skipped_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rabbitmq_lesson, "find_rabbitmq", lambda: None)
    rabbitmq_lesson.on_own_node(lambda _: pytest.fail("There is no node to do this with."))
    assert capsys.readouterr().out == rabbitmq_lesson.NO_NODE + "\n"


def test_without_a_lesson_a_check_says_what_it_needs() -> None:
    assert "needs RabbitMQ" in lab09.check_publish_safely(lambda *_: True).text


def test_where_there_is_no_rabbitmq_a_lesson_says_so_and_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("labkit.servers.rabbitmq.find_rabbitmq", lambda: None)
    lesson = rabbitmq_lesson.start_lesson()
    assert "No RabbitMQ server found" in capsys.readouterr().out
    assert lesson.name == "none"
    assert rabbitmq_lesson.current_lesson() is None


def test_without_pika_a_lesson_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rabbitmq_lesson, "find_spec", lambda _: None)
    assert rabbitmq_lesson.start_lesson().name == "none"
    assert "pip install" in capsys.readouterr().out


def test_only_the_cell_that_starts_the_lesson_runs_where_the_rest_is_skipped() -> None:
    assert rabbitmq_lesson._skipped(["import pika\n"]) == [
        "print('Skipped: this cell needs RabbitMQ.')\n"
    ]
    again = ["rabbit = start_lesson()\n"]
    assert rabbitmq_lesson._skipped(again) == again


def test_a_lesson_never_shows_the_password(
    lesson: rabbitmq_lesson.Lesson, rabbitmq_server: RabbitServer
) -> None:
    assert rabbitmq_server.password not in repr(lesson) + repr(lesson.lab) + str(lesson.name)
