"""For the checks of lab 09: a channel that remembers what was asked of it, and a queue for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from labkit.exercises.framework import Wrong
from labkit.experiments.rabbitmq_lesson import Lesson, current_lesson, depth, wait_until

QUEUE = "labkit.check.tasks"
"""It is durable, and empty when a check begins."""

MISSING = "labkit.check.missing"
"""There is no queue of this name."""

_SOON_S = 3.0
_STEP_S = 0.01
_SET_UP = "Run the set-up cell again; it starts a node, or says what is missing."


class WatchedChannel:
    """A pika channel that remembers what was asked of it.

    Attributes:
        real: the channel itself.
        log: each call: its name, its arguments, and its named arguments.

    Args:
        refused: names that are not to be called; what is said to someone who does, and the hints.
    """

    def __init__(self, real: Any, refused: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.real = real
        self.log: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._refused = refused or {}

    @property
    def names(self) -> list[str]:
        """What was called, in order."""
        return [name for name, _, _ in self.log]

    def calls(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """The arguments of each call of that name."""
        return [(given, named) for called, given, named in self.log if called == name]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if not callable(found):
            return found

        def remembered(*given: Any, **named: Any) -> Any:
            if name in self._refused:
                raise Wrong(*self._refused[name])
            self.log.append((name, given, named))
            return found(*given, **named)

        return remembered


@contextmanager
def rabbitmq() -> Iterator[Lesson]:
    """The lesson's node, with the one queue and without the other; both are gone afterwards.

    Raises:
        Wrong: no lesson is open.
    """
    lesson = current_lesson()
    if lesson is None:
        raise Wrong("This check needs RabbitMQ, and no lesson is open.", _SET_UP)
    lesson.remove(QUEUE, MISSING)
    with lesson.channel() as channel:
        channel.queue_declare(QUEUE, durable=True)
    try:
        yield lesson
    finally:
        lesson.remove(QUEUE, MISSING)


def put(channel: Any, tasks: list[bytes]) -> None:
    """Publish tasks into the queue, confirmed."""
    channel.confirm_delivery()
    for body in tasks:
        channel.basic_publish("", QUEUE, body)


def arrived(channel: Any) -> bool:
    """Whether a message is in the queue; without confirms that takes a moment."""
    deadline = time.monotonic() + _SOON_S
    while not depth(channel, QUEUE):
        if time.monotonic() > deadline:
            return False
        channel.connection.sleep(_STEP_S)
    return True


def exists(channel: Any, queue: str) -> bool:
    """Whether there is such a queue; if not, the broker has closed this channel."""
    from pika.exceptions import ChannelClosedByBroker

    try:
        depth(channel, queue)
    except ChannelClosedByBroker:
        return False
    return True


def pump(channel: Any, condition: Callable[[], bool]) -> None:
    """Let pika call back for a while, or until the condition holds."""
    try:
        wait_until(channel.connection, condition, timeout=_SOON_S)
    except TimeoutError:
        return
