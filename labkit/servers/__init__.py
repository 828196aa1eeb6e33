"""Real brokers on this machine: find them, start them, and be sure that they end.

A server started here listens on 127.0.0.1 only, wants a password, keeps nothing unless asked, and
ends, with its folder, when the program that started it does, whatever ends that.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.servers.announcing import announce, announced_url
    from labkit.servers.binaries import HOW_TO_INSTALL, RedisBinary, find_all_redis, find_redis
    from labkit.servers.fake import FakeServerHandle, start_fake
    from labkit.servers.kafka_home import HOW_TO_GET_KAFKA, KafkaHome, find_kafka
    from labkit.servers.kafka_server import KafkaServer, start_kafka
    from labkit.servers.passwords import RANDOM_PASSWORD
    from labkit.servers.rabbitmq import RabbitServer, start_rabbitmq
    from labkit.servers.rabbitmq_binaries import (
        HOW_TO_INSTALL_RABBITMQ,
        RabbitBinary,
        find_rabbitmq,
    )
    from labkit.servers.redis import RedisServer, start_redis

# No module here may have the name of something that is handed on: once loaded, it would hide it.
_HOMES = {
    "HOW_TO_GET_KAFKA": "kafka_home",
    "HOW_TO_INSTALL": "binaries",
    "HOW_TO_INSTALL_RABBITMQ": "rabbitmq_binaries",
    "RANDOM_PASSWORD": "passwords",
    "FakeServerHandle": "fake",
    "KafkaHome": "kafka_home",
    "KafkaServer": "kafka_server",
    "RabbitBinary": "rabbitmq_binaries",
    "RabbitServer": "rabbitmq",
    "RedisBinary": "binaries",
    "RedisServer": "redis",
    "announce": "announcing",
    "announced_url": "announcing",
    "find_all_redis": "binaries",
    "find_kafka": "kafka_home",
    "find_rabbitmq": "rabbitmq_binaries",
    "find_redis": "binaries",
    "start_fake": "fake",
    "start_kafka": "kafka_server",
    "start_rabbitmq": "rabbitmq",
    "start_redis": "redis",
}

__all__ = [
    "HOW_TO_GET_KAFKA",
    "HOW_TO_INSTALL",
    "HOW_TO_INSTALL_RABBITMQ",
    "RANDOM_PASSWORD",
    "FakeServerHandle",
    "KafkaHome",
    "KafkaServer",
    "RabbitBinary",
    "RabbitServer",
    "RedisBinary",
    "RedisServer",
    "announce",
    "announced_url",
    "find_all_redis",
    "find_kafka",
    "find_rabbitmq",
    "find_redis",
    "start_fake",
    "start_kafka",
    "start_rabbitmq",
    "start_redis",
]


def __getattr__(name: str) -> object:
    """Load a module when one of its names is first wanted."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
