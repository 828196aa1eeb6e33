"""Who serves what, as far as it can be known: here from a list, on a real Kafka from the group."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any

import confluent_kafka as ck

from labkit.brokers.kafka.client import KafkaClient

_EMPTY_STATES = {"EMPTY", "DEAD", "UNKNOWN"}


class Presence:
    """The responders of this process. One that died is missed after a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._here: dict[str, dict[str, float]] = {}  # by topic: until when, by responder

    def come(self, topic: str, responder: str) -> None:
        """It serves."""
        with self._lock:
            self._here.setdefault(topic, {})[responder] = float("inf")

    def go(self, topic: str, responder: str) -> None:
        """It has left."""
        with self._lock:
            self._here.get(topic, {}).pop(responder, None)

    def die(self, topic: str, responder: str, seconds: float) -> None:
        """It is missed in so many seconds."""
        with self._lock:
            self._here.setdefault(topic, {})[responder] = time.monotonic() + seconds

    def count(self, topic: str) -> int:
        """How many serve."""
        now = time.monotonic()
        with self._lock:
            here = self._here.get(topic, {})
            for responder in [name for name, until in here.items() if until < now]:
                del here[responder]
            return len(here)


_by_cluster: weakref.WeakKeyDictionary[object, Presence] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def presence_of(client: KafkaClient) -> Presence:
    """Of all labs on one mock cluster; on a real Kafka, of one lab."""
    place = client.cluster if client.cluster is not None else client
    with _lock:
        return _by_cluster.setdefault(place, Presence())


def others_serve(client: KafkaClient, topic: str) -> int | None:
    """How many members the service's group has elsewhere; None where the broker does not say."""
    if client.cluster is not None:
        return None if client.cluster.known_outside else 0
    if client.place.mock:
        return None
    admin = client.admin
    [future] = admin.describe_consumer_groups(
        [topic], request_timeout=client.options.timeout
    ).values()

    def question() -> Any:
        try:
            return future.result(client.options.timeout)
        except ck.KafkaException as error:
            if error.args[0].code() == ck.KafkaError.GROUP_ID_NOT_FOUND:
                return None
            raise

    group = client.ask(question)
    if group is None or group.state.name in _EMPTY_STATES:
        return 0
    return sum(1 for member in group.members if member.client_id != client.name)
