"""benchmarks/queue.py: who is compared with whom, and the table."""

from __future__ import annotations

import os
import signal
import textwrap
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from sys import argv

from _bench import Row, arguments, compare, machine, report

from peers import BARE, MANY, ONE, OURS, PEERS, URL, Entry
from peers.measuring import Figures, measure, measure_here, measure_memory, work_here

GOALS = {"prefetch 100": 8.0, "one at a time": 1.5, "put_many": 8.0}
"""How many times the fastest peer."""

LESS = (
    "What labkit leaves out, and the peers do or are ready for: results (switched off above), "
    "routing a task to one of many functions by its name and arguments, time limits, "
    "rate limits, periodic tasks, chains and groups, remote control, events for monitors. With "
    "prefetch 100 its acknowledgements go out together: a worker that is killed may leave up to "
    "100 tasks that were done and are done again.",
    "What it does not leave out: acknowledgement after the work, a lease with a heart-beat, "
    "retries, dead letters, priorities, delays, message ids, the checks of its envelope, and "
    "counts. Huey takes a task out of Redis before the work: what its worker had in hand when it "
    "was killed is lost.",
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int
    seconds: float
    puts: int
    memory: int
    bare: bool


FULL = Size(rounds=5, seconds=3.0, puts=3_000, memory=1_000_000, bare=True)
QUICK = Size(rounds=3, seconds=0.4, puts=500, memory=100_000, bare=False)


@dataclass(slots=True)
class Samples:
    """What the rounds brought, of each system."""

    work: defaultdict[tuple[str, int], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )
    put_many: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    put: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, entry: Entry, prefetch: int, figures: Figures) -> None:
        """What one process brought."""
        self.work[entry.module, prefetch].append(figures.work)
        self.put_many[entry.module].append(figures.put_many)
        self.put[entry.module].append(figures.put)

    def working(self, entry: Entry, prefetch: int) -> float:
        """Tasks a second; of one who takes one at a time, always those."""
        return median(self.work[entry.module, prefetch if prefetch in entry.rough else ONE])


def main(script: Path, doc: str | None) -> int:
    entries = {entry.module: entry for entry in (OURS, BARE, *PEERS)}
    match argv[1:]:
        case ["--measure", module, tasks, puts]:
            measure_here(entries[module], int(tasks), int(puts))
            return 0
        case ["--work", module, marks]:
            work_here(entries[module], [int(mark) for mark in marks.split(",")])
            return 0
    options = arguments(doc, "3 short rounds and 100,000 tasks for the memory")
    try:
        compare_all(script, QUICK if options.quick else FULL, options.json)
    except KeyboardInterrupt:
        print("\nInterrupted; everything that was started has been stopped.")
        return 128 + signal.SIGINT
    return 0


def compare_all(script: Path, size: Size, file: Path | None) -> None:
    import redis

    from labkit.servers import start_redis

    there = [OURS, *([BARE] if size.bare else []), *(peer for peer in PEERS if peer.there)]
    samples = Samples()
    with start_redis() as server, redis.Redis.from_url(server.url) as client:
        os.environ[URL] = server.url
        for _ in range(size.rounds):
            for entry in there:
                for prefetch, rough in entry.rough.items():
                    client.flushall()
                    tasks = max(100, round(rough * size.seconds))
                    figures = measure(script, entry, prefetch, tasks, size.puts)
                    samples.add(entry, prefetch, figures)
        client.flushall()
        memory = measure_memory(script, server.url, size.memory)
        packages = ("redis", "hiredis", *(entry.package for entry in PEERS))
        heading = f"{server.binary.product} {server.binary.version}, {machine(*packages)}"
    peers = [*PEERS, *([BARE] if size.bare else [])]
    rows = [*rows_of(samples, peers), *memory_rows(memory, size.memory)]
    report(rows, heading, file)
    print_notes(rows, there)
    print_spread(samples, there)


def rows_of(samples: Samples, peers: list[Entry]) -> list[Row]:
    def row(name: str, ours: float, peer: Entry, theirs: float | None) -> Row:
        missing = f"{peer.title} (missing: pip install '{peer.requirement}')"
        return compare(name, ours, theirs, peer.title if peer.there else missing, "/s")

    rows = []
    for prefetch, how in ((MANY, "prefetch 100"), (ONE, "one at a time")):
        for peer in peers:
            theirs = samples.working(peer, prefetch) if peer.there else None
            name = f"empty tasks, {how}"
            rows.append(row(name, samples.working(OURS, prefetch), peer, theirs))
    for name, puts in (("put_many", samples.put_many), ("put", samples.put)):
        for peer in peers:
            theirs = median(puts[peer.module]) if peer.there else None
            rows.append(row(f"enqueueing, {name}", median(puts[OURS.module]), peer, theirs))
    return rows


def memory_rows(found: tuple[int, int] | None, tasks: int) -> list[Row]:
    if found is None:
        print("The memory was not measured: pip install psutil\n")
        return []
    early, late = (size / 2**20 for size in found)
    name = f"worker's memory at 100 % of {tasks:,} tasks"
    return [compare(name, late, early, "the same worker at 10 %", "MiB")]


def print_notes(rows: list[Row], there: list[Entry]) -> None:
    titles = {peer.title for peer in PEERS}
    print()
    for name, goal in GOALS.items():
        rivals = [row for row in rows if row.name.endswith(name) and row.peer_name in titles]
        fastest = max((row for row in rivals if row.peer), key=lambda r: r.peer or 0, default=None)
        if fastest is not None and fastest.ratio is not None:
            verdict = "reached" if fastest.ratio >= goal else "MISSED"
            print(
                f"{fastest.name}: {fastest.ratio:.1f} times the fastest of them, "
                f"{fastest.peer_name}; the goal of {goal:g} is {verdict}."
            )
    print("\nSettings")
    for entry in there:
        print_paragraph(f"{entry.title}: {entry.settings}.", "  ")
    print()
    for paragraph in LESS:
        print_paragraph(paragraph, "")


def print_spread(samples: Samples, there: list[Entry]) -> None:
    """Whoever judges a ratio must know how far the rounds were apart."""
    print("\nEmpty tasks per second, slowest to fastest round")
    for entry in there:
        for prefetch in entry.rough:
            rounds = samples.work[entry.module, prefetch]
            name = f"{entry.title}, {prefetch} at a time"
            print(f"  {name:36} {min(rounds):>10,.0f} to {max(rounds):>10,.0f}")


def print_paragraph(text: str, indent: str) -> None:
    print(textwrap.fill(text, 100, initial_indent=indent, subsequent_indent=2 * indent))
