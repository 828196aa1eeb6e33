"""What a job writes down while it runs: what was sent, when it was due, and what arrived."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from labkit.measure import exact_percentile

Item = TypeVar("Item")

PATIENCE_S = 20.0
"""So long the end of a job is waited for; what has not come by then is lost."""

WARM_UP = 20
"""So many of the paced ones are in no latency: connections and code warm up."""

_LOOK_AGAIN_S = 0.01


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message in one reader's hands.

    Attributes:
        number: which message, in the order of sending.
        reader: whose hands.
        key: within what order is promised: a channel, a flight; "" for none.
        at_ns: when.
        again: that reader has had it before.
        timed: it counts for the latency: not if somebody reads what lay there for long.
    """

    number: int
    reader: str
    key: str
    at_ns: int
    again: bool
    timed: bool


@dataclass
class Notes:
    """One job on one broker. May be written to from several threads.

    Attributes:
        readers: how many readers should get each message that is numbered from now on.
        arrivals: in the order in which they were noted.
    """

    readers: int = 1
    arrivals: list[Arrival] = field(default_factory=list)
    _expected: int = 0
    _due_ns: dict[int, int] = field(default_factory=dict)
    _paced: set[int] = field(default_factory=set)
    _delivered: set[tuple[int, str]] = field(default_factory=set)
    _finished: set[tuple[int, str]] = field(default_factory=set)
    _killed: tuple[int, int] | None = None
    _rates: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def burst(self, items: Iterable[Item]) -> list[tuple[int, Item]]:
        """Number them; they are due now, all at once."""
        return list(self._numbered(items, time.monotonic_ns()))

    def paced(self, items: Sequence[Item], rate: float) -> Iterator[tuple[int, Item]]:
        """Number them, and hand out each when it is due: so many a second, whatever comes back.

        The first `WARM_UP` go at once; when they have arrived, the schedule begins. They are in no
        latency.
        """
        yield from self.burst(items[:WARM_UP])
        self.wait()
        began = time.monotonic_ns()
        for number, item in self._numbered(items[WARM_UP:], began, round(1e9 / rate)):
            self._paced.add(number)
            early_s = (self._due_ns[number] - time.monotonic_ns()) / 1e9
            if early_s > 0:
                time.sleep(early_s)
            yield number, item

    def arrived(
        self,
        number: int,
        reader: str = "all",
        key: str = "",
        *,
        finished: bool = True,
        timed: bool = True,
    ) -> None:
        """This one is in this reader's hands, now; one that is never finished is lost."""
        with self._lock:
            who, now = (number, reader), time.monotonic_ns()
            self.arrivals.append(Arrival(number, reader, key, now, who in self._delivered, timed))
            self._delivered.add(who)
            if finished:
                self._finished.add(who)

    def expect(self, deliveries: int) -> None:
        """So many more deliveries should come, of what has been sent already."""
        self._expected += deliveries

    def killed(self, begun: Sequence[int]) -> None:
        """A worker had begun these, and was killed in the last of them, now."""
        for number in begun:
            self.arrived(number, finished=number != begun[-1])
        self._killed = (begun[-1], time.monotonic_ns())

    def wait(self) -> bool:
        """Wait until everybody has everything that was sent; False if that does not happen."""
        deadline = time.monotonic() + PATIENCE_S
        while self.lost:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_AGAIN_S)
        return True

    def took(self, began_ns: int) -> None:
        """A burst that began then is over: what has arrived since makes a throughput."""
        since = [one.at_ns for one in self.arrivals if one.at_ns >= began_ns]
        if since and since[-1] > began_ns:
            self._rates.append(len(since) / ((since[-1] - began_ns) / 1e9))

    # --- what came of it ----------------------------------------------------------------------

    @property
    def sent(self) -> int:
        """Deliveries that there should be: one for each message and reader."""
        return self._expected

    @property
    def lost(self) -> int:
        """Deliveries that there should be and are not."""
        return self.sent - len(self._finished)

    @property
    def duplicated(self) -> int:
        """Deliveries beyond the first, to the same reader."""
        return sum(one.again for one in self.arrivals)

    def reordered(self, *, within_keys: bool = False) -> int:
        """First deliveries that came after one that was sent later, to the same reader."""
        highest: dict[tuple[str, str], int] = {}
        count = 0
        for one in self._firsts():
            place = (one.reader, one.key if within_keys else "")
            count += one.number < highest.get(place, -1)
            highest[place] = max(one.number, highest.get(place, -1))
        return count

    @property
    def back_after_s(self) -> float | None:
        """From the kill until the task was in another worker's hands; None if nobody was killed."""
        if self._killed is None:
            return None
        number, at_ns = self._killed
        back = [one.at_ns for one in self.arrivals if one.number == number and one.again]
        return (back[0] - at_ns) / 1e9 if back else None

    def percentile_ms(self, quantile: float) -> float:
        """Of the paced ones, from when it was due until it was there; NaN if there were none."""
        return exact_percentile(self.latencies_ms, quantile)

    @property
    def latencies_ms(self) -> list[float]:
        """Of the paced ones, in milliseconds, without the warm-up."""
        return [
            (one.at_ns - self._due_ns[one.number]) / 1e6
            for one in self._firsts()
            if one.timed and one.number in self._paced
        ]

    @property
    def throughput(self) -> float:
        """Deliveries per second in the bursts; NaN if there was none."""
        return sum(self._rates) / len(self._rates) if self._rates else float("nan")

    def _numbered(
        self, items: Iterable[Item], began_ns: int, apart_ns: int = 0
    ) -> Iterator[tuple[int, Item]]:
        first = len(self._due_ns)
        for place, item in enumerate(items):
            self._due_ns[first + place] = began_ns + place * apart_ns
            self._expected += self.readers
            yield first + place, item

    def _firsts(self) -> list[Arrival]:
        return [one for one in self.arrivals if not one.again]
