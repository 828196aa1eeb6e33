"""What the benchmarks share: options, one row a comparison, a table, programs to measure with."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

URL = "BENCH_URL"
"""The environment variable with a broker's URL: it holds a password, which a command line shows."""


@dataclass(frozen=True)
class Row:
    """One comparison; `ratio` is ours / peer."""

    name: str
    ours: float
    peer: float | None
    peer_name: str
    ratio: float | None
    unit: str


def compare(name: str, ours: float, peer: float | None, peer_name: str, unit: str) -> Row:
    """A row. Without a peer (its package is not installed, say) there is no ratio."""
    ratio = None if not peer else round(ours / peer, 3)
    shown = None if peer is None else round(peer, 2)
    return Row(name, round(ours, 2), shown, peer_name, ratio, unit)


def arguments(doc: str | None, quick: str) -> argparse.Namespace:
    """`--quick` and `--json FILE`, as every benchmark takes them."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{quick}; under 60 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    return parser.parse_args()


def report(rows: Sequence[Row], heading: str, file: Path | None) -> None:
    """Print the table, and write the rows where `--json` says."""
    print(f"{heading}\n")
    width = max(len(row.name) for row in rows) + 2
    print(f"{'':{width}} {'ours':>12} {'peer':>12}  {'ratio':>6}  peer")
    for row in rows:
        ours = f"{row.ours:,.1f} {row.unit}"
        peer = "-" if row.peer is None else f"{row.peer:,.1f} {row.unit}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        print(f"{row.name:{width}} {ours:>12} {peer:>12}  {ratio:>6}  {row.peer_name}")
    if file is not None:
        file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def machine(*packages: str) -> str:
    """Where a figure comes from: Python, cores, versions."""
    known = [f"{name} {found}" for name in packages if (found := installed(name))]
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, " + ", ".join(known)


def installed(package: str) -> str | None:
    """A package's version; None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def percentile(samples: Sequence[float], quantile: float) -> float:
    """Nearest rank."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)]


def median(samples: Sequence[float]) -> float:
    """Of several rounds, the one in the middle: one disturbed round does not count."""
    return statistics.median(samples)


@contextmanager
def program(
    script: Path, *arguments: str, url: str | None = None, stdin: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A Python program of ours in a process of its own. It prints one line when it is ready.

    Args:
        script: the program.
        arguments: of its command line.
        url: what `given_url` says there.
        stdin: as of `Popen`.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments],
        env={**os.environ, "PYTHONPATH": path, **({} if url is None else {URL: url})},
        stdin=stdin,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SystemExit(f"{script.name} {' '.join(arguments[:1])} did not start")
        yield process
    finally:
        process.kill()
        process.wait()


def given_url() -> str:
    """The URL that `program` was given, in its process."""
    return os.environ[URL]
