"""What several repeats say together: their median, and how far repeats would move it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

LEVEL = 0.95
"""Share of the resampled medians that lie in the interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median over repeats and its interval, which is None for one repeat."""

    middle: float
    interval: tuple[float, float] | None

    def apart_from(self, other: Estimate) -> bool | None:
        """Whether the intervals do not touch; None where one of them is unknown."""
        if self.interval is None or other.interval is None:
            return None
        return self.interval[0] > other.interval[1] or self.interval[1] < other.interval[0]


@lru_cache(maxsize=4096)
def estimate(values: tuple[float, ...]) -> Estimate:
    """The median of repeats with its bootstrap interval: that of `labkit.measure.intervals`."""
    if len(values) < 2:
        return Estimate(values[0], None)
    import pandas

    from labkit.measure import intervals

    repeats = pandas.DataFrame({"group": 0, "value": list(values)})
    found = intervals(repeats, "group", "value", level=LEVEL).iloc[0]
    return Estimate(float(found["value"]), (float(found["low"]), float(found["high"])))
