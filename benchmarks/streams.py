"""Appending to a stream and reading it, beside bare redis-py; a projection of many events.

    python benchmarks/streams.py [--quick] [--json FILE]

All use the same Redis, which is started for this. Rounds of the programs alternate; a figure is the
median of the rounds', in events a second. An event is an object of five fields, about 100 bytes,
with one of 100 keys; the bare programs append the same bytes under the same keys, made before the
clock starts, and take apart nothing that they read.

What the bare programs leave out: envelope, message ids, checks, revisions of the keys, positions as
values, counts and errors. labkit's trace is off here, as it is where one measures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from _bench import Row, arguments, compare, given_url, machine, median, program, report

SCRIPT = Path(__file__).resolve()
KEYS = 100
BATCH = 500
GOAL = 0.8
CONTENT = {
    "flight": "B6 739",
    "carrier": "JetBlue",
    "origin": "JFK",
    "destination": "PSE",
    "delay_minutes": 6,
}

Rates = dict[str, list[float]]


def content(number: int) -> dict[str, Any]:
    return {**CONTENT, "delay_minutes": number}


# --- appending and reading ------------------------------------------------------------------------


def labkit_appends(url: str, events: int) -> float:
    import labkit

    with labkit.connect(url, trace=False) as lab:
        stream = labkit.EventStream(lab, "labkit")
        items = [labkit.NewEvent(content(n), key=f"k{n % KEYS}") for n in range(events)]
        began = perf_counter()
        stream.append_many(items)
        return events / (perf_counter() - began)


def bodies_append(url: str, events: int) -> float:
    """labkit's contract without its envelope: ready bytes, as the bare program has them."""
    import labkit
    from labkit.broker import NewEntry

    with labkit.connect(url, trace=False) as lab:
        log = lab.open_stream("bodies")
        items = [NewEntry(body, f"k{n % KEYS}") for n, body in enumerate(bodies(events))]
        began = perf_counter()
        log.append(items)
        return events / (perf_counter() - began)


def bodies(events: int) -> list[bytes]:
    import msgspec

    return [msgspec.json.encode(content(n)) for n in range(events)]


def bare_appends(url: str, events: int) -> float:
    import redis

    client = redis.Redis.from_url(url, protocol=2)
    ready = [(f"k{n % KEYS}", body) for n, body in enumerate(bodies(events))]
    began = perf_counter()
    for start in range(0, events, BATCH):
        pipeline = client.pipeline(transaction=False)
        for key, body in ready[start : start + BATCH]:
            pipeline.xadd("bare", {"key": key, "body": body})
        pipeline.execute()
    took = perf_counter() - began
    client.close()
    return events / took


def labkit_reads(url: str, events: int) -> float:
    import labkit

    with labkit.connect(url, trace=False) as lab:
        member = labkit.EventStream(lab, "labkit").group(f"g{perf_counter()}").join("reader")
        found = 0
        began = perf_counter()
        while found < events:
            batch = member.poll(BATCH)
            found += len(batch)
            member.commit()
        return events / (perf_counter() - began)


def bodies_read(url: str, events: int) -> float:
    """labkit's contract without its envelope: bytes, keys, revisions and positions."""
    import labkit

    with labkit.connect(url, trace=False) as lab:
        member = lab.open_stream("labkit").open_group(f"g{perf_counter()}", {}).join("reader")
        found = 0
        began = perf_counter()
        while found < events:
            entries = member.poll(BATCH, 0.0).entries
            found += len(entries)
            member.commit({0: entries[-1].position})
        return events / (perf_counter() - began)


def bare_reads(url: str, events: int) -> float:
    """XREADGROUP COUNT 500 of labkit's stream, and one XACK for the 500."""
    import redis

    client = redis.Redis.from_url(url, protocol=2)
    group = f"g{perf_counter()}"
    client.xgroup_create("labkit", group, "0")
    found = 0
    began = perf_counter()
    while found < events:
        reply = client.xreadgroup(group, "reader", {"labkit": ">"}, count=BATCH)
        entries = reply[0][1]
        found += len(entries)
        client.xack("labkit", group, *(entry for entry, _ in entries))
    took = perf_counter() - began
    client.close()
    return events / took


def bare_reads_json(url: str, events: int) -> float:
    """The same, and the standard library's json reads each body."""
    import json

    import redis

    client = redis.Redis.from_url(url, protocol=2)
    group = f"g{perf_counter()}"
    client.xgroup_create("labkit", group, "0")
    found = 0
    began = perf_counter()
    while found < events:
        reply = client.xreadgroup(group, "reader", {"labkit": ">"}, count=BATCH)
        entries = reply[0][1]
        found += len([json.loads(fields[b"body"]) for _, fields in entries])
        client.xack("labkit", group, *(entry for entry, _ in entries))
    took = perf_counter() - began
    client.close()
    return events / took


PROGRAMS: dict[str, Callable[[str, int], float]] = {
    "append": labkit_appends,
    "append bodies": bodies_append,
    "bare append": bare_appends,
    "read": labkit_reads,
    "read bodies": bodies_read,
    "bare read": bare_reads,
    "bare read, json": bare_reads_json,
}


# --- a projection in flat memory ------------------------------------------------------------------


def project(url: str, events: int) -> None:
    """Rebuild; print the rate, and the resident memory at 10 % and at the end, in MiB."""
    import labkit

    print("ready", flush=True)
    done, at_tenth = 0, 0.0

    def apply(state: dict[str, list[int]], event: labkit.Event) -> None:
        nonlocal done, at_tenth
        row = state.setdefault(event.key or "", [0, 0])
        row[0] += 1
        row[1] += event.content["delay_minutes"]
        done += 1
        if done == events // 10:
            at_tenth = resident_mib()

    with labkit.connect(url, trace=False) as lab:
        projection = labkit.Projection(dict, apply)
        began = perf_counter()
        projection.rebuild(labkit.EventStream(lab, "labkit"))
        rate = done / (perf_counter() - began)
    print(rate, at_tenth, resident_mib(), flush=True)


def resident_mib() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss) / 2**20


# --- measuring ------------------------------------------------------------------------------------


@contextmanager
def a_redis() -> Iterator[Any]:
    from labkit.servers import start_redis

    with start_redis() as server:
        yield server


def measure(client: Any, url: str, rounds: int, events: int) -> Rates:
    rates: Rates = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        client.flushall()
        for name, run in PROGRAMS.items():
            rates[name].append(run(url, events))
    return rates


def measure_projection(client: Any, url: str, events: int) -> list[float]:
    client.flushall()
    step = 50_000
    for _ in range(0, events, step):
        labkit_appends(url, step)
    with program(SCRIPT, "--project", str(events), url=url) as process:
        assert process.stdout is not None
        return [float(word) for word in process.stdout.readline().split()]


def rows_of(rates: Rates, projection: list[float], events: int) -> list[Row]:
    of = {name: median(samples) for name, samples in rates.items()}
    rate, tenth, end = projection
    bare = "redis-py, XADD in pipelines of 500"
    read = "redis-py, XREADGROUP COUNT 500, XACK"
    with_json = "the same, and json.loads"
    return [
        compare("append_many, events", of["append"], of["bare append"], bare, "/s"),
        compare("append, bytes", of["append bodies"], of["bare append"], bare, "/s"),
        compare("poll and commit 500, events", of["read"], of["bare read"], read, "/s"),
        compare("poll and commit 500, events", of["read"], of["bare read, json"], with_json, "/s"),
        compare("poll and commit 500, bytes", of["read bodies"], of["bare read"], read, "/s"),
        compare(f"rebuild of {events:,} events", rate, None, "", "/s"),
        compare("resident memory at 100 %", end, tenth, "the same at 10 %", "MiB"),
    ]


def main() -> int:
    if sys.argv[1:2] == ["--project"]:
        project(given_url(), int(sys.argv[2]))
        return 0
    options = arguments(__doc__, "3 rounds of 20,000 events and a projection of 100,000")
    import redis

    rounds, events, many = (3, 20_000, 100_000) if options.quick else (7, 100_000, 1_000_000)
    with a_redis() as server, redis.Redis.from_url(server.url) as client:
        rates = measure(client, server.url, rounds, events)
        rows = rows_of(rates, measure_projection(client, server.url, many), many)
        heading = f"{server.binary.product} {server.binary.version}, {machine('redis', 'hiredis')}"
    report(rows, heading, options.json)
    for row in rows[:5]:
        assert row.ratio is not None
        reached = "reached" if row.ratio >= GOAL else "MISSED"
        print(
            f"{row.name}: {row.ratio:.2f} times {row.peer_name}; the goal of {GOAL} is {reached}."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
