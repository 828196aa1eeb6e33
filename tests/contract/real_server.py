"""Contracts on real servers: how a test class gets one, and an empty place of its own on it.

A broker's test file has two kinds of classes. One joins `OnServer` to a contract, and adds what
only a real server can show; for each product there is one more, that says which server it is:

    class RealRedis(OnServer, QueueContract): ...
    class TestRedis(OnRedis, RealRedis): ...
    class TestValkey(OnValkey, RealRedis): ...

A new product needs a session fixture in `conftest.py`, which starts one server for all tests and
calls `missing` where there is none, and an `On…` class here.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

import labkit
from labkit.servers import KafkaServer, RabbitServer, RedisServer


def own_namespace() -> str:
    """One that no other test has: what others left on the server is not there."""
    return f"{secrets.token_hex(4)}:"


class OnServer:
    """Gives the fixture `lab`, in a namespace of its own on the server of the fixture `server`."""

    @pytest.fixture
    def lab(self, server: RedisServer) -> Iterator[Any]:
        with labkit.connect(server.url, namespace=own_namespace()) as lab:
            yield lab


class OnRedis:
    """Debian's Redis."""

    @pytest.fixture
    def server(self, redis_server: RedisServer) -> RedisServer:
        return redis_server


class OnValkey:
    """The Valkey in the wheel."""

    @pytest.fixture
    def server(self, valkey_server: RedisServer) -> RedisServer:
        return valkey_server


class OnRabbitMQ:
    """Debian's RabbitMQ. Its broker is slow to start, and one lab is enough for a test."""

    @pytest.fixture
    def server(self, rabbitmq_server: RabbitServer) -> RabbitServer:
        return rabbitmq_server

    @pytest.fixture
    def lab(self, server: RabbitServer) -> Iterator[Any]:
        with labkit.connect(
            server.url, namespace=own_namespace(), timeout=20.0, connect_timeout=20.0
        ) as lab:
            yield lab


class OnKafka:
    """One node of Apache Kafka; its topics have one partition, unless a test asks for more."""

    @pytest.fixture
    def server(self, kafka_server: KafkaServer) -> KafkaServer:
        return kafka_server

    @pytest.fixture
    def lab(self, server: KafkaServer) -> Iterator[Any]:
        with labkit.connect(f"{server.url}?partitions=1", namespace=own_namespace()) as lab:
            yield lab
