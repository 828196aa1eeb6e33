"""Puts together what the processes of one trial have seen, operation by operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.errors import LabkitError
from labkit.measure import body as bodies_of
from labkit.measure.histogram import Histogram
from labkit.measure.lags import Lags
from labkit.measure.outcome import Later, Outcome, sorted_by_intention
from labkit.measure.recorder import Unfinished, split_columns
from labkit.measure.trial_options import TrialOptions

if TYPE_CHECKING:
    from labkit.measure.recorder import Times


@dataclass(frozen=True, slots=True)
class Report:
    """What one process has seen: its counts, and its rows of number, intended, sent, done."""

    facts: dict[str, Any]
    raw: bytes

    @property
    def rows(self) -> Times:
        """One row an operation."""
        return np.frombuffer(self.raw, dtype=np.int64).reshape(-1, 4)

    @property
    def later(self) -> Later:
        """What it only counted."""
        told = self.facts["later"]
        return Later(
            told["count"],
            Histogram.from_json(told["service"]),
            Histogram.from_json(told["response"]),
            {int(tick): list(counts) for tick, counts in told["ticks"]},
            {Unfinished(code): count for code, count in told["status"]},
        )

    @property
    def sent(self) -> int:
        """How many operations left."""
        total = len(self.raw) // 32 + int(self.facts["later"]["count"])
        return total - int(self.facts["send_errors"])


def joined(
    sent: Sequence[Report], taken: Sequence[Report | LabkitError], options: TrialOptions
) -> Outcome:
    """One outcome of all."""
    rows = np.concatenate([report.rows for report in sent])
    reports = [report for report in taken if isinstance(report, Report)]
    deaths = [str(error) for error in taken if isinstance(error, LabkitError)]
    outcome = Outcome(
        *split_columns(rows),
        ended_ns=max(report.facts["ended_ns"] for report in sent),
        broke="; ".join(filter(None, (report.facts["broke"] for report in sent))),
        interrupted=any(report.facts["interrupted"] for report in sent),
        late=sum(report.facts["late"] for report in sent),
        nobody_subscribed=sum(report.facts["nobody_subscribed"] for report in sent),
        problem="; ".join(deaths),
    )
    for report in sent:
        outcome.lags.merge(Lags.from_json(report.facts["lags"]))
        _add_later(outcome.later, report.later)
    if options.pattern == "rpc":
        counting = list(sent)  # those who ask see the end
    else:
        counting = reports
        _take_ends(outcome, reports, options)
    for report in counting:
        outcome.duplicates += report.facts["duplicates"]
        outcome.out_of_order += report.facts["out_of_order"]
    if options.pattern == "queue":
        _count_tasks_done_twice(outcome, reports, several=options.workers > 1)
    outcome.gaps = sum(report.facts.get("gaps", 0) for report in reports)
    return sorted_by_intention(outcome)


def _take_ends(outcome: Outcome, reports: Sequence[Report], options: TrialOptions) -> None:
    """When each was done: with the last subscriber, or the first worker that finished it."""
    each_gets_all = options.pattern == "pubsub"
    order = np.argsort(outcome.number)
    numbers = outcome.number[order]
    done = np.full(len(numbers), -1 if each_gets_all else np.iinfo(np.int64).max, dtype=np.int64)
    takers = np.zeros(len(numbers), dtype=np.int64)
    overtaken = np.zeros(len(numbers), dtype=bool)
    for report in reports:
        places, times = _places(numbers, report.rows)
        if each_gets_all:
            np.maximum.at(done, places, times)
            overtaken |= _overtaken(numbers, report.rows[:, 0], places)
        else:
            np.minimum.at(done, places, times)
        np.add.at(takers, places, 1)
    wanted = options.subscribers if each_gets_all else 1
    came = takers >= wanted
    failed = outcome.done[order] == Unfinished.ERROR
    fate = np.where(overtaken, Unfinished.LOST, Unfinished.UNANSWERED)
    ends = np.where(came, done, np.where(failed, Unfinished.ERROR, fate))
    outcome.done = np.empty_like(ends)
    outcome.done[order] = ends
    if outcome.later.count and reports:
        outcome.later = _later_of(outcome.later, reports, each_gets_all=each_gets_all)


def _places(numbers: Times, rows: Times) -> tuple[Times, Times]:
    """Where in `numbers` these rows belong, and when they were done; strangers are left out."""
    if not len(numbers) or not len(rows):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    places = np.minimum(np.searchsorted(numbers, rows[:, 0]), len(numbers) - 1)
    known = numbers[places] == rows[:, 0]
    return places[known], rows[known, 3]


def _overtaken(numbers: Times, got: Times, places: Times) -> Any:
    """Which did not come although a later one of the same publisher did."""
    gone = np.ones(len(numbers), dtype=bool)
    gone[places] = False
    highest = np.full(len(numbers), -1, dtype=np.int64)
    publishers = numbers >> bodies_of.NUMBER_BITS
    for publisher in np.unique(publishers):
        own = got[(got >> bodies_of.NUMBER_BITS) == publisher]
        highest[publishers == publisher] = own.max() if len(own) else -1
    return gone & (numbers < highest)


def _later_of(sent: Later, reports: Sequence[Report], *, each_gets_all: bool) -> Later:
    """Of a long trial: what the far ends only counted replaces what the publishers only counted.

    Where several subscribers get each message, the one that got the fewest, or was the slowest,
    stands for all: which of them was last is not known of a message that is only counted.
    """
    parts = [report.later for report in reports]
    if each_gets_all:
        parts = [min(parts, key=lambda part: (part.count, -part.response.mean_ns))]
    seen = Later()
    for part in parts:
        _add_later(seen, part)
    seen.status[Unfinished.ERROR] = sent.status[Unfinished.ERROR]
    missing = max(0, sent.count - seen.count - seen.status[Unfinished.ERROR])
    seen.status[Unfinished.UNANSWERED] = missing
    for histogram in (seen.service, seen.response):
        histogram.add(sent.service.max_ns, missing + seen.status[Unfinished.ERROR])  # the time-out
    seen.count = sent.count
    return seen


def _count_tasks_done_twice(outcome: Outcome, reports: Sequence[Report], *, several: bool) -> None:
    """Workers share the tasks: one sees gaps where another one works, and no order."""
    if not several:
        return
    numbers = np.concatenate([report.rows[:, 0] for report in reports])
    outcome.duplicates += len(numbers) - len(np.unique(numbers))
    outcome.out_of_order = 0


def _add_later(whole: Later, part: Later) -> None:
    whole.count += part.count
    whole.service.merge(part.service)
    whole.response.merge(part.response)
    for tick, counts in part.ticks.items():
        mine = whole.ticks.setdefault(tick, [0, 0])
        mine[0] += counts[0]
        mine[1] += counts[1]
    for status, count in part.status.items():
        whole.status[status] += count
