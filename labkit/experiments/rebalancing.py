"""Members that come and go, and the partitions that a group gives them.

Each has a `group.instance.id`, so that the same names get the same partitions in every run, and its
end is a death: it does not say good-bye, and Kafka notices when its session ends.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

from labkit.errors import BrokerUnavailable

MOCK_SESSION_MS = 3_000
"""The mock cluster waits so long, less 1 s, for members to join again; librdkafka's heartbeat
notices a rebalance within about 1 s."""

_STABLE_S = 0.5
_DEADLINE_S = 60.0

Step = tuple[str, Sequence[str]]
"""Who joins, as `("Bob joins", ["Bob"])`, or dies, as `("Ann dies", ["-Ann"])`."""


def watch_rebalances(
    lab: Any, name: str, steps: Iterable[Step]
) -> list[tuple[str, dict[str, list[int]]]]:
    """Let members of one group join and die, and note who owns what each time it has settled.

    Args:
        lab: a Kafka.
        name: a topic that exists.
        steps: what happens; see `Step`.

    Returns:
        for each step its words and the partitions of each member that is there; for
        `plots.rebalance`.

    Raises:
        BrokerUnavailable: a rebalance has not settled within a minute.
    """
    group = _Group(lab, name)
    found = []
    try:
        for words, who in steps:
            for member in who:
                group.die(member[1:]) if member.startswith("-") else group.join(member)
            group.settle()
            found.append((words, group.shares()))
    finally:
        group.close()
    return found


class _Group:
    """Some members, polled in turn by one thread."""

    def __init__(self, lab: Any, name: str) -> None:
        self._lab = lab
        self._topic = lab.kafka.topic(name)
        self._partitions = lab.kafka.topics()[name]
        self._name = f"{self._topic}/{secrets.token_hex(4)}"  # nobody of an earlier run is in it
        self._consumers: dict[str, Any] = {}
        self._owned: dict[str, list[int] | None] = {}  # None while it waits to be told

    def join(self, name: str) -> None:
        more = {"session_timeout_ms": MOCK_SESSION_MS} if self._lab.embedded else {}
        consumer = self._lab.kafka.consumer(
            self._name, client_id=name, group_instance_id=name, **more
        )
        self._consumers[name], self._owned[name] = consumer, None

        def given(_: object, places: list[Any]) -> None:
            self._owned[name] = sorted(place.partition for place in places)

        def taken(_: object, places: list[Any]) -> None:  # noqa: ARG001
            self._owned[name] = None

        consumer.subscribe([self._topic], on_assign=given, on_revoke=taken, on_lost=taken)

    def die(self, name: str) -> None:
        """A member with an instance id does not leave when it is closed: it is only silent."""
        self._consumers.pop(name).close()
        del self._owned[name]

    def settle(self) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        since = None
        while since is None or time.monotonic() < since + _STABLE_S:
            for consumer in self._consumers.values():
                consumer.poll(0.005)
            now = time.monotonic()
            since = (since or now) if self._is_whole() else None
            if now > deadline:
                raise BrokerUnavailable(
                    f"The group has not settled within {_DEADLINE_S:g} s. Run the cell again."
                )

    def shares(self) -> dict[str, list[int]]:
        return {name: list(owned or ()) for name, owned in self._owned.items()}

    def close(self) -> None:
        for consumer in self._consumers.values():
            consumer.close()

    def _is_whole(self) -> bool:
        """Everybody has been told, and each partition has one owner."""
        owned = [number for numbers in self._owned.values() for number in numbers or ()]
        told = all(numbers is not None for numbers in self._owned.values())
        return told and sorted(owned) == list(range(self._partitions))
