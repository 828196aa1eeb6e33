"""Pictures of logs: what they show is what the groups hold, and can be read."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.text import Text

import labkit
from labkit import EventStream, StepClock
from labkit.broker import Holding, Lab, Place, Position
from labkit.errors import ConfigurationError
from labkit.experiments.four_ways import compare_four_ways
from labkit.experiments.ways import WAYS
from labkit.patterns.event_stream import Positions
from labkit.plots import lag, positions
from labkit.plots._log_reading import Standing, row_of
from labkit.plots.style import SMALL, WIDTH, forget_looks


@pytest.fixture(autouse=True)
def _fresh_looks() -> None:
    forget_looks()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with labkit.connect("embedded://", clock=StepClock()) as opened:
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
        assert text.get_fontsize() >= SMALL, text
        assert box.x0 >= 0, text
        assert box.x1 <= WIDTH, text
        assert box.y0 >= 0, text
        assert box.y1 <= height, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, f"{one.get_text()!r} covers {other.get_text()!r}"


def log_of(lab: Lab, count: int, name: str = "flights") -> EventStream:
    stream = EventStream(lab, name)
    stream.append_many(range(count))
    return stream


def morning(lab: Lab) -> EventStream:
    """The board: 3 committed, 2 and 3 pending with Bob and Ann, one of Ann's done, 6 unread."""
    stream = log_of(lab, 15)
    board = stream.group("board")
    ann, bob = board.join("Ann"), board.join("Bob")
    ann.poll(3)
    bob.poll(2)
    ann.commit()
    ann.acknowledge(ann.poll(4)[2])
    stream.group("news", "end")
    return stream


# --- the log and its cursors ----------------------------------------------------------------------


def test_each_event_of_a_group_is_committed_pending_or_unread(lab: Lab) -> None:
    figure = positions(morning(lab))

    assert len(named(figure, "event")) == 15
    assert texts(figure, "member") == ["Bob", "Ann", "Ann"]
    assert len(named(figure, "pending")) == 3
    assert len(named(figure, "committed")) == 4 + 15
    assert len(named(figure, "unread")) == 6
    assert texts(figure, "told") == [
        "log, 15 events",
        "lag 11: 6 unread, 5 pending",
        "lag 0: nothing to do",
    ]


def test_the_title_and_the_alt_text_say_how_the_groups_stand(lab: Lab) -> None:
    figure = positions(morning(lab))

    assert figure.headline == (
        "15 events in the log: board has 6 unread and 5 pending; news has nothing to do"
    )
    assert (
        "board: 1 to 3 committed, 4 to 5 pending with Bob, 6 to 7 pending with Ann, 8 committed, "
        "9 pending with Ann, 10 to 15 unread." in figure.alt_text
    )
    assert positions(morning(lab), title="Mine").headline == "Mine"


def test_a_cursor_stands_behind_the_last_event_given(lab: Lab) -> None:
    stream = log_of(lab, 4)
    reader = stream.group("board").join("Ann")

    def column() -> float:
        cursor = named(positions(stream), "cursor")[0]
        return float(cursor.get_xdata()[0])  # type: ignore[attr-defined]

    start = column()
    reader.poll(1)
    one = column()
    reader.poll(3)
    assert start < one
    assert column() - start == pytest.approx(4 * (one - start))


def test_pending_events_that_were_trimmed_have_the_sign_of_loss(lab: Lab) -> None:
    stream = morning(lab)
    assert not named(positions(stream), "destroyed")

    stream.trim(keep=8, force=True)
    figure = positions(stream)
    figure.draw_without_rendering()
    [words] = named(figure, "destroyed word")
    cross = max(max(line.get_xdata()) for line in named(figure, "destroyed"))  # type: ignore[attr-defined]
    assert cross < words.get_window_extent().x0
    assert texts(figure, "destroyed word") == ["4 destroyed"]
    assert texts(figure, "earlier") == ["7 trimmed"]
    assert texts(figure, "number")[0] == "8"
    assert "5 pending (4 destroyed)" in figure.headline


def test_events_beyond_those_that_fit_are_counted_and_the_lag_is_of_all(lab: Lab) -> None:
    stream = log_of(lab, 200)
    stream.group("board").join("Ann").poll(10)
    figure = positions(stream)

    assert texts(figure, "earlier") == ["140 not drawn"]
    assert texts(figure, "number") == ["141", "200"]
    assert not named(figure, "pending")
    assert len(named(figure, "unread")) == 60
    assert "lag 200: 190 unread, 10 pending" in texts(figure, "told")


def test_where_a_broker_knows_only_how_far_one_has_got_the_rest_of_what_was_given_is_pending() -> (
    None
):
    events = [Position(str(offset), 1) for offset in range(5)]
    place = Place(1, delivered=events[3], committed=events[1], unread=1, pending=None, lag=3)
    row = row_of("board", place, events, events, [Holding("Ann", 1, None, None, None)])

    done, pending, unread = Standing.DONE, Standing.PENDING, Standing.UNREAD
    assert row.standings == [done, done, pending, pending, unread]
    assert (row.given, row.unread, row.pending, row.destroyed) == (4, 1, 2, 0)


def test_drawing_takes_nothing_and_makes_no_group(lab: Lab) -> None:
    stream = morning(lab)
    before = repr(stream.positions())
    positions(stream)
    assert repr(stream.positions()) == before


def test_an_empty_log_says_what_to_do(lab: Lab) -> None:
    with pytest.raises(ConfigurationError, match="Append first"):
        positions(EventStream(lab, "nothing"))


def test_a_log_without_groups_and_a_log_that_is_all_trimmed_are_drawn(lab: Lab) -> None:
    stream = log_of(lab, 5)
    assert positions(stream).headline == "5 events in the log, and no group reads it"
    stream.trim(keep=0)
    assert_legible(positions(stream))


@pytest.mark.parametrize("seed", range(8))
def test_every_word_of_a_log_can_be_read(lab: Lab, seed: int) -> None:
    dice = random.Random(seed)
    stream = log_of(lab, dice.choice([1, 3, 18, 60, 150]))
    names = ["Ann", "Bob", "a member with a name that is very long indeed"]
    for group in ("board", "audit", "a group whose name is longer than the room that it has")[
        : dice.randint(1, 3)
    ]:
        members = [stream.group(group).join(name) for name in names]
        for _ in range(dice.randint(0, 12)):
            member = dice.choice(members)
            events = member.poll(dice.randint(1, 5))
            if events and dice.random() < 0.5:
                member.acknowledge(dice.sample(events, dice.randint(1, len(events))))
    if dice.random() < 0.5:
        stream.trim(keep=dice.randint(0, len(stream)), force=True)
    assert_legible(positions(stream))


# --- lag ------------------------------------------------------------------------------------------


def a_day(lab: Lab) -> list[tuple[float, Positions]]:
    """The audit keeps up; the board's only member dies at 5, and another claims at 10."""
    stream = log_of(lab, 0, "day")
    audit, board = stream.group("audit").join("Zoe"), stream.group("board")
    ann, bob = board.join("Ann"), board.join("Bob")
    samples: list[tuple[float, Positions]] = []
    for step in range(20):
        stream.append_many(range(2))
        audit.poll()
        audit.commit()
        if step <= 5:
            ann.poll(3)
        if step < 5:
            ann.commit()
        if step >= 10:
            bob.claim_stale(0.0)
            bob.poll(4)
            bob.commit()
        samples.append((float(step), stream.positions()))
    return samples


def test_the_title_of_a_lag_is_its_finding(lab: Lab) -> None:
    samples = a_day(lab)

    assert lag(samples).headline == "audit was never behind; board fell 10 behind and caught up"
    assert lag(samples[:8]).headline.endswith("board is 6 events behind and falls further")
    assert lag(samples[:12]).headline.endswith("board is 4 behind, after 10")


def test_lag_and_what_of_it_is_pending_are_steps_for_each_group(lab: Lab) -> None:
    samples = a_day(lab)
    figure = lag(samples)

    whole, held = named(figure, "curve:board")
    heights = [line.get_ydata() for line in (whole, held)]  # type: ignore[attr-defined]
    assert len(set(heights[0])) > len(set(heights[1])) == 2
    assert "board: lag 0 at first, 10 at most, 0 at the end and pending 2 at most" in (
        figure.alt_text
    )


def test_marks_stand_over_their_moments(lab: Lab) -> None:
    figure = lag(a_day(lab), marks={5: "Ann dies", 10: "Bob claims"}, time_name="time (h)")

    assert texts(figure, "span word") == ["Ann dies", "Bob claims"]
    assert "At 5: Ann dies." in figure.alt_text
    assert "time (h)" in texts(figure, "axis")
    assert_legible(figure)


def test_lags_can_be_read_whatever_they_are(lab: Lab) -> None:
    samples = a_day(lab)
    assert_legible(lag(samples))
    assert_legible(lag(samples[:1]))


def test_no_group_is_no_lag(lab: Lab) -> None:
    with pytest.raises(ConfigurationError, match="positions"):
        lag([])
    with pytest.raises(ConfigurationError, match="a group reads"):
        lag([(0.0, log_of(lab, 3).positions())])


def test_too_many_groups_are_refused(lab: Lab) -> None:
    stream = log_of(lab, 1)
    for number in range(7):
        stream.group(f"group {number}")
    with pytest.raises(ConfigurationError, match="7 groups are too many"):
        lag([(0.0, stream.positions())])


def test_the_same_pictures_are_the_same_bytes(lab: Lab) -> None:
    stream, samples = morning(lab), a_day(lab)
    first = positions(stream).to_png(), lag(samples).to_png()
    forget_looks()
    assert first == (positions(stream).to_png(), lag(samples).to_png())


# --- the table of four ways -----------------------------------------------------------------------


def test_four_ways_differ_in_what_is_kept_and_in_who_gets_it(lab: Lab) -> None:
    answers = compare_four_ways(lab)

    assert list(WAYS) == ["pub/sub", "queue on lists", "queue on a stream", "event stream"]
    assert answers["kept after delivery"] == [0, 0, 0, 4]
    assert answers["a reader that comes late gets"] == [0, 4, 4, 4]
    assert answers["several readers: each gets"] == ["4 and 4", "2 and 2", "2 and 2", "4 and 4"]
    assert answers["two members of one group: each gets"][1:] == ["2 and 2"] * 3
    assert answers["acknowledgement: one dies holding 1, the next gets"] == [0, 1, 1, 1]
    assert answers["replay: the same reader, once more"] == [0, 0, 0, 4]
    assert answers["a new reader, when others have read all"] == [0, 0, 0, 4]


def test_the_table_of_four_ways_can_be_had_twice_and_as_a_frame(lab: Lab) -> None:
    first, second = compare_four_ways(lab), compare_four_ways(lab)

    assert first == second
    assert list(first.to_frame().columns) == list(WAYS)
    assert "event stream" in first._repr_html_()
