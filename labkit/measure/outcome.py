"""What came out of one trial: its arrays, counts and histograms, before they become tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from labkit.measure.generator import Generator
from labkit.measure.histogram import Histogram
from labkit.measure.lags import Lags
from labkit.measure.recorder import NEVER_SENT, Recorder, Unfinished
from labkit.measure.tracker import Tracker

if TYPE_CHECKING:
    import numpy.typing as npt

    from labkit.measure.recorder import Times

    Flags = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Later:
    """What no longer fitted into the recorder: counts and histograms only.

    Attributes:
        count: how many operations, warm-up included.
        service, response: of those after the warm-up; the unfinished with the time-out.
        ticks: by tenth of a second from the start: how many were to begin, how many were done.
        status: how many of the measured ones never came to an end, by how.
    """

    count: int = 0
    service: Histogram = field(default_factory=Histogram)
    response: Histogram = field(default_factory=Histogram)
    ticks: dict[int, list[int]] = field(default_factory=dict)
    status: dict[Unfinished, int] = field(default_factory=lambda: dict.fromkeys(Unfinished, 0))

    @classmethod
    def of(cls, recorder: Recorder) -> Later:
        """What this recorder could not keep."""
        return cls(
            recorder.in_histogram_only,
            recorder.later_service,
            recorder.later_response,
            recorder.later_ticks,
            recorder.later_status,
        )


@dataclass(slots=True)
class Outcome:
    """One trial's.

    Attributes:
        number, intended, sent, done: nanoseconds from the start, in the order intended; `sent` is
            `NEVER_SENT` and `done` one of `Unfinished` where there is no time.
        later: what is counted only.
        lags: the schedule lag.
        ended_ns: when sending ended.
        duplicates, out_of_order, late: counts of arrivals.
        gaps: how often a subscriber's connection was lost.
        nobody_subscribed: messages of which the broker said that it wrote them to nobody.
        broke: why the broker counts as gone, or "".
        interrupted: stopped by hand.
        problem: another reason why it is not valid, or "".
    """

    number: Times
    intended: Times
    sent: Times
    done: Times
    later: Later = field(default_factory=Later)
    lags: Lags = field(default_factory=Lags)
    ended_ns: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    late: int = 0
    gaps: int = 0
    nobody_subscribed: int = 0
    broke: str = ""
    interrupted: bool = False
    problem: str = ""

    @property
    def finished(self) -> Flags:
        """Which came to an end."""
        return self.done >= 0

    def service_ns(self, timeout_ns: int) -> Times:
        """Sent to done; the time-out for what never came."""
        return np.where(self.finished, self.done - self.sent, timeout_ns)

    def response_ns(self, timeout_ns: int) -> Times:
        """Meant to begin to done; what never came: the time-out after it was sent."""
        waited = np.where(self.sent == NEVER_SENT, 0, np.maximum(self.sent - self.intended, 0))
        return np.where(self.finished, self.done - self.intended, timeout_ns + waited)

    def implausible(self) -> Flags:
        """Which took less than no time: two readings of clocks that do not agree."""
        backwards = (self.sent != NEVER_SENT) & (self.sent < self.intended)
        wrong: Flags = backwards | (self.finished & (self.done < self.sent))
        return wrong


def of_one_process(generator: Generator, tracker: Tracker) -> Outcome:
    """Where both ends were in this process."""
    return sorted_by_intention(
        Outcome(
            *tracker.recorder.columns(),
            later=Later.of(tracker.recorder),
            lags=generator.lags,
            ended_ns=generator.ended_ns,
            duplicates=tracker.duplicates,
            out_of_order=tracker.out_of_order,
            late=tracker.late,
            broke=generator.broke,
            interrupted=generator.interrupted,
        )
    )


def nothing(problem: str) -> Outcome:
    """A trial that could not begin."""
    empty = np.zeros(0, dtype=np.int64)
    return Outcome(empty, empty, empty, empty, problem=problem)


def sorted_by_intention(outcome: Outcome) -> Outcome:
    """In the order in which the operations were meant to begin, numbered from 0."""
    order = np.lexsort((outcome.number, outcome.intended))
    for name in ("intended", "sent", "done"):
        setattr(outcome, name, getattr(outcome, name)[order])
    outcome.number = np.arange(len(order), dtype=np.int64)
    return outcome
