"""How late operations left, and for how much of that the broker is to blame."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

from labkit.measure.histogram import Histogram
from labkit.measure.recorder import exact_percentile

ON_TIME_NS = 1_000_000
"""Less lag than this is none worth a word."""

LAG_LIMIT_MS = 1.0
"""A trial whose generator was late by more than this of its own, in one of a hundred operations
(p99), is not valid, unless the lag is a small part of what was measured (`LAG_PART`). Response time
counts from the intended moment and so contains the lag; on one machine a broker answers in tenths
of a millisecond, and with more lag than this one would measure mostly the generator."""

LAG_PART = 0.1
"""Lag up to this part of the p99 of the response time does no harm: after a stall of 300 ms it does
not matter whether the generator was late by two."""

CAPACITY = 1_000_000


class Lags:
    """The schedule lag of each operation after the warm-up; kept raw, then in a histogram.

    Attributes:
        held_up_ns: how long calls to the broker took that took unusually long, all together.
    """

    def __init__(self, warmup_ns: int = 0) -> None:
        self.held_up_ns = 0
        self._warmup_ns = warmup_ns
        self._all = array("q")
        self._own = array("q")
        self._later_all = Histogram()
        self._later_own = Histogram()
        self._excused_until = 0

    def add(self, intended_ns: int, lag_ns: int, sent_ns: int) -> None:
        """One operation's. What a hold-up made late is excused until the generator is on time
        again, or as long again as the hold-up has passed."""
        if lag_ns < ON_TIME_NS:
            self._excused_until = 0
        if intended_ns < self._warmup_ns:
            return
        own_ns = 0 if sent_ns < self._excused_until else lag_ns
        if len(self._all) < CAPACITY:
            self._all.append(lag_ns)
            self._own.append(own_ns)
        else:
            self._later_all.add(lag_ns)
            self._later_own.add(own_ns)

    def held_up(self, from_ns: int, to_ns: int) -> None:
        """A call to the broker that took unusually long."""
        if to_ns > self._warmup_ns:
            self.held_up_ns += to_ns - max(from_ns, self._warmup_ns)
        self._excused_until = to_ns + (to_ns - from_ns) + ON_TIME_NS

    def merge(self, other: Lags) -> None:
        """Add those of another publisher."""
        self.held_up_ns += other.held_up_ns
        self._all.extend(other._all)
        self._own.extend(other._own)
        self._later_all.merge(other._later_all)
        self._later_own.merge(other._later_own)

    def summary(self) -> LagSummary:
        """The figures, milliseconds."""
        p50, p99, top = (_percentile(self._all, self._later_all, q) for q in (0.5, 0.99, 1.0))
        own = _percentile(self._own, self._later_own, 0.99)
        return LagSummary(p50 / 1e6, p99 / 1e6, top / 1e6, own / 1e6, self.held_up_ns / 1e9)

    def as_json(self) -> dict[str, Any]:
        """All of it, for another process."""
        return {
            "held_up_ns": self.held_up_ns,
            "all": self._all.tolist(),
            "own": self._own.tolist(),
            "later_all": self._later_all.as_json(),
            "later_own": self._later_own.as_json(),
        }

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Lags:
        """What `as_json` wrote down."""
        made = cls()
        made.held_up_ns = facts["held_up_ns"]
        made._all.extend(facts["all"])
        made._own.extend(facts["own"])
        made._later_all = Histogram.from_json(facts["later_all"])
        made._later_own = Histogram.from_json(facts["later_own"])
        return made


@dataclass(frozen=True, slots=True)
class LagSummary:
    """Schedule lag in milliseconds; NaN where nothing was scheduled (closed).

    Attributes:
        p50_ms, p99_ms, max_ms: of sent - intended (with batches: of sent - full).
        own_p99_ms: without what the broker's hold-ups made late.
        held_up_s: how long the broker held the generator up.
    """

    p50_ms: float
    p99_ms: float
    max_ms: float
    own_p99_ms: float
    held_up_s: float


def _percentile(kept: array[int], later: Histogram, quantile: float) -> float:
    if not later.count:
        return exact_percentile(kept, quantile)
    whole = Histogram()
    whole.add_all(kept)
    whole.merge(later)
    return whole.percentile(quantile)
