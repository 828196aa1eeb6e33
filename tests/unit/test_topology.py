"""Where a message goes, as AMQP says: without a broker. The real one is asked in tests/contract."""

from __future__ import annotations

import pytest

from labkit.errors import ConfigurationError
from labkit.topology import Binding, Exchange, Queue, Topology


def topic(*patterns: str) -> Topology:
    return Topology(
        (Exchange("x", "topic"),),
        tuple(Queue(f"q{i}") for i, _ in enumerate(patterns)),
        tuple(Binding("x", f"q{i}", pattern) for i, pattern in enumerate(patterns)),
    )


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("#", "", True),
        ("#.b.#", "a.b", True),
        ("#.b.#", "b", True),
        ("*.b", ".b", True),
        ("*", "", False),
        ("a.#.b.*", "a.x.b.b.c", True),
    ],
)
def test_topic_words(pattern: str, key: str, fits: bool) -> None:
    assert topic(pattern).route("x", key).queues == (("q0",) if fits else ())


def test_a_queue_gets_one_copy_however_many_bindings_lead_to_it() -> None:
    topology = Topology(
        (Exchange("x", "topic"),),
        (Queue("q"),),
        (Binding("x", "q", "a.#"), Binding("x", "q", "#.b")),
    )
    route = topology.route("x", "a.b")
    assert route.queues == ("q",)
    assert [step.taken for step in route.steps] == [True, True]


def test_it_says_why() -> None:
    route = topic("order.*.#", "alert.#").route("x", "order.eu")
    assert route.steps[0].why == "'order.eu' fits: * is eu, # is nothing"
    assert route.steps[1].why == "'order.eu' does not fit"
    assert "takes x [order.*.#] q0" in repr(route)


@pytest.mark.parametrize(
    ("match", "asked", "given", "fits"),
    [
        ("all", {"a": 1, "b": "x"}, {"a": 1, "b": "x", "c": True}, True),
        ("all", {"a": 1, "b": "x"}, {"a": 1}, False),
        ("any", {"a": 1, "b": "x"}, {"b": "x"}, True),
        ("any", {}, {"b": "x"}, False),
        ("all", {}, {}, True),
        ("all", {"a": None}, {"a": "whatever"}, True),
        ("all", {"a": 1}, {"a": True}, False),
        ("all", {"x-a": 1}, {}, True),
        ("all-with-x", {"x-a": 1}, {}, False),
    ],
)
def test_headers(match: str, asked: dict, given: dict, fits: bool) -> None:
    topology = Topology(
        (Exchange("x", "headers"),),
        (Queue("q"),),
        (Binding("x", "q", headers=asked, match=match),),
    )
    assert topology.route("x", "", given).unroutable is not fits


def test_exchanges_lead_to_exchanges_and_circles_end() -> None:
    topology = Topology(
        (Exchange("a", "fanout"), Exchange("b", "fanout")),
        (Queue("q"),),
        (
            Binding("a", "b", to="exchange"),
            Binding("b", "a", to="exchange"),
            Binding("b", "q"),
        ),
    )
    assert topology.route("a").queues == ("q",)


def test_the_alternate_takes_what_fits_nothing() -> None:
    topology = Topology(
        (Exchange("x", alternate="rest"), Exchange("rest", "fanout")),
        (Queue("q"), Queue("left")),
        (Binding("x", "q", "known"), Binding("rest", "left")),
    )
    assert topology.route("x", "known").queues == ("q",)
    assert topology.route("x", "unknown").queues == ("left",)


def test_the_default_exchange_goes_by_the_queues_name() -> None:
    topology = topic("a")
    assert topology.route("", "q0").queues == ("q0",)
    assert topology.route("", "q9").unroutable


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Topology((Exchange("x"), Exchange("x"))), "Two exchanges are named 'x'"),
        (lambda: Topology((Exchange("x"),), (), (Binding("x", "q"),)), "needs the queue 'q'"),
        (lambda: Topology((), (Queue("q"),), (Binding("x", "q"),)), "needs the exchange 'x'"),
        (lambda: Topology((Exchange("x", alternate="y"),)), "no exchange of this topology"),
        (lambda: Exchange("x", "topics"), "direct, topic, fanout, headers"),
        (lambda: Queue(""), "has a name"),
        (lambda: topic("a").route("y", "a"), "No exchange 'y' in this topology; there are: x"),
    ],
)
def test_what_cannot_be_is_refused_in_words(build: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        build()  # type: ignore[operator]
