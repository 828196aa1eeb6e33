"""The classic basic programs, as a user would write them, work as they stand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers import eventually

import labkit
from labkit import Publisher, Subscriber
from labkit.broker import PubSubBroker
from labkit.servers import RedisServer


@pytest.fixture(params=["embedded", "real"])
def lab(request: pytest.FixtureRequest) -> Iterator[PubSubBroker]:
    url = "embedded://"
    if request.param == "real":
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url
    with labkit.connect(url, namespace="classic:") as lab:
        yield lab


def test_basic_publisher_and_basic_subscriber(lab: PubSubBroker) -> None:
    received = []

    def on_message(channel, message):
        received.append((channel, message.content))

    subscriber = Subscriber(lab)
    subscriber.set_message_callback(on_message)
    subscriber.connect()
    subscriber.subscribe("news", "alerts", "logs")
    subscriber.listen()

    publisher = Publisher(lab)
    publisher.connect()
    publisher.publish("news", {"title": "Snow", "body": "Expect delays"})
    publisher.publish_multiple(
        [
            ("alerts", {"level": "critical", "message": "De-icing fluid is running out"}),
            ("logs", {"level": "info", "message": "Shift handed over"}),
        ]
    )
    publisher.disconnect()

    eventually(lambda: len(received) == 3)
    subscriber.disconnect()
    assert received == [
        ("news", {"title": "Snow", "body": "Expect delays"}),
        ("alerts", {"level": "critical", "message": "De-icing fluid is running out"}),
        ("logs", {"level": "info", "message": "Shift handed over"}),
    ]
    assert publisher.stats().messages == subscriber.stats().messages == 3


@pytest.mark.parametrize(
    ("actor", "names"),
    [
        (Publisher, "connect publish publish_multiple publish_periodic stats disconnect"),
        (Subscriber, "connect subscribe psubscribe unsubscribe set_message_callback filter route"),
        (Subscriber, "drain listen stop inject stats disconnect"),
    ],
)
def test_the_documented_names_exist(actor: type, names: str) -> None:
    assert all(callable(getattr(actor, name)) for name in names.split())
