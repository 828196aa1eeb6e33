"""Request/reply on a real RabbitMQ: the same promises, and what only it can show."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pika
import pytest
from contract.rabbit_peer import management
from contract.real_server import OnRabbitMQ, own_namespace
from contract.request_reply_contract import RequestReplyContract, double
from helpers import eventually

import labkit
from labkit import Requester, Responder
from labkit.broker import ReplyBroker
from labkit.errors import ConfigurationError, NoResponder, NotSupported
from labkit.servers import RabbitServer


class TestRabbitMQ(OnRabbitMQ, RequestReplyContract):
    def test_namespaces_do_not_meet(self, lab: ReplyBroker, server: RabbitServer) -> None:
        with (
            labkit.connect(server.url, namespace="elsewhere:", connect_timeout=20) as other,
            Responder(lab, "seats", double),
            Requester(other) as stranger,
            pytest.raises(NoResponder),
        ):
            stranger.request("seats", 1)

    def test_nothing_is_left_behind(self, lab: ReplyBroker, server: RabbitServer) -> None:
        def queues() -> set[str]:
            found = {row["name"] for row in management(server, "/api/queues")}
            return {name for name in found if name.startswith(lab.namespace)}

        with Requester(lab) as gate, Responder(lab, "seats", double) as desk:
            gate.send("seats", 1)
            desk.serve()
            eventually(lambda: len(queues()) == 2)  # the service and the inbox
        eventually(lambda: queues() == set())

    def test_a_plain_client_asks_and_answers(self, lab: ReplyBroker, server: RabbitServer) -> None:
        """A body that is no labkit message reaches the responder as it is, and back."""
        service = lab.open_service("seats", "desk", 5.0)
        inbox = lab.open_inbox(60)
        with pika.BlockingConnection(pika.URLParameters(server.url)) as connection:
            channel = connection.channel()
            queue = f"{lab.namespace}labkit.service.seats"
            channel.basic_publish("", queue, b"plain question")
            assert service.poll(1, 10) == [b"plain question"]
            channel.basic_publish("", inbox.address, b"plain answer")
            assert inbox.poll(1, 10) == [b"plain answer"]
        service.close()
        inbox.close()

    def test_a_responder_that_leaves_takes_no_request_with_it(self, lab: ReplyBroker) -> None:
        """RabbitMQ marks what it has to take back, and that would be dropped: so nothing may be."""
        done = threading.Event()

        def come_and_go() -> None:
            while not done.is_set():
                with Responder(lab, "seats", double, name="desk") as desk:
                    desk.start()
                    done.wait(0.005)

        thread = threading.Thread(target=come_and_go)
        with Responder(lab, "seats", double, name="other") as other, Requester(lab) as gate:
            other.start()
            thread.start()
            try:
                for n in range(1_000):
                    assert gate.request("seats", n, timeout=5).content == 2 * n
            finally:
                done.set()
                thread.join(30)

    def test_a_reply_address_cannot_name_any_other_queue(self, lab: ReplyBroker) -> None:
        queue = lab.open_service("seats", "desk", 5.0)
        assert lab.send_reply(f"{lab.namespace}labkit.service.seats", b"forged") is False
        assert queue.poll(1, 0.0) == []
        queue.close()

    def test_streams_are_absent_and_that_is_said(self, lab: ReplyBroker) -> None:
        with pytest.raises(NotSupported, match="no streams"):
            lab.open_stream("flights")


class TestDirectReplyTo(OnRabbitMQ, RequestReplyContract):
    """The same promises without a queue for the inbox."""

    @pytest.fixture
    def lab(self, server: RabbitServer) -> Iterator[Any]:
        url = f"{server.url}?replies=direct"
        with labkit.connect(url, namespace=own_namespace(), timeout=20, connect_timeout=20) as lab:
            yield lab

    def test_an_inbox_is_no_queue(self, lab: ReplyBroker, server: RabbitServer) -> None:
        with Requester(lab), Responder(lab, "seats", double):
            names = {row["name"] for row in management(server, "/api/queues")}
            assert not any(name.startswith(f"{lab.namespace}labkit.inbox") for name in names)

    def test_askers_in_both_ways_have_one_responder(
        self, lab: ReplyBroker, server: RabbitServer
    ) -> None:
        with (
            labkit.connect(server.url, namespace=lab.namespace, connect_timeout=20) as other,
            Responder(other, "seats", double) as desk,
            Requester(lab) as direct,
            Requester(other) as queued,
        ):
            desk.start()
            assert direct.request("seats", 2, timeout=20).content == 4
            assert queued.request("seats", 3, timeout=20).content == 6

    def test_a_plain_client_replies_to_the_address(
        self, lab: ReplyBroker, server: RabbitServer
    ) -> None:
        inbox = lab.open_inbox(60)
        with pika.BlockingConnection(pika.URLParameters(server.url)) as connection:
            connection.channel().basic_publish("", inbox.address, b"plain answer")
            assert inbox.poll(1, 10) == [b"plain answer"]
        inbox.close()

    def test_a_way_that_there_is_not_is_told(self, server: RabbitServer) -> None:
        with pytest.raises(ConfigurationError, match="replies=direct or"):
            labkit.connect(f"{server.url}?replies=carrier-pigeon")
