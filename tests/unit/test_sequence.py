"""What the numbers in the metadata tell a subscriber about what it did not see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import labkit
from labkit import Message, Subscriber
from labkit.broker import PubSubBroker
from labkit.patterns.pubsub import sequence
from labkit.patterns.pubsub.sequence import Observation, SequenceTracker

NOTHING = Observation()


def numbered(seq: Any, *, epoch: Any = "e.1", sender: str = "tower", **facts: Any) -> Message:
    metadata = {"epoch": epoch, "seq": seq, **facts}
    return Message.new("a.b", None, sender=sender, metadata=metadata)


def observe(tracker: SequenceTracker, *numbers: int, channel: str = "news") -> list[Observation]:
    return [tracker.observe(channel, numbered(number)) for number in numbers]


# --- what is said ---------------------------------------------------------------------------------


def test_an_unbroken_run_says_nothing() -> None:
    assert observe(SequenceTracker(), 1, 2, 3, 4) == [NOTHING] * 4


def test_missing_numbers_are_lost_and_named() -> None:
    tracker = SequenceTracker()

    [_, seen] = observe(tracker, 1, 4)

    assert seen == Observation(lost=2, lost_ids=("tower/e.1/news/2", "tower/e.1/news/3"))
    assert observe(tracker, 5) == [NOTHING], "said once"


def test_the_lost_ids_are_those_that_the_publisher_gave() -> None:
    """Who relays a message may have put his own name on it; the id has the publisher's."""
    tracker = SequenceTracker()
    tracker.observe("news", numbered(1, sender="relay", message_id="tower/e.1/news/1"))

    seen = tracker.observe("news", numbered(3, sender="relay", message_id="tower/e.1/news/3"))

    assert seen.lost_ids == ("tower/e.1/news/2",)


def test_what_came_before_is_a_duplicate() -> None:
    [*_, again, last] = observe(SequenceTracker(), 1, 2, 1, 2)

    assert again == last == Observation(duplicate=True)


def test_what_was_lost_and_comes_after_all_is_late_and_then_a_duplicate() -> None:
    tracker = SequenceTracker()

    [_, _, late, again] = observe(tracker, 1, 3, 2, 2)

    assert late == Observation(late=True)
    assert again == Observation(duplicate=True)
    assert observe(tracker, 4) == [NOTHING]


def test_who_comes_late_missed_what_was_before() -> None:
    tracker = SequenceTracker()

    assert observe(tracker, 5, 6) == [Observation(missed_before=4), NOTHING]


def test_what_is_from_before_the_first_and_never_came_is_no_duplicate() -> None:
    """Two connections of one publisher: 5 may overtake 4 just when we begin to listen."""
    [_, seen, again] = observe(SequenceTracker(), 5, 4, 4)

    assert not seen.duplicate
    assert seen.late
    assert seen.lost == 0
    assert again.duplicate


def test_channels_and_runs_are_followed_apart() -> None:
    tracker = SequenceTracker()

    observe(tracker, 1, 2, channel="news")
    assert observe(tracker, 1, 2, channel="alerts") == [NOTHING] * 2
    assert tracker.observe("news", numbered(1, epoch="e.2")) == NOTHING, "the publisher restarted"
    assert tracker.observe("news", numbered(3)) == NOTHING
    assert tracker.channels() == {"news", "alerts"}


def test_after_a_time_without_a_subscription_it_starts_afresh() -> None:
    tracker = SequenceTracker()
    observe(tracker, 1, 2)
    observe(tracker, 1, channel="alerts")

    tracker.forget("news")

    assert tracker.channels() == {"alerts"}
    assert observe(tracker, 9) == [Observation(missed_before=8)]
    assert observe(tracker, 3, channel="alerts")[0].lost == 1, "other channels are not forgotten"


# --- against a simple model -----------------------------------------------------------------------


@given(st.lists(st.integers(1, 12), max_size=30))
@example([3, 1, 1, 7, 5, 2, 6, 4, 8])
def test_its_observations_are_those_of_one_who_remembers_all(numbers: list[int]) -> None:
    tracker = SequenceTracker()
    seen: list[int] = []
    for number in numbers:
        observation = tracker.observe("news", numbered(number))

        if not seen:
            assert observation == Observation(missed_before=number - 1)
        elif number in seen:
            assert observation == Observation(duplicate=True)
        elif number > max(seen):
            missing = range(max(seen) + 1, number)
            ids = tuple(f"tower/e.1/news/{n}" for n in missing)
            assert observation == Observation(lost=len(missing), lost_ids=ids)
        elif number > seen[0]:
            assert observation == Observation(late=True)
        else:
            assert observation.lost == 0
        seen.append(number)


@given(st.permutations(range(1, 9)), st.integers(0, 8))
def test_the_counts_add_up_whatever_the_order(order: list[int], kept: int) -> None:
    """Every number up to the largest was seen, is still missing, or was before the first."""
    arrived = [1, *(number for number in order[:kept] if number != 1)]
    tracker = SequenceTracker()

    observations = observe(tracker, *arrived)

    still_missing = sum(o.lost for o in observations) - sum(o.late for o in observations)
    assert still_missing == max(arrived) - len(arrived)
    assert not any(o.duplicate for o in observations)


# --- hostile metadata -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"seq": 1},
        {"epoch": "e.1"},
        {"epoch": "e.1", "seq": 0},
        {"epoch": "e.1", "seq": -5},
        {"epoch": "e.1", "seq": 2**63},
        {"epoch": "e.1", "seq": 10**4000},
        {"epoch": "e.1", "seq": True},
        {"epoch": "e.1", "seq": "2"},
        {"epoch": "e.1", "seq": 2.0},
        {"epoch": "e.1", "seq": None},
        {"epoch": "e.1", "seq": [2]},
        {"epoch": 7, "seq": 2},
        {"epoch": None, "seq": 2},
        {"epoch": ["e.1"], "seq": 2},
    ],
    ids=lambda metadata: str(metadata)[:40],
)
def test_a_message_without_proper_numbers_says_nothing(metadata: dict[str, Any]) -> None:
    tracker = SequenceTracker()
    observe(tracker, 1)

    for _ in range(2):
        assert (
            tracker.observe("news", Message.new("a", 1, sender="s", metadata=metadata)) == NOTHING
        )
    assert observe(tracker, 2) == [NOTHING]


@pytest.mark.parametrize("far", [10**18, 2**63 - 10])
def test_a_jump_into_the_distance_costs_no_more_than_the_numbers_kept(far: int) -> None:
    tracker = SequenceTracker()

    [_, seen] = observe(tracker, 1, far)

    assert seen.lost == far - 2
    assert len(seen.lost_ids) == sequence.LOST_IDS_TOLD
    assert seen.lost_ids[0].endswith("/2")
    assert observe(tracker, far + 1) == [NOTHING]
    assert observe(tracker, far + 3)[0].lost == 1, "losses are counted when no more are kept"
    assert observe(tracker, 2) == [Observation(late=True)], "the ones kept are recognised"


def test_a_first_number_in_the_distance_is_no_loss() -> None:
    assert observe(SequenceTracker(), 10**18) == [Observation(missed_before=10**18 - 1)]


def test_no_more_missing_numbers_are_kept_than_promised() -> None:
    tracker = SequenceTracker()
    observe(tracker, *range(1, 10_000, 2))

    late = [o.late for o in observe(tracker, *range(2, 10_000, 2))]

    assert sum(late) == sequence.MISSING_KEPT
    assert all(late[: sequence.MISSING_KEPT]), "the first ones"


def test_no_more_runs_are_kept_than_promised_and_the_silent_ones_go_first() -> None:
    tracker = SequenceTracker()
    tracker.observe("news", numbered(1, epoch="lively"))
    tracker.observe("news", numbered(1, epoch="silent"))
    for number in range(sequence.RUNS_KEPT - 1):
        if number % 100 == 0:
            tracker.observe("news", numbered(2 + number // 100, epoch="lively"))
        tracker.observe(f"c{number}", numbered(1, epoch="e"))

    assert len(tracker.channels()) == sequence.RUNS_KEPT, "news, and all but one of the others"
    assert tracker.observe("news", numbered(5, epoch="silent")) == Observation(missed_before=4)
    assert tracker.observe("news", numbered(99, epoch="lively")).lost > 0


@pytest.fixture
def lab() -> Iterator[PubSubBroker]:
    with labkit.connect("embedded://") as lab:
        yield lab


def test_a_subscriber_survives_any_numbers_and_counts_on(lab: PubSubBroker) -> None:
    subscriber = Subscriber(lab, name="board")

    for seq in (1, 10**18, -1, "2", True, 10**30, 0, None, 10**18 + 2):
        assert len(subscriber.inject("news", numbered(seq))) == 1

    stats = subscriber.stats()
    assert stats.handled == 9
    assert stats.lost == 10**18 - 2 + 1
    assert stats.callback_errors == 0
    assert "board" in repr(stats)
    assert len(stats._repr_html_()) < 10_000
    assert stats.to_frame().loc["news", "handled"] == 9


def test_a_loss_is_taken_back_when_it_comes_after_all(lab: PubSubBroker) -> None:
    subscriber = Subscriber(lab, name="board")

    for seq in (3, 6, 5, 5):
        subscriber.inject("news", numbered(seq))

    stats = subscriber.stats()
    assert (stats.missed_before, stats.lost, stats.out_of_order, stats.duplicates) == (2, 1, 1, 1)
    assert [e.message_id for e in lab.trace.select("lost")] == [
        "tower/e.1/news/4",
        "tower/e.1/news/5",
    ]


def test_what_comes_after_all_from_before_the_first_was_not_missed(lab: PubSubBroker) -> None:
    subscriber = Subscriber(lab, name="board")

    for seq in (5, 4, 4):
        subscriber.inject("news", numbered(seq))

    stats = subscriber.stats()
    assert (stats.missed_before, stats.lost, stats.out_of_order, stats.duplicates) == (3, 0, 1, 1)
