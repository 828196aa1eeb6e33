"""The way to one Kafka: a lab's producer, its admin client, its consumers, and their errors.

librdkafka works in threads of its own, reconnects by itself, and tells errors later, through
callbacks. Here they are kept, in words, and nothing is ever written to stderr.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from labkit.brokers.kafka import settings, words
from labkit.brokers.kafka.mock import MockKafka, mock_cluster
from labkit.brokers.kafka.place import Place
from labkit.errors import BrokerUnavailable, NotConnected
from labkit.options import Options

COMMANDS_KEPT = 1_000
ERRORS_KEPT = 100
LOOKERS_KEPT = 16
"""Groups whose offsets are asked for through a connection that is kept."""

PROBE_SLICE_S = 0.25
"""How soon it is noticed that a server is there and does not let us in."""

_CLOSED = "This lab is closed. Connect again: labkit.connect(…)."

_silent = logging.getLogger("labkit.kafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False
_silent.setLevel(logging.CRITICAL + 1)


class KafkaLine:
    """What all that one lab does on Kafka goes through. May be used from several threads."""

    def __init__(self, place: Place, options: Options) -> None:
        self.place = place
        self.options = options
        self.cluster: MockKafka | None = None
        config = dict(place.config)
        if place.embedded:
            self.cluster = mock_cluster(place.name, place.brokers)
            config["bootstrap.servers"] = self.cluster.address
        self.address = config["bootstrap.servers"]
        self._config = config
        self._commands: deque[str] = deque(maxlen=COMMANDS_KEPT)
        self._errors: deque[str] = deque(maxlen=ERRORS_KEPT)
        self._lock = threading.RLock()
        self._producer: ck.Producer | None = None
        self._admin: AdminClient | None = None
        self._closers: dict[int, Callable[[], object]] = {}
        self._shared: dict[str, Any] = {}
        self._lookers: dict[str, ck.Consumer] = {}  # by group
        self.name = f"labkit-{secrets.token_hex(4)}"  # by which others see this lab's clients
        self._closing = self._closed = False
        self._process = os.getpid()
        self.down = False

    def config(self, *rows: settings.Setting, **more: settings.Value) -> dict[str, Any]:
        """A configuration for a new client of librdkafka; keywords have _ for the dots.

        Those of callbacks, such as `stats_cb`, are names as they are.
        """
        return {
            **self._config,
            "client.id": self.name,
            "log_level": 3,
            "logger": _silent,
            "error_cb": self._error,
            "socket.timeout.ms": max(1_000, round(self.options.timeout * 1000)),
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1_000,
            "allow.auto.create.topics": False,
            **settings.as_config(*rows),
            **{
                name if name.endswith("_cb") else name.replace("_", "."): value
                for name, value in more.items()
            },
        }

    @property
    def producer(self) -> ck.Producer:
        """The producer that all share."""
        self.require_open()
        with self._lock:
            if self._producer is None:
                timeout_ms = max(1, round(self.options.timeout * 1000))
                config = self.config(*settings.PRODUCER, message_timeout_ms=timeout_ms)
                if self.place.mock:
                    # it checks no sequence numbers: a batch that failed would count as in once
                    # a later one is, so none may be on its way beside it
                    config["max.in.flight"] = 1
                self._producer = ck.Producer(config)
            return self._producer

    def warm_up(self) -> None:
        """An idempotent producer needs half a second to get its number: let it begin now."""
        self.ask(lambda: self.producer.list_topics(timeout=self.options.timeout))

    def renew_producer(self) -> None:
        """After a fatal error a producer refuses all work: the next append makes a new one."""
        with self._lock:
            self._producer = None

    @property
    def admin(self) -> AdminClient:
        """The admin client that all share."""
        self.require_open()
        with self._lock:
            if self._admin is None:
                self._admin = AdminClient(self.config())
            return self._admin

    def consumer(self, group: str, *rows: settings.Setting, **more: Any) -> ck.Consumer:
        """A new consumer; whoever asks closes it, and says so with `on_close`."""
        self.require_open()
        if self._closing:
            raise NotConnected(_CLOSED)
        more["group_id"] = group
        return ck.Consumer(self.config(*settings.CONSUMER, *rows, **more))

    def on_close(self, owner: object, close: Callable[[], None]) -> None:
        """What is to be closed with the lab; where that has begun, at once.

        Raises:
            NotConnected: it came too late, and has been closed.
        """
        with self._lock:
            if not self._closing:
                self._closers[id(owner)] = close
                return
        close()
        raise NotConnected(_CLOSED)

    def shared(self, name: str, make: Callable[[], Any]) -> Any:
        """What all users of this lab share by a name; made for the first."""
        with self._lock:
            if name not in self._shared:
                self._shared[name] = make()
            return self._shared[name]

    def closed_already(self, owner: object) -> None:
        """It has been closed before the lab."""
        with self._lock:
            self._closers.pop(id(owner), None)

    def looker(self, group: str) -> ck.Consumer:
        """A consumer that is no member of the group, and only asks what is committed.

        The admin client's own question ends the whole process where a coordinator is just changing
        (librdkafka 2.16: a null pointer in the answer to OffsetFetch).
        """
        with self._lock:
            looker = self._lookers.pop(group, None)
            if looker is None:
                looker = self.consumer(group)
                if len(self._lookers) >= LOOKERS_KEPT:
                    self._lookers.pop(next(iter(self._lookers))).close()
            self._lookers[group] = looker  # the last one used is the last one in the row
            return looker

    def probe(self) -> str:
        """Ask for the cluster's id.

        Raises:
            BrokerUnavailable: nobody answers, or they do not let us in.
        """
        # an admin client of its own: the errors that it met are this attempt's
        met: list[ck.KafkaError] = []
        client = AdminClient(self.config() | {"error_cb": met.append})
        deadline = time.monotonic() + self.options.connect_timeout
        while True:
            left = deadline - time.monotonic()
            try:
                found = client.list_topics(timeout=max(0.001, min(left, PROBE_SLICE_S)))
            except ck.KafkaException as error:
                with contextlib.suppress(Exception):
                    client.poll(0)
                if left > PROBE_SLICE_S and not any(words.refused(e) for e in met):
                    continue
                reason = words.of(next(iter(met), error.args[0]))
                raise BrokerUnavailable(words.unreachable(self.place.shown, reason)) from None
            self.down = False
            return str(found.cluster_id)

    def ask(self, question: Callable[[], Any], *, again: bool = False) -> Any:
        """An answer of the broker; errors in labkit's words.

        `again`: the question does no harm, so it is asked again where a leader is only changing.
        """
        deadline = time.monotonic() + self.options.timeout
        while True:
            self.require_open()
            try:
                answer = question()
            except ck.KafkaException as error:
                if again and words.passing(error.args[0]) and time.monotonic() < deadline:
                    if words.outdated(error.args[0]):
                        with self._lock:
                            self._admin = None  # it would send the old epoch for ever
                    time.sleep(0.02)
                    continue
                raise words.error(self.place.shown, error.args[0]) from None
            except TimeoutError:
                raise BrokerUnavailable(words.unreachable(self.place.shown, "no answer")) from None
            self.down = False
            return answer

    # --- the lab's own ------------------------------------------------------------------------

    def log(self, command: str) -> None:
        """Keep what was sent, for `broker.commands()`."""
        self._commands.append(command)

    def commands(self, last: int) -> list[str]:
        """The last commands, oldest first."""
        return list(self._commands)[-last:] if last > 0 else []

    def errors(self) -> list[str]:
        """What librdkafka complained of in the background, in words, oldest first."""
        return list(self._errors)

    def now(self) -> float:
        """Seconds since 1970, on the lab's clock."""
        return self.options.clock.now()

    def require_open(self) -> None:
        """Refuse once the lab is closed, and in a fork: librdkafka's threads are not there."""
        if self._closed:
            raise NotConnected(_CLOSED)
        if os.getpid() != self._process:
            raise NotConnected(
                "Kafka's client does not survive a fork. Connect anew in the new process."
            )

    def close(self) -> None:
        """Close consumers, wait for what is on its way, and end the mock cluster."""
        with self._lock:
            if self._closing:
                return
            self._closing = True  # from now on nothing new is to be closed
            closers = [*self._closers.values(), *(each.close for each in self._lookers.values())]
            self._closers.clear()
            if self._producer is not None:
                closers.append(partial(self._producer.flush, self.options.timeout))
        failure: BaseException | None = None
        try:
            for close in closers:
                try:
                    close()
                except BaseException as error:  # the others are to be closed all the same
                    failure = failure or error
        finally:
            self._closed = True
            self._producer = self._admin = None
            if self.cluster is not None:
                self.cluster.let_go()
        if failure is not None:
            raise failure

    # --- inside -------------------------------------------------------------------------------

    def _error(self, error: ck.KafkaError) -> None:
        code = error.code()
        if code == ck.KafkaError._ALL_BROKERS_DOWN:
            self.down = True
        self._errors.append(words.of(error))
