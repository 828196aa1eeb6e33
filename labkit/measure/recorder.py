"""What happened to each operation, in nanoseconds, written down in a tenth of a microsecond.

Three times make two durations. *Service time* is from sending to done: how long the broker took.
*Response time* is from the moment at which the operation was **meant** to begin to done: how long
somebody waited. They differ where the sender was held up, and only the second one tells of it
(Gil Tene calls looking at the first alone *coordinated omission*).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

from labkit.errors import ConfigurationError
from labkit.measure.histogram import Histogram

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Times = npt.NDArray[np.int64]
    Columns = tuple[Times, Times, Times, Times]

DEFAULT_CAPACITY = 1_000_000
"""Operations kept one by one, of 32 bytes each; later ones are counted in histograms."""

TICK_NS = 100_000_000
"""How finely what no longer fits is kept in time."""

_ROW = struct.Struct("4q")
"""One operation. One call of C that packs four numbers costs less than four assignments."""

_FIRST_ROOM = 4_096

Record = Callable[[int, int, int, int], None]
"""number, intended, sent, done: of one finished operation, in nanoseconds from the start."""


class Unfinished(IntEnum):
    """Stands where the time of the end would be, for what never came to one."""

    UNANSWERED = -1
    LOST = -2
    ERROR = -3


NEVER_SENT = -1
"""Stands for the time of sending where there was none."""


class Recorder:
    """Keeps raw times up to `capacity` operations, and histograms of what comes after.

    `record` is a function of this recorder's own: take it into a local name in a loop.

    Args:
        capacity: operations kept one by one.
        timeout_ns: what an operation that never ended counts for, at least.
        warmup_ns: operations meant to begin before this are kept, but are in no histogram.
    """

    record: Record

    def __init__(
        self,
        capacity: int = DEFAULT_CAPACITY,
        *,
        timeout_ns: int = 2_000_000_000,
        warmup_ns: int = 0,
    ) -> None:
        if capacity < 1:
            raise ConfigurationError(f"capacity is 1 operation or more, got {capacity}.")
        self.capacity = capacity
        self.timeout_ns = timeout_ns
        self.warmup_ns = warmup_ns
        self.in_histogram_only = 0
        self.later_service = Histogram()
        self.later_response = Histogram()
        self.later_ticks: dict[int, list[int]] = {}  # tick: meant to begin, done
        self.later_status = dict.fromkeys(Unfinished, 0)
        self._rows = bytearray()
        self._grow()
        self.record, self._count = self._writer()

    def __len__(self) -> int:
        """How many operations are kept one by one."""
        return self._count()

    @property
    def total(self) -> int:
        """How many were recorded."""
        return len(self) + self.in_histogram_only

    def unfinished(self, number: int, intended_ns: int, sent_ns: int, status: Unfinished) -> None:
        """An operation that never came to an end. It counts for the time-out or more."""
        self.record(number, intended_ns, sent_ns, int(status))

    def raw(self) -> bytes:
        """The kept ones, four integers of 64 bits each."""
        return bytes(memoryview(self._rows)[: len(self) * _ROW.size])

    def columns(self) -> Columns:
        """number, intended, sent, done of the kept ones, in the order of recording (copies)."""
        import numpy as np

        rows = np.frombuffer(self.raw(), dtype=np.int64).reshape(-1, 4)
        return split_columns(rows)

    def _grow(self) -> bool:
        room = len(self._rows) // _ROW.size
        more = min(self.capacity, max(_FIRST_ROOM, 2 * room)) - room
        self._rows.extend(bytes(more * _ROW.size))
        return more > 0

    def _writer(self) -> tuple[Record, Callable[[], int]]:
        """`record`, with all that it touches in local names: that is what makes it cheap."""
        rows = self._rows
        write, step = _ROW.pack_into, _ROW.size
        end = 0

        def record(number: int, intended_ns: int, sent_ns: int, done_ns: int) -> None:
            nonlocal end
            try:
                write(rows, end, number, intended_ns, sent_ns, done_ns)
            except struct.error:
                if end < len(rows):
                    raise  # not for want of room
                if not self._grow():
                    self.count_only(intended_ns, sent_ns, done_ns)
                    return
                write(rows, end, number, intended_ns, sent_ns, done_ns)
            end += step

        return record, lambda: end // step

    def count_only(self, intended_ns: int, sent_ns: int, done_ns: int) -> None:
        """Into the histograms, as what no longer fits is."""
        self.in_histogram_only += 1
        begun = self.later_ticks.setdefault(max(0, intended_ns) // TICK_NS, [0, 0])
        begun[0] += 1
        if done_ns >= 0:
            self.later_ticks.setdefault(done_ns // TICK_NS, [0, 0])[1] += 1
        if intended_ns < self.warmup_ns:
            return
        if done_ns >= 0:
            self.later_service.add(done_ns - sent_ns)
            self.later_response.add(done_ns - intended_ns)
            return
        self.later_status[Unfinished(done_ns)] += 1
        waited = sent_ns - intended_ns if sent_ns != NEVER_SENT else 0
        self.later_service.add(self.timeout_ns)
        self.later_response.add(self.timeout_ns + max(0, waited))


def split_columns(rows: Times) -> Columns:
    """number, intended, sent, done of rows of these four."""
    import numpy as np

    number, intended, sent, done = (np.ascontiguousarray(column) for column in rows.T)
    return number, intended, sent, done


def exact_percentile(
    samples: Sequence[float] | npt.NDArray[np.float64] | Times, quantile: float
) -> float:
    """The smallest sample that at least this part of the samples do not exceed (nearest rank).

    Always one of the samples; nothing is interpolated. NaN of nothing.
    """
    import numpy as np

    if not 0 <= quantile <= 1:
        raise ConfigurationError(f"A quantile is from 0 to 1 (0.99 is p99), got {quantile}.")
    if not len(samples):
        return math.nan
    rank = max(1, math.ceil(quantile * len(samples)))
    return float(np.partition(np.asarray(samples), rank - 1)[rank - 1])
