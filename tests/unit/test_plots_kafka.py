"""Pictures of partitions and their owners: what they show is counted, and can be read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.text import Text

import labkit
from labkit import EventStream, NewEvent
from labkit.data import stormy_day
from labkit.errors import ConfigurationError
from labkit.experiments.kafka_day import watch_lag
from labkit.plots import lag, partitions, rebalance
from labkit.plots.style import SMALL, WIDTH, forget_looks


@pytest.fixture(autouse=True)
def _fresh_looks() -> None:
    forget_looks()


@pytest.fixture
def lab() -> Iterator[Any]:
    with labkit.connect("kafka+embedded://") as opened:
        yield opened


def named(figure: Figure, gid: str) -> list[Artist]:
    """The artists of that name."""
    return figure.findobj(lambda artist: artist.get_gid() == gid)


def texts(figure: Figure, gid: str) -> list[str]:
    found = figure.findobj(Text)
    return [t.get_text() for t in found if t.get_gid() == gid and t.get_text()]


def assert_legible(figure: Figure) -> None:
    """No text covers another or leaves the picture, and none is too small."""
    figure.draw_without_rendering()
    found = [t for t in figure.findobj(Text) if t.get_gid() and t.get_text().strip()]
    boxes = [(t, t.get_window_extent()) for t in found]
    height = figure.get_figheight() * figure.dpi
    for text, box in boxes:
        assert float(text.get_fontsize()) >= SMALL, text
        assert box.x0 >= 0, text
        assert box.x1 <= WIDTH, text
        assert box.y0 >= 0, text
        assert box.y1 <= height, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, f"{one.get_text()!r} covers {other.get_text()!r}"


def topic_of(lab: Any, name: str, keys: Sequence[str | None], count: int = 4) -> EventStream:
    lab.kafka.create_topic(name, count)
    stream = EventStream(lab, name)
    stream.append_many([NewEvent(number, key=key) for number, key in enumerate(keys)])
    return stream


# --- partitions -----------------------------------------------------------------------------------


def test_each_partition_says_how_much_is_in_it_and_of_which_keys(lab: Any) -> None:
    stream = topic_of(lab, "flights", ["JFK"] * 6 + ["LGA"] * 4)
    figure = partitions(stream)

    places = {key: lab.kafka.partition_of("flights", key) for key in ("JFK", "LGA")}
    assert len(set(places.values())) == 2  # else the counts below are of one partition
    wanted = ["empty"] * 4
    wanted[places["JFK"]], wanted[places["LGA"]] = "6 (60 %)", "4 (40 %)"
    assert texts(figure, "count") == wanted
    assert sorted(texts(figure, "key")) == ["JFK", "LGA"]
    assert figure.headline == "Flights: one of 4 partitions has 60 % and 2 of 4 are empty"
    assert f"Partition {places['JFK']}: 6 (JFK 6)." in figure.alt_text


def test_small_keys_are_drawn_together_and_counted(lab: Any) -> None:
    figure = partitions(topic_of(lab, "many", [f"flight {n}" for n in range(100)], 1))

    assert texts(figure, "key") == ["100 keys"]
    assert len(named(figure, "piece")) == 1
    assert figure.headline == "Many: all 100 events in one partition"
    assert "together" in texts(figure, "note")[0]


def test_an_even_topic_is_not_called_skewed(lab: Any) -> None:
    keys = [f"flight {n}" for n in range(400)]
    figure = partitions(topic_of(lab, "even", keys))

    assert "about as much as one another" in figure.headline


@pytest.mark.parametrize("name", ["a", "a very long name of a key, for a narrow bar " * 3])
def test_names_of_keys_fit_into_their_pieces(lab: Any, name: str) -> None:
    keys = [name] * 4 + [f"key {n % 30}" for n in range(60)] + [None]
    streams = [topic_of(lab, "one", keys), topic_of(lab, "two", keys, 9)]

    figure = partitions(streams)
    assert_legible(figure)
    figure.draw_without_rendering()
    pieces = [piece.get_window_extent() for piece in named(figure, "piece")]
    for word in named(figure, "key"):
        box = word.get_window_extent()
        assert any(p.x0 <= box.x0 and box.x1 <= p.x1 for p in pieces if p.y0 <= box.y0 <= p.y1)


def test_keys_beside_one_another_differ_in_colour(lab: Any) -> None:
    keys = [f"key {n % 16}" for n in range(160)]

    figure = partitions(topic_of(lab, "flights", keys, 3))

    rows: dict[float, list[Any]] = {}
    for piece in named(figure, "piece"):
        rows.setdefault(piece.get_y(), []).append(piece.get_facecolor())  # type: ignore[attr-defined]
    assert max(map(len, rows.values())) > 4
    for colours in rows.values():
        assert all(one != other for one, other in itertools.pairwise(colours))


def test_nothing_to_draw_is_said(lab: Any) -> None:
    lab.kafka.create_topic("empty", 2)
    with pytest.raises(ConfigurationError, match="Append first"):
        partitions(EventStream(lab, "empty"))


# --- lag ------------------------------------------------------------------------------------------


def test_a_lag_by_partition_names_the_one_that_falls_behind(lab: Any) -> None:
    day = stormy_day(types=["flight.departed", "flight.cancelled"])
    lab.kafka.create_topic("by-carrier", 6)
    samples = watch_lag(lab, EventStream(lab, "by-carrier"), day, key="carrier", each=14)

    figure = lag(samples, by_partition=True)

    most = [max(p["board"].places[n].lag for _, p in samples) for n in range(6)]
    assert most[5] == max(most) > sorted(most)[-2] > 0
    assert figure.headline == f"partition 5 fell {most[5]} behind, the other 5 at most {most[4]}"
    assert texts(figure, "tag") == ["partition 1", "partition 4", "partition 5"]
    assert "partitions 0, 2 and 3" in texts(figure, "series")  # one line for all that keep up
    assert "never behind" in texts(figure, "end")
    assert "partition 0: lag 0 at first, 0 at most, 0 at the end." in figure.alt_text
    assert not any("pending" in name for name in texts(figure, "axis"))  # none ever was
    assert_legible(figure)


def test_partitions_of_several_groups_carry_their_group_s_name(lab: Any) -> None:
    stream = topic_of(lab, "flights", ["a", "b", "c"], 2)
    for name in ("board", "audit"):
        stream.group(name)

    figure = lag([(0.0, stream.positions()), (1.0, stream.positions())], by_partition=True)

    assert {name.split(",")[0] for name in texts(figure, "series")} == {"board", "audit"}


# --- rebalance ------------------------------------------------------------------------------------

STORY = [
    ("Ann joins", {"Ann": [0, 1, 2]}),
    ("Bob joins", {"Ann": [0, 1], "Bob": [2]}),
    (
        "Cat, Dan and Eve join",
        {"Ann": [0], "Bob": [1], "Cat": [2], "Dan": [], "Eve": []},
    ),
    ("Ann dies", {"Bob": [0], "Cat": [1], "Dan": [2], "Eve": []}),
]


def test_each_partition_shows_its_owner_in_each_state() -> None:
    figure = rebalance(STORY)

    assert texts(figure, "member") == [
        *("Ann", "Ann", "Ann"),
        *("Ann", "Ann", "Bob"),
        *("Ann", "Bob", "Cat"),
        *("Bob", "Cat", "Dan"),
    ]
    assert texts(figure, "idle") == ["Dan, Eve", "Eve"]
    assert len(named(figure, "rebalance")) == 3


def test_the_title_counts_who_is_busy_and_the_alt_text_tells_each_state() -> None:
    figure = rebalance(STORY)

    assert figure.headline == (
        "3 partitions: of 5 members 3 are busy; 3 of 3 rebalances moved a partition"
    )
    assert "Ann dies: partition 0 Bob, partition 1 Cat and partition 2 Dan; idle: Eve." in (
        figure.alt_text
    )


def test_owners_differ_in_colour_and_in_hatch() -> None:
    figure = rebalance(STORY[2:3])

    looks = {(owner.get_facecolor(), owner.get_hatch()) for owner in named(figure, "owner")}  # type: ignore[attr-defined]
    assert len({colour for colour, _ in looks}) == len({hatch for _, hatch in looks}) == 3


def test_a_partition_without_an_owner_is_marked() -> None:
    figure = rebalance([("settled", {"Ann": [0, 1]}), ("Bob hangs", {"Ann": [0]})])

    assert texts(figure, "word") == ["nobody"]


def test_a_rebalance_that_moves_nothing_is_not_counted_as_a_move() -> None:
    figure = rebalance([("one", {"Ann": [0]}), ("two", {"Ann": [0], "Bob": []})])

    assert "0 of 1 rebalance moved a partition" in figure.headline


@pytest.mark.parametrize("states", [1, 5, 12])
def test_a_rebalance_can_be_read(states: int) -> None:
    long = {f"reader number {n} with a long name": [n] if n < 3 else [] for n in range(6)}

    assert_legible(rebalance([(f"what happened in state {n}", long) for n in range(states)]))
    assert_legible(rebalance(STORY))


def test_samples_without_an_owner_or_too_many_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="nobody owns"):
        rebalance([("nothing", {"Ann": []})])
    with pytest.raises(ConfigurationError, match="12 at most"):
        rebalance([("again", {"Ann": [0]})] * 13)
