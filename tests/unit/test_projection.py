"""Projections: what the events come to, again and again, through poison, old forms and trims."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import labkit
from labkit import Event, EventStream, NewEvent, Projection, StepClock
from labkit.broker import NewEntry
from labkit.data import stormy_day
from labkit.errors import ConfigurationError, PoisonEvent, SnapshotMismatch
from labkit.experiments.flight_desk import STREAM, CommandRefused, FlightDesk
from labkit.experiments.flight_views import bookings_to_move, delay_per_carrier, departure_board
from labkit.patterns.event_stream import Snapshot


@pytest.fixture
def lab() -> Iterator[Any]:
    with labkit.connect(clock=StepClock()) as lab:
        yield lab


@pytest.fixture
def stream(lab: Any) -> EventStream:
    return EventStream(lab, "s")


def fill(stream: EventStream, *numbers: object) -> None:
    stream.append_many([NewEvent(n, key="k", type="number.added") for n in numbers])


def add(state: int, event: Event) -> int:
    return state + int(event.content)


def collect(state: dict[str, Any], event: Event) -> None:
    """Changes the state in two steps, and may fail in between."""
    state["count"] = state.get("count", 0) + 1
    state["sum"] = state.get("sum", 0) + event.content


# --- state and place ------------------------------------------------------------------------------


def test_a_state_is_returned_or_changed_in_place(stream: EventStream) -> None:
    fill(stream, 1, 2, 3)
    assert Projection(0, add).rebuild(stream) == 6
    assert Projection(dict, collect).rebuild(stream) == {"count": 3, "sum": 6}
    start: dict[str, Any] = {"count": 10}
    projection = Projection(start, collect)
    assert projection.rebuild(stream) == projection.rebuild(stream) == {"count": 13, "sum": 6}
    assert start == {"count": 10}


def test_an_empty_stream_leaves_the_initial_state(stream: EventStream) -> None:
    projection = Projection(0, add)
    assert projection.rebuild(stream) == 0
    assert projection.catch_up(stream) == 0
    assert "at the beginning" in repr(projection)
    assert (projection.position, projection.applied, projection.cursor) == ("", 0, {})


def test_it_can_be_rebuilt_up_to_a_place_in_the_past(stream: EventStream) -> None:
    fill(stream, *range(10))
    third = stream.read()[3]
    projection = Projection(0, add)
    assert projection.rebuild(stream, end=third) == 6
    assert projection.position == str(third.position)
    assert projection.catch_up(stream) == 6


def test_it_reads_in_batches_whatever_the_length(stream: EventStream) -> None:
    fill(stream, *([1] * 2500))
    projection = Projection(0, add)
    assert projection.rebuild(stream) == 2500
    assert projection.stats().messages == projection.applied == 2500


# --- poison ---------------------------------------------------------------------------------------


def test_half_of_a_poison_event_is_not_in_the_state(stream: EventStream) -> None:
    fill(stream, 1, 2, "three", 4)
    projection = Projection(dict, collect)
    with pytest.raises(PoisonEvent, match="TypeError") as caught:
        projection.rebuild(stream)
    assert projection.state == {"count": 2, "sum": 3}
    assert projection.applied == 2
    projection.skip(caught.value)
    assert projection.catch_up(stream) == 1
    assert projection.state == {"count": 3, "sum": 7}
    assert projection.rebuild(stream) == {"count": 3, "sum": 7}  # a skip holds
    stats = projection.stats()
    assert (stats.poisoned, stats.skipped) == (1, 2)


def test_half_of_a_poison_event_is_not_in_a_restored_state_either(stream: EventStream) -> None:
    fill(stream, *range(5))
    projection = Projection(dict, collect)
    projection.rebuild(stream)
    kept = projection.snapshot()
    stream.trim(keep=0)
    fill(stream, 5, "six")
    projection.restore(kept)
    with pytest.raises(PoisonEvent):
        projection.catch_up(stream)
    assert projection.state == {"count": 6, "sum": 15}


def test_where_the_past_is_trimmed_a_half_event_is_told(stream: EventStream) -> None:
    fill(stream, *range(5))
    projection = Projection(dict, collect)
    projection.rebuild(stream)
    stream.trim(keep=0)
    fill(stream, "six")
    with pytest.raises(PoisonEvent, match="may hold a part of it"):
        projection.catch_up(stream)
    with pytest.raises(SnapshotMismatch, match="Restore a snapshot, or rebuild"):
        projection.catch_up(stream)


def test_an_interrupted_projection_goes_on_as_if_it_had_not_been(stream: EventStream) -> None:
    fill(stream, *range(6))
    interrupt = [True]

    def apply(state: dict[str, Any], event: Event) -> None:
        state["count"] = state.get("count", 0) + 1
        if event.content == 3 and interrupt:
            interrupt.pop()
            raise KeyboardInterrupt
        state["sum"] = state.get("sum", 0) + event.content

    projection = Projection(dict, apply)
    with pytest.raises(KeyboardInterrupt):
        projection.rebuild(stream)
    assert projection.catch_up(stream) == 3
    assert projection.state == {"count": 6, "sum": 15}


def test_what_is_unreadable_stops_it_too(lab: Any, stream: EventStream) -> None:
    fill(stream, 1)
    stream.log.append([NewEntry(b"rubbish")])
    fill(stream, 2)
    projection = Projection(0, add, name="total")
    with pytest.raises(PoisonEvent, match=r"'total' stopped before the event at .*malformed"):
        projection.rebuild(stream)
    [bad] = stream.read().unreadable
    projection.skip(bad)
    assert projection.rebuild(stream) == 3
    assert lab.trace.count("failed", "skipped", actor="total") == 2


def test_what_is_no_position_cannot_be_skipped(stream: EventStream) -> None:
    with pytest.raises(ConfigurationError, match="no position"):
        Projection(0, add).skip("the third one")
    fill(stream, 1)
    projection = Projection(0, add)
    projection.skip(stream.read()[0])
    assert projection.rebuild(stream) == 0


# --- old forms ------------------------------------------------------------------------------------


def test_old_forms_are_made_into_the_newest_step_by_step(stream: EventStream) -> None:
    fill(stream, 5)
    stream.append({"by": 6}, type="number.added", version=2)
    stream.append({"by": 7, "who": "ada"}, type="number.added", version=3)
    stream.append(8, type="other")
    seen: list[tuple[int, Any]] = []
    projection = Projection(
        dict,
        lambda _, event: seen.append((event.version, event.content)),
        upcasters={
            ("number.added", 1): lambda content: {"by": content},
            ("number.added", 2): lambda content: {**content, "who": "?"},
        },
    )
    projection.rebuild(stream)
    assert seen == [
        (3, {"by": 5, "who": "?"}),
        (3, {"by": 6, "who": "?"}),
        (3, {"by": 7, "who": "ada"}),
        (1, 8),
    ]
    assert projection.stats().upcast == 2
    assert [event.version for event in stream.read()] == [1, 2, 3, 1]  # what is written stays


def test_an_upcaster_that_fails_is_poison(stream: EventStream) -> None:
    fill(stream, 5)
    upcasters = {("number.added", 1): lambda content: content["by"]}
    with pytest.raises(PoisonEvent, match="TypeError"):
        Projection(0, add, upcasters=upcasters).rebuild(stream)


@pytest.mark.parametrize("key", ["number.added", ("number.added",), ("number.added", "1")])
def test_upcasters_are_named_by_type_and_version(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="from \\(type, version\\)"):
        Projection(0, add, upcasters={key: str})


def test_apply_is_a_function() -> None:
    with pytest.raises(ConfigurationError, match="function of \\(state, event\\)"):
        Projection(0, None)  # type: ignore[arg-type]


# --- snapshots ------------------------------------------------------------------------------------


def test_a_snapshot_is_gone_on_from(stream: EventStream, tmp_path: Path) -> None:
    fill(stream, 1, 2, "x", 3)
    first = Projection(dict, collect)
    first.skip(stream.read()[2])
    first.rebuild(stream)
    path = first.save(tmp_path / "snapshot.json")
    assert [file.name for file in tmp_path.iterdir()] == ["snapshot.json"]
    fill(stream, 4)
    second = Projection(dict, collect)
    second.load(path)
    assert second.catch_up(stream) == 1
    assert second.state == {"count": 4, "sum": 10}
    assert (second.applied, second.skips, second.missed) == (4, first.skips, 0)
    assert first.state == {"count": 3, "sum": 6}


def test_a_snapshot_does_not_change_with_the_state(stream: EventStream) -> None:
    fill(stream, 1)
    projection = Projection(dict, collect)
    projection.rebuild(stream)
    kept = projection.snapshot()
    fill(stream, 2)
    projection.catch_up(stream)
    assert kept.state == {"count": 1, "sum": 1}
    projection.restore(kept)
    projection.catch_up(stream)
    assert kept.state == {"count": 1, "sum": 1}
    assert Snapshot.from_json(kept.to_json()) == kept


@pytest.mark.parametrize("state", [{1: "a"}, {"a": (1, 2)}, {"a": {1}}, {"a": object()}])
def test_a_state_that_json_would_change_has_no_snapshot(state: Any) -> None:
    with pytest.raises(ConfigurationError, match="not what JSON can hold"):
        Projection(state, collect).snapshot()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"name": 1}', "\ufeff", json.dumps({"name": "projection"})],
)
def test_what_is_no_snapshot_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    path.write_text(text)
    with pytest.raises(SnapshotMismatch, match="no snapshot"):
        Projection(0, add).load(path)


def test_a_snapshot_with_a_bad_position_is_refused(stream: EventStream) -> None:
    fill(stream, 1)
    projection = Projection(0, add)
    projection.rebuild(stream)
    whole = json.loads(projection.snapshot().to_json())
    for positions in ({"0": "yesterday"}, {"x": "1-0"}):
        with pytest.raises(SnapshotMismatch, match="no snapshot"):
            Snapshot.from_json(json.dumps(whole | {"positions": positions}))


def test_a_snapshot_of_another_projection_or_version_is_refused() -> None:
    kept = Projection(0, add, name="a").snapshot()
    for other in (Projection(0, add, name="b"), Projection(0, add, name="a", version=2)):
        with pytest.raises(SnapshotMismatch, match="Use rebuild"):
            other.restore(kept)


def test_a_snapshot_of_another_stream_is_found_out(lab: Any, stream: EventStream) -> None:
    fill(stream, 1, 2, 3)
    projection = Projection(0, add)
    projection.rebuild(stream)
    other = EventStream(lab, "other")
    for _ in range(2):
        with pytest.raises(SnapshotMismatch, match="another stream"):
            projection.catch_up(other)
        fill(other, 1)
    assert projection.rebuild(other) == 2


# --- commands and queries apart -------------------------------------------------------------------


@pytest.fixture
def desk(lab: Any) -> FlightDesk:
    return FlightDesk(EventStream(lab, STREAM))


FACTS = {"carrier": "JetBlue", "origin": "JFK", "destination": "MIA", "scheduled": "12:00"}


@pytest.mark.parametrize(
    ("story", "refused", "reason"),
    [
        ([], "depart", "depart: nobody has scheduled it; it can only be scheduled now."),
        (
            ["schedule"],
            "arrive",
            "arrive: it is scheduled and has not departed; "
            "it can only be delayed, depart or be cancelled now.",
        ),
        (
            ["schedule", "depart"],
            "cancel",
            "be cancelled: it has departed; it can only arrive now.",
        ),
        (
            ["schedule", "depart", "arrive"],
            "depart",
            "depart: it has arrived; nothing more happens to it.",
        ),
        (
            ["schedule", "cancel"],
            "depart",
            "depart: it is cancelled; nothing more happens to it.",
        ),
        (["schedule"], "schedule", "be scheduled: it is scheduled and has not departed;"),
    ],
)
def test_what_may_not_be_is_refused_with_the_reason(
    desk: FlightDesk, story: list[str], refused: str, reason: str
) -> None:
    for step in story:
        getattr(desk, step)("B6 1", **(FACTS if step == "schedule" else {}))
    before = len(desk.stream)
    with pytest.raises(CommandRefused, match=f"^B6 1 cannot {reason}"):
        getattr(desk, refused)("B6 1")
    assert len(desk.stream) == before


def test_two_desks_decide_on_each_other_s_events(lab: Any, desk: FlightDesk) -> None:
    other = FlightDesk(EventStream(lab, STREAM, sender="other"))
    desk.schedule("B6 1", **FACTS)
    other.delay("B6 1", 30)  # has read that it is scheduled
    desk.depart("B6 1", 35)  # did not know of the delay: decided anew
    assert desk.conflicts == 1
    with pytest.raises(CommandRefused, match="it has departed"):
        other.cancel("B6 1")
    assert [event.type for event in desk.stream.read()] == [
        "flight.scheduled",
        "flight.delayed",
        "flight.departed",
    ]
    assert [event.revision for event in desk.stream.read()] == [1, 2, 3]


def test_a_desk_that_starts_later_knows_what_was_decided(lab: Any, desk: FlightDesk) -> None:
    desk.schedule("B6 1", **FACTS)
    desk.cancel("B6 1")
    late = FlightDesk(EventStream(lab, STREAM))
    with pytest.raises(CommandRefused, match="it is cancelled"):
        late.depart("B6 1")


def test_the_stormy_day_makes_three_views_of_the_same_events(desk: FlightDesk) -> None:
    day = stormy_day(end="09:00")
    assert desk.tell(day) == len(day)
    events = desk.stream.read()
    cancelled = {e.key for e in events if e.type == "flight.cancelled"}
    departed = {e.key for e in events if e.type == "flight.departed"}
    board = departure_board().rebuild(desk.stream)
    assert {f for f, row in board.items() if row["status"] == "cancelled"} == cancelled
    assert {f for f, row in board.items() if row["status"] == "departed"} == departed
    assert set(departure_board("JFK").rebuild(desk.stream)) == {
        e.key for e in events if e.content["origin"] == "JFK"
    }
    carriers = delay_per_carrier().rebuild(desk.stream)
    assert sum(row["cancelled"] for row in carriers.values()) == len(cancelled)
    assert sum(row["departed"] for row in carriers.values()) == len(departed)
    bookings = bookings_to_move()
    to_move = bookings.rebuild(desk.stream)["to move"]
    assert set(to_move) == cancelled
    offered = {flight for row in to_move.values() for flight in row["may take them"]}
    assert offered
    assert all(board[flight]["status"] in ("scheduled", "delayed") for flight in offered)
    assert bookings.snapshot().state == bookings.state
