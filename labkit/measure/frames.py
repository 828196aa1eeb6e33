"""The long tables of one trial: an operation a row, a tick a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from labkit.measure.outcome import Outcome
from labkit.measure.recorder import NEVER_SENT, TICK_NS, Unfinished

if TYPE_CHECKING:
    import numpy.typing as npt

OPERATIONS_KEPT = 100_000
"""Rows of `.operations` for one trial; a longer one is sampled evenly."""

STATUS = {
    Unfinished.UNANSWERED: "unanswered",
    Unfinished.LOST: "lost",
    Unfinished.ERROR: "error",
}

OPERATION_TYPES = {
    **dict.fromkeys(("trial", "number", "intended_ns", "sent_ns", "done_ns"), "int64"),
    "status": "str",
    "service_ms": "float64",
    "response_ms": "float64",
    "warmup": "bool",
}
SERIES_TYPES = {
    "trial": "int64",
    **dict.fromkeys(("t_s", "completed_per_s", "depth"), "float64"),
    "warmup": "bool",
}


def sample(count: int) -> slice:
    """Every n-th, so that they are at most `OPERATIONS_KEPT`."""
    return slice(None, None, max(1, -(-count // OPERATIONS_KEPT)))


def operations_frame(
    outcome: Outcome,
    service: npt.NDArray[np.int64],
    response: npt.NDArray[np.int64],
    warm: npt.NDArray[np.bool_],
    kept: slice,
) -> pd.DataFrame:
    """One row an operation, of those that are kept."""
    done = outcome.done[kept]
    status = np.full(len(done), "ok", dtype=object)
    for code, word in STATUS.items():
        status[done == code] = word
    frame = pd.DataFrame(
        {
            "trial": np.zeros(len(done), dtype=np.int64),
            "number": outcome.number[kept],
            "intended_ns": outcome.intended[kept],
            "sent_ns": outcome.sent[kept],
            "done_ns": np.maximum(done, NEVER_SENT),
            "status": status,
            "service_ms": service[kept] / 1e6,
            "response_ms": response[kept] / 1e6,
            "warmup": warm[kept],
        }
    )
    return frame.astype(OPERATION_TYPES)


def series_frame(outcome: Outcome, *, tick: int, warmup_ns: int, timeout_ns: int) -> pd.DataFrame:
    """One row a tick, at its end: what was completed in it, and how much is under way then."""
    last = max(
        [outcome.ended_ns, *(t * TICK_NS for t in outcome.later.ticks)],
        default=0,
    )
    ticks = max(0, -(-last // tick))
    gone = (outcome.done == Unfinished.LOST) | (outcome.done == Unfinished.ERROR)
    begun = _per_tick(outcome.intended[~gone], tick, ticks)
    ended = outcome.done[outcome.finished]
    given_up = (outcome.sent + timeout_ns)[outcome.done == Unfinished.UNANSWERED]
    completed = _per_tick(ended, tick, ticks)
    ending = completed + _per_tick(given_up, tick, ticks)
    for at, (starts, ends) in outcome.later.ticks.items():
        place = min(at * TICK_NS // tick, ticks - 1)
        begun[place] += starts
        completed[place] += ends
        ending[place] += ends
    t_s = np.arange(1, ticks + 1) * tick / 1e9
    frame = pd.DataFrame(
        {
            "trial": np.zeros(ticks, dtype=np.int64),
            "t_s": t_s,
            "completed_per_s": completed / (tick / 1e9),
            "depth": np.maximum(np.cumsum(begun) - np.cumsum(ending), 0),
            "warmup": t_s <= warmup_ns / 1e9,
        }
    )
    busy = np.flatnonzero((completed > 0) | (frame["depth"].to_numpy() > 0))
    last_busy = int(busy[-1]) + 1 if len(busy) else 0
    return frame.iloc[:last_busy].astype(SERIES_TYPES)  # then all was over: no zero to draw


def _per_tick(times: npt.NDArray[np.int64], tick: int, ticks: int) -> npt.NDArray[np.int64]:
    places = times // tick
    inside = places[(places >= 0) & (places < ticks)]
    return np.bincount(inside, minlength=ticks).astype(np.int64)
