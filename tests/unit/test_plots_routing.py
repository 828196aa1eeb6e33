"""The picture of a topology: what its title says, who is in it, and that nothing overlaps."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import ConfigurationError
from labkit.plots import Published, routing
from labkit.plots.show import LabFigure
from labkit.topology import Binding, Exchange, Queue, Topology

AIRPORT = Topology(
    (Exchange("flights", "topic"), Exchange("urgent", "fanout")),
    (Queue("boards"), Queue("rebooking"), Queue("pager")),
    (
        Binding("flights", "boards", "flight.#"),
        Binding("flights", "rebooking", "*.*.cancelled"),
        Binding("flights", "urgent", "*.*.cancelled", to="exchange"),
        Binding("urgent", "pager"),
    ),
)


def texts(figure: LabFigure, gid: str) -> list[str]:
    [axes] = figure.axes
    return [text.get_text() for text in axes.texts if text.get_gid() == gid] + [
        artist.get_text()
        for artist in axes.get_children()
        if artist.get_gid() == gid and hasattr(artist, "get_text") and artist not in axes.texts
    ]


def gids(figure: LabFigure) -> list[str]:
    [axes] = figure.axes
    return [line.get_gid() for line in axes.lines]


def test_the_title_says_who_reaches_nobody() -> None:
    figure = routing(AIRPORT, [("flights", "flight.JFK.landed"), ("flights", "baggage.lost")])
    assert figure.headline == "Of 2 messages, 'baggage.lost' fits no binding and reaches nobody"
    assert "drops 2" in texts(figure, "exchange")
    assert "dropped" in gids(figure)


def test_of_two_messages_that_are_called_the_same_the_title_numbers_the_lost_one() -> None:
    lost, kept = ("flights", "baggage.lost"), ("urgent", "baggage.lost")
    told = routing(AIRPORT, [kept, lost]).headline
    assert told == "Of 2 messages, number 2 (baggage.lost) fits no binding and reaches nobody"


def test_each_message_has_its_way_and_each_queue_says_what_it_gets() -> None:
    figure = routing(
        AIRPORT, [("flights", "flight.JFK.landed"), Published("flights", "flight.JFK.cancelled")]
    )
    assert figure.headline == "2 messages become 4 copies: no queue gets the same one twice"
    said = texts(figure, "queue")
    assert {"gets 1, 2", "gets 2"} <= set(said)
    assert said.count("gets 2") == 2
    assert {"way:1", "way:2"} <= set(gids(figure))


def test_without_messages_it_shows_what_is_declared() -> None:
    figure = routing(AIRPORT)
    assert figure.headline == "2 exchanges and 3 queues, tied by 4 bindings"
    assert {"flight.#", "*.*.cancelled"} <= set(texts(figure, "key"))
    assert "flights leads to boards by 'flight.#'" in figure.alt_text


def test_the_alt_text_tells_every_way() -> None:
    alt = routing(AIRPORT, [("flights", "flight.JFK.cancelled")]).alt_text
    assert "goes to boards, pager, rebooking" in alt


def test_what_leads_back_is_said_and_not_drawn() -> None:
    circle = Topology(
        (Exchange("a", "fanout"), Exchange("b", "fanout")),
        (Queue("q"),),
        (Binding("a", "b", to="exchange"), Binding("b", "a", to="exchange"), Binding("b", "q")),
    )
    assert any("leads back to" in note for note in texts(routing(circle), "note"))


def test_too_much_or_nothing_is_refused_in_words() -> None:
    with pytest.raises(ConfigurationError, match="At most 12 messages"):
        routing(AIRPORT, [("flights", "a")] * 13)
    with pytest.raises(ConfigurationError, match="has no picture"):
        routing(Topology())
    with pytest.raises(ConfigurationError, match="No exchange 'gates'"):
        routing(AIRPORT, [("gates", "a")])


def test_the_same_picture_is_the_same_bytes() -> None:
    assert routing(AIRPORT).to_png() == routing(AIRPORT).to_png()


names = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5, unique=True)
keys = st.sampled_from(["", "a", "a.b", "#", "*.a", "a.#", "a.long.key.that.will.not.fit.at.all"])


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    exchanges = [
        Exchange(f"x-{n}", draw(st.sampled_from(["direct", "topic", "fanout", "headers"])))
        for n in draw(names)
    ]
    queues = [Queue(f"q-{n}") for n in draw(names)]
    ways = st.builds(
        lambda source, target, key: Binding(source.name, target.name, key),
        st.sampled_from(exchanges), st.sampled_from(queues), keys,
    )  # fmt: skip
    across = st.builds(
        lambda source, target, key: Binding(source.name, target.name, key, to="exchange"),
        st.sampled_from(exchanges), st.sampled_from(exchanges), keys,
    )  # fmt: skip
    bindings = draw(st.lists(ways, max_size=6)) + draw(st.lists(across, max_size=3))
    return Topology(exchanges, queues, bindings)


@settings(max_examples=40, deadline=None)
@given(topology=topologies(), keys=st.lists(keys, max_size=4))
def test_no_two_texts_overlap(topology: Topology, keys: list[str]) -> None:
    figure = routing(topology, [(topology.exchanges[0].name, key) for key in keys])
    figure.canvas.draw()
    [axes] = figure.axes
    boxes = [
        (artist.get_text(), artist.get_window_extent())
        for artist in axes.get_children()
        if hasattr(artist, "get_text") and artist.get_text()
    ]
    for (one, box), (other, other_box) in itertools.combinations(boxes, 2):
        inside = box.shrunk(0.96, 0.7)
        assert not inside.overlaps(other_box.shrunk(0.96, 0.7)), (one, other)
        assert 0 <= box.x0 < box.x1 <= 1000
