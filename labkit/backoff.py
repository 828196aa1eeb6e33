"""How long to wait before trying again: longer each time, up to a cap, and not all at once.

Full jitter, after Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015):
the wait is uniform between 0 and min(cap, first · factor^attempt), so that a thousand clients that
lost one broker do not all come back in the same millisecond.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from labkit.errors import ConfigurationError


@dataclass(frozen=True)
class Backoff:
    """Waits between attempts, in seconds.

    Args:
        first: upper bound of the first wait.
        cap: upper bound of every wait.
        factor: growth of the bound from one attempt to the next.
        jitter: draw each wait between 0 and its bound; False waits the bound itself.
        seed: makes the draws repeatable.
    """

    first: float = 0.05
    cap: float = 2.0
    factor: float = 2.0
    jitter: bool = True
    seed: int | None = None
    _random: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (0 < self.first <= self.cap and self.factor >= 1):
            raise ConfigurationError(
                f"Backoff needs 0 < first <= cap and factor >= 1, got first={self.first}, "
                f"cap={self.cap}, factor={self.factor}."
            )
        object.__setattr__(self, "_random", random.Random(self.seed))

    def bound(self, attempt: int) -> float:
        """The longest wait before attempt number `attempt` (from 0)."""
        try:
            return min(self.cap, self.first * self.factor**attempt)
        except OverflowError:
            return self.cap

    def wait(self, attempt: int) -> float:
        """A wait before attempt number `attempt` (from 0)."""
        bound = self.bound(attempt)
        return self._random.uniform(0, bound) if self.jitter else bound
