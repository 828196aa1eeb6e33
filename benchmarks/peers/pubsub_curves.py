"""How publish/subscribe grows: with subscribers, with messages, with the size of a body."""

from __future__ import annotations

import resource
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _bench import median, program

from peers import pubsub_ends as ends
from peers.pubsub_ends import open_lab

SCRIPT = Path(__file__).resolve().parent.parent / "pubsub.py"
PATIENCE_S = 120.0
LAB_HOLDS = 500
"""Subscriptions of one lab here; one may hold 1,000 connections."""

BLUE, ORANGE, INK, GREY, GRID = "#0072B2", "#D55E00", "#1b1f24", "#6b7280", "#e5e7eb"


@dataclass(frozen=True)
class Point:
    """One measurement.

    Attributes:
        at: what grew: subscribers, messages, or bytes of a body.
        rate: bodies that arrived, per second.
        peak_mib: most memory that the subscribers' process had.
    """

    at: int
    rate: float
    peak_mib: float


@dataclass(frozen=True)
class Curve:
    """What grew, and what came of it."""

    what: str
    points: Sequence[Point]


def count_here(url: str, subscribers: int, wanted: int) -> None:
    """The subscribers' process: all of them in one, until each has counted `wanted` bodies."""
    labs = [open_lab(url) for _ in range(0, subscribers, LAB_HOLDS)]
    listening = [labs[n // LAB_HOLDS].open_subscription() for n in range(subscribers)]
    for subscription in listening:
        subscription.add("bench:curve")
    left = dict.fromkeys(listening, wanted)
    print("ready", flush=True)
    while left:
        for subscription in list(left):
            left[subscription] -= len(subscription.poll_many(1.0 if len(listening) == 1 else 0.0))
            if left[subscription] <= 0:
                assert left[subscription] == 0
                del left[subscription]
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(time.monotonic(), peak_kib, flush=True)


def measure(url: str, at: int, *, subscribers: int, messages: int, size: int) -> Point:
    """One round, in a new process, so that its peak of memory is its own."""
    arguments = ("--count", str(subscribers), str(messages))
    with program(SCRIPT, *arguments, url=url, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        with ends.labkit_bodies(url, "bench:curve", size) as send:
            began = time.monotonic()
            send(messages)
            if not select.select([process.stdout], [], [], PATIENCE_S)[0]:
                raise SystemExit("messages were lost: a subscriber still waits for some")
            ended, peak_kib = process.stdout.readline().split()
    rate = subscribers * messages / (float(ended) - began)
    return Point(at, rate, int(peak_kib) / 1024)


def curves(url: str, *, quick: bool) -> list[Curve]:
    """All three; of each point the median of 3 rounds."""
    rounds, deliveries, most = (1, 50_000, 100_000) if quick else (3, 200_000, 1_000_000)

    def point(at: int, **given: int) -> Point:
        found = [measure(url, at, **given) for _ in range(rounds)]
        return Point(at, median([p.rate for p in found]), max(p.peak_mib for p in found))

    return [
        Curve(
            "subscribers",
            [
                point(n, subscribers=n, messages=max(200, deliveries // n), size=100)
                for n in (1, 3, 10, 30, 100, 300, 1_000)
            ],
        ),
        Curve(
            "messages",
            [
                point(n, subscribers=1, messages=n, size=100)
                for n in (1_000, 10_000, 100_000, 1_000_000)
                if n <= most
            ],
        ),
        Curve(
            "bytes in a body",
            [
                point(
                    n, subscribers=1, messages=max(100, min(deliveries, 100_000_000 // n)), size=n
                )
                for n in (64, 1_024, 16_384, 131_072, 1_048_576)
            ],
        ),
    ]


def draw(url: str, file: Path, *, quick: bool) -> None:
    """Measure, print the tables, draw the picture."""
    found = curves(url, quick=quick)
    for curve in found:
        print(f"\n| {curve.what} | arrived per second | peak memory, MiB |\n|---:|---:|---:|")
        for p in curve.points:
            print(f"| {p.at:,} | {p.rate:,.0f} | {p.peak_mib:,.1f} |")
    figure = _figure(found)
    figure.savefig(file, dpi=100)
    print(f"\n{file}", file=sys.stderr)


def _figure(found: Sequence[Curve]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), facecolor="white", layout="constrained")
    axes = figure.subplots(2, len(found), sharex="col", sharey="row")
    most = max(p.peak_mib for curve in found for p in curve.points)
    for column, curve in enumerate(found):
        xs = [p.at for p in curve.points]
        for row, ys, colour, marker in (
            (0, [p.rate for p in curve.points], BLUE, "o"),
            (1, [p.peak_mib for p in curve.points], ORANGE, "s"),
        ):
            ax = axes[row][column]
            ax.plot(xs, ys, color=colour, marker=marker, linewidth=1.8, markersize=6)
            ax.set_xscale("log")
            ax.grid(color=GRID, linewidth=0.8)
            ax.set_axisbelow(True)
            ax.spines[["top", "right"]].set_visible(False)
            ax.spines[["left", "bottom"]].set_color(GREY)
            ax.tick_params(colors=INK, labelsize=9)
            falls = ys[-1] < ys[0]
            steep = ys[1] > 1.5 * ys[0]  # the line would cross a label above its first point
            for at in (0, -1):
                ax.annotate(
                    _short(ys[at]),
                    (xs[at], ys[at]),
                    textcoords="offset points",
                    xytext=(-9, -5) if falls and at else (0, -17) if steep and not at else (0, 9),
                    ha="left" if at == 0 else "right",
                    fontsize=9,
                    color=colour,
                )
        axes[0][column].set_yscale("log")
        axes[0][column].set_ylim(bottom=100, top=10_000_000)
        axes[1][column].set_ylim(bottom=0, top=1.15 * most)
        axes[1][column].set_xlabel(curve.what, fontsize=10, color=INK)
    axes[0][0].set_ylabel("arrived per second", fontsize=10, color=INK)
    axes[1][0].set_ylabel("peak memory of the\nsubscribers' process (MiB)", fontsize=10, color=INK)
    figure.suptitle(_finding(found), fontsize=12, color=INK, x=0.01, ha="left")
    return figure


def _finding(found: Sequence[Curve]) -> str:
    """The title, from the data."""
    subscribers, messages, _ = (curve.points for curve in found)
    first, last = messages[0], messages[-1]
    more = round(last.peak_mib - first.peak_mib)
    told = f"{more:,} MiB more" if more > 0 else "no more"
    rate = _short(subscribers[-1].rate)
    return (
        f"{last.at:,} messages take {told} memory than {first.at:,}; "
        f"{subscribers[-1].at:,} subscribers get {rate} bodies a second together"
    )


def _short(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return (
                f"{value / size:.2g} {unit}" if value < 10 * size else f"{value / size:.0f} {unit}"
            )
    return f"{value:.0f}"
