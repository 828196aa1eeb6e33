"""Checks of lab 10: stream with Kafka. Keys, offsets and shares are arithmetic: no Kafka here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zlib import crc32

from labkit.broker import Lab
from labkit.data import stormy_day
from labkit.exercises.framework import Wrong, exercise

_KINDS = ("flight.scheduled", "flight.departed", "flight.cancelled", "flight.arrived")
"""These have the same fields; an alert does not know its flight's carrier."""
_PARTITIONS = 6
_MOST = 0.25
"""Share of the events that the busiest of six partitions may have."""


@exercise(
    "10.1",
    "Choose a key",
    expects="function",
    correct="Each flight has its order, and the partitions share the day.",
)
def check_key_of(key_of: Callable[[dict[str, Any]], Any], _lab: Lab) -> None:
    """The flights of the day over six partitions: order for each first, then the spread."""
    parts: dict[str, set[int]] = {}
    loads: Counter[int] = Counter()
    keys: Counter[str] = Counter()
    for happening in stormy_day(types=_KINDS):
        content = happening.message.content
        key = key_of(dict(content))
        if not isinstance(key, str):
            raise Wrong(
                f"A key is a str, and yours is {key!r}.",
                "Return a text; it is turned into bytes for you. With None the producer would "
                "choose a partition for each event.",
            )
        part = crc32(key.encode()) % _PARTITIONS
        parts.setdefault(content["flight"], set()).add(part)
        loads[part] += 1
        keys[key] += 1
    torn = [flight for flight, found in parts.items() if len(found) > 1]
    if torn:
        raise Wrong(
            f"The events of {len(torn):,} of {len(parts):,} flights are in several partitions, "
            f"{torn[0]} for one.",
            "Order holds within a partition. What is the same in all events of a flight, whatever "
            "happens to it?",
        )
    if len(loads) == 1:
        raise Wrong(
            "The order is kept, but all events are in one partition.",
            "With one key for all there is work for one consumer. The key may be finer.",
        )
    [(_, most)] = loads.most_common(1)
    total = loads.total()
    if most > total * _MOST:
        empty = _PARTITIONS - len(loads)
        raise Wrong(
            f"The order is kept, but the busiest of {_PARTITIONS} partitions has "
            f"{most / total:.1%} of the events{f', and {empty} have none' if empty else ''}.",
            f"{len(keys)} keys are too few, or too unequal: {keys.most_common(1)[0][0]!r} has the "
            "most. Nobody asked for order among the flights of a carrier or an airport.",
        )


@exercise(
    "10.2",
    "What may be committed?",
    expects="function",
    correct="Up to the first that is not done, and one beyond the last that is.",
)
def check_offsets_to_commit(
    offsets_to_commit: Callable[[dict[int, list[int]], set[tuple[int, int]]], Any], _lab: Lab
) -> None:
    """All done, a hole, nothing done, offsets with gaps, several partitions."""

    def ask(handed: dict[int, list[int]], done: set[tuple[int, int]]) -> Any:
        got = offsets_to_commit({part: list(rows) for part, rows in handed.items()}, set(done))
        if not isinstance(got, Mapping):
            raise Wrong(
                f"The function returned {_told(got)}, not a dict.",
                "From partition to the offset to commit: {0: 4}.",
            )
        for value in got.values():
            if isinstance(value, bool) or not isinstance(value, int):
                raise Wrong(
                    f"An offset is a whole number, and you commit {value!r:.40}.",
                    "One number for each partition: all before it is done.",
                )
        return dict(got)

    got = ask({0: [0, 1, 2, 3]}, {(0, 0), (0, 1), (0, 2), (0, 3)})
    if got == {0: 3}:
        raise Wrong(
            "Offsets 0 to 3 are done, and you commit 3: after a restart 3 comes again.",
            "What is committed is the offset that comes next.",
        )
    if got != {0: 4}:
        raise Wrong(
            f"Offsets 0 to 3 of partition 0 are done; you commit {got}, not {{0: 4}}.",
            "One beyond the last that is done.",
        )
    got = ask({0: [7, 8, 9, 10]}, {(0, 7), (0, 8), (0, 10)})
    if got == {0: 11}:
        raise Wrong(
            "Offset 9 is not done, and you commit 11: after a crash 9 is lost.",
            "A commit says that everything before it is done. Stop at the first that is not.",
        )
    if got == {0: 10}:
        raise Wrong(
            "Three of the offsets 7 to 10 are done, 9 is not, and you commit 10: 9 is lost.",
            "Do not count what is done: go through the offsets in order, up to the first that is "
            "not done.",
        )
    if got != {0: 9}:
        raise Wrong(
            f"Offsets 7, 8 and 10 are done, 9 is not; you commit {got}, not {{0: 9}}.",
            "Go through the offsets in order, and stop at the first that is not done.",
        )
    got = ask({0: [5, 6], 2: [0, 1]}, {(2, 0), (2, 1), (0, 6)})
    if got == {0: 5, 2: 2}:
        raise Wrong(
            "Nothing at the beginning of partition 0 is done, and you commit it all the same.",
            "It does no harm, but says nothing. Leave out a partition that has not moved.",
        )
    if got != {2: 2}:
        raise Wrong(
            f"In partition 0 offset 5 is not done, in partition 2 all is; you commit {got}.",
            "Each partition has its own offsets: handle them one by one.",
        )
    got = ask({1: [3, 6, 9]}, {(1, 3), (1, 6)})
    if got not in ({1: 7}, {1: 9}):
        raise Wrong(
            f"After compaction offsets have gaps: of 3, 6 and 9 the first two are done, and you "
            f"commit {got}.",
            "One beyond the last that is done is 7. Count no records: use their offsets.",
        )


@exercise(
    "10.3",
    "Who owns what?",
    expects="function",
    correct="That is how the range assignor shares one topic, idle members included.",
)
def check_share(share: Callable[[list[str], int], Any], _lab: Lab) -> None:
    """More partitions than members, as many, fewer, and names that come in any order."""

    def ask(members: Sequence[str], partitions: int) -> Any:
        got = share(list(members), partitions)
        if not isinstance(got, Mapping):
            raise Wrong(
                f"The function returned {_told(got)}, not a dict.",
                "From each member to the list of its partitions.",
            )
        for name, owned in got.items():
            if not isinstance(owned, list | tuple | range):
                raise Wrong(
                    f"{name} has {owned!r:.40}, which is not a list.",
                    "Also one partition is a list: [0].",
                )
        owners = Counter(number for owned in got.values() for number in owned)
        if shared := [number for number, count in owners.items() if count > 1]:
            raise Wrong(
                f"Partition {shared[0]} has {owners[shared[0]]} owners.",
                "In a group a partition has one owner. Begin where the member before has ended.",
            )
        return {name: list(owned) for name, owned in got.items()}

    _expect(
        ask(["Ann", "Bob"], 4),
        {"Ann": [0, 1], "Bob": [2, 3]},
        "Four partitions for Ann and Bob",
        "Each gets neighbours: the first member the first ones. Taking turns is another rule.",
    )
    _expect(
        ask(["Ann", "Bob", "Cat"], 8),
        {"Ann": [0, 1, 2], "Bob": [3, 4, 5], "Cat": [6, 7]},
        "Eight partitions for three",
        "divmod(8, 3) is (2, 2): each gets two, and the first two members one more.",
    )
    got = ask(["Ann", "Bob", "Cat", "Dan", "Eve"], 3)
    if got == {"Ann": [0], "Bob": [1], "Cat": [2]}:
        raise Wrong(
            "Three partitions for five: Dan and Eve are not in your dict.",
            "They are members, too, with an empty list: that is what idle looks like.",
        )
    _expect(
        got,
        {"Ann": [0], "Bob": [1], "Cat": [2], "Dan": [], "Eve": []},
        "Three partitions for five",
        "A partition has one owner. Whoever gets none has an empty list.",
    )
    _expect(
        ask(["Cat", "Ann", "Bob"], 3),
        {"Ann": [0], "Bob": [1], "Cat": [2]},
        "Cat, Ann and Bob joined in this order",
        "The order of joining does not count: sort the names first.",
    )


def _told(got: Any) -> str:
    return "nothing" if got is None else f"{got!r:.60}"


def _expect(got: dict[str, Any], right: dict[str, list[int]], what: str, hint: str) -> None:
    if got != right:
        raise Wrong(f"{what}: {right} is right, and you say {got}.", hint)
