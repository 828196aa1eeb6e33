"""Run the four jobs on every broker, and put what came of it side by side."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labkit._html import table
from labkit.broker import Capability, Support
from labkit.experiments.choosing.at_hand import AtHand, Brokers
from labkit.experiments.choosing.jobs import JOBS, Job, lines_of_code
from labkit.experiments.choosing.lines import adapter_lines
from labkit.experiments.choosing.notes import Notes

COUNTS = ("sent", "arrived", "lost", "twice", "reordered", "reordered_in_key", "samples")
_ADAPTERS = {"redis+embedded": "redis", "kafka+embedded": "kafka"}
_runs = itertools.count(1)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What one run has seen.

    Attributes:
        figures: a row for each job and broker.
            broker, job, real (a server, or a stand-in in this program);
            support: native, emulated or absent; why; emulated, absent: more of what the job could
            use, in words;
            sent, arrived, lost, twice: deliveries; reordered: those that came after a later
            one, reordered_in_key: the same within a channel or a flight;
            throughput: deliveries per second in a burst; p50_ms, p99_ms: from when a message was
            due until it was there; samples: how many these rest on;
            back_after_s: from the kill of a worker until its task was in another's hands.
            Where a capability is absent, there are no figures.
        brokers: a row for each broker: broker, what, real, idle_mb, busy_mb (resident memory of
            the server), adapter_lines (labkit's own code for it), native, emulated, absent (how
            many capabilities).
        jobs: a row for each job: job, lines (the same on every broker).
    """

    figures: pd.DataFrame
    brokers: pd.DataFrame
    jobs: pd.DataFrame
    _capabilities: dict[str, dict[str, Capability]]

    def to_frame(self) -> pd.DataFrame:
        """The figures."""
        return self.figures.copy()

    def capability(self, broker: str, name: str) -> Capability:
        """What a broker of this run can do of this name."""
        return self._capabilities[broker][name]

    def capabilities(self) -> pd.DataFrame:
        """All that the jobs could use: a row for each capability, a column for each broker."""
        names = [name for job in JOBS for name in (job.capability, *job.also)]
        columns = {
            broker: [str(known[name].support) for name in names]
            for broker, known in self._capabilities.items()
        }
        return pd.DataFrame(columns, index=pd.Index(names, name="capability"))

    def figure(self, broker: str, job: str, column: str) -> Any:
        """One figure; None where there is none."""
        rows = self.figures[(self.figures.broker == broker) & (self.figures.job == job)]
        value = rows.iloc[0][column]
        return None if pd.isna(value) else value

    def memory_mb(self, broker: str) -> float | None:
        """What its server held after the work; None where there is no server."""
        value = self.brokers.set_index("broker").busy_mb[broker]
        return None if pd.isna(value) else float(value)

    def __repr__(self) -> str:
        return "\n".join(f"{row[1]} on {row[0]}: {row[2]}, {row[3]}" for row in self._rows())

    def _repr_html_(self) -> str:
        heads = ("job", "broker", "support", "lost", "twice", "reordered", "per second")
        more = ("p50 (ms)", "p99 (ms)", "back after a kill (s)")
        rows = [(row[1], row[0], *row[2:]) for row in self._rows()]
        return table((*heads, *more), rows, "The same work on every broker at hand")

    def _rows(self) -> list[tuple[Any, ...]]:
        columns = ["broker", "job", "support", "lost", "twice", "reordered"]
        columns += ["throughput", "p50_ms", "p99_ms", "back_after_s"]
        rows = self.figures.sort_values("job", key=_in_order, kind="stable")[columns]
        return [
            tuple(_shown(value) for value in row) for row in rows.itertuples(index=False, name=None)
        ]


def compare(brokers: Brokers, jobs: Sequence[Job] = JOBS) -> Comparison:
    """Run each job on each broker that can do it.

    Raises:
        LabkitError: a broker that was there has gone.
    """
    figures = [_measured(broker, job) for broker in brokers for job in jobs]
    names = {name for job in JOBS for name in (job.capability, *job.also)}
    known = {one.name: {n: one.capability(n) for n in names | _all(one)} for one in brokers}
    frame = pd.DataFrame(figures)
    for column in COUNTS:
        frame[column] = frame[column].astype("Int64")
    for column in ("throughput", "p50_ms", "p99_ms", "back_after_s"):
        frame[column] = frame[column].astype(float)
    lines = [{"job": job.name, "lines": lines_of_code(job)} for job in jobs]
    return Comparison(frame, pd.DataFrame(map(_described, brokers)), pd.DataFrame(lines), known)


def _measured(broker: AtHand, job: Job) -> dict[str, Any]:
    main, others = broker.capability(job.capability), [broker.capability(n) for n in job.also]
    row: dict[str, Any] = {"broker": broker.name, "job": job.name, "real": broker.real}
    row |= {"support": str(main.support), "why": main.why}
    for support in (Support.EMULATED, Support.ABSENT):
        row[str(support)] = ", ".join(one.name for one in others if one.support is support)
    row |= dict.fromkeys((*COUNTS, "throughput", "p50_ms", "p99_ms", "back_after_s"))
    if main.support is Support.ABSENT:
        return row
    notes = Notes()
    job.run(broker, f"run{next(_runs)}-{job.name}", notes)
    return row | {
        "sent": notes.sent,
        "arrived": len(notes.arrivals),
        "lost": notes.lost,
        "twice": notes.duplicated,
        "reordered": notes.reordered(),
        "reordered_in_key": notes.reordered(within_keys=True),
        "throughput": notes.throughput,
        "p50_ms": notes.percentile_ms(0.5),
        "p99_ms": notes.percentile_ms(0.99),
        "samples": len(notes.latencies_ms),
        "back_after_s": notes.back_after_s,
    }


def _described(broker: AtHand) -> dict[str, Any]:
    supports = [one.support for one in broker.lab.capabilities]
    return {
        "broker": broker.name,
        "what": broker.lab.name,
        "real": broker.real,
        "idle_mb": broker.idle_mb,
        "busy_mb": broker.memory_mb(),
        "adapter_lines": adapter_lines(_ADAPTERS.get(broker.kind, broker.kind)),
        **{str(kind): supports.count(kind) for kind in Support},
    }


def _all(broker: AtHand) -> set[str]:
    return {one.name for one in broker.lab.capabilities}


def _in_order(names: Any) -> Any:
    order = {job.name: place for place, job in enumerate(JOBS)}
    return names.map(order)


def _shown(value: Any) -> Any:
    """A figure with three digits; None where there is none."""
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, float):
        return f"{float(f'{value:.3g}'):,.10g}"
    return value if isinstance(value, str) else int(value)
