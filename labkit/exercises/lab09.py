"""Checks of lab 09: RabbitMQ. The last two need the node that the notebook has started."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from labkit.broker import Lab
from labkit.exercises.board_bindings import judge_board
from labkit.exercises.framework import Wrong, exercise
from labkit.exercises.rabbit_channel import (
    MISSING,
    QUEUE,
    WatchedChannel,
    arrived,
    exists,
    pump,
    put,
    rabbitmq,
)
from labkit.experiments.rabbitmq_lesson import depth, take

_BODY = b"B6 739"
_TASKS = [f"flight {number}".encode() for number in range(6)]
_TIMEOUT_S = 30.0
_SOON_S = 3.0
_MOMENT_S = 0.5

_ONLY_SUBSCRIBE = "channel.basic_consume(queue, on_task) returns at once; pika calls on_task later."
_REFUSED = {
    "start_consuming": (
        "start_consuming() never returns, and the check would wait for ever.",
        "Leave it out: the check lets pika run, as wait_until did above.",
    ),
    "consume": (
        "consume() is a loop without an end, and the check would wait for ever.",
        "Let RabbitMQ push, and be called back.",
        _ONLY_SUBSCRIBE,
    ),
    "basic_get": (
        "basic_get takes one task, once: nobody is subscribed.",
        "Subscribe, as Ann and Bob did.",
        _ONLY_SUBSCRIBE,
    ),
}


@exercise(
    "9.1",
    "The bindings of a departure board",
    expects="function",
    correct="Every flight of the day finds its queues, and the tower knows none of them.",
)
def check_bind_board(bind_board: Callable[[], Any], _lab: Lab) -> None:
    """Every key of the day, as RabbitMQ routes it."""
    judge_board(bind_board())


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
    with rabbitmq() as lesson, lesson.channel() as channel:
        watched = WatchedChannel(channel)
        answer = _call(publish_safely, watched, QUEUE)
        _expect_published(watched)
        if answer is not True:
            raise Wrong(
                f"The message is stored, and you return {answer!r}.",
                "Without an exception it was confirmed: return True.",
            )
    with rabbitmq() as lesson, lesson.channel() as channel:
        watched = WatchedChannel(channel)
        answer = _call(publish_safely, watched, MISSING)
        with lesson.channel() as other:
            if exists(other, MISSING):
                raise Wrong(
                    "You declared the queue that was missing. Nobody reads from it.",
                    "Leave queue_declare to those who read, and let the message come back.",
                )
        if answer is not False:
            raise Wrong(
                f"There is no such queue, the message is lost, and you return {answer!r}.",
                "A confirm says nothing about queues. What makes a message come back that no queue "
                "wants?",
                "basic_publish(…, mandatory=True) raises UnroutableError then: return False there.",
            )
        if not watched.calls("basic_publish"):
            raise Wrong(
                "You asked whether the queue exists, and then published: it may go in between.",
                "Publish in any case, and let the broker tell: mandatory.",
            )


def _call(publish_safely: Callable[..., Any], channel: Any, queue: str) -> Any:
    try:
        return publish_safely(channel, queue, _BODY)
    except Exception as error:
        if type(error).__name__ != "UnroutableError":
            raise
        raise Wrong(
            "There is no such queue, and your function raises UnroutableError.",
            "A caller wants an answer, not an exception: try it, and return False.",
            "except pika.exceptions.UnroutableError: return False",
        ) from None


def _expect_published(watched: WatchedChannel) -> None:
    """One message in the queue, as it was wished for."""
    if not watched.calls("basic_publish"):
        raise Wrong("Nothing was published.", 'channel.basic_publish("", queue, body, …)')
    if not arrived(watched.real):
        raise Wrong(
            "The message did not arrive in the queue.",
            'The exchange is "", the default one, and the routing key is the queue\'s name.',
        )
    _, properties, body = take(watched.real, QUEUE)
    if body != _BODY:
        raise Wrong(f"The queue got {body!r} instead of {_BODY!r}.", "Publish `body` as it is.")
    if properties.delivery_mode != 2:
        raise Wrong(
            "The message is not persistent: a restart would lose it.",
            "A durable queue is not enough: each message has a property of its own for it.",
            "The fourth argument: pika.BasicProperties(delivery_mode=2).",
        )
    if "confirm_delivery" not in watched.names[: watched.names.index("basic_publish")]:
        raise Wrong(
            "You did not ask for confirms, so you cannot know that the broker has stored it.",
            "channel.confirm_delivery(), before you publish.",
        )


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
    with rabbitmq() as lesson, lesson.channel() as channel, lesson.channel() as other:
        handled: list[Any] = []
        waiting: list[int] = []

        def handler(body: Any) -> None:
            if not handled:
                waiting.append(_least_depth(other))
            handled.append(body)

        put(other, _TASKS)
        watched = WatchedChannel(channel, _REFUSED)
        work_fairly(watched, QUEUE, handler)
        _expect_calls(watched)
        pump(channel, lambda: len(handled) >= len(_TASKS))
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
            "With a prefetch of one RabbitMQ waits until you say that you are done.",
            "channel.basic_ack(method.delivery_tag), after handler(body).",
        )
    if waiting != [len(_TASKS) - 1]:
        raise Wrong(
            f"While the first task was handled, {waiting[0]} of the other five still waited.",
            "Acknowledge after the handler, not before: who acknowledges gets the next task.",
        )
    _expect_kept(work_fairly)


def _least_depth(channel: Any) -> int:
    """The tasks that wait, given a moment: the next one after an early ack takes a while."""
    until = time.monotonic() + _MOMENT_S
    least = depth(channel, QUEUE)
    while least == len(_TASKS) - 1 and time.monotonic() < until:
        least = depth(channel, QUEUE)
    return least


def _expect_calls(watched: WatchedChannel) -> None:
    """What can be told from what was asked for."""
    consumed = watched.calls("basic_consume")
    if not consumed:
        raise Wrong(
            "You have not subscribed.",
            "A function of yours, on_task, is to be called for each task.",
            _ONLY_SUBSCRIBE,
        )
    if any(named.get("auto_ack") or True in given for given, named in consumed):
        raise Wrong(
            "With auto_ack a task counts as done when it is sent: no prefetch holds it back.",
            "Leave auto_ack out, and acknowledge in on_task.",
            "channel.basic_ack(method.delivery_tag), after handler(body).",
        )
    order = watched.names
    if "basic_qos" not in order:
        raise Wrong(
            "You set no prefetch: the first worker gets all six tasks.",
            "It is set on the channel, before you subscribe.",
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
    with rabbitmq() as lesson, lesson.channel() as other:
        attempts: list[Any] = []

        def handler(body: Any) -> None:
            attempts.append(body)
            if len(attempts) == 1:
                raise ConnectionError("the airline does not answer")

        put(other, _TASKS[:1])
        with lesson.channel() as channel:
            work_fairly(WatchedChannel(channel, _REFUSED), QUEUE, handler)
            with suppress(ConnectionError):  # a worker that dies of it
                pump(channel, lambda: len(attempts) > 1)
        if len(attempts) > 1:
            return
        try:
            take(other, QUEUE, timeout=_SOON_S)
        except TimeoutError:
            raise Wrong(
                "The handler failed, and its task is gone.",
                "Acknowledge only when handler(body) has returned: after it, and not in a finally.",
            ) from None
