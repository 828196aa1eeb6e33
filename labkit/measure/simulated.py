"""A server that exists only in numbers: its service times are known, so its percentiles are, too.

It runs on a clock that it moves itself, so a trial takes no time and comes out the same each time,
with the very generator, tracker and tables that measure a real broker.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence

from labkit.clock import StepClock
from labkit.errors import ConfigurationError
from labkit.measure import body as bodies_of
from labkit.measure.ends import Arrived, Failure

Service = float | Sequence[float] | Callable[[int], float]
"""Seconds for each operation: always the same, in turn, or by number."""


class SimulatedServer:
    """One server, one connection: the next operation goes out when the last one is answered.

    Args:
        service: seconds that an operation takes: a number, a sequence (in turn, again and again)
            or a function of the operation's number, such as `exponential(0.001, seed=1)`.
        lost: numbers of operations that never come back.
        name: what tables call it.
    """

    embedded = True

    def __init__(
        self, service: Service = 0.001, *, lost: Iterable[int] = (), name: str = "simulated"
    ) -> None:
        if isinstance(service, int | float):
            service = (float(service),)
        if not callable(service) and (not service or min(service) < 0):
            raise ConfigurationError("service is in seconds, 0 or more, and at least one value.")
        self.name = name
        self._service = service
        self._lost = frozenset(lost)

    def open(self, size: int) -> tuple[SimulatedLoad, StepClock]:
        """A load to measure, and its clock."""
        clock = StepClock(tick=0.0, name=self.name)
        return SimulatedLoad(clock, self._times(), self._lost, size), clock

    def _times(self) -> Iterator[float]:
        service = self._service
        if callable(service):
            return map(service, itertools.count())
        return itertools.cycle(service)

    def __repr__(self) -> str:
        return f"SimulatedServer({self.name!r})"


class SimulatedLoad:
    """Its near end: sending takes as long as the service does."""

    most_at_once = 1
    keeps_order = True

    def __init__(
        self, clock: StepClock, times: Iterator[float], lost: frozenset[int], size: int
    ) -> None:
        self.trailer = bodies_of.trailer(size)
        self._clock = clock
        self._times = times
        self._lost = lost

    def send(self, bodies: Sequence[bytes], arrived: Arrived) -> Failure | None:
        """Serve one after the other."""
        for body in bodies:
            self._clock.advance(next(self._times))
            if bodies_of.number_of(body) not in self._lost:
                arrived(0, body)
        return None

    def collect(self, wait_s: float, arrived: Arrived) -> None:
        """All is back already; only time passes."""
        del arrived
        self._clock.advance(wait_s)

    def all_lost(self) -> bool:
        """What is late may always still come."""
        return False

    def close(self) -> None:
        """It holds nothing."""


def exponential(mean: float, seed: int = 0) -> Callable[[int], float]:
    """Service times that know nothing of each other; with `Poisson` arrivals this is M/M/1, whose
    mean response time is mean / (1 - utilisation)."""
    draw = random.Random(seed)
    return lambda _number: draw.expovariate(1 / mean)
