"""The checks of lab 10: solutions pass, stubs are known, wrong answers are told apart."""

from __future__ import annotations

from typing import Any

from labkit.exercises import lab10
from labkit.exercises.grading import assert_grades


def stub(*_: Any) -> Any:
    return ...


def test_key_of() -> None:
    assert_grades(
        lab10.check_key_of,
        solution=lambda content: content["flight"],
        also_right=[lambda content: f"flight {content['flight']} of 8 March"],
        stub=stub,
        wrong=[
            (lambda content: None if content else "", "yours is None"),
            (lambda content: str(sorted(content.items())), "of 979 flights"),
            (lambda _: "flights", "all events are in one partition"),
            (lambda content: content["carrier"], "has 36.4% of the events."),
            (lambda content: content["destination"], "has 25."),
            (lambda content: content["origin"], "and 3 have none"),
        ],
    )


def test_offsets_to_commit() -> None:
    def solution(handed: Any, done: Any) -> Any:
        offsets = {}
        for partition, rows in handed.items():
            for offset in rows:
                if (partition, offset) not in done:
                    break
                offsets[partition] = offset + 1
        return offsets

    def up_to_the_next(handed: Any, done: Any) -> Any:
        """Commits the first that is not done, which comes to the same."""
        found = {}
        for partition, rows in handed.items():
            open_ = [offset for offset in rows if (partition, offset) not in done]
            goal = open_[0] if open_ else rows[-1] + 1
            if goal > rows[0]:
                found[partition] = goal
        return found

    def last_done(handed: Any, done: Any) -> Any:
        return {part: offset - 1 for part, offset in solution(handed, done).items()}

    def highest(_: Any, done: Any) -> Any:
        found: dict[int, int] = {}
        for part, offset in done:
            found[part] = max(found.get(part, 0), offset + 1)
        return found

    def count(handed: Any, done: Any) -> Any:
        return {
            part: rows[0] + sum((part, offset) in done for offset in rows)
            for part, rows in handed.items()
        }

    def all_partitions(handed: Any, done: Any) -> Any:
        return {part: rows[0] for part, rows in handed.items()} | solution(handed, done)

    def gaps(handed: Any, done: Any) -> Any:
        found = {}
        for part, rows in handed.items():
            n = 0
            while n < len(rows) and (part, rows[n]) in done:
                n += 1
            if n:
                found[part] = rows[0] + n
        return found

    def one_number(handed: Any, done: Any) -> Any:
        return solution(handed, done).get(0)

    def lists(handed: Any, done: Any) -> Any:
        return {part: [offset] for part, offset in solution(handed, done).items()}

    assert_grades(
        lab10.check_offsets_to_commit,
        solution=solution,
        also_right=[up_to_the_next],
        stub=stub,
        wrong=[
            (last_done, "3 comes again"),
            (highest, "9 is lost"),
            (count, "you commit 10: 9 is lost"),
            (all_partitions, "commit it all the same"),
            (gaps, "offsets have gaps"),
            (one_number, "returned 4, not a dict"),
            (lists, "a whole number, and you commit [4]"),
            (lambda *_: {}, "not {0: 4}"),
        ],
    )


def test_share() -> None:
    def solution(members: Any, partitions: Any) -> Any:
        each, more = divmod(partitions, len(members))
        found, start = {}, 0
        for number, name in enumerate(sorted(members)):
            end = start + each + (number < more)
            found[name] = list(range(start, end))
            start = end
        return found

    def in_turns(members: Any, partitions: Any) -> Any:
        names = sorted(members)
        return {name: list(range(i, partitions, len(names))) for i, name in enumerate(names)}

    def unsorted(members: Any, partitions: Any) -> Any:
        return dict(zip(members, solution(members, partitions).values(), strict=True))

    def without_idle(members: Any, partitions: Any) -> Any:
        return {name: owned for name, owned in solution(members, partitions).items() if owned}

    def rest_to_the_last(members: Any, partitions: Any) -> Any:
        names, each = sorted(members), partitions // len(members)
        found = {name: list(range(i * each, (i + 1) * each)) for i, name in enumerate(names)}
        found[names[-1]] = list(range((len(names) - 1) * each, partitions))
        return found

    assert_grades(
        lab10.check_share,
        solution=solution,
        also_right=[
            lambda members, partitions: {
                name: tuple(owned) for name, owned in solution(members, partitions).items()
            }
        ],
        stub=stub,
        wrong=[
            (in_turns, "Four partitions for Ann and Bob"),
            (rest_to_the_last, "Eight partitions for three"),
            (without_idle, "Dan and Eve are not in your dict"),
            (unsorted, "joined in this order"),
            (lambda members, _: list(members), "not a dict"),
            (lambda members, _: {name: i for i, name in enumerate(members)}, "not a list"),
            (lambda members, n: dict.fromkeys(members, range(n)), "Partition 0 has 2 owners"),
        ],
    )
