"""Publish/subscribe on the embedded broker, on Debian's Redis and on Valkey: the same promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from contract.pubsub_contract import PubSubContract, deterministic_story, step_options
from contract.real_server import OnRedis, OnServer, OnValkey
from helpers import eventually

import labkit
from labkit.broker import PubSubBroker
from labkit.servers import RedisServer


class TestEmbedded(PubSubContract):
    @pytest.fixture
    def lab(self) -> Iterator[PubSubBroker]:
        with labkit.connect() as lab:
            yield lab

    def test_two_embedded_brokers_are_strangers_unless_they_share_a_name(self) -> None:
        for url, reached in (("embedded://", 0), ("embedded://shop", 1)):
            with labkit.connect(url) as one, labkit.connect(url) as other:
                subscription = one.open_subscription()
                subscription.add("news")
                assert other.publish("news", b"hello").subscriptions == reached
                subscription.close()

    def test_figures_of_the_embedded_broker_are_marked(self, lab: PubSubBroker) -> None:
        assert lab.embedded
        assert "fakeredis" in lab.name


class RealRedis(OnServer, PubSubContract):
    def test_tells_its_product_and_version(self, lab: PubSubBroker, server: RedisServer) -> None:
        assert not lab.embedded
        assert lab.name.startswith(server.binary.product)

    def test_namespaces_do_not_meet(self, lab: PubSubBroker, server: RedisServer) -> None:
        odd = "class [1]*:"
        with labkit.connect(server.url, namespace=odd.replace(" ", "")) as other:
            ours, theirs = lab.open_subscription(), other.open_subscription()
            ours.add("*", pattern=True)
            theirs.add("*", pattern=True)
            assert lab.publish("news", b"ours").subscriptions == 1
            assert other.publish("news", b"theirs").subscriptions == 1
            assert (ours.poll(5).body, theirs.poll(5).body) == (b"ours", b"theirs")
            assert ours.poll(0) is theirs.poll(0) is None
            ours.close()
            theirs.close()

    def test_a_lab_leaves_no_connection_behind(self, server: RedisServer) -> None:
        with labkit.connect(server.url) as watcher:
            before = len(watcher.native.client_list())
            with labkit.connect(server.url) as lab:
                subscriptions = [lab.open_subscription() for _ in range(3)]
                for subscription in subscriptions:
                    subscription.add("news")
                lab.publish("news", b"1")
                assert len(watcher.native.client_list()) == before + 4
                for subscription in subscriptions:
                    subscription.close()
            eventually(lambda: len(watcher.native.client_list()) == before)


class TestRedis(OnRedis, RealRedis):
    pass


class TestValkey(OnValkey, RealRedis):
    pass


def test_a_lesson_runs_the_same_on_every_broker(every_broker: list[str]) -> None:
    stories = []
    for url in ("embedded://", *every_broker):
        with labkit.connect(url, namespace="lesson:", **step_options()) as lab:
            stories.append(deterministic_story(lab))
    assert all(story == stories[0] for story in stories)
