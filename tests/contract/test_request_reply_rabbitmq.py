"""Request/reply on a real RabbitMQ: the same promises, and what only it can show."""

from __future__ import annotations

import pika
import pytest
from contract.rabbit_peer import management
from contract.real_server import OnRabbitMQ
from contract.request_reply_contract import RequestReplyContract, double
from helpers import eventually

import labkit
from labkit import Requester, Responder
from labkit.broker import ReplyBroker
from labkit.errors import NoResponder, NotSupported
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

    def test_a_reply_address_cannot_name_any_other_queue(self, lab: ReplyBroker) -> None:
        queue = lab.open_service("seats", "desk", 5.0)
        assert lab.send_reply(f"{lab.namespace}labkit.service.seats", b"forged") is False
        assert queue.poll(1, 0.0) == []
        queue.close()

    def test_streams_are_absent_and_that_is_said(self, lab: ReplyBroker) -> None:
        with pytest.raises(NotSupported, match="no streams"):
            lab.open_stream("flights")
