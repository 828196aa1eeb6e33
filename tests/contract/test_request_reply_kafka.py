"""Request/reply on librdkafka's mock cluster and on a real Kafka: the same promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from contract.real_server import OnKafka
from contract.request_reply_contract import RequestReplyContract

import labkit
from labkit.broker import ReplyBroker


class TestEmbeddedKafka(RequestReplyContract):
    @pytest.fixture
    def lab(self) -> Iterator[ReplyBroker]:
        with labkit.connect("kafka+embedded://") as lab:
            yield lab


class TestKafka(OnKafka, RequestReplyContract):
    pass
