"""Everything that labkit asks of confluent-kafka: one producer and one admin client a lab.

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from labkit.brokers.kafka import settings, words
from labkit.brokers.kafka.mock import MockKafka, mock_cluster
from labkit.brokers.kafka.place import Place
from labkit.errors import BrokerRefused, BrokerUnavailable, NotConnected
from labkit.options import Options

COMMANDS_KEPT = 1_000
ERRORS_KEPT = 100
LOOKERS_KEPT = 16
"""Groups whose offsets are asked for through a connection that is kept."""

SLICE_S = 0.1
"""Longest single wait inside librdkafka, so that a close or Ctrl+C is noticed."""

Part = tuple[str, int]
"""A topic and the number of a partition of it."""

_silent = logging.getLogger("labkit.kafka")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False
_silent.setLevel(logging.CRITICAL + 1)


class KafkaClient:
    """The way to one Kafka, shared by all that one lab does. May be used from several threads."""

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
        self._topics: dict[str, int] = {}
        self._closers: dict[int, Callable[[], None]] = {}
        self._shared: dict[str, Any] = {}
        self._lookers: dict[str, ck.Consumer] = {}  # by group
        self.name = f"labkit-{secrets.token_hex(4)}"  # by which others see this lab's clients
        self._closed = False
        self._process = os.getpid()
        self.down = False
        self.known_topics = 0  # grows with each topic made here

    # --- clients ------------------------------------------------------------------------------

    def config(self, *rows: settings.Setting, **more: settings.Value) -> dict[str, Any]:
        """A configuration for a new client of librdkafka; keywords have _ for the dots."""
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
            **{name.replace("_", "."): value for name, value in more.items()},
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
        more["group_id"] = group
        return ck.Consumer(self.config(*settings.CONSUMER, *rows, **more))

    def on_close(self, owner: object, close: Callable[[], None]) -> None:
        """What is to be closed with the lab."""
        with self._lock:
            self._closers[id(owner)] = close

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

    # --- what is where ------------------------------------------------------------------------

    def probe(self) -> str:
        """Ask for the cluster's id.

        Raises:
            BrokerUnavailable: nobody answers, or they do not let us in.
        """
        try:
            # an admin client of its own: the error that it met is this attempt's
            reasons: list[str] = []
            config = self.config()
            config["error_cb"] = lambda error: reasons.append(words.of(error))
            client = AdminClient(config)
            found = client.list_topics(timeout=self.options.connect_timeout)
        except ck.KafkaException as error:
            with contextlib.suppress(Exception):
                client.poll(0)
            reason = next(iter(reasons), words.of(error.args[0]))
            raise BrokerUnavailable(words.unreachable(self.place.shown, reason)) from None
        self.down = False
        return str(found.cluster_id)

    def topics(self) -> dict[str, int]:
        """All topics, with how many partitions each has."""
        found = self.ask(lambda: self.admin.list_topics(timeout=self.options.timeout))
        self._topics = {
            name: len(topic.partitions)
            for name, topic in found.topics.items()
            if topic.error is None
        }
        return self._topics

    def partitions(self, topic: str) -> int:
        """How many partitions it has; 0 if it is not there."""
        return self._topics.get(topic) or self.topics().get(topic, 0)

    def ensure(self, topic: str, partitions: int | None = None, *, quiet: bool = False) -> int:
        """Create the topic if it is not there; how many partitions it has.

        `quiet`: leave no line in `broker.commands()`.
        """
        if count := self._topics.get(topic):
            return count
        if count := self.topics().get(topic, 0):
            return count
        wanted = partitions or self.place.partitions
        if not quiet:
            self.log(f"admin.create_topics([NewTopic({topic!r}, {wanted})])")
        if self.cluster is not None:
            self.cluster.create_topic(topic, wanted)
        elif self.place.mock:
            self.producer.list_topics(topic, timeout=self.options.timeout)  # it makes it, then
        else:
            self._create(topic, wanted)
        self.known_topics += 1
        deadline = time.monotonic() + self.options.timeout
        while not (count := self.topics().get(topic, 0)):
            if time.monotonic() > deadline:
                raise BrokerUnavailable(f"The topic {topic!r} was created and is not there yet.")
            time.sleep(0.005)
        return count

    def delete_topic(self, topic: str) -> None:
        """Delete a topic; returns when it is gone."""
        self.log(f"admin.delete_topics([{topic!r}])")
        [future] = self.admin.delete_topics([topic]).values()
        self.ask(lambda: future.result(self.options.timeout))
        deadline = time.monotonic() + self.options.timeout
        while topic in self.topics() and time.monotonic() < deadline:
            time.sleep(0.01)

    def ends(self, parts: Iterable[Part], *, committed: bool = False) -> dict[Part, int]:
        """The offset behind the last record of each partition.

        `committed`: the last one that a transaction may still take back is not counted.
        """
        isolation = ck.IsolationLevel.READ_COMMITTED if committed else None
        return self._offsets(parts, OffsetSpec.latest(), isolation)

    def starts(self, parts: Iterable[Part]) -> dict[Part, int]:
        """The offset of the oldest record of each partition."""
        return self._offsets(parts, OffsetSpec.earliest())

    def at(self, parts: Iterable[Part], milliseconds: int) -> dict[Part, int]:
        """The offset of the first record from a time on; the end if there is none."""
        parts = list(parts)
        ends = self.ends(parts)
        found = self._offsets(parts, OffsetSpec.for_timestamp(milliseconds))
        return {part: ends[part] if found[part] < 0 else found[part] for part in parts}

    def committed(self, group: str, parts: Sequence[Part]) -> dict[Part, tuple[int, str]]:
        """What a group has committed: offset (-1 for nothing) and what it wrote beside it."""
        if not parts:
            return {}
        asked = [ck.TopicPartition(*part) for part in parts]
        looker = self._looker(group)
        answer = self.ask(lambda: looker.committed(asked, self.options.timeout), again=True)
        return {
            (place.topic, place.partition): (max(-1, place.offset), place.metadata or "")
            for place in answer
        }

    def set_committed(self, group: str, offsets: Mapping[Part, int]) -> None:
        """Write what a group has committed; nobody may be a member of it."""
        self.log(f"consumer.commit({words.places(offsets)})  # group.id={group!r}")
        places = [ck.TopicPartition(*part, offset) for part, offset in offsets.items()]
        looker = self._looker(group)
        answer = self.ask(lambda: looker.commit(offsets=places, asynchronous=False), again=True)
        for place in answer:
            if place.error is not None:
                raise BrokerRefused(f"Kafka refuses the offsets: {words.of(place.error)}.")

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
            raise NotConnected("This lab is closed. Connect again: labkit.connect(…).")
        if os.getpid() != self._process:
            raise NotConnected(
                "Kafka's client does not survive a fork. Connect anew in the new process."
            )

    def close(self) -> None:
        """Close consumers, wait for what is on its way, and end the mock cluster."""
        with self._lock:
            if self._closed:
                return
            closers = list(self._closers.values())
        try:
            for close in closers:
                close()
            for looker in self._lookers.values():
                looker.close()
            if self._producer is not None:
                self._producer.flush(self.options.timeout)
        finally:
            self._closed = True
            self._producer = self._admin = None
            if self.cluster is not None:
                self.cluster.let_go()

    # --- inside -------------------------------------------------------------------------------

    def _looker(self, group: str) -> ck.Consumer:
        """A consumer that is no member and only asks what is committed.

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

    def _error(self, error: ck.KafkaError) -> None:
        code = error.code()
        if code == ck.KafkaError._ALL_BROKERS_DOWN:
            self.down = True
        self._errors.append(words.of(error))

    def _create(self, topic: str, partitions: int) -> None:
        [future] = self.admin.create_topics(
            [NewTopic(topic, num_partitions=partitions, replication_factor=-1)],
            request_timeout=self.options.timeout,
        ).values()
        try:
            future.result(self.options.timeout)
        except ck.KafkaException as error:
            if error.args[0].code() != ck.KafkaError.TOPIC_ALREADY_EXISTS:
                raise words.error(self.place.shown, error.args[0]) from None

    def _offsets(
        self, parts: Iterable[Part], spec: OffsetSpec, isolation: Any = None
    ) -> dict[Part, int]:
        asked = {ck.TopicPartition(*part): spec for part in parts}
        if not asked:
            return {}
        more = {} if isolation is None else {"isolation_level": isolation}

        def question() -> dict[Part, int]:
            futures = self.admin.list_offsets(asked, request_timeout=self.options.timeout, **more)
            return {
                (place.topic, place.partition): future.result(self.options.timeout).offset
                for place, future in futures.items()
            }

        found: dict[Part, int] = self.ask(question, again=True)
        return found
