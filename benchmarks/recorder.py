"""What measuring costs: one operation recorded, and an open-loop generator at 20,000 a second.

    python benchmarks/recorder.py [--quick] [--json FILE]

Recording is compared with what one would do otherwise: append a tuple to a list, and assign to the
items of a numpy array. It is processor time, without the loop's own, the median of several rounds
in which the three take turns. The generator runs against a Redis started for this, with a
subscriber in the same process and with one in a process of its own; the figure is the p99 of the
schedule lag, in the median of several trials.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from _bench import Row, arguments, compare, installed, machine, median, report

RATE = 20_000

AIM_NS, LIMIT_NS = 150, 300
AIM_LAG_MS, LIMIT_LAG_MS = 0.2, 1.0

Record = Callable[[int, int, int, int], object]


# --- recording ------------------------------------------------------------------------------------


def ours(count: int) -> Record:
    from labkit.measure import Recorder

    return Recorder(count).record


def list_append(_: int) -> Record:
    kept: list[tuple[int, int, int, int]] = []
    append = kept.append
    return lambda number, intended, sent, done: append((number, intended, sent, done))


def numpy_items(count: int) -> Record:
    import numpy

    rows = numpy.zeros((count, 4), dtype=numpy.int64)

    def record(number: int, intended: int, sent: int, done: int) -> None:
        row = rows[number]
        row[0] = number
        row[1] = intended
        row[2] = sent
        row[3] = done

    return record


RECORDERS = {
    "labkit": ours,
    "list.append of a tuple": list_append,
    "numpy item assignment": numpy_items,
}


def cost_ns(make: Callable[[int], Record], count: int) -> float:
    """Nanoseconds for one operation, with the loop."""
    record = make(count)
    began = time.thread_time_ns()
    for number in range(count):
        record(number, 1_000, 2_000, 3_000)
    return (time.thread_time_ns() - began) / count


def loop_ns(count: int) -> float:
    """Nanoseconds for a turn of the loop alone."""
    began = time.thread_time_ns()
    for _ in range(count):
        pass
    return (time.thread_time_ns() - began) / count


def recording(rounds: int, count: int) -> list[Row]:
    names = [name for name in RECORDERS if "numpy" not in name or installed("numpy")]
    samples: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        empty = loop_ns(count)
        for name in names:
            samples[name].append(cost_ns(RECORDERS[name], count) - empty)
    figures = {name: median(values) for name, values in samples.items()}
    return [
        compare("recording one operation", figures["labkit"], figures[peer], peer, "ns")
        for peer in names
        if peer != "labkit"
    ]


# --- the generator --------------------------------------------------------------------------------


def generator(url: str, rounds: int, seconds: float) -> list[Row]:
    from labkit.measure import Constant, trial

    rows = []
    for where, processes in (("one process", False), ("two processes", True)):
        lags, rates = [], []
        for _ in range(rounds):
            found = trial(url, schedule=Constant(RATE), seconds=seconds, processes=processes)
            lags.append(float(found.health["lag_p99_ms"][0]))
            rates.append(float(found.trials["throughput"][0]))
        name = f"schedule lag p99 at {RATE:,}/s, {where}"
        rows.append(compare(name, median(lags) * 1e3, None, "", "µs"))
        rows.append(compare(f"completed, {where}", median(rates), None, "", "/s"))
    return rows


def goals(rows: list[Row]) -> list[str]:
    cost = rows[0].ours
    said = [_said("recording one operation", cost, AIM_NS, LIMIT_NS, "ns")]
    for row in rows:
        if row.name.startswith("schedule lag"):
            said.append(_said(row.name, row.ours, AIM_LAG_MS * 1e3, LIMIT_LAG_MS * 1e3, "µs"))
    return said


def _said(name: str, figure: float, aim: float, limit: float, unit: str) -> str:
    if figure <= aim:
        verdict = f"the aim of {aim:,.0f} {unit} is reached"
    elif figure <= limit:
        verdict = f"within the limit of {limit:,.0f} {unit}; the aim of {aim:,.0f} is missed"
    else:
        verdict = f"the limit of {limit:,.0f} {unit} is MISSED"
    return f"{name}: {figure:,.1f} {unit}; {verdict}."


def main() -> int:
    options = arguments(__doc__, "5 rounds and 3 trials of 2 s, not 15 and 7 of 5 s")
    from labkit.servers import start_redis

    rows = recording(*((5, 200_000) if options.quick else (15, 500_000)))
    with start_redis() as server:
        rows += generator(server.url, *((3, 2.0) if options.quick else (7, 5.0)))
        heading = f"{server.binary.product} {server.binary.version}, {machine('redis', 'hiredis')}"
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    report(rows, heading + load, options.json)
    print("\n" + "\n".join(goals(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
