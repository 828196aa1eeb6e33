"""Publish/subscribe: messages per second from process to process, and how long one takes.

    python benchmarks/pubsub.py [--quick] [--json FILE] [--curves FILE.png]

The publisher is one process and the subscriber another, on one Redis; bodies have 100 bytes unless
a row says otherwise. A round is over when the subscriber has counted every message: a lost one
would end the benchmark. Rounds of the programs alternate, so that a busy moment hits them alike; a
figure is the median of 5 rounds'.

The server runs with `client-output-buffer-limit pubsub 0 0 0`. By default Redis cuts off a
subscriber that is 32 MB behind, or 8 MB for a minute, and its messages are lost: here every program
shall keep all of them, the slow ones too.

labkit's trace is off, as it is where one measures; its counts and its detection of losses are on.
"""

from __future__ import annotations

import argparse
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from _bench import Row, compare, given_url, installed, machine, median, percentile, program, report
from peers import pubsub_curves
from peers import pubsub_echo as echo
from peers import pubsub_ends as ends

SCRIPT = Path(__file__).resolve()
PATIENCE_S = 60.0
SLOW = {"FastStream": 1_000, "kombu": 500}
"""Programs that are slow get at most so many messages a round."""

QUOTED = (
    ("messages below 1 KB", 100, 8_000.0),
    ("messages of 1 to 10 KB", 5_000, 6_000.0),
    ("messages above 100 KB", 200_000, 2_000.0),
)
"""What people quote for Redis Pub/Sub from Python: size in bytes, messages per second."""

TARGETS = (
    ("bodies, end to end", "redis-py", 3.0, 5.0),
    ("bodies, end to end", "bare socket", 0.6, 0.85),
    ("envelopes, end to end", "redis-py with json", 2.0, 4.0),
    ("publishing alone", "redis-benchmark -P 100", 0.3, 0.5),
    ("single publish", "redis-py's publish", 0.9, 1.0),
)


def subscribe(name: str, url: str, channel: str) -> None:
    """The subscriber's process: reads how many to expect, answers when it had the last one."""
    takes = ends.TAKES[name](url, channel)
    next(takes)
    print("ready", flush=True)
    for line in sys.stdin:
        wanted = int(line)
        while wanted > 0:
            wanted -= next(takes)
        assert wanted == 0, f"{-wanted} messages too many"
        print(time.monotonic(), flush=True)


class Pair:
    """A publisher here and a subscriber in its own process."""

    def __init__(self, stack: ExitStack, url: str, name: str, size: int) -> None:
        channel = f"bench:{name}:{size}".replace(" ", "-")
        self._process = stack.enter_context(listener(name, url, channel))
        self._send = stack.enter_context(ends.SENDS[name](url, channel, size))

    def rate(self, count: int) -> float:
        """Messages per second, from the first publish to the last one's arrival."""
        tell, answer = self._process.stdin, self._process.stdout
        assert tell is not None
        assert answer is not None
        tell.write(f"{count}\n")
        tell.flush()
        began = time.monotonic()
        self._send(count)
        return count / (float(_line(answer)) - began)


@contextmanager
def listener(name: str, url: str, channel: str) -> Iterator[subprocess.Popen[str]]:
    arguments = ("--subscribe", name, channel)
    with program(SCRIPT, *arguments, url=url, stdin=subprocess.PIPE) as process:
        yield process


def _line(answer: IO[str]) -> str:
    if not select.select([answer], [], [], PATIENCE_S)[0]:
        raise SystemExit("messages were lost: the subscriber still waits for some")
    return answer.readline()


def rates(url: str, names: Sequence[str], size: int, count: int, rounds: int) -> dict[str, float]:
    """The median rate of each, measured in turns."""
    found: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as stack:
        pairs = {name: Pair(stack, url, name, size) for name in names}
        for number in range(rounds + 1):
            for name, pair in pairs.items():
                rate = pair.rate(min(count, SLOW.get(name, count)))
                if number:  # the first one warms up
                    found[name].append(rate)
    return {name: median(values) for name, values in found.items()}


def in_turns(rounds: int, **measures: Callable[[], float | None]) -> dict[str, float | None]:
    """The median of each, measured in turns."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name, measure in measures.items():
            value = measure()
            if number and value is not None:
                found[name].append(value)
    return {name: median(values) if values else None for name, values in found.items()}


def publishing_alone(url: str, count: int, rounds: int) -> dict[str, float | None]:
    with ExitStack() as stack:
        bodies = stack.enter_context(ends.labkit_bodies(url, "bench:nobody", ends.BODY_BYTES))
        messages = stack.enter_context(ends.labkit_messages(url, "bench:nobody", ends.BODY_BYTES))
        bare = stack.enter_context(ends.redis_py_bodies(url, "bench:nobody", ends.BODY_BYTES))

        def timed(send: ends.Send) -> Callable[[], float]:
            def measure() -> float:
                began = time.monotonic()
                send(count)
                return count / (time.monotonic() - began)

            return measure

        return in_turns(
            rounds,
            bodies=timed(bodies),
            messages=timed(messages),
            redis_py=timed(bare),
            redis_benchmark=lambda: echo.redis_benchmark(url, count * 3),
        )


def table(url: str, count: int, rounds: int, trips: int) -> list[Row]:
    rows = []
    found = rates(url, ["labkit bodies", "redis-py bodies", "socket"], 100, count, rounds)
    for peer, told in (("redis-py bodies", "redis-py"), ("socket", "bare socket")):
        ours = found["labkit bodies"]
        rows.append(compare("bodies, end to end", ours, found[peer], told, "/s"))
    others = [name for name in ("FastStream", "kombu") if installed(name)]
    found = rates(url, ["labkit", "redis-py JSON", *others], 100, count, rounds)
    for peer in ("redis-py JSON", *others):
        told = "redis-py with json" if peer == "redis-py JSON" else peer
        rows.append(compare("envelopes, end to end", found["labkit"], found[peer], told, "/s"))
    alone = publishing_alone(url, count, rounds)
    rows += [
        compare("publishing alone", alone["bodies"] or 0.0, alone[peer], told, "/s")
        for peer, told in (
            ("redis_benchmark", "redis-benchmark -P 100"),
            ("redis_py", "redis-py's pipeline"),
        )
    ]
    rows.append(
        compare(
            "publishing alone, envelopes",
            alone["messages"] or 0.0,
            alone["redis_benchmark"],
            "redis-benchmark -P 100",
            "/s",
        )
    )
    single = echo.single(url, trips, rounds)
    told = "redis-py's publish"
    rows.append(compare("single publish", single["labkit"], single["redis-py"], told, "/s"))
    rows += echo_rows(url, trips, rounds)
    for what, size, quoted in QUOTED:
        many = min(count, max(500, 50_000_000 // size))
        rate = rates(url, ["labkit"], size, many, rounds)["labkit"]
        rows.append(compare(what, rate, quoted, "figure that people quote", "/s"))
    rows.append(
        compare(
            "envelopes, end to end", found["labkit"], 50_000.0, "figure that people quote", "/s"
        )
    )
    return rows


def echo_rows(url: str, trips: int, rounds: int) -> list[Row]:
    took = echo.round_trips(url, trips, rounds)
    rows = []
    for label, quantile in (("p50", 0.50), ("p99", 0.99)):
        at = {
            name: median([percentile(one, quantile) for one in found])
            for name, found in took.items()
        }
        for name, what in (("contract", "bodies"), ("labkit", "envelopes")):
            rows.append(
                compare(f"echo {label}, {what}", at[name], at["redis-py"], "redis-py's echo", "µs")
            )
        if label == "p50":
            quoted = "least that people quote"
            rows.append(compare("echo p50, envelopes", at["labkit"], 5_000.0, quoted, "µs"))
    return rows


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """Which goals are reached."""
    for name, peer, least, aim in TARGETS:
        [ratio] = [row.ratio or 0.0 for row in rows if (row.name, row.peer_name) == (name, peer)]
        reached = "reached" if ratio >= aim else "missed" if ratio >= least else "missed, as is"
        yield f"{name}, beside {peer}: {ratio:.2f}; at least {least:g}, aim {aim:g} {reached}."
    for name in ("echo p50, bodies", "echo p50, envelopes"):
        [ratio] = [
            row.ratio or 0.0
            for row in rows
            if (row.name, row.peer_name) == (name, "redis-py's echo")
        ]
        told = "aim 1.0 reached" if ratio <= 1.0 else "at most 1.2" if ratio <= 1.2 else "MISSED"
        yield f"{name}: {ratio:.2f} of redis-py's; {told}."


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer messages; under 60 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--curves", type=Path, metavar="FILE.png", help="growth curves instead")
    return parser.parse_args()


def main() -> int:
    if sys.argv[1:2] == ["--subscribe"]:
        subscribe(sys.argv[2], given_url(), sys.argv[3])
        return 0
    if sys.argv[1:2] == ["--echo"]:
        echo.ECHOES[sys.argv[2]](given_url())
        return 0
    if sys.argv[1:2] == ["--count"]:
        pubsub_curves.count_here(given_url(), *map(int, sys.argv[2:]))
        return 0
    given = options()
    from labkit.servers import start_redis

    with start_redis(config={"client-output-buffer-limit": "pubsub 0 0 0"}) as server:
        packages = machine("redis", "hiredis", "msgspec", "faststream", "kombu")
        heading = f"{server.binary.product} {server.binary.version}, {packages}"
        if given.curves:
            print(heading)
            pubsub_curves.draw(server.url, given.curves, quick=given.quick)
            return 0
        count, rounds, trips = (30_000, 3, 1_000) if given.quick else (100_000, 5, 3_000)
        rows = table(server.url, count, rounds, trips)
    report(rows, heading, given.json)
    print("", *verdicts(rows), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
