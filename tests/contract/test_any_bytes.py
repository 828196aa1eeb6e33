"""Whatever the bytes: a subscriber counts them and goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import labkit
from labkit import Message, Subscriber
from labkit.broker import PubSubBroker

LIMIT = 4096

nearly_messages = st.builds(
    lambda field, value: (
        b'{"type":"t","content":1,"timestamp":"2024-01-01T12:00:00.000Z",'
        b'"sender":"s","metadata":{"' + field + b'":' + value + b"}}"
    ),
    st.sampled_from([b"seq", b"epoch", b"sent_ns", b"message_id"]),
    st.sampled_from([b"1", b"-1", b"1e999", b'"x"', b"null", b"[]", b"9" * 40, b"true", b"{}"]),
)


@pytest.fixture(scope="module")
def lab() -> Iterator[PubSubBroker]:
    with labkit.connect() as lab:
        yield lab


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(bodies=st.lists(st.binary(max_size=LIMIT + 100) | nearly_messages, max_size=20))
def test_no_bytes_raise_out_of_a_subscriber(lab: PubSubBroker, bodies: list[bytes]) -> None:
    with Subscriber(lab, name="board", max_bytes=LIMIT) as board:
        board.subscribe("fuzz")
        lab.publish_many([("fuzz", body) for body in bodies])
        lab.publish("fuzz", Message.new("end", None, sender="s").encode())
        assert board.drain()[-1].message.type == "end"
        stats = board.stats()
        assert stats.messages == len(bodies) + 1
        assert stats.handled + stats.unreadable == stats.messages
