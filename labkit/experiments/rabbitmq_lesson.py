"""The RabbitMQ of one lesson: a node of its own or one that is there, and pika's ways to it.

RabbitMQ has no honest stand-in, so where it is missing the rest of the notebook is skipped, cell by
cell, with a sentence that names what is missing. Nothing fails, and what is stored can be read.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self, cast

from labkit.clock import Clock
from labkit.connection import BROKER_URL_VARIABLE, connect
from labkit.data import load_flights
from labkit.errors import LabkitError, NotConnected, ServerError
from labkit.servers import RabbitServer, find_rabbitmq, start_rabbitmq
from labkit.topology import Topology

if TYPE_CHECKING:
    from labkit.brokers.rabbitmq.broker import RabbitBroker

HOW_TO_GET_PIKA = 'Install pika, which speaks to RabbitMQ: pip install "messaging-lab[rabbitmq]".'
SKIPPED = "Skipped: this cell needs RabbitMQ."
NO_NODE = "Skipped: this cell restarts a RabbitMQ of its own, and none is installed here."

_IN_VHOST = re.compile(" in vhost '[^']*'")
_AMQP = ("amqp://", "amqps://")
_START = "start_lesson("
_DEADLINE_S = 20.0
_STEP_S = 0.05

_current: Lesson | None = None


class Lesson:
    """A RabbitMQ to learn on. Made by `start_lesson`; `close()` ends what was started.

    Attributes:
        name: the broker, "none" where there is none.
        why_not: what is missing, and how to get it; "" if nothing is.
    """

    def __init__(
        self, lab: RabbitBroker | None, url: str, server: RabbitServer | None, why_not: str
    ) -> None:
        self._lab = lab
        self._url = url
        self._server = server
        self.name = "none" if lab is None else lab.name
        self.why_not = why_not

    @property
    def lab(self) -> RabbitBroker:
        """The open broker, for labkit's patterns.

        Raises:
            NotConnected: there is no RabbitMQ; says how to get one.
        """
        if self._lab is None:
            raise NotConnected(self.why_not)
        return self._lab

    def connection(self) -> Any:
        """A context manager: a pika `BlockingConnection` of its own, closed at the end."""
        return open_connection(self._url)

    def channel(self, url: str | None = None) -> Any:
        """A context manager: a pika channel on a connection of its own, closed at the end.

        Args:
            url: of another node than the lesson's.
        """
        return open_channel(url or self._url)

    def begin(self, topology: Topology) -> None:
        """Declare it, empty, whatever an earlier run has left."""
        self.remove(topology)
        self.lab.declare(topology)

    def remove(self, *things: Topology | str) -> None:
        """Delete topologies and queues of these names, with what is in them."""
        for one in things:
            if isinstance(one, Topology):
                self.lab.remove(one)
            else:
                with self.channel() as channel:
                    channel.queue_delete(one)

    def depths(self, topology: Topology) -> dict[str, int]:
        """How many messages wait in each queue of it that has any."""
        space = self.lab.namespace
        with self.channel() as channel:
            found = {queue.name: depth(channel, space + queue.name) for queue in topology.queues}
        return {name: count for name, count in found.items() if count}

    def close(self) -> None:
        """Let go of the broker, and stop the node that was started for this. Twice is fine."""
        global _current
        if _current is self:
            _current = None
        try:
            if self._lab is not None:
                self._lab.close()
        finally:
            if self._server is not None:
                self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Lesson({self.name})"


def start_lesson(*, url: str | None = None, clock: Clock | None = None) -> Lesson:
    """Open the RabbitMQ of a lesson; where there is none, skip the cells that follow.

    Args:
        url: where it is; default `LABKIT_BROKER_URL` if that is an AMQP address, else a private
            node is started.
        clock: of labkit's time stamps.
    """
    global _current
    _skip_cells(False)
    if _current is not None:
        _current.close()  # the set-up cell was run again
    try:
        _current = _open(url, clock)
    except LabkitError as missing:
        _skip_cells(True)
        print(f"The rest of this notebook is skipped. {missing}")
        return Lesson(None, "", None, str(missing))
    return _current


def current_lesson() -> Lesson | None:
    """The lesson that is open in this program, for the checks of its exercises."""
    return _current


@contextmanager
def open_connection(url: str) -> Iterator[Any]:
    """A pika `BlockingConnection`, closed at the end, also by the broker."""
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection
    finally:
        if connection.is_open:
            connection.close()


@contextmanager
def open_channel(url: str) -> Iterator[Any]:
    """A pika channel on a connection of its own, which is closed at the end."""
    with open_connection(url) as connection:
        yield connection.channel()


def depth(channel: Any, queue: str) -> int:
    """How many messages are ready in a queue that exists."""
    return int(channel.queue_declare(queue, passive=True).method.message_count)


def take(
    channel: Any, queue: str, timeout: float = _DEADLINE_S, *, auto_ack: bool = False
) -> tuple[Any, Any, bytes]:
    """The next message (method, properties, body), waited for: basic.get until there is one.

    Raises:
        TimeoutError: none came in `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        method, properties, body = channel.basic_get(queue, auto_ack=auto_ack)
        if method is not None:
            return method, properties, body
        channel.connection.sleep(_STEP_S)
    raise TimeoutError(f"No message in {queue!r} within {timeout:g} s.")


def flight_keys() -> list[tuple[str, dict[str, str]]]:
    """Of each flight of the day what a publisher says: a routing key, and the same as headers.

    ("cancelled.LGA.BOS", {"what": "cancelled", "from": "LGA", "to": "BOS"})
    """
    found = []
    for one in load_flights():
        what = "cancelled" if one.cancelled else "departed"
        headers = {"what": what, "from": one.origin, "to": one.destination}
        found.append((".".join(headers.values()), headers))
    return found


def on_own_node(act: Callable[[RabbitServer], object]) -> None:
    """Do this with a node that may be switched off, and end it; say so where none can be started.

    A lesson may run on a broker elsewhere, which is nobody's to restart.
    """
    if find_rabbitmq() is None:
        print(NO_NODE)
        return
    with start_rabbitmq() as node:
        act(node)


def times_back(properties: Any) -> int:
    """How often a message came back to its quorum queue, from its header x-delivery-count."""
    return int((properties.headers or {}).get("x-delivery-count", 0))


def deaths(properties: Any) -> dict[str, int]:
    """What a message went through, from its header x-death: {"expired in wait": 2, …}."""
    told = (properties.headers or {}).get("x-death", [])
    return {f"{one['reason']} in {one['queue']}": int(one["count"]) for one in told}


def put_tasks(channel: Any, queue: str, count: int) -> None:
    """Publish tasks into a queue of this connection's own, which goes with it."""
    channel.queue_declare(queue, exclusive=True)
    for number in range(count):
        channel.basic_publish("", queue, f"task {number}".encode())


def why_closed(act: Callable[..., object], *arguments: Any, **named: Any) -> str:
    """Why the broker closes the channel on which this is done: "406 PRECONDITION_FAILED - …"."""
    from pika.exceptions import ChannelClosedByBroker

    try:
        act(*arguments, **named)
    except ChannelClosedByBroker as closed:
        return f"{closed.reply_code} {_IN_VHOST.sub('', closed.reply_text)}"
    return "it is open"


def wait_until(
    connection: Any, condition: Callable[[], bool], timeout: float = _DEADLINE_S
) -> None:
    """Let pika call its callbacks until something holds.

    Raises:
        TimeoutError: it did not hold within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {timeout:g} s in vain.")
        connection.process_data_events(time_limit=_STEP_S)


def _open(url: str | None, clock: Clock | None) -> Lesson:
    if find_spec("pika") is None:
        raise ServerError(HOW_TO_GET_PIKA)
    given = url or os.environ.get(BROKER_URL_VARIABLE, "")
    if given.startswith(_AMQP):
        return Lesson(_connect(given, clock), given, None, "")
    server = start_rabbitmq()
    try:
        return Lesson(_connect(server.url, clock), server.url, server, "")
    except BaseException:
        server.stop()
        raise


def _connect(url: str, clock: Clock | None) -> RabbitBroker:
    return cast("RabbitBroker", connect(url, clock=clock))


def _skip_cells(skip: bool) -> None:
    """Let IPython replace each cell that follows by one printed line; outside of it, nothing."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None:
        return
    transformers = shell.input_transformers_post
    transformers[:] = [one for one in transformers if one is not _skipped]
    if skip:
        transformers.append(_skipped)


def _skipped(lines: list[str]) -> list[str]:
    """What runs instead of a cell; the one that starts the lesson may always be tried again."""
    if not "".join(lines).strip() or any(_START in line for line in lines):
        return lines
    return [f"print({SKIPPED!r})\n"]
