"""Whether two processes read the same clock: times of one may be subtracted from times of the other
only then. Between two machines they never do; there one measures round trips."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from labkit.errors import LabkitError

LOOKS = 50

TOLERANCE_NS = 1_000_000
"""So far apart two clocks may be, as far as we can tell, and no farther."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far another process' clock is ahead of ours: somewhere between the two, nanoseconds."""

    least_ns: int
    most_ns: int

    @property
    def agrees(self) -> bool:
        """One clock, as far as can be seen, and it can be seen closely enough."""
        return self.least_ns <= 0 <= self.most_ns and self.width_ns <= TOLERANCE_NS

    @property
    def width_ns(self) -> int:
        """How closely it is known."""
        return self.most_ns - self.least_ns


def compare(ask: Callable[[], int], now: Callable[[], int] = time.monotonic_ns) -> Agreement:
    """Ask the other process for its time, again and again: what it answers was read between our
    question and its answer, and each round narrows the bounds (Cristian, 1989)."""
    least, most = -(2**62), 2**62
    for _ in range(LOOKS):
        before = now()
        theirs = ask()
        after = now()
        least = max(least, theirs - after)
        most = min(most, theirs - before)
    return Agreement(least, most)


def require(agreement: Agreement, who: str) -> None:
    """Refuse to go on with two clocks.

    Raises:
        LabkitError: they differ, or it cannot be told.
    """
    if agreement.agrees:
        return
    if agreement.least_ns > agreement.most_ns or agreement.least_ns > 0 or agreement.most_ns < 0:
        what = (
            f"is {agreement.least_ns / 1e6:.3g} to {agreement.most_ns / 1e6:.3g} ms ahead of ours"
        )
    else:
        what = f"can only be told from ours to {agreement.width_ns / 1e6:.3g} ms"
    raise LabkitError(
        f"The clock of {who} {what}, so its times cannot be compared with ours. Measure in one "
        "process (processes=False), where all times are of one clock."
    )
