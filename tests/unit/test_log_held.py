"""What a member of a group on Redis holds: each id once, in the stream's order."""

from __future__ import annotations

import pytest

from labkit.broker import Entry, Position
from labkit.brokers.redis.log_held import Held


def given(*numbers: int) -> list[Entry]:
    return [Entry(Position(f"7-{number}"), b"{}") for number in numbers]


def ids(*numbers: int) -> list[str]:
    return [f"7-{number}" for number in numbers]


@pytest.fixture
def held() -> Held:
    held = Held()
    held.add(given(8, 9))
    held.add(given(10, 11))
    return held


def test_all_of_it_and_a_part_of_it(held: Held) -> None:
    assert held.up_to(Position("7-11")) == ids(8, 9, 10, 11)
    assert held.up_to(Position("7-10")) == ids(8, 9, 10)
    assert held.up_to(Position("7-7")) == []
    assert len(held) == 4
    assert "7-9" in held
    assert "7-7" not in held


def test_what_comes_twice_is_held_once(held: Held) -> None:
    held.add(given(11, 12))
    assert len(held) == 5
    assert held.up_to(Position("7-12")) == ids(8, 9, 10, 11, 12)


def test_what_was_claimed_stands_where_it_stands_in_the_stream(held: Held) -> None:
    held.add(given(3, 9))
    assert held.up_to(Position("7-11")) == ids(3, 8, 9, 10, 11)
    assert held.up_to(Position("7-8")) == ids(3, 8)


def test_what_is_done_is_not_held(held: Held) -> None:
    held.discard(ids(9, 99))
    held.add(given(12))
    assert held.up_to(Position("7-12")) == ids(8, 10, 11, 12)
    held.discard(ids(8, 10, 11, 12))
    assert len(held) == 0
    held.add(given(1))  # a stream that began again
    assert held.up_to(Position("7-1")) == ids(1)


def test_cleared_it_begins_anew(held: Held) -> None:
    held.clear()
    assert held.up_to(Position("7-11")) == []
    held.add(given(5))
    assert held.up_to(Position("7-5")) == ids(5)
