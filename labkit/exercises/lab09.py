"""Checks of lab 09: RabbitMQ. The last two need the node that the notebook has started."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from labkit.broker import Lab
from labkit.data import stormy_day
from labkit.errors import ConfigurationError
from labkit.exercises.framework import Wrong, exercise
from labkit.experiments.rabbitmq_lesson import (
    Lesson,
    current_lesson,
    depth,
    take,
    wait_until,
)
from labkit.topology import Binding, Exchange, Queue, Topology

_QUEUE = "labkit.check.tasks"
_MISSING = "labkit.check.missing"
_BODY = b"B6 739"
_TASKS = [f"flight {number}".encode() for number in range(6)]
_TIMEOUT_S = 60.0
_SOON_S = 1.0
_ARRIVES_WITHIN_S = 2.0
_SET_UP = "Run the set-up cell again; it starts a node, or says what is missing."


@exercise(
    "9.1",
    "The bindings of a departure board",
    expects="function",
    correct="Every flight of the day finds its queues, and the tower knows none of them.",
)
def check_bind_board(bind_board: Callable[[], Any], _lab: Lab) -> None:
    """Every key of the day, as RabbitMQ routes it."""
    bindings = bind_board()
    if isinstance(bindings, Binding):
        bindings = [bindings]
    if not isinstance(bindings, list | tuple) or not all(
        isinstance(one, Binding) for one in bindings
    ):
        raise Wrong(
            f"The function returned a {type(bindings).__name__} that is no list of Bindings.",
            'Return [Binding("flights", "board", "…"), …].',
        )
    try:
        topology = Topology(
            [Exchange("flights", "topic")],  # type: ignore[arg-type]
            [Queue("board"), Queue("coast")],  # type: ignore[arg-type]
            bindings,  # type: ignore[arg-type]
        )
    except ConfigurationError as error:
        raise Wrong(
            f"These bindings cannot be declared. {error}",
            'The exchange is called "flights", the queues "board" and "coast".',
        ) from None
    for queue in ("board", "coast"):
        if not any(one.target == queue for one in bindings):
            raise Wrong(
                f"No binding leads to the queue {queue!r}.",
                f'Binding("flights", "{queue}", …), and maybe more than one.',
            )
    for key in _keys():
        _expect_route(topology, key)


def _keys() -> list[str]:
    """What happened, from where, to where; each once."""
    kinds = ["flight.departed", "flight.cancelled", "flight.arrived", "flight.scheduled"]
    found = {
        ".".join((one.type.split(".")[1], one.content["origin"], one.content["destination"]))
        for one in (happening.message for happening in stormy_day(types=kinds))
        if isinstance(one.content, dict)
    }
    return sorted(found | {"arrived.LAX.JFK"})


def _expect_route(topology: Topology, key: str) -> None:
    what, origin, destination = key.split(".")
    got = topology.route("flights", key).queues
    board = origin == "JFK" and what in ("departed", "cancelled")
    coast = destination in ("LAX", "SFO")
    hints = {
        "board": "Three words: what, from where, to where. One binding for each thing that is "
        'wanted: "departed.JFK.*" is the first.',
        "coast": 'Where it goes is the third word; the rest does not matter: "*.*.LAX" is one.',
    }
    for queue, wanted in (("board", board), ("coast", coast)):
        if wanted and queue not in got:
            raise Wrong(f"{key} does not reach the queue {queue!r}, and should.", hints[queue])
        if not wanted and queue in got:
            raise Wrong(
                f"{key} reaches the queue {queue!r}, and should not.",
                f"{topology.route('flights', key)}",
            )


@exercise(
    "9.2",
    "A publisher that loses nothing",
    expects="function",
    correct="Persistent, confirmed, and back if no queue wants it: nothing is lost in silence.",
    timeout=_TIMEOUT_S,
    may_raise=True,
)
def check_publish_safely(publish_safely: Callable[..., Any], _lab: Lab) -> None:
    """A queue that is there, and one that is not."""
    with _rabbitmq() as lesson, lesson.channel() as channel:
        watched = _Channel(channel)
        answer = _call(publish_safely, watched, _QUEUE)
        if not watched.calls("basic_publish"):
            raise Wrong("Nothing was published.", 'channel.basic_publish("", queue, body, …)')
        if not _arrived(lesson_channel := watched.real):
            raise Wrong(
                "The message did not arrive in the queue.",
                'The exchange is "", the default one, and the routing key is the queue\'s name.',
            )
        _, properties, body = take(lesson_channel, _QUEUE)
        if body != _BODY:
            raise Wrong(f"The queue got {body!r} instead of {_BODY!r}.", "Publish `body` as it is.")
        if properties.delivery_mode != 2:
            raise Wrong(
                "The message is not persistent: a restart would lose it.",
                "The fourth argument: pika.BasicProperties(delivery_mode=2).",
            )
        order = [name for name, _, _ in watched.log]
        if "confirm_delivery" not in order[: order.index("basic_publish")]:
            raise Wrong(
                "You did not ask for confirms, so you cannot know that the broker has stored it.",
                "channel.confirm_delivery(), before you publish.",
            )
        if answer is not True:
            raise Wrong(
                f"The message is stored, and you return {answer!r}.",
                "Without an exception it was confirmed: return True.",
            )
    with _rabbitmq() as lesson, lesson.channel() as channel:
        answer = _call(publish_safely, _Channel(channel), _MISSING)
        with lesson.channel() as other:
            if _exists(other):
                raise Wrong(
                    "You declared the queue that was missing. Nobody reads from it.",
                    "Leave queue_declare to those who read, and let the message come back.",
                )
        if answer is not False:
            raise Wrong(
                f"There is no such queue, the message is lost, and you return {answer!r}.",
                "basic_publish(…, mandatory=True) raises UnroutableError then: return False there.",
            )


def _call(publish_safely: Callable[..., Any], channel: Any, queue: str) -> Any:
    try:
        return publish_safely(channel, queue, _BODY)
    except Exception as error:
        if type(error).__name__ != "UnroutableError":
            raise
        raise Wrong(
            "The queue is missing, and your function raises UnroutableError.",
            "except pika.exceptions.UnroutableError: return False",
        ) from None


def _arrived(channel: Any) -> bool:
    """Whether the message is in the queue; without confirms that takes a moment."""
    deadline = time.monotonic() + _ARRIVES_WITHIN_S
    while not depth(channel, _QUEUE):
        if time.monotonic() > deadline:
            return False
        channel.connection.sleep(0.01)
    return True


def _exists(channel: Any) -> bool:
    from pika.exceptions import ChannelClosedByBroker

    try:
        depth(channel, _MISSING)
    except ChannelClosedByBroker:
        return False
    return True


@exercise(
    "9.3",
    "A fair worker",
    expects="function",
    correct="One task in hand, the others for whoever is free; a failure loses none.",
    timeout=_TIMEOUT_S,
    may_raise=True,
)
def check_work_fairly(work_fairly: Callable[..., Any], _lab: Lab) -> None:
    """Six tasks for one worker; then one whose handler fails."""
    with _rabbitmq() as lesson, lesson.channel() as channel, lesson.channel() as other:
        handled: list[Any] = []
        waiting: list[int] = []

        def handler(body: Any) -> None:
            if not handled:
                waiting.append(depth(other, _QUEUE))
            handled.append(body)

        _put(other, _TASKS)
        watched = _Channel(channel)
        work_fairly(watched, _QUEUE, handler)
        _expect_calls(watched)
        _pump(channel, lambda: len(handled) >= len(_TASKS))
        if not handled:
            raise Wrong("The handler was not called.", "handler(body), in on_task.")
        if not isinstance(handled[0], bytes):
            raise Wrong(
                f"The handler was given {handled[0]!r}.",
                "pika calls on_task(channel, method, properties, body); the handler wants body.",
            )
        if len(handled) < len(_TASKS):
            raise Wrong(
                "After the first task no other came: it was not acknowledged.",
                "channel.basic_ack(method.delivery_tag), after handler(body).",
            )
        if waiting != [len(_TASKS) - 1]:
            raise Wrong(
                f"While the first task was handled, {waiting[0]} of the other five still waited.",
                "Acknowledge after the handler, not before: who acknowledges gets the next task.",
            )
    _expect_kept(work_fairly)


def _expect_calls(watched: _Channel) -> None:
    """What can be told from what was asked for."""
    consumed = watched.calls("basic_consume")
    if not consumed:
        raise Wrong(
            "You have not subscribed.",
            "channel.basic_consume(queue, on_task) does, without a loop.",
        )
    if any(named.get("auto_ack") or True in given for given, named in consumed):
        raise Wrong(
            "With auto_ack a task counts as done when it is sent: no prefetch holds it back.",
            "Leave auto_ack out, and acknowledge in on_task.",
        )
    order = [name for name, _, _ in watched.log]
    if "basic_qos" not in order:
        raise Wrong(
            "You set no prefetch: the first worker gets all six tasks.",
            "channel.basic_qos(prefetch_count=1)",
        )
    if order.index("basic_qos") > order.index("basic_consume"):
        raise Wrong(
            "The prefetch comes after the subscription, and holds only for later ones.",
            "basic_qos first, then basic_consume.",
        )
    given, named = watched.calls("basic_qos")[-1]
    count = named.get("prefetch_count", given[1] if len(given) > 1 else 0)
    if count != 1:
        raise Wrong(
            f"A prefetch of {count} is not one task at a time.",
            "channel.basic_qos(prefetch_count=1); 0 would be no limit.",
        )


def _expect_kept(work_fairly: Callable[..., Any]) -> None:
    """A handler that fails must not lose its task."""
    with _rabbitmq() as lesson, lesson.channel() as other:
        attempts: list[Any] = []

        def handler(body: Any) -> None:
            attempts.append(body)
            if len(attempts) == 1:
                raise ConnectionError("the airline does not answer")

        _put(other, _TASKS[:1])
        with lesson.channel() as channel:
            work_fairly(_Channel(channel), _QUEUE, handler)
            with suppress(ConnectionError):  # a worker that dies of it
                _pump(channel, lambda: len(attempts) > 1)
        if len(attempts) > 1:
            return
        try:
            take(other, _QUEUE, timeout=_SOON_S)
        except TimeoutError:
            raise Wrong(
                "The handler failed, and its task is gone.",
                "Acknowledge only when handler(body) has returned: after it, and not in a finally.",
            ) from None


class _Channel:
    """A pika channel that remembers what was asked of it."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.log: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def calls(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """The arguments of each call of that name."""
        return [(given, named) for called, given, named in self.log if called == name]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if not callable(found):
            return found

        def remembered(*given: Any, **named: Any) -> Any:
            self.log.append((name, given, named))
            return found(*given, **named)

        return remembered


@contextmanager
def _rabbitmq() -> Iterator[Lesson]:
    """The lesson's node, with one empty durable queue, and one that is missing."""
    lesson = current_lesson()
    if lesson is None:
        raise Wrong("This check needs RabbitMQ, and no lesson is open.", _SET_UP)
    lesson.remove(_QUEUE, _MISSING)
    with lesson.channel() as channel:
        channel.queue_declare(_QUEUE, durable=True)
    try:
        yield lesson
    finally:
        lesson.remove(_QUEUE, _MISSING)


def _put(channel: Any, tasks: list[bytes]) -> None:
    channel.confirm_delivery()
    for body in tasks:
        channel.basic_publish("", _QUEUE, body)


def _pump(channel: Any, condition: Callable[[], bool]) -> None:
    """Let pika run for a while, or until the condition holds."""
    try:
        wait_until(channel.connection, condition, timeout=_SOON_S)
    except TimeoutError:
        return
