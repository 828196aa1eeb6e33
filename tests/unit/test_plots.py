"""Pictures: what they show is counted in the trace, and every word in them can be read."""

from __future__ import annotations

import itertools
import random
import struct
import sys
from collections.abc import Iterable

import matplotlib
import pytest
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.text import Text

from labkit import Message
from labkit.clock import StepClock
from labkit.errors import ConfigurationError
from labkit.plots import LabFigure, LossRow, losses, message_anatomy, show, space_time
from labkit.plots.style import SMALL, WIDTH, forget_looks, look_of
from labkit.trace import Action, Trace, TraceEvent


@pytest.fixture(autouse=True)
def _fresh_looks() -> None:
    forget_looks()


def event(time: float, actor: str, action: Action, *about: str) -> TraceEvent:
    return TraceEvent(time, actor, action, *about)


def message(
    time: float,
    key: str,
    to: dict[str, float],
    *,
    sender: str = "tower",
    channel: str = "flights.JFK",
    label: str = "",
    written_to: int | None = None,
) -> list[TraceEvent]:
    """A message and its deliveries: who, and how long after the broker had it."""
    about = (channel, key, label or f"message {key}")
    detail = "" if written_to is None else f"written to {written_to}"
    return [
        event(time, sender, Action.SENT, *about),
        event(time + 0.3, "broker", Action.ACCEPTED, *about, detail),
        *(event(time + 0.3 + after, who, Action.DELIVERED, *about) for who, after in to.items()),
    ]


def snow_day() -> list[TraceEvent]:
    """Five messages; the app comes late, the board loses one in a gap."""
    return [
        event(0, "board", Action.SUBSCRIBED, "flights.JFK"),
        event(0, "board", Action.SUBSCRIBED, "alerts.*"),
        *message(0.6, "1", {"board": 0.5}, label="B6 739 departed"),
        *message(2.4, "2", {"board": 0.5}, label="DL 91 cancelled"),
        event(4.6, "app", Action.SUBSCRIBED, "*"),
        *message(4.9, "3", {"board": 0.4, "app": 0.8}, channel="alerts.x", label="ground stop"),
        *message(6.7, "4", {"app": 0.8}, label="AA 12 departed"),
        event(6.9, "board", Action.CONNECTION_LOST),
        event(8.1, "board", Action.RECONNECTED),
        *message(8.4, "5", {"board": 0.4, "app": 0.8}, label="B6 35 departed"),
        event(8.7, "board", Action.LOST, "flights.JFK", "4"),
    ]


def crowd(senders: int = 3, subscribers: int = 6, messages: int = 12) -> list[TraceEvent]:
    events = [
        event(0.05 * i, f"board {i}", Action.SUBSCRIBED, "flights.*") for i in range(subscribers)
    ]
    for i in range(messages):
        place = ["JFK", "EWR", "LGA"][i % 3]
        to = {f"board {j}": 0.3 + 0.1 * j for j in range(subscribers)}
        events += message(
            1 + 0.9 * i,
            str(i),
            to,
            sender=f"tower {i % senders}",
            channel=f"flights.{place}",
            label=f"B6 {700 + i} departed",
        )
    return events


def at_once(events: Iterable[TraceEvent]) -> list[TraceEvent]:
    """The same events, all at the same time."""
    return [
        TraceEvent(0, e.actor, e.action, e.channel, e.message_id, e.label, e.detail) for e in events
    ]


def wordy(events: Iterable[TraceEvent]) -> list[TraceEvent]:
    """The same events with labels that are far too long, and hard to draw."""
    tail = " and $x_1$ a great deal more than anybody would want to read\n日本 😀"
    return [
        TraceEvent(e.time, e.actor, e.action, e.channel, e.message_id, e.label and e.label + tail)
        for e in events
    ]


def chance(seed: int) -> list[TraceEvent]:
    """Anything may happen, but the same for the same seed."""
    dice = random.Random(seed)
    boards = [f"subscriber {i}" for i in range(dice.randint(1, 5))]
    events = [
        event(dice.choice([0, 0, 3, 6]), name, Action.SUBSCRIBED, dice.choice(["*", "flights.*"]))
        for name in boards
    ]
    for i in range(dice.randint(1, 16)):
        time = dice.uniform(0, 10)
        channel = dice.choice(["flights.JFK", "flights.LGA", "alerts.critical"])
        label = "word " * dice.randint(1, 5)
        events += message(
            time, str(i), {}, sender=f"tower {dice.randint(1, 3)}", channel=channel, label=label
        )
        for name in boards:
            action = dice.choice(
                [Action.DELIVERED] * 6
                + [Action.LOST, Action.DROPPED, Action.FILTERED, Action.FAILED, None]
            )
            if action is not None:
                later = time + 0.3 + dice.uniform(0.1, 3)
                events.append(event(later, name, action, channel, str(i)))
    if dice.random() < 0.5:
        events.append(event(4, boards[0], Action.CONNECTION_LOST))
        events.append(event(4 + dice.uniform(0.1, 2), boards[0], Action.RECONNECTED))
    return events


def named(figure: Figure, gid: str) -> list[Artist]:
    """The artists whose name begins with `gid`."""
    return figure.findobj(lambda artist: (artist.get_gid() or "").startswith(gid))


def words(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if t.get_gid() and t.get_text()]


def assert_legible(figure: Figure) -> None:
    """No text covers another or leaves the picture, and none is too small."""
    figure.draw_without_rendering()
    texts = [t for t in figure.findobj(Text) if t.get_gid() and t.get_text().strip()]
    boxes = [(t, t.get_window_extent()) for t in texts]
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


CONVERSATIONS = {
    "snow day": snow_day(),
    "crowd": crowd(),
    "many": crowd(1, 2, 60),
    "numbered": crowd(2, 2, 30),
    "one message": [
        event(0, "board", Action.SUBSCRIBED, "news"),
        *message(1, "1", {"board": 1}, channel="news"),
    ],
    "at once": at_once(snow_day()),
    "crowd at once": at_once(crowd()),
    "wordy": wordy(snow_day()),
    "wordy crowd": wordy(crowd()),
    "nobody": message(0, "1", {}),
} | {f"chance {seed}": chance(seed) for seed in range(15)}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_every_word_can_be_read(name: str) -> None:
    assert_legible(space_time(CONVERSATIONS[name]))


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_there_is_an_arrow_for_every_delivery_and_a_broken_one_for_every_loss(name: str) -> None:
    events = CONVERSATIONS[name]
    figure = space_time(events)

    def count(*actions: Action) -> int:
        return sum(e.action in actions for e in events)

    assert len(named(figure, "arrow:delivered")) == count(Action.DELIVERED)
    assert len(named(figure, "arrow:sent")) == count(Action.SENT)
    assert len(named(figure, "broken:dropped")) == count(Action.DROPPED)
    assert len(named(figure, "broken:lost")) >= count(Action.LOST)
    assert len(named(figure, "cross")) >= 2 * len(named(figure, "broken:"))


def test_labels_stand_clear_of_arrows() -> None:
    events = [
        *message(0, "0", {"board": 9}),
        *message(1, "1", {"board": 1}, sender="upper"),
        *message(1.1, "2", {"board": 1}, sender="lower", label="right under the arrow"),
        *message(4, "3", {"board": 1}, sender="upper"),
        *message(4.2, "4", {"board": 1}, sender="lower", label="here as well"),
    ]
    figure = space_time(events)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in named(figure, "label")]
    lines = [a.get_path().transformed(a.get_transform()) for a in named(figure, "arrow:")]

    assert len(boxes) == 5
    assert not [1 for box in boxes for line in lines if line.intersects_bbox(box, filled=False)]


def test_the_title_states_what_the_trace_says() -> None:
    figure = space_time(snow_day())

    assert figure.headline == (
        "5 messages sent: app missed 2 by coming late, board lost 1 in a gap"
    )
    assert repr(figure) == f"<LabFigure: {figure.headline}>"


def test_the_alt_text_counts_who_sent_and_received_what() -> None:
    alt = space_time(snow_day()).alt_text

    assert "tower sent 5 messages: 4 on flights.JFK and 1 on alerts.x." in alt
    assert "board received 4 and lost 1 in a gap of its connection" in alt
    assert "app received 3 and missed 2 by coming late" in alt


def test_all_delivered_is_said_only_when_it_is_so() -> None:
    assert space_time(crowd()).headline == "12 messages, 6 subscribers: all delivered"
    waiting = [event(0, "board", Action.SUBSCRIBED, "*"), *message(1, "1", {}, written_to=1)]
    assert space_time(waiting).headline == "1 message sent: board still has 1 to handle"


def test_many_in_the_same_trouble_are_counted_together() -> None:
    late = [event(5, f"board {i}", Action.SUBSCRIBED, "*") for i in range(4)]
    title = space_time([*message(1, "1", {}), *message(2, "2", {}), *late]).headline
    assert title == "2 messages sent: 4 subscribers missed 8 in all by coming late"


def test_coming_late_only_counts_on_channels_one_asked_for() -> None:
    events = [
        *message(0, "1", {}, channel="logs.info", written_to=0),
        event(1, "board", Action.SUBSCRIBED, "flights.*"),
        *message(2, "2", {"board": 0.5}),
    ]
    figure = space_time(events)

    assert figure.headline == "2 messages sent: 1 reached nobody"
    assert "nobody listening" in words(figure)


def test_what_passes_after_leaving_was_not_missed_by_coming_late() -> None:
    events = [
        event(0, "board", Action.SUBSCRIBED, "*"),
        *message(1, "1", {"board": 0.5}),
        event(3, "board", Action.UNSUBSCRIBED, "*"),
        *message(4, "2", {}, written_to=0),
    ]
    figure = space_time(events)

    assert figure.headline == "2 messages sent: 1 reached nobody"
    assert "unsubscribe" in words(figure)


def test_a_loss_is_drawn_where_it_happened_and_not_where_it_was_noticed() -> None:
    figure = space_time(snow_day())
    (broken,) = named(figure, "broken:lost")
    (gap,) = named(figure, "gap")
    span = gap.get_bbox()

    assert span.x0 < broken.get_xdata()[-1] < span.x1
    assert {"lost", "gap"} <= set(words(figure))


def test_what_passes_while_the_connection_is_gone_is_lost_even_if_nobody_noticed() -> None:
    events = [
        event(0, "board", Action.SUBSCRIBED, "*"),
        event(1, "board", Action.CONNECTION_LOST),
        *message(2, "1", {}, written_to=0),
        event(3, "board", Action.RECONNECTED),
    ]
    assert space_time(events).headline == "1 message sent: board lost 1 in a gap"


def test_a_gap_recorded_after_the_fact_stands_where_it_was() -> None:
    trace = Trace(StepClock(tick=0))
    trace.record("board", Action.SUBSCRIBED, channel="*", at=0)
    trace.record("tower", Action.SENT, channel="news", message_id="1", at=2)
    trace.record("board", Action.CONNECTION_LOST, at=1)
    trace.record("board", Action.RECONNECTED, at=3)

    assert space_time(trace).headline == "1 message sent: board lost 1 in a gap"


def test_a_message_that_came_late_after_all_is_not_lost() -> None:
    events = [
        event(0, "board", Action.SUBSCRIBED, "*"),
        *message(1, "1", {}),
        event(2, "board", Action.LOST, "flights.JFK", "1"),
        event(3, "board", Action.DELIVERED, "flights.JFK", "1"),
    ]
    figure = space_time(events)

    assert figure.headline == "1 message, 1 subscriber: all delivered"
    assert not named(figure, "broken")


def test_a_second_delivery_looks_different_and_is_named() -> None:
    events = [
        event(0, "board", Action.SUBSCRIBED, "*"),
        *message(1, "1", {"board": 0.5}),
        event(3, "board", Action.DUPLICATE, "flights.JFK", "1"),
        event(3.1, "board", Action.DELIVERED, "flights.JFK", "1"),
    ]
    figure = space_time(events)

    assert len(named(figure, "arrow:delivered")) == len(named(figure, "arrow:duplicate")) == 1
    assert "duplicate" in words(figure)
    assert "more than once" in figure.headline


def test_failures_are_marks_on_the_arrow_and_count_once_a_message() -> None:
    events = [
        event(0, "board", Action.SUBSCRIBED, "*"),
        *message(1, "1", {"board": 0.5}),
        event(2, "board", Action.FAILED, "flights.JFK", "1"),
        event(2.1, "board", Action.FAILED, "flights.JFK", "1"),
        event(3, "board", Action.UNREADABLE, "flights.JFK"),
        event(4, "tower", Action.SENT, "flights.JFK", "2", "refused"),
        event(5, "tower", Action.SEND_FAILED, "flights.JFK", "2"),
    ]
    figure = space_time(events)

    assert figure.headline == (
        "2 messages sent: board failed on 1, could not read 1, 1 could not be sent"
    )
    assert len(named(figure, "broken:not sent")) == 1
    assert not named(figure, "arrow:failed")


def test_one_who_sends_and_listens_has_one_lane() -> None:
    events = [
        event(0, "ann", Action.SUBSCRIBED, "room"),
        event(0, "bob", Action.SUBSCRIBED, "room"),
        *message(1, "1", {"ann": 0.5, "bob": 0.6}, sender="ann", channel="room"),
        *message(3, "2", {"ann": 0.5, "bob": 0.6}, sender="bob", channel="room"),
    ]
    figure = space_time(events)

    assert words(figure).count("ann") == 1
    assert figure.headline == "2 messages, 2 subscribers: all delivered"
    assert_legible(figure)


def test_too_many_labels_become_numbers_with_a_key() -> None:
    figure = space_time(crowd(1, 2, 20))
    key = [t.get_text() for t in named(figure, "key")]

    assert [t.get_text() for t in named(figure, "label")] == [str(n) for n in range(1, 21)]
    assert "B6 700 departed" in key
    assert "B6 719 departed" in key


def test_leaving_labels_out_is_said_in_the_picture_and_in_the_alt_text() -> None:
    figure = space_time(crowd(1, 2, 60))

    assert not named(figure, "label")
    assert [t.get_text() for t in named(figure, "caption")] == [
        "60 messages are too many to name: arrows only."
    ]
    assert "too many to name" in figure.alt_text


def test_a_trace_that_forgot_its_beginning_says_so() -> None:
    trace = Trace(StepClock(), capacity=3)
    trace.record("board", Action.SUBSCRIBED, channel="*")
    for action, who in (
        (Action.SENT, "tower"),
        (Action.ACCEPTED, "broker"),
        (Action.DELIVERED, "b"),
    ):
        trace.record(who, action, channel="news", message_id="1", label="hello")

    (caption,) = named(space_time(trace), "caption")
    assert "forgot its first 1 event" in caption.get_text()


def test_actors_chooses_the_lanes_and_their_order() -> None:
    figure = space_time(snow_day(), actors=["app"])
    lanes = [t.get_text() for t in named(figure, "lane")]

    assert "app" in lanes
    assert "tower" in lanes
    assert "board" not in lanes
    assert len(named(figure, "arrow:delivered")) == 3
    with pytest.raises(ConfigurationError, match=r"'nobody'.*tower, broker, board, app"):
        space_time(snow_day(), actors=["nobody"])


def test_some_events_of_a_trace_are_enough() -> None:
    trace = Trace(StepClock())
    trace.record("tower", Action.SENT, channel="news", message_id="1", label="hello")
    trace.record("board", Action.DELIVERED, channel="news", message_id="1")

    assert space_time(trace.select("delivered")).headline == (
        "Messages from elsewhere: board received 1"
    )


def test_an_empty_trace_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="publish something first"):
        space_time(Trace())
    with pytest.raises(ConfigurationError, match="enabled=False"):
        space_time(Trace(enabled=False))


@pytest.mark.parametrize(
    "draw", [lambda: space_time(crowd()), lambda: losses([("a", 9, 4, 5, 0, 0)])]
)
def test_the_same_picture_is_the_same_bytes(draw) -> None:
    first = draw()
    png = first.to_png()

    assert png == first.to_png() == draw().to_png()
    assert struct.unpack(">I", png[16:20]) == (WIDTH,)
    assert b"Software" not in png


def test_settings_of_the_reader_are_neither_changed_nor_used() -> None:
    plain = space_time(snow_day()).to_png()
    with matplotlib.rc_context(
        {
            "font.size": 30,
            "font.family": "serif",
            "savefig.bbox": "tight",
            "lines.linewidth": 9,
            "figure.facecolor": "black",
            "axes.facecolor": "black",
            "path.sketch": (3, 100, 2),
            "lines.scale_dashes": False,
        }
    ):
        before = dict(matplotlib.rcParams)
        assert space_time(snow_day()).to_png() == plain
        assert dict(matplotlib.rcParams) == before


def test_pyplot_never_hears_of_a_picture() -> None:
    space_time(snow_day()).to_png()
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_a_channel_keeps_its_look_and_no_two_look_alike() -> None:
    looks = [look_of(f"channel {i}") for i in range(24)]

    assert len({(look.colour, look.dashes) for look in looks}) == 24
    assert len({look.marker for look in looks[:6]}) == 6
    assert look_of("channel 3") == looks[3]


def test_show_gives_a_notebook_the_picture_once_with_its_alt_text(monkeypatch) -> None:
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *data, **how: shown.append((data, how)))
    figure = space_time(snow_day())

    show(figure)
    figure._ipython_display_()

    (first, how), second = shown
    assert (first, how) == second
    assert first[0]["image/png"] == figure.to_png()
    assert first[0]["text/plain"] == repr(figure)
    assert how == {"raw": True, "metadata": {"image/png": {"alt": figure.alt_text}}}


def test_a_picture_without_alt_text_is_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="alt="):
        show(Figure())


@pytest.mark.parametrize(
    "content",
    [
        {"flight": "B6 739", "to": "SJU"},
        {"text": "x" * 5000 + '日本 😀 $a$ \\ "'},
        {f"field {i}": i for i in range(300)},
        [[[[["deep"] * 20]]]],
        None,
        "words",
    ],
    ids=["small", "long line", "many lines", "deep", "null", "text"],
)
def test_the_anatomy_of_any_message_can_be_read(content) -> None:
    sent = Message.new("flight.departed", content, sender="tower", metadata={"seq": 1})
    figure = message_anatomy(sent)
    size = f"{len(sent.encode()):,} bytes"

    assert_legible(figure)
    assert size in figure.headline
    assert size in figure.alt_text
    assert [t.get_text().strip() for t in named(figure, "field")] == [
        "type", "content", "timestamp", "sender", "metadata",
    ]  # fmt: skip
    assert len(named(figure, "bracket")) == 5


def test_the_anatomy_counts_what_it_leaves_out() -> None:
    sent = Message.new("a.b", {f"k{i}": "y" * 200 for i in range(30)}, sender="tower")
    figure = message_anatomy(sent)

    assert "… 20 more lines" in words(figure)
    assert any("more characters" in text for text in words(figure))


def test_losses_name_each_reason_and_state_the_finding() -> None:
    rows = [LossRow("board", 100, 100), ("app", 100, 63, 37, 0, 0), ("slow", 100, 38, 0, 60, 1)]
    figure = losses(rows)

    assert figure.headline == ("app missed 37 of 100 and slow missed 61 of 100, the others none")
    assert (
        "38 delivered, 60 dropped (buffer full), 1 lost and 1 not accounted for" in figure.alt_text
    )
    assert {"100", "63", "37", "60", "38", "1"} <= {t.get_text() for t in named(figure, "count")}
    assert_legible(figure)


@pytest.mark.parametrize(
    "rows",
    [
        [("tiny", 1000, 996, 1, 1, 1), ("all lost", 1000, 0, 0, 0, 1000)],
        [("nothing", 0, 0, 0, 0, 0)],
        [(f"a subscriber with quite a long name, number {i}", 10**6, i, 0, 0, 0) for i in range(9)],
    ],
)
def test_losses_can_be_read_however_small(rows) -> None:
    assert_legible(losses(rows))


def test_losses_are_counted_from_a_trace() -> None:
    figure = losses(_trace_of(snow_day()))
    assert figure.headline == "board missed 1 of 5 and app missed 2 of 5"


def _trace_of(events: Iterable[TraceEvent]) -> Trace:
    trace = Trace(StepClock())
    for e in events:
        trace.record(
            e.actor,
            e.action,
            channel=e.channel,
            message_id=e.message_id,
            detail=e.detail,
            at=e.time,
        )
    return trace


def test_losses_refuse_what_cannot_be() -> None:
    with pytest.raises(ConfigurationError, match="lost counts messages"):
        LossRow("board", 5, 5, lost=-1)
    with pytest.raises(ConfigurationError, match="No subscriber"):
        losses([])


def test_what_is_drawn_is_a_lab_figure() -> None:
    assert isinstance(space_time(snow_day()), LabFigure)
    assert isinstance(losses([LossRow("board", 1, 1)]), Figure)
