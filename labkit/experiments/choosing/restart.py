"""What is left of a hundred messages when the server is killed: by default, and set to keep them.

The servers are private, so they may be killed (SIGKILL) and started again. That is a crash of the
program and not of the machine: what the operating system has, and the disk has not, survives it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labkit import servers
from labkit._html import table
from labkit.connection import connect
from labkit.experiments.choosing.at_hand import AtHand, Brokers
from labkit.experiments.rabbitmq_lesson import depth, open_channel
from labkit.patterns.event_stream import EventStream

MESSAGES = 100
REDIS_DEFAULT_SAVE = "3600 1 300 100 60 10000"
"""Without a configuration file Redis writes a snapshot after an hour and one change, and so on."""

_READS_FOR_S = 20.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What was left on one broker.

    Attributes:
        broker: where.
        default: messages left, as its client and server do it unasked.
        default_settings: what that means.
        kept: messages left with the settings that keep them.
        kept_settings: which these are.
    """

    broker: str
    default: int
    default_settings: str
    kept: int
    kept_settings: str


class KeptTable(list[Kept]):
    """A row for each broker that could be killed; shown as a table."""

    def to_frame(self) -> pd.DataFrame:
        """broker, default, default_settings, kept, kept_settings."""
        return pd.DataFrame(self, columns=list(Kept.__slots__))

    def _repr_html_(self) -> str:
        heads = ("broker", "left by default", "default", "left, if set so", "set")
        rows: list[tuple[object, ...]] = [
            (r.broker, r.default, r.default_settings, r.kept, r.kept_settings) for r in self
        ] or [("none", None, "No server here may be killed: skipped.", None, "")]
        return table(heads, rows, f"Of {MESSAGES} messages, after the server was killed")


def kill_servers(brokers: Brokers) -> KeptTable:
    """Kill each server with a hundred messages in it, start it again, and count.

    What lives in this program cannot be killed without it, and is left out.
    """
    return KeptTable(_TRIALS[one.kind](one) for one in brokers.real)


def _redis(broker: AtHand) -> Kept:
    """Two small servers: what matters is in the configuration of a server."""

    def left(**settings: Any) -> int:
        import redis

        with servers.start_redis(broker.server.binary, **settings) as server:
            with closing(redis.Redis.from_url(server.url)) as client:
                client.rpush("tasks", *range(MESSAGES))
            server.kill()
            server.start()
            with closing(redis.Redis.from_url(server.url)) as client:
                return int(client.llen("tasks"))

    default = left(config={"save": REDIS_DEFAULT_SAVE})
    kept = left(append_only=True, appendfsync="always")
    unasked, asked = "appendonly no, a snapshot now and then", "appendonly yes, appendfsync always"
    return Kept(broker.name, default, unasked, kept, asked)


def _rabbitmq(broker: AtHand) -> Kept:
    """Two queues on one node: what matters is said with the queue and with each message."""
    import pika
    from pika.exceptions import ChannelClosedByBroker

    url = broker.server.url
    with open_channel(url) as channel:
        channel.queue_declare("default")
        channel.queue_declare("kept", durable=True)
        channel.confirm_delivery()
        for number in range(MESSAGES):
            channel.basic_publish("", "default", str(number))
            persistent = pika.BasicProperties(delivery_mode=2)
            channel.basic_publish("", "kept", str(number), persistent, mandatory=True)
    # A confirmed message is on the disk; that its queue exists, up to 2 s later (Mnesia's log).
    broker.server.control("eval", "catch mnesia:sync_log().")
    broker.server.kill()
    broker.server.start()

    def left(queue: str) -> int:
        try:
            with open_channel(url) as channel:
                return depth(channel, queue)
        except ChannelClosedByBroker:
            return 0  # the queue is gone, or not there yet

    kept = _settled(lambda: left("kept"))  # first: then all that will come back is back
    asked = "durable queue, delivery_mode 2, confirms"
    return Kept(broker.name, left("default"), "queue not durable", kept, asked)


def _kafka(broker: AtHand) -> Kept:
    """Two topics on one node: its log is in files; a setting says when they are synced."""
    lab: Any = broker.lab
    names: dict[str, dict[str, str]] = {"default": {}, "kept": {"flush.messages": "1"}}
    for name, config in names.items():
        lab.kafka.create_topic(name, 1, config)
        EventStream(lab, name, sender="tower").append_many(range(MESSAGES))
    broker.server.kill()
    broker.server.start()
    with connect(broker.server.url, trace=False, connect_timeout=20.0) as again:
        default, kept = (_settled(EventStream(again, name).__len__) for name in names)
    asked = "flush.messages=1 (and copies on other nodes)"
    return Kept(broker.name, default, "a log in files, synced when the system likes", kept, asked)


def _settled(count: Callable[[], int]) -> int:
    """How many there are; a server that has crashed reads its files for a while."""
    deadline = time.monotonic() + _READS_FOR_S
    while (found := count()) < MESSAGES and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


_TRIALS: dict[str, Callable[[AtHand], Kept]] = {
    "redis": _redis,
    "rabbitmq": _rabbitmq,
    "kafka": _kafka,
}
