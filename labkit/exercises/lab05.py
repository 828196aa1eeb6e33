"""Checks of lab 05: measure it honestly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from labkit.broker import Lab
from labkit.exercises.framework import Wrong, exercise
from labkit.measure import Histogram, SimulatedServer, Stall

Row = tuple[float, float, float | None]

_ROWS: tuple[Row, ...] = ((0, 0, 1), (10, 200, 201), (20, 201, None), (30, 202, 203))
_TIMEOUT_MS = 500
_MS_NS = 1_000_000


@exercise(
    "5.1",
    "Counted from when?",
    expects="function",
    correct="Every caller is in the list, with what that caller waited.",
)
def check_response_times(response_times: Callable[[Sequence[Row], float], Any], _lab: Lab) -> None:
    """A stalled generator, and one request without an answer."""
    try:
        got = response_times(list(_ROWS), _TIMEOUT_MS)
    except TypeError:
        raise Wrong(
            "A row without an answer stops your function: its done is None.",
            "That caller waited, too: how long, at least?",
            "timeout_ms if done is None else done - intended",
        ) from None
    if not isinstance(got, list):
        raise Wrong(
            f"A list of numbers is expected, and you return {type(got).__name__}.",
            "Return one number for each row, in their order.",
        )
    if len(got) < len(_ROWS):
        raise Wrong(
            f"There were {len(_ROWS)} requests, and {len(got)} response times come back.",
            "The request that was never answered is one of them. Leave it out, and the worst of "
            "all disappears from the figures.",
            "Where done is None, the caller waited timeout_ms.",
        )
    right: list[float] = [
        _TIMEOUT_MS if done is None else done - intended for intended, _, done in _ROWS
    ]
    service = [_TIMEOUT_MS if done is None else done - sent for _, sent, done in _ROWS]
    if got == service:
        raise Wrong(
            "Those are service times: the row (10, 200, 201) gives 1 ms, but its caller waited "
            "191 ms.",
            "The request was due at 10. That it was sent at 200 is the measuring program's delay, "
            "and the caller waits through it, too.",
            "Count from the intended moment: done - intended.",
        )
    if got[2] is None or (isinstance(got[2], float) and math.isnan(got[2])):
        raise Wrong(
            f"The unanswered request gives {got[2]}; a percentile cannot count that.",
            "Somebody waited for it, at least until it was given up.",
        )
    if got[2] != _TIMEOUT_MS:
        raise Wrong(
            f"The unanswered request gives {got[2]}, and it was given up after {_TIMEOUT_MS} ms.",
            "It was given up timeout_ms after it was intended: that is what its caller waited.",
        )
    if got != right:
        raise Wrong(
            f"For {list(_ROWS)} you return {got}; {right} is right.",
            "Each is done - intended.",
        )


@exercise(
    "5.2",
    "One p99 for three servers",
    expects="function",
    correct="The counts were added, and one percentile was taken of all.",
)
def check_joint_p99(joint_p99: Callable[[list[Histogram]], Any], _lab: Lab) -> None:
    """Two fast servers with most of the requests, and a slow one with few."""
    histograms = [_histogram([1.0] * 495), _histogram([1.0] * 495), _histogram([500.0] * 20)]
    counts = [histogram.count for histogram in histograms]
    got = joint_p99(histograms)
    if isinstance(got, bool) or not isinstance(got, int | float):
        raise Wrong(
            f"A number of milliseconds is expected, and you return {type(got).__name__}.",
            "Return what percentile(0.99) says, in milliseconds.",
        )
    if [histogram.count for histogram in histograms] != counts:
        raise Wrong(
            "One of the three histograms has grown: it has taken in another.",
            "Next time somebody asks that server for its own p99, the answer is wrong.",
            "Begin with a new measure.Histogram(), and merge the three into it.",
        )
    each = [histogram.percentile(0.99) / _MS_NS for histogram in histograms]
    if math.isclose(got, sum(each) / len(each), rel_tol=0.02):
        raise Wrong(
            f"{got:.0f} ms is the mean of the three p99s. It is the p99 of nothing.",
            "Add the counts, not the percentiles: histograms merge.",
            "everything = measure.Histogram(); everything.merge(histogram) for each of them.",
        )
    weighted = sum(h.percentile(0.99) * h.count for h in histograms) / sum(counts) / _MS_NS
    if math.isclose(got, weighted, rel_tol=0.02):
        raise Wrong(
            f"{got:.1f} ms is the mean of the three p99s, weighted by their counts.",
            "Weighting percentiles is still averaging them. Add the counts: histograms merge.",
        )
    if got > 100_000:
        raise Wrong(
            f"{got:,.0f} ms would be minutes.",
            "percentile() answers in nanoseconds; a millisecond has a million of them.",
        )
    if not math.isclose(got, 500.0, rel_tol=0.02):
        raise Wrong(
            f"You return {got:g} ms. Of 1,010 requests 20 took 500 ms, so 99 of 100 were not done "
            "earlier.",
            "Is it the 99th percentile, and of all three? percentile(0.99), after three merges.",
        )
    few = [_histogram([1.0] * 995), _histogram([500.0] * 5)]
    if not math.isclose(got := joint_p99(few), 1.0, rel_tol=0.02):
        raise Wrong(
            f"Now 995 requests took 1 ms and 5 took 500 ms, and you return {got:g} ms: 99 of 100 "
            "were done within 1 ms.",
            "The slowest server's own p99 is not that of all.",
            "Merge the histograms first, and ask for the percentile once.",
        )
    if not math.isclose(joint_p99([_histogram([2.0] * 10)]), 2.0, rel_tol=0.02):
        raise Wrong(
            "With one histogram of ten requests of 2 ms, the p99 is 2 ms, and yours is not.",
            "Loop over the histograms that you are given, however many there are.",
        )


def _histogram(times_ms: Sequence[float]) -> Histogram:
    histogram = Histogram()
    histogram.add_all(round(ms * _MS_NS) for ms in times_ms)
    return histogram


@exercise(
    "5.3",
    "Does it hold?",
    expects="function",
    correct="An open load, and times from the intended moment: your promise is worth something.",
)
def check_holds(holds: Callable[..., Any], _lab: Lab) -> None:
    """Servers that hold, that stumble, and that are too slow."""
    stall = Stall(at=4.0, seconds=0.3)
    fine = _verdict(holds, SimulatedServer(0.001), None)
    stumbles = _verdict(holds, SimulatedServer(0.001), stall)
    slow = _verdict(holds, SimulatedServer(0.003), None)
    if stumbles and slow:
        raise Wrong(
            "You say True for a server that takes 3 ms: it can do 333 a second, not 500. And for "
            "one that stands still for 300 ms.",
            "Either your load waits for each answer, so that the server is never asked for 500 a "
            "second; or you look at the service time, which counts from the sending.",
            "An open schedule: Poisson(rate=500, seed=1) or Constant(rate=500). And from the "
            "intended moment: response_p99_ms.",
        )
    if stumbles:
        raise Wrong(
            "You say True for a server that stands still for 300 ms. 150 requests were due "
            "meanwhile; that is three in a hundred.",
            "Do you hand the stall on to trial? And which of the two times does the caller wait?",
            "99 of 100: is it the p99 that you compare? trial(…, stall=stall), and its "
            "response_p99_ms: service_p99_ms counts from the moment of sending.",
        )
    if slow:
        raise Wrong(
            "You say True for a server that takes 3 ms: it can do 333 a second, not 500.",
            "What is the rate of your schedule, and is it the p99 that you compare?",
            "Poisson(rate=500, seed=1), and response_p99_ms.",
        )
    if not fine:
        raise Wrong(
            "You say False for a server that takes 1 ms for each of 500 requests a second.",
            "Its p99 is a few milliseconds; the promise is 20. Are you comparing milliseconds?",
            "bool(run.trials.response_p99_ms.iloc[0] <= 20)",
        )


def _verdict(holds: Callable[..., Any], target: SimulatedServer, stall: Stall | None) -> bool:
    got = holds(target, stall)
    if type(got).__module__ == "numpy":
        raise Wrong(
            "A numpy bool is not Python's, and prints differently.",
            "Wrap it: bool(… <= 20).",
        )
    if not isinstance(got, bool):
        raise Wrong(
            f"True or False is expected, and you return {type(got).__name__} {got!r}.",
            "Compare the p99 with 20, and make it a bool: bool(… <= 20).",
        )
    return got
