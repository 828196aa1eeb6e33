"""Publish/subscribe on a real RabbitMQ: the same promises, and what only it can show."""

from __future__ import annotations

import pika
import pytest
from contract.pubsub_contract import PubSubContract
from contract.rabbit_peer import management
from contract.real_server import OnRabbitMQ
from helpers import eventually

import labkit
from labkit.broker import PubSubBroker, Received
from labkit.errors import BrokerUnavailable, ConfigurationError
from labkit.servers import RabbitServer


class TestRabbitMQ(OnRabbitMQ, PubSubContract):
    commands = ("queue.bind", "basic.publish")

    def test_tells_its_product_and_version(self, lab: PubSubBroker, server: RabbitServer) -> None:
        assert not lab.embedded
        assert lab.name == server.binary.name

    def test_namespaces_do_not_meet(self, lab: PubSubBroker, server: RabbitServer) -> None:
        with labkit.connect(server.url, namespace="class*#:", connect_timeout=20) as other:
            ours, theirs = lab.open_subscription(), other.open_subscription()
            ours.add("*", pattern=True)
            theirs.add("*", pattern=True)
            lab.publish("news", b"ours")
            other.publish("news", b"theirs")
            assert (ours.poll(5).body, theirs.poll(5).body) == (b"ours", b"theirs")
            assert ours.poll(0) is theirs.poll(0) is None
            ours.close()
            theirs.close()

    @pytest.mark.parametrize(
        ("pattern", "hits", "misses"),
        [
            ("flights.*", ["flights.JFK", "flights.JFK.late", "flights."], ["flights", "flight.x"]),
            ("f*.JFK", ["flights.JFK", "f.x.JFK"], ["flights.LGA", "af.JFK"]),
            ("*.late", ["flights.JFK.late", ".late"], ["late", "flights.late.x"]),
            ("gate-?", ["gate-1", "gate-."], ["gate-", "gate-12"]),
            ("a[.x]b", ["a.b", "axb"], ["ab", "a-b"]),
            (r"a\*.b", ["a*.b"], ["ax.b", "a.b"]),
            ("#.x", ["#.x"], ["a.x", "x"]),
        ],
    )
    def test_globs_mean_what_they_mean_elsewhere(
        self, lab: PubSubBroker, pattern: str, hits: list[str], misses: list[str]
    ) -> None:
        subscription = lab.open_subscription()
        subscription.add(pattern, pattern=True)
        lab.publish_many([(channel, b"") for channel in [*hits, *misses]])
        assert subscription.mark()
        seen = []
        while isinstance(thing := subscription.poll(5), Received):
            seen.append(thing.channel)
        assert sorted(seen) == sorted(hits)
        subscription.close()

    def test_a_plain_client_is_the_other_side(
        self, lab: PubSubBroker, server: RabbitServer
    ) -> None:
        exchange = f"{lab.namespace}labkit.channels"
        subscription = lab.open_subscription()
        subscription.add("news.#", "news.eu")
        with pika.BlockingConnection(pika.URLParameters(server.url)) as connection:
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.queue_bind(queue, exchange, "news.*")
            channel.basic_publish(exchange, "news.eu", b"from a plain client")
            assert subscription.poll(5) == Received("news.eu", b"from a plain client")
            lab.publish("news.us", b"from labkit")
            bodies = []
            eventually(lambda: bodies.append(channel.basic_get(queue)[2]) or bodies[-1])
            assert b"from a plain client" in bodies
        bindings = management(
            server, f"/api/exchanges/%2F/{exchange.replace(':', '%3A')}/bindings/source"
        )
        keys = {row["routing_key"] for row in bindings}
        assert {"news.#", "news.eu"} <= keys
        subscription.close()

    def test_what_is_too_long_for_amqp_is_refused_in_words(self, lab: PubSubBroker) -> None:
        with pytest.raises(ConfigurationError, match="at most 255 bytes, got 300"):
            lab.publish("x" * 300, b"")

    def test_a_lab_leaves_no_connection_and_no_queue_behind(self, server: RabbitServer) -> None:
        def queues() -> set[str]:
            return {row["name"] for row in management(server, "/api/queues")}

        with labkit.connect(server.url, namespace="gone:", connect_timeout=20) as lab:
            subscription = lab.open_subscription()
            subscription.add("news")
            eventually(lambda: any(name.startswith("gone:") for name in queues()))
        eventually(lambda: not any(name.startswith("gone:") for name in queues()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("lab-", "nobody-"), "wants a user and a password"),
        (("/%2F", "/elsewhere"), "virtual host"),
        ((":", ":"), ""),
    ],
)
def test_who_is_not_let_in_is_told_why(
    rabbitmq_server: RabbitServer, change: tuple[str, str], words: str
) -> None:
    url = rabbitmq_server.url.replace(*change)
    if not words:
        labkit.connect(url, connect_timeout=20).close()
        return
    with pytest.raises(BrokerUnavailable, match=words) as caught:
        labkit.connect(url, connect_timeout=20)
    assert rabbitmq_server.password not in str(caught.value)
