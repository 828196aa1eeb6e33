"""What a topology predicts is what RabbitMQ does: random ones, declared and published into."""

from __future__ import annotations

import secrets

import pytest
from contract.rabbit_peer import management
from helpers import eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import labkit
from labkit.errors import BrokerRefused
from labkit.servers import RabbitServer
from labkit.topology import Binding, Exchange, Queue, Topology

EXCHANGES, QUEUES = "abcd", "pqrs"

words = st.sampled_from(["a", "b", "", "*", "#"])
patterns = st.lists(words, max_size=4).map(".".join)
keys = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=4).map(".".join)
values = st.sampled_from([1, 2, "1", "x", True, False])
asked = st.dictionaries(st.sampled_from(["h", "i", "x-j"]), values | st.none(), max_size=2)
given_headers = st.dictionaries(st.sampled_from(["h", "i", "x-j"]), values, max_size=3)
matches = st.sampled_from(["all", "any"])


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    kinds = st.sampled_from(["direct", "topic", "topic", "fanout", "headers"])
    alternates = st.none() | st.sampled_from(EXCHANGES)
    exchanges = [Exchange(name, draw(kinds), draw(alternates)) for name in EXCHANGES]
    bindings = []
    for source in EXCHANGES:
        for _ in range(draw(st.integers(0, 4))):
            to = draw(st.sampled_from(["queue", "queue", "exchange"]))
            target = draw(st.sampled_from(QUEUES if to == "queue" else EXCHANGES))
            bindings.append(
                Binding(source, target, draw(patterns | keys), draw(asked), draw(matches), to)
            )
    return Topology(exchanges, [Queue(name) for name in QUEUES], bindings)


messages = st.lists(
    st.tuples(st.sampled_from(EXCHANGES), keys, given_headers), min_size=1, max_size=8
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(topology=topologies(), messages=messages)
def test_messages_go_where_it_is_predicted(
    rabbitmq_server: RabbitServer, topology: Topology, messages: list
) -> None:
    space = f"{secrets.token_hex(4)}:"
    with labkit.connect(
        rabbitmq_server.url, namespace=space, timeout=20, connect_timeout=20
    ) as own:
        own.declare(topology)
        expected: dict[str, list[bytes]] = {name: [] for name in QUEUES}
        for number, (exchange, key, headers) in enumerate(messages):
            body = str(number).encode()
            route = topology.route(exchange, key, headers)
            for queue in route.queues:
                expected[queue].append(body)
            if route.unroutable:
                with pytest.raises(BrokerRefused, match="no queue is bound"):
                    own.publish_to(exchange, key, body, headers)
            else:
                own.publish_to(exchange, key, body, headers)
        channel = own.native.channel()
        for queue, bodies in expected.items():
            got = []
            while (one := channel.basic_get(space + queue, auto_ack=True))[0] is not None:
                got.append(one[2])
            assert got == bodies, (queue, topology)
        channel.close()
        own.remove(topology)


def test_the_management_interface_sees_the_same_bindings(
    rabbitmq_server: RabbitServer,
) -> None:
    space = f"{secrets.token_hex(4)}:"
    topology = Topology(
        (Exchange("flights", "topic"),),
        (Queue("boards"), Queue("audit")),
        (Binding("flights", "boards", "flight.*"), Binding("flights", "audit", "#")),
    )
    with labkit.connect(rabbitmq_server.url, namespace=space, connect_timeout=20) as lab:
        lab.declare(topology)

        def seen() -> set[tuple[str, str]]:
            rows = management(rabbitmq_server, "/api/bindings")
            return {
                (row["destination"].removeprefix(space), row["routing_key"])
                for row in rows
                if row["source"] == f"{space}flights"
            }

        eventually(lambda: seen() == {("boards", "flight.*"), ("audit", "#")})
        lab.remove(topology)


def test_publishing_to_an_exchange_that_is_not_there_is_told(
    rabbitmq_server: RabbitServer,
) -> None:
    with labkit.connect(rabbitmq_server.url, connect_timeout=20) as lab:
        with pytest.raises(BrokerRefused, match="404 NOT_FOUND: there is no such exchange"):
            lab.publish_to("nowhere", "a", b"")
        lab.publish("fine", b"")  # the next channel is a new one


def test_a_name_that_nobody_may_use_is_told(rabbitmq_server: RabbitServer) -> None:
    with labkit.connect(rabbitmq_server.url, connect_timeout=20) as lab:
        with pytest.raises(BrokerRefused, match="403 ACCESS_REFUSED: this user may not do that"):
            lab.declare(Topology((), (Queue("amq.mine"),)))
        lab.ping()


def test_declaring_with_another_kind_is_told(rabbitmq_server: RabbitServer) -> None:
    space = f"{secrets.token_hex(4)}:"
    with labkit.connect(rabbitmq_server.url, namespace=space, connect_timeout=20) as lab:
        lab.declare(Topology((Exchange("x", "topic"),)))
        with pytest.raises(BrokerRefused, match="'type' is topic, not fanout"):
            lab.declare(Topology((Exchange("x", "fanout"),)))
