"""The checks of lab 06: solutions pass, stubs are known, wrong answers are told apart."""

from __future__ import annotations

from typing import Any

from labkit.exercises import lab06
from labkit.exercises.grading import assert_grades


def stub(*_: Any) -> Any:
    return ...


class TestLab06:
    def test_read_after(self) -> None:
        def solution(log, position):
            return log.read() if position is None else log.read({0: position})

        def filtered(log, position):
            return [e for e in log.read() if position is None or e.position > position]

        def cursor_from_the_start(log, position):
            return log.read({} if position is None else {0: position})

        def inclusive(log, position):
            return log.read(position or "first")

        def drops_the_first(log, position):
            return log.read() if position is None else log.read(position)[1:]

        def the_next_one(log, position):
            return log.read({0: position}, count=1)

        def only_from_a_position(log, position):
            return [] if position is None else log.read({0: position})

        def never_empty(log, position):
            return solution(log, position) or log.read("last")

        def forgets_none(log, position):
            return [event for event in log.read() if event.position > position]

        assert_grades(
            lab06.check_read_after,
            solution=solution,
            also_right=[filtered, cursor_from_the_start],
            stub=stub,
            wrong=[
                (lambda log, _: len(log), "not a list of events"),
                (inclusive, "came again"),
                (lambda log, _: log.read(), "whatever the position"),
                (the_next_one, "come [4]"),
                (only_from_a_position, "For None"),
                (forgets_none, "TypeError: '>' not supported"),
                (never_empty, "comes nothing"),
                (drops_the_first, "comes the fifth"),
            ],
        )

    def test_work_through(self) -> None:
        def solution(member, handle):
            while events := member.poll(count=5):
                for event in events:
                    handle(event)
                member.commit()

        def one_by_one(member, handle):
            while events := member.poll(count=3):
                for event in events:
                    handle(event)
                    member.commit(event)

        def by_run(member, handle):
            member.run(handle, count=5)

        def commits_first(member, handle):
            while events := member.poll(count=5):
                member.commit()
                for event in events:
                    handle(event)

        def commits_the_batch_for_each(member, handle):
            while events := member.poll(count=5):
                for event in events:
                    handle(event)
                    member.commit()

        def all_at_once(member, handle):
            for event in member.poll():
                handle(event)
            member.commit()

        def one_batch(member, handle):
            for event in member.poll(count=5):
                handle(event)
            member.commit()

        def never_commits(member, handle):
            while events := member.poll(count=5):
                for event in events:
                    handle(event)

        def commits_full_batches(member, handle):
            while events := member.poll(count=5):
                for event in events:
                    handle(event)
                if len(events) == 5:
                    member.commit()

        def swallows(member, handle):
            while events := member.poll(count=5):
                for event in events:
                    try:
                        handle(event)
                    except Exception:
                        continue
                member.commit()

        def commits_anyway(member, handle):
            while events := member.poll(count=5):
                try:
                    for event in events:
                        handle(event)
                finally:
                    member.commit()

        def hands_on_the_batch(member, handle):
            while events := member.poll(count=5):
                handle(events)
                member.commit()

        assert_grades(
            lab06.check_work_through,
            solution=solution,
            also_right=[one_by_one, by_run],
            stub=stub,
            wrong=[
                (lambda member, _: member.poll(count=5) and None, "No event was handled"),
                (hands_on_the_batch, "called with a Events"),
                (commits_first, "before it was handled"),
                (all_at_once, "12 events at once"),
                (commits_the_batch_for_each, "committed the whole batch"),
                (one_batch, "Only 5 of 12"),
                (never_commits, "Nothing was committed: the lag is 12"),
                (commits_full_batches, "the lag is 2"),
                (swallows, "nobody heard of it"),
                (commits_anyway, "never handled: 7, 8, 9, 10"),
            ],
        )

    def test_may_go(self) -> None:
        def per_group(log, place_of):
            return [place_of(group.places[0]) for group in log.positions().groups]

        def up_to(log, position):
            return 0 if position is None else len(log.read(end=position))

        def solution(log):
            return min(per_group(log, lambda p: up_to(log, p.committed)), default=0)

        def by_trying(log):
            """Reads from the first event that is still to be done."""
            left = per_group(
                log, lambda p: len(log.read({0: p.committed} if p.committed else "first"))
            )
            return len(log) - max(left, default=len(log))

        def fastest(log):
            return max(per_group(log, lambda p: up_to(log, p.committed)), default=0)

        def first_group(log):
            return per_group(log, lambda p: up_to(log, p.committed))[0]

        def by_delivered(log):
            return min(per_group(log, lambda p: up_to(log, p.delivered)), default=0)

        def by_lag(log):
            return len(log) - max(per_group(log, lambda p: p.lag), default=len(log))

        def none_is_all(log):
            return min(per_group(log, lambda p: len(log.read(end=p.committed))), default=0)

        def without_a_group_all(log):
            return min(per_group(log, lambda p: up_to(log, p.committed)), default=len(log))

        def counts_trimmed_ones(log):
            return solution(log) + (log.log.extents()[0].removed if solution(log) else 0)

        def trims(log):
            log.trim(keep=len(log) - solution(log))
            return 0

        assert_grades(
            lab06.check_may_go,
            solution=solution,
            also_right=[by_trying],
            stub=stub,
            wrong=[
                (trims, "4 events are destroyed"),
                (lambda log: log.positions(), "not a number"),
                (fastest, "4 may go, and you say 8"),
                (first_group, "4 may go, and you say 6"),
                (by_delivered, "2 may go, and you say 5"),
                (by_lag, "2 may go, and you say 4"),
                (none_is_all, "committed nothing"),
                (without_a_group_all, "There is no group"),
                (counts_trimmed_ones, "2 may go, and you say 4"),
            ],
        )
