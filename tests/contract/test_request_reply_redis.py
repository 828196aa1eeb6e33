"""Request/reply on the embedded broker, on Debian's Redis and on Valkey: the same promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from contract.real_server import OnRedis, OnServer, OnValkey
from contract.request_reply_contract import (
    RequestReplyContract,
    deterministic_story,
    double,
    step_options,
)
from helpers import eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

import labkit
from labkit import Requester, Responder
from labkit.broker import ReplyBroker
from labkit.errors import NoResponder
from labkit.servers import RedisServer


class TestEmbedded(RequestReplyContract):
    @pytest.fixture
    def lab(self) -> Iterator[ReplyBroker]:
        with labkit.connect() as lab:
            yield lab


class RealRedis(OnServer, RequestReplyContract):
    def test_namespaces_do_not_meet(self, lab: ReplyBroker, server: RedisServer) -> None:
        with (
            labkit.connect(server.url, namespace="elsewhere:") as other,
            Responder(lab, "seats", double),
            Requester(other) as stranger,
            pytest.raises(NoResponder),
        ):
            stranger.request("seats", 1)

    def test_nothing_is_left_behind(self, lab: ReplyBroker) -> None:
        keys = f"{lab.namespace}*"
        with Requester(lab) as gate, Responder(lab, "seats", double) as desk:
            gate.send("seats", 1)
            desk.serve()
            gate.send("seats", 2)
            # the service's responders and requests, an open inbox and the reply in it
            assert len(lab.native.keys(keys)) == 4
            desk.serve()
        assert lab.native.keys(keys) == []

    def test_what_dead_programs_leave_behind_expires(self, lab: ReplyBroker) -> None:
        keys = f"{lab.namespace}*"
        inbox = lab.open_inbox(life=0.2)
        service = lab.open_service("seats", "desk", presence=0.2)
        assert inbox.send("seats", [b"a request"], keep=0.2) == [1]
        assert lab.send_reply(inbox.address, b"a reply") is True
        assert len(lab.native.keys(keys)) == 4
        inbox._life.abandon()  # as if the program had died
        service.abandon()
        eventually(lambda: lab.native.keys(keys) == [])
        assert lab.send_reply(inbox.address, b"a reply") is False
        inbox.close()

    def test_an_inbox_lives_as_long_as_its_owner(self, lab: ReplyBroker) -> None:
        inbox = lab.open_inbox(life=0.1)
        assert lab.send_reply(inbox.address, b"kept") is True
        beats = []
        renew, inbox._life.renew = inbox._life.renew, lambda: (beats.append(1), renew())
        eventually(lambda: len(beats) >= 10)  # more than three lives, without a poll
        assert inbox.poll(5, 0.0) == [b"kept"]
        inbox.close()

    def test_keys_of_one_service_stay_on_one_node(self, lab: ReplyBroker) -> None:
        with Requester(lab) as gate, Responder(lab, "odd } name", double):
            gate.send("odd } name", 1)
            slots: dict[bool, set[int]] = {True: set(), False: set()}
            for key in lab.native.keys(f"{lab.namespace}*"):
                slots[b"service:" in key].add(key_slot(key))
            assert [len(found) for found in slots.values()] == [1, 1]


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


# --- whatever the bytes ---------------------------------------------------------------------------

LIMIT = 4096
nearly = st.builds(
    lambda field, value: (
        b'{"type":"error","content":{"type":[],"message":{}},'
        b'"timestamp":"2024-01-01T12:00:00.000Z","sender":"s",'
        b'"metadata":{"correlation_id":"a","reply_to":"b","' + field + b'":' + value + b"}}"
    ),
    st.sampled_from([b"deadline", b"epoch", b"sent_ns", b"correlation_id", b"reply_to"]),
    st.sampled_from([b"1", b"-1e300", b'"x"', b"null", b"[]", b"9" * 400, b"true", b"{}", b'""']),
)


@pytest.fixture(scope="module")
def embedded() -> Iterator[ReplyBroker]:
    with labkit.connect() as lab:
        yield lab


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(bodies=st.lists(st.binary(max_size=LIMIT + 100) | nearly, max_size=12))
def test_no_bytes_end_a_requester_or_a_responder(
    embedded: ReplyBroker, bodies: list[bytes]
) -> None:
    with (
        Requester(embedded, max_bytes=LIMIT) as gate,
        Responder(embedded, "fuzz", double, max_bytes=LIMIT) as desk,
    ):
        inbox = gate._collector.require_inbox()
        inbox.send("fuzz", bodies, 60)
        for body in bodies:
            embedded.send_reply(inbox.address, body)
        pending = gate.send("fuzz", 21)
        assert len(desk.serve()) == len(bodies) + 1
        assert gate.collect(pending).content == 42
        while gate.drain():
            pass
        seen, served = gate.stats(), desk.stats()
    assert seen.unreadable + seen.unknown == len(bodies)
    assert served.messages == len(bodies) + 1
