"""The timeline: what it shows is in the events, and can be read."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from labkit import Event, Message, plots
from labkit.broker import Position
from labkit.errors import ConfigurationError
from labkit.message import format_timestamp
from labkit.plots import timeline
from labkit.plots.style import SMALL, WIDTH

MORNING = datetime(2013, 3, 8, 11, 0, tzinfo=UTC)
NEW_YORK = timezone(timedelta(hours=-5), "EST")


def events_of(key: str | None, *marks: tuple[str, float], noun: str = "flight") -> list[Event]:
    """Events of one key: state, and minutes after the morning's begin."""
    found = []
    for place, (state, minutes) in enumerate(marks):
        stamp = format_timestamp((MORNING + timedelta(minutes=minutes)).timestamp())
        message = Message(f"{noun}.{state}", {}, stamp, "desk", {})
        found.append(Event(Position(f"{place + 1}-0"), message, key, place + 1))
    return found


def day() -> list[Event]:
    """One flight that arrives late, one that is cancelled, one that is still in the air."""
    return [
        *events_of(
            "FL 361",
            ("scheduled", 10),
            ("delayed", 145),
            ("delayed", 190),
            ("departed", 600),
            ("arrived", 719),
        ),
        *events_of("AA 1838", ("scheduled", 10), ("cancelled", 130)),
        *events_of("US 2116", ("scheduled", 0), ("departed", 115)),
    ]


def by_chance(seed: int) -> list[Event]:
    """Anything may happen, but the same for the same seed."""
    dice = random.Random(seed)
    states = ["scheduled", "delayed", "departed", "arrived", "cancelled", "in a very long state"]
    found = []
    for number in range(dice.randint(1, 20)):
        time, marks = dice.uniform(0, 900), []
        for _ in range(dice.randint(1, 9)):
            marks.append((dice.choice(states), time))
            time += dice.choice([-20, 0, 0.2, 3, 60, 400, 3000])
        found += events_of("a key " * dice.randint(1, 6) + str(number), *marks)
    return found


def texts(figure: Figure, gid: str) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if (t.get_gid() or "") == gid]


def count(figure: Figure, gid: str) -> int:
    return len(figure.findobj(lambda artist: artist.get_gid() == gid))


def assert_legible(figure: Figure) -> None:
    """No text covers another or leaves the picture, and none is too small."""
    figure.draw_without_rendering()
    found = [t for t in figure.findobj(Text) if t.get_gid() and t.get_text().strip()]
    boxes = [(t, t.get_window_extent()) for t in found]
    height = figure.get_figheight() * figure.dpi
    for text, box in boxes:
        assert text.get_fontsize() >= SMALL, text
        assert box.x0 >= 0, text
        assert box.x1 <= WIDTH, text
        assert box.y0 >= 0, text
        assert box.y1 <= height, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, f"{one.get_text()!r} covers {other.get_text()!r}"


DAYS = {
    "a day": day(),
    "one event": events_of("B6 1", ("scheduled", 0)),
    "all at once": events_of("B6 1", ("scheduled", 0), ("departed", 0), ("arrived", 0)),
    "minutes": events_of("B6 1", ("scheduled", 0), ("departed", 3)),
    "weeks": events_of("B6 1", ("scheduled", 0), ("departed", 40_000), ("arrived", 70_000)),
} | {f"chance {seed}": by_chance(seed) for seed in range(20)}


@pytest.mark.parametrize("name", DAYS)
def test_every_word_can_be_read(name: str) -> None:
    assert_legible(timeline(DAYS[name]))


def test_the_same_day_is_the_same_picture() -> None:
    assert timeline(day()).to_png() == timeline(iter(day())).to_png()


def test_the_title_counts_what_became_of_all() -> None:
    one, all_arrived = day()[:5], [*day()[:5], *events_of("B6 1", ("arrived", 5))]
    assert timeline(day()).headline == (
        "9 events of 3 flights: 1 arrived, 1 cancelled and 1 departed in the end"
    )
    assert timeline(one).headline == "FL 361: 5 events in 11 h 49 min, and now arrived"
    assert timeline(all_arrived).headline == "6 events of 2 flights: all arrived in the end"
    assert timeline(day(), title="As it was").headline == "As it was"


def test_every_event_has_its_mark_and_every_end_its_sign() -> None:
    picture = timeline(day())
    marks = {"event": 9 - 2 + len(texts(picture, "event")), "cross": 2, "done": 1}
    assert {gid: count(picture, gid) for gid in marks} == marks
    assert texts(picture, "fate") == [
        "arrived, 5 events",
        "cancelled, 2 events",
        "departed, 2 events",
    ]


def test_events_that_leave_the_state_as_it_is_are_one_bar() -> None:
    picture = timeline(day()[:5])
    legend = 3
    assert count(picture, "bar") == 3 + legend
    assert texts(picture, "state") == ["scheduled", "delayed", "departed"]


def test_the_alt_text_tells_every_state_and_time_of_the_zone() -> None:
    told = timeline(day(), zone=NEW_YORK).alt_text
    assert "AA 1838: scheduled at 06:10, cancelled at 08:10." in told
    assert "AA 1838: scheduled at 11:10" in timeline(day()).alt_text
    assert texts(timeline(day(), zone=NEW_YORK), "axis") == ["time of day (EST)"]


def test_a_state_looks_the_same_whichever_flights_are_drawn() -> None:
    def colours(figure: Figure) -> set[object]:
        return {p.get_facecolor() for p in figure.findobj() if p.get_gid() == "bar"}  # type: ignore[attr-defined]

    everything = colours(timeline(day()))
    departed = colours(timeline(day(), ["US 2116"]))
    assert departed < everything
    assert len(departed) == 2


def test_more_flights_than_fit_are_left_out_and_counted_but_not_the_eventful_ones() -> None:
    many = [e for n in range(30) for e in events_of(f"B6 {n}", ("scheduled", n))]
    picture = timeline([*many, *day()])
    assert "FL 361" in texts(picture, "name")
    assert texts(picture, "caption") == ["12 of 33 flights shown, 21 not."]


def test_events_without_a_key_are_counted() -> None:
    picture = timeline([*day(), *events_of(None, ("noted", 3))])
    assert texts(picture, "caption") == ["1 event without a key left out."]
    assert "without a key" in picture.alt_text


def test_keys_are_drawn_in_the_order_asked_for() -> None:
    assert texts(timeline(day(), ["US 2116", "FL 361"]), "name") == ["US 2116", "FL 361"]


def test_a_new_day_is_named() -> None:
    night = events_of("B6 1", ("scheduled", 600), ("departed", 900))
    assert texts(timeline(night), "day") == ["8 March", "9 March"]


def test_other_words_may_end_a_life() -> None:
    orders = events_of("order 7", ("placed", 0), ("lost", 9), noun="order")
    picture = plots.timeline(orders, losses=["lost"])
    assert count(picture, "cross") == 2
    assert texts(picture, "fate") == ["lost, 2 events"]


@pytest.mark.parametrize(
    ("events", "keys", "told"),
    [
        ([], None, "No event with a key"),
        (events_of(None, ("noted", 1)), None, "No event with a key"),
        (day(), ["XX 1"], "No event of 'XX 1'; there are events of FL 361, AA 1838, US 2116"),
        (day(), [], "keys is empty"),
        (["FL 361"], None, "stream.read"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(
    events: Iterable[Event], keys: list[str] | None, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        timeline(events, keys)
