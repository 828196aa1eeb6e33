"""Where the tasks of one work queue are: which queues and exchanges, with which arguments.

    NAME, NAME.high, NAME.low   tasks: quorum queues, one a priority (kind "stream", the default)
    NAME                        tasks: a classic queue with x-max-priority (kind "list")
    NAME.dead                   dead letters: a classic queue, which keeps places when looked at
    NAME.delay                  topic exchange: to NAME.delay.MS, whose tasks expire after MS …
    NAME.due                    … and go by this exchange to where their priority is
    NAME.known                  direct exchange whose bindings are a set: of ids, of delays

All of it is durable: RabbitMQ 4 has no transient queues that are not exclusive.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

from labkit.broker import Priority, QueueKind, QueueOptions
from labkit.brokers.rabbitmq.names import check_short
from labkit.errors import ConfigurationError

NO_LIMIT = 1_000_000_000
"""As `x-delivery-limit`: RabbitMQ 4 has 20 where none is set, so one is always set."""

_STEPS = (10, 12, 15, 18, 22, 27, 33, 39, 47, 56, 68, 82)
_MOST_TTL_MS = 2**32 - 1
DELAYS_MS: tuple[int, ...] = tuple(
    delay
    for power in range(9)
    for step in _STEPS
    if (delay := step * int(10**power)) <= _MOST_TTL_MS
)
"""The delays that there are, 10 ms to 45 days: each is a queue of its own once it is used, since a
queue's tasks expire from its head only. A delay becomes the next longer one (at most 25 %)."""

BACK = ("*.low", "*.normal", "*.high")


class Layout:
    """The names and arguments of one work queue."""

    def __init__(self, namespace: str, name: str, options: QueueOptions) -> None:
        base = f"{namespace}{name}"
        check_short(f"{base}.delay.{DELAYS_MS[-1]}", "queue's name with what belongs to it")
        self.options = options
        self.quorum = options.kind is not QueueKind.LIST
        self.tasks = {
            Priority.HIGH: f"{base}.high" if self.quorum else base,
            Priority.NORMAL: base,
            Priority.LOW: f"{base}.low" if self.quorum else base,
        }
        self.queues = tuple(dict.fromkeys(self.tasks.values()))  # the highest first
        self.dead = f"{base}.dead"
        self.delay = f"{base}.delay"
        self.due = f"{base}.due"
        self.known = f"{base}.known"

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the queues that hold tasks."""
        options = self.options
        arguments: dict[str, Any] = {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.dead,
            "x-overflow": "reject-publish",
        }
        if options.max_length is not None:
            arguments["x-max-length"] = options.max_length
        if not self.quorum:
            return arguments | {"x-max-priority": int(max(Priority))}
        limit = NO_LIMIT if options.max_deliveries is None else options.max_deliveries - 1
        return arguments | {
            "x-queue-type": "quorum",
            "x-delivery-limit": limit,
            "x-dead-letter-strategy": "at-least-once",
        }

    def level(self, delay: float) -> int:
        """The delay, in milliseconds, that a delay in seconds becomes.

        Raises:
            ConfigurationError: RabbitMQ cannot keep a message so long.
        """
        place = bisect_left(DELAYS_MS, math.floor(delay * 1000))
        if place == len(DELAYS_MS):
            raise ConfigurationError(
                f"RabbitMQ delays a task for {DELAYS_MS[-1] / 86_400_000:.0f} days at most, got "
                f"{delay:,.0f} s. Put it when its day is near."
            )
        return DELAYS_MS[place]

    def level_queue(self, milliseconds: int) -> str:
        """Where tasks wait so long."""
        return f"{self.delay}.{milliseconds}"

    def level_arguments(self, milliseconds: int) -> dict[str, Any]:
        """Tasks expire there, and go on; RabbitMQ keeps them until they have arrived."""
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": NO_LIMIT,
            "x-message-ttl": milliseconds,
            "x-dead-letter-exchange": self.due,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
