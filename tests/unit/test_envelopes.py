"""Many envelopes at once: the same messages, and the same refusals, as one after the other."""

from __future__ import annotations

import random
from typing import Any

import pytest

from labkit import Message
from labkit.envelopes import decode_many
from labkit.errors import DecodeError

NOW = "2013-03-08T12:00:00.000Z"


def body(content: Any = None, **changed: Any) -> bytes:
    fields = {"type": "t", "timestamp": NOW, "sender": "s", "metadata": {}, **changed}
    return Message(content=content, **fields).encode()


def raw(content: str = "1", kind: str = '"t"', stamp: str = NOW, sender: str = '"s"') -> bytes:
    return (
        f'{{"type":{kind},"content":{content},"timestamp":"{stamp}","sender":{sender},'
        '"metadata":{}}'
    ).encode()


def one_by_one(bodies: list[bytes], max_bytes: int = 2**20) -> list[Any]:
    found: list[Any] = []
    for each in bodies:
        try:
            found.append(Message.decode(each, channel="c", max_bytes=max_bytes))
        except DecodeError as error:
            found.append(str(error))
    return found


def at_once(bodies: list[bytes], max_bytes: int = 2**20) -> list[Any]:
    found = decode_many(bodies, channel="c", max_bytes=max_bytes)
    return [str(item) if isinstance(item, DecodeError) else item for item in found]


BAD = [
    b"",
    b"{",
    b"5",
    b"null",
    b"[]",
    b"\xff",
    raw(kind='""'),
    raw(sender='""'),
    raw(kind="7"),
    raw(stamp="yesterday"),
    raw(stamp="2013-13-08T12:00:00.000Z"),
    raw() + b"," + raw(),
    raw() + raw(),
    raw() + b"]",
    b"[" + raw(),
    raw(content="[" * 101 + "]" * 101),
    raw(content='{"":' * 101 + "0" + "}" * 101),
    raw(content="[" * 100_000),
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_bad_one_is_told_and_leaves_its_neighbours_as_they_are(bad: bytes, place: int) -> None:
    bodies = [body(0), body(1)]
    bodies.insert(place, bad)
    found = at_once(bodies)
    assert found == one_by_one(bodies)
    assert isinstance(found.pop(place), str)
    assert [message.content for message in found] == [0, 1]


def test_two_halves_are_not_taken_for_two_messages() -> None:
    """Joined by a comma, these two would be two messages, and neither is one."""
    whole = raw(content="[{},{}]")
    first, rest = whole.split(b",{", 1)
    halves = [raw() + b"," + first, b"{" + rest]
    assert all(isinstance(found, str) for found in at_once(halves))


@pytest.mark.parametrize("count", [0, 1, 2, 500])
def test_any_number_is_read_in_order(count: int) -> None:
    found = at_once([body(n) for n in range(count)])
    assert [message.content for message in found] == list(range(count))


def test_large_ones_are_read_too_and_limits_hold() -> None:
    bodies = [body("x" * 300_000), body(1), body("y" * 1000)]
    assert at_once(bodies) == one_by_one(bodies)
    found = at_once(bodies, 500)
    assert found == one_by_one(bodies, 500)
    assert [type(item) for item in found] == [str, Message, str]


@pytest.mark.parametrize("content", ['{"a":[{"b":[1,{}]}]}', "[[[]]]", '"[[[["', '{"[":"{"}'])
def test_what_nests_a_little_is_read(content: str) -> None:
    bodies = [raw(content=content), raw(content=content), body("z" * 400)]
    assert at_once(bodies) == one_by_one(bodies)
    assert all(isinstance(message, Message) for message in decode_many(bodies))


def test_what_is_cut_and_stirred_is_refused_the_same_way() -> None:
    dice = random.Random(7)
    good = [body({"n": n, "text": "é{[,]}" * (n % 4)}, metadata={"a": [n]}) for n in range(40)]
    for _ in range(300):
        bodies = dice.choices(good, k=dice.randint(1, 6))
        for _ in range(dice.randint(0, 3)):
            at = dice.randrange(len(bodies))
            cut = dice.randrange(len(bodies[at]) + 1)
            bodies[at] = bodies[at][:cut] + dice.choice([b"", b",", b"}", b"{", b"]", b" 1,"])
        assert at_once(bodies) == one_by_one(bodies)
