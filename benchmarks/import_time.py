"""What `import labkit` costs on top of Python, in fresh interpreters, beside what others cost.

    python benchmarks/import_time.py [--quick] [--json FILE]

Every figure is the wall time from starting an interpreter to its end, in milliseconds: the median
of many. Runs of the programs compared alternate, so that a busy moment hits them alike. The rows
"on top of Python" subtract the bare interpreter, `python -c pass`. No server is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

LIMIT_MS = 150
RUNS, QUICK_RUNS = 41, 7
ROOT = Path(__file__).resolve().parent.parent

BARE = "pass"
PROGRAMS = {
    BARE: "pass",
    "import labkit": "import labkit",
    "import redis": "import redis",
    "labkit.connect()": "import labkit; labkit.connect().ping()",
    "FakeRedis().ping()": "import fakeredis; fakeredis.FakeRedis().ping()",
}


@dataclass(frozen=True)
class Row:
    """One comparison; `ratio` is ours / peer, below 1 where ours costs less."""

    name: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    unit: str = "ms"


def compare(name: str, ours: float, peer: float, peer_name: str) -> Row:
    return Row(name, round(ours, 2), round(peer, 2), peer_name, round(ours / peer, 3))


def run_ms(code: str, environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    return (time.perf_counter() - began) * 1e3


def measure(runs: int) -> dict[str, float]:
    """Median wall time of each program in milliseconds, after one run that fills the caches."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    samples: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for code in PROGRAMS.values():
        run_ms(code, environment)
    for _ in range(runs):
        for name, code in PROGRAMS.items():
            samples[name].append(run_ms(code, environment))
    return {name: statistics.median(values) for name, values in samples.items()}


def rows_of(medians: dict[str, float]) -> list[Row]:
    extra = {name: max(0.01, median - medians[BARE]) for name, median in medians.items()}
    return [
        compare("import labkit", medians["import labkit"], medians[BARE], "python -c pass"),
        compare(
            "import labkit, on top of Python",
            extra["import labkit"],
            extra["import redis"],
            "import redis, on top of Python",
        ),
        compare(
            "labkit.connect() embedded, on top of Python",
            extra["labkit.connect()"],
            extra["FakeRedis().ping()"],
            "fakeredis alone, on top of Python",
        ),
    ]


def print_table(rows: list[Row]) -> None:
    print(f"{'':44} {'ours':>8}  {'peer':>8}  {'ratio':>6}  peer")
    for row in rows:
        figures = f"{row.ours:>5.1f} ms  {row.peer:>5.1f} ms  {row.ratio:>6.2f}"
        print(f"{row.name:44} {figures}  {row.peer_name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS} runs, not {RUNS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    options = parser.parse_args()
    runs = QUICK_RUNS if options.quick else RUNS

    rows = rows_of(measure(runs))

    print(f"Python {sys.version.split()[0]}, median of {runs} fresh interpreters each\n")
    print_table(rows)
    cost = rows[1].ours
    verdict = "under" if cost < LIMIT_MS else "OVER"
    print(f"\nimport labkit adds {cost:.1f} ms to Python: {verdict} the limit of {LIMIT_MS} ms.")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0 if cost < LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
