"""Four ways to hand messages on, asked the same questions: what is kept, who gets it, what is lost.

Each answer is counted in an experiment with labkit's own publisher, queues and streams, on whatever
broker the caller has; nothing in the table is written by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from labkit._html import table
from labkit.broker import Lab
from labkit.experiments.ways import SENT, WAYS, Way

if TYPE_CHECKING:
    import pandas

Experiment = Callable[[Way], int | str]


def nobody_there(way: Way) -> int:
    """Send while nobody listens; then come, and read."""
    way.send(SENT)
    return way.join("late", "team").finish(SENT)


def kept_afterwards(way: Way) -> int:
    """Send to a reader, let it read and confirm all; what has the broker now?"""
    reader = way.join("first", "team")
    way.send(SENT)
    reader.finish(SENT)
    return way.kept()


def two_teams(way: Way) -> str:
    """Two readers that have nothing to do with one another, in turns."""
    return _in_turns(way, "board", "audit")


def one_team(way: Way) -> str:
    """Two readers of one team, in turns."""
    return _in_turns(way, "team", "team")


def after_a_death(way: Way) -> int:
    """One takes a message and dies before it has confirmed; does another get that one?"""
    first = way.join("first", "team")
    way.send(1)
    first.take()
    first.die()
    return way.join("second", "team").finish(1)


def replayed(way: Way) -> int:
    """One has read and confirmed all, and asks for all once more."""
    reader = way.join("first", "team")
    way.send(SENT)
    reader.finish(SENT)
    return reader.again()


def late_team(way: Way) -> int:
    """All was read and confirmed, then somebody else comes with a question of their own."""
    reader = way.join("first", "team")
    way.send(SENT)
    reader.finish(SENT)
    return way.join("late", "another team").finish(SENT)


def _in_turns(way: Way, first_team: str, second_team: str) -> str:
    first, second = way.join("first", first_team), way.join("second", second_team)
    way.send(SENT)
    counts = [0, 0]
    for _ in range(SENT):
        counts[0] += first.finish(1)
        counts[1] += second.finish(1)
    return " and ".join(map(str, counts))


EXPERIMENTS: dict[str, Experiment] = {
    "kept after delivery": kept_afterwards,
    "a reader that comes late gets": nobody_there,
    "several readers: each gets": two_teams,
    "two members of one group: each gets": one_team,
    "acknowledgement: one dies holding 1, the next gets": after_a_death,
    "replay: the same reader, once more": replayed,
    "a new reader, when others have read all": late_team,
}
"""What is asked of each way, in rows of the table; each sends four messages, or one."""


class Answers(dict[str, list[int | str]]):
    """A row a question, a column a way."""

    def to_frame(self) -> pandas.DataFrame:
        """One row a question, with an answer for each way."""
        import pandas

        return pandas.DataFrame(self.values(), index=list(self), columns=list(WAYS))

    def __repr__(self) -> str:
        ways = list(WAYS)
        lines = []
        for question, answers in self.items():
            told = [f"{way} {answer}" for way, answer in zip(ways, answers, strict=True)]
            lines.append(f"{question}: {', '.join(told)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [(question, *answers) for question, answers in self.items()]
        return table(("of four messages", *WAYS), rows, "Each figure was counted just now")


def compare_four_ways(lab: Lab) -> Answers:
    """Run every experiment on every way, each on a channel, queue or stream of its own."""
    answers = Answers()
    for number, (question, experiment) in enumerate(EXPERIMENTS.items()):
        row = []
        for way_name, make in WAYS.items():
            way = make(lab, f"four ways {number} {way_name}")
            try:
                row.append(experiment(way))
            finally:
                way.close()
        answers[question] = row
    return answers
