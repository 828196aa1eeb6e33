"""Which queue a name and its options mean, and what queues on Redis can do."""

from __future__ import annotations

from labkit.broker import Capability, QueueKind, QueueOptions, Support
from labkit.brokers.redis.client import RedisClient
from labkit.brokers.redis.list_queue import ListQueue
from labkit.brokers.redis.queue import RedisQueue
from labkit.brokers.redis.stream_queue import StreamQueue


def open_queue(client: RedisClient, name: str, options: QueueOptions) -> RedisQueue:
    """The queue of that name and kind."""
    kind = ListQueue if options.kind is QueueKind.LIST else StreamQueue
    return kind(client, name, options)


CAPABILITIES = (
    Capability(
        "work queue",
        Support.NATIVE,
        "A stream with a consumer group gives each task to one worker and keeps it until XACK.",
    ),
    Capability(
        "leases",
        Support.EMULATED,
        "Redis knows how long a task has been pending, not who lives: workers renew a sorted set.",
    ),
    Capability(
        "tasks in order",
        Support.NATIVE,
        "Streams and lists are taken from in the order in which they were filled.",
    ),
    Capability(
        "delayed tasks",
        Support.EMULATED,
        "A sorted set holds them by their time; whoever takes next moves those that are due.",
    ),
    Capability(
        "priorities",
        Support.EMULATED,
        "One stream a priority; a worker looks at the highest first.",
    ),
    Capability(
        "dead letters",
        Support.EMULATED,
        "A stream of their own; a script moves a task there in one step.",
    ),
    Capability(
        "unique tasks",
        Support.EMULATED,
        "A set of the ids that are in the queue; a script looks before it adds.",
    ),
    Capability(
        "bounded queue",
        Support.EMULATED,
        "A script counts before it adds; MAXLEN would destroy tasks that nobody has done.",
    ),
)
