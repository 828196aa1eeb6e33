"""What was counted: to read, to show, and as a frame."""

from __future__ import annotations

import threading
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import labkit
from labkit import Message, Publisher, StepClock, Subscriber
from labkit.broker import Gap
from labkit.errors import DecodeError
from labkit.patterns.statistics import (
    LATENCIES_KEPT,
    RECORDS_KEPT,
    ErrorRecord,
    Latency,
    PublisherStatistics,
    SubscriberStatistics,
    Tally,
)

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def tally() -> Tally:
    """Three messages on two channels within two seconds, one of them unreadable."""
    tally = Tally()
    tally.add("news", messages=1, bytes=100)
    tally.add("news", messages=1, bytes=50, unreadable=1)
    tally.add("alerts", messages=1, bytes=1_000)
    tally.add(None, gaps=1)
    tally.add("news", handled=3)
    for reading_ns in (5_000_000_000, 6_000_000_000, 7_000_000_000):
        tally.seen_at(reading_ns)
    return tally


# --- counts ---------------------------------------------------------------------------------------


def test_counts_are_kept_in_all_and_for_each_channel(tally: Tally) -> None:
    stats = tally.subscriber("board")

    assert (stats.name, stats.messages, stats.bytes) == ("board", 3, 1_150)
    assert (stats.unreadable, stats.gaps, stats.lost) == (1, 1, 0)
    assert stats.channels == {
        "alerts": {"messages": 1, "bytes": 1_000},
        "news": {"messages": 2, "bytes": 150, "unreadable": 1, "handled": 3},
    }
    assert stats.counts()["messages"] == 3
    assert tuple(stats.counts()) == SubscriberStatistics.counters()


def test_counts_are_those_of_one_moment(tally: Tally) -> None:
    before = tally.subscriber("board")

    tally.add("news", messages=1, bytes=1)

    assert before.messages == 3
    assert before.channels["news"]["messages"] == 2
    assert tally.subscriber("board").messages == 4


def test_several_threads_may_count() -> None:
    tally = Tally()
    ready = threading.Barrier(8)

    def count() -> None:
        ready.wait()
        for _ in range(1_000):
            tally.add("news", messages=1, bytes=2)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert (tally["messages"], tally["bytes"]) == (8_000, 16_000)
    assert tally.publisher("tower").channels == {"news": {"messages": 8_000, "bytes": 16_000}}


def test_only_the_last_records_are_kept() -> None:
    tally = Tally()
    for number in range(RECORDS_KEPT + 5):
        tally.add("news", callback_errors=1, unreadable=1, gaps=1)
        tally.errors.append(ErrorRecord("news", str(number), "KeyError: 'delay'"))
        tally.decode_errors.append(DecodeError("no", b"x", "news"))
        tally.gaps.append(Gap(("news",), number, number + 1, 0.0, "gone"))

    stats = tally.subscriber("board")

    assert (stats.callback_errors, stats.unreadable, stats.gaps) == (105, 105, 105)
    assert [record.message_id for record in stats.errors] == [str(n) for n in range(5, 105)]
    assert len(stats.decode_errors) == len(stats.gap_records) == RECORDS_KEPT
    assert stats.gap_records[-1].seconds == 1


# --- rate -----------------------------------------------------------------------------------------


def test_the_rate_is_of_the_intervals_between_messages(tally: Tally) -> None:
    stats = tally.subscriber("board")

    assert stats.seconds == 2.0
    assert stats.rate == pytest.approx(1.0), "three messages, two intervals, two seconds"


def test_without_an_interval_there_is_no_rate() -> None:
    tally = Tally()
    assert tally.publisher("tower").rate is None

    tally.add("news", messages=1)
    tally.seen_at(7)
    assert tally.publisher("tower").rate is None

    tally.add("news", messages=1)
    tally.seen_at(7)
    assert tally.publisher("tower").rate is None, "two at the same instant"


# --- latency --------------------------------------------------------------------------------------


def nearest_rank(samples: list[int], percent: int) -> float:
    """By its definition: the smallest sample that so many per cent of the samples do not exceed."""
    enough = Fraction(percent, 100)
    return next(
        sample / 1e6
        for sample in sorted(samples)
        if Fraction(sum(other <= sample for other in samples), len(samples)) >= enough
    )


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=250))
@example([1])
@example([1, 2])
@example(list(range(1, 101)))
@example(list(range(1, 102)))
@example(list(range(200, 0, -1)))
def test_percentiles_are_samples_by_nearest_rank(samples: list[int]) -> None:
    latency = Latency.of(samples)

    assert latency is not None
    assert latency.samples == len(samples)
    assert latency.min_ms == min(samples) / 1e6
    assert latency.max_ms == max(samples) / 1e6
    assert latency.mean_ms == pytest.approx(sum(samples) / len(samples) / 1e6)
    assert latency.p50_ms == nearest_rank(samples, 50)
    assert latency.p99_ms == nearest_rank(samples, 99)


def test_of_a_hundred_the_percentiles_are_the_textbooks() -> None:
    latency = Latency.of([number * 1_000_000 for number in range(1, 101)])

    assert latency == Latency(100, 1.0, 50.5, 50.0, 99.0, 100.0)


def test_without_samples_there_is_no_latency() -> None:
    assert Latency.of([]) is None
    assert Tally().subscriber("board").latency is None


def test_only_the_latest_latencies_are_kept() -> None:
    tally = Tally()
    tally.latencies_ns.extend(range(LATENCIES_KEPT + 10))

    latency = tally.subscriber("board").latency

    assert latency is not None
    assert latency.samples == LATENCIES_KEPT
    assert latency.min_ms == 10 / 1e6


def test_latency_is_from_sending_to_handling_on_one_clock() -> None:
    with labkit.connect("embedded://", clock=StepClock(tick=0), trace=False) as lab:
        assert isinstance(lab.clock, StepClock)
        with Publisher(lab, sender="tower") as tower, Subscriber(lab, name="board") as board:
            board.subscribe("news")
            tower.publish("news", 1)
            lab.clock.advance(0.25)
            board.drain()
            tower.publish("news", 2)
            lab.clock.advance(0.75)
            board.drain()
            foreign = {"epoch": "other-clock.1", "seq": 1, "sent_ns": 0}
            board.inject("news", Message.new("a", 3, sender="x", metadata=foreign))

            latency = board.stats().latency

    assert latency == Latency(2, 250.0, 500.0, 250.0, 750.0, 750.0), "the stranger's is left out"


# --- shown ----------------------------------------------------------------------------------------


def test_as_a_frame_it_has_one_row_a_channel(tally: Tally) -> None:
    frame = tally.subscriber("board").to_frame()

    assert frame.index.tolist() == ["alerts", "news"]
    assert frame.index.name == "channel"
    assert tuple(frame.columns) == SubscriberStatistics.counters()
    assert frame["messages"].tolist() == [1, 2]
    assert frame["bytes"].sum() == 1_150
    assert frame.loc["alerts", "unreadable"] == 0


def test_an_empty_one_can_be_shown_too() -> None:
    stats = Tally().publisher("tower")

    assert repr(stats) == "Publisher 'tower': nothing yet"
    assert stats.to_frame().empty
    assert tuple(stats.to_frame().columns) == PublisherStatistics.counters()
    assert "Publisher tower" in stats._repr_html_()


def test_its_repr_is_a_sentence_of_what_happened(tally: Tally) -> None:
    shown = repr(tally.subscriber("board"))

    assert shown.startswith("Subscriber 'board': 3 messages, 1,150 bytes, 3 handled")
    assert shown.endswith("1.0/s")
    assert "duplicates" not in shown, "what did not happen is not told"


def test_one_of_a_kind_is_no_plural() -> None:
    tally = Tally()
    tally.add("news", messages=1, bytes=1, handled=1, gaps=1, callback_errors=2)
    shown = repr(tally.subscriber("board"))
    assert shown == "Subscriber 'board': 1 message, 1 byte, 1 handled, 2 callback errors, 1 gap"


def test_a_notebook_shows_each_channel_and_the_sum(tally: Tally) -> None:
    html = tally.subscriber("board")._repr_html_()

    assert "Subscriber board" in html
    for text in ("<td", "news", "alerts", "all", "1,150", "unreadable"):
        assert text in html
    assert html.count("<tr>") == 1 + 2 + 1
    assert "duplicates" not in html, "columns of zeros are left out"


def test_a_notebook_shows_markup_as_text() -> None:
    tally = Tally()
    tally.add(EVIL, messages=1)

    html = tally.publisher(EVIL)._repr_html_()

    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 2


def test_publisher_and_subscriber_count_their_own_things() -> None:
    with (
        labkit.connect("embedded://", clock=StepClock()) as lab,
        Publisher(lab, sender="tower") as tower,
        Subscriber(lab, name="board") as board,
    ):
        board.subscribe("news")
        board.psubscribe("n*")
        tower.publish("news", "hello")
        tower.publish("nobody", "hello")
        tower.publish("elsewhere", "hello")
        board.drain()
        board.inject("news", b"hello")

        sent, received = tower.stats(), board.stats()

    assert (sent.messages, sent.subscriptions, sent.unheard, sent.failed) == (3, 3, 1, 0)
    assert set(sent.channels) == {"news", "nobody", "elsewhere"}
    assert sent.rate is not None
    assert (received.messages, received.unreadable) == (4, 1)
    assert received.decode_errors[0].channel == "news"
    assert received.bytes == sum(counts["bytes"] for counts in received.channels.values())
