"""Measuring when things break, on a real Redis: every loss is counted, and what is done is kept."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from helpers import eventually

import labkit
from labkit.broker import Lab
from labkit.measure import (
    Closed,
    Constant,
    Measurements,
    Poisson,
    Stall,
    frozen,
    littles_law,
    sweep,
    trial,
)
from labkit.measure.processes import Child
from labkit.servers import RedisServer

StartServer = Callable[..., RedisServer]
ROOT = Path(labkit.__file__).parent.parent


@pytest.fixture
def server(start_server: StartServer) -> RedisServer:
    return start_server()


@pytest.fixture
def lab(server: RedisServer) -> Iterator[Lab]:
    with labkit.connect(server.url, trace=False) as lab:
        yield lab


def row_of(measured: Measurements) -> dict[str, object]:
    [row] = measured.trials.to_dict("records")
    return {str(name): value for name, value in row.items()}


def calls(lab: Lab, command: str) -> int:
    """How often the server itself says that it carried out a command."""
    told = lab.native.info("commandstats").get(f"cmdstat_{command}", {})  # type: ignore[attr-defined]
    return int(told.get("calls", 0))


def children_of(pid: int) -> list[psutil.Process]:
    found = psutil.Process(pid).children(recursive=True)
    return [child for child in found if "labkit.measure.child" in " ".join(child.cmdline())]


def when(condition: Callable[[], object], act: Callable[[], object]) -> threading.Thread:
    """Act as soon as the condition holds, while the test itself goes on."""

    def wait_and_act() -> None:
        eventually(condition, timeout=60)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


# --- nothing is missing ---------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["pubsub", "queue", "rpc"])
@pytest.mark.parametrize("processes", [False, True])
def test_every_pattern_is_measured_and_the_server_has_seen_as_much(
    lab: Lab, pattern: str, processes: bool
) -> None:
    measured = trial(
        lab,
        pattern=pattern,  # type: ignore[arg-type]
        schedule=Constant(200),
        seconds=0.5,
        warmup=0,
        timeout=10,
        processes=processes,
    )
    row = row_of(measured)

    assert row["completed"] == row["sent"] == 100, row["why_invalid"]
    assert row["lost"] == row["duplicates"] == row["implausible"] == row["send_errors"] == 0
    assert row["broker"] == "redis"
    assert measured.environment["appendonly"] == "no"
    assert measured.environment["server_version"] == lab.name.split()[1]
    if pattern == "pubsub":
        assert calls(lab, "publish") == 100
    assert lab.native.pubsub_channels() == []  # type: ignore[attr-defined]


def put_together(lab: Lab) -> Measurements:
    """Publishers and subscribers in processes of their own."""
    return trial(
        lab,
        schedule=Poisson(400, seed=1),
        seconds=0.5,
        warmup=0.25,
        timeout=10,
        subscribers=2,
        publishers=2,
        processes=True,
    )


def test_processes_together_obey_littles_law(lab: Lab) -> None:
    """In one trial of several: one in which the machine stalled at its ends may not."""
    law = pytest.approx(1, rel=0.2)
    eventually(lambda: littles_law(put_together(lab)).ratio == law, 60)


def test_publishers_and_subscribers_in_processes_are_put_together_operation_by_operation(
    lab: Lab,
) -> None:
    measured = put_together(lab)
    row, operations = row_of(measured), measured.operations

    assert calls(lab, "publish") == len(operations)
    assert row["sent"] == row["completed"] == (~operations["warmup"]).sum()
    assert row["out_of_order"] == row["duplicates"] == 0
    assert operations["intended_ns"].is_monotonic_increasing
    assert (operations["sent_ns"] >= operations["intended_ns"]).all()
    assert (operations["done_ns"] > operations["sent_ns"]).all()
    assert measured.histograms[0].service.count == row["completed"]


def test_histograms_of_processes_are_merged_when_there_is_no_room_for_each_operation(
    lab: Lab,
) -> None:
    measured = trial(
        lab,
        pattern="queue",
        schedule=Constant(200),
        workers=2,
        seconds=0.5,
        warmup=0,
        timeout=10,
        capacity=20,
        processes=True,
    )

    assert row_of(measured)["completed"] == 100
    assert measured.histograms[0].response.count == 100
    assert measured.health["percentiles"][0] == "histogram"


def test_more_workers_take_work_that_takes_time_off_each_other(lab: Lab) -> None:
    one, four = (
        row_of(
            trial(
                lab,
                pattern="queue",
                schedule=Constant(100),
                workers=workers,
                work=0.02,
                seconds=1,
                warmup=0,
                timeout=0.5,
                processes=True,
            )
        )
        for workers in (1, 4)
    )

    assert one["unanswered"] > 0  # type: ignore[operator]
    assert four["completed"] == four["sent"] == 100
    assert one["completed"] + one["unanswered"] == one["sent"] == 100  # type: ignore[operator]


def test_a_slow_subscriber_that_is_cut_off_loses_exactly_what_the_server_did_not_deliver(
    start_server: StartServer,
) -> None:
    server = start_server(config={"client-output-buffer-limit": "pubsub 1mb 1mb 0"})
    with labkit.connect(server.url, trace=False) as lab:
        measured = trial(
            lab,
            schedule=Constant(1_000),
            size=50_000,
            seconds=1,
            warmup=0,
            timeout=6,
            work=0.003,
            processes=True,
        )
        row, health = row_of(measured), measured.health.iloc[0]

        assert calls(lab, "publish") == row["sent"] == 1_000
        assert health["gaps"] >= 1
    assert row["lost"] > 0  # type: ignore[operator]
    assert row["completed"] + row["lost"] + row["unanswered"] == 1_000  # type: ignore[operator]
    assert (measured.operations["status"] == "ok").sum() == row["completed"]
    assert health["nobody_subscribed"] <= row["lost"] + row["unanswered"]  # type: ignore[operator]


# --- a server that stands still, or dies ----------------------------------------------------------


def test_a_frozen_server_stands_in_the_open_tail_and_is_thawed_again(
    server: RedisServer, lab: Lab
) -> None:
    stall = Stall(at=0.2, seconds=0.3, server=server)
    closed = trial(lab, schedule=Closed(), seconds=0.7, warmup=0, stall=stall)
    open_ = trial(lab, schedule=Constant(500), seconds=0.7, warmup=0, stall=stall)

    assert (closed.operations["response_ms"] > 250).sum() == 1
    assert (open_.operations["response_ms"] > 150).sum() > 50
    assert row_of(open_)["lost"] == 0
    lab.ping()


def test_a_server_is_thawed_whatever_happens_meanwhile(server: RedisServer, lab: Lab) -> None:
    with pytest.raises(ZeroDivisionError), frozen(server):
        raise ZeroDivisionError

    lab.ping()


@pytest.mark.parametrize("pattern", ["pubsub", "queue", "rpc"])
def test_a_broker_that_dies_ends_its_trial_and_the_sweep_goes_on(
    start_server: StartServer, pattern: str
) -> None:
    dying, living = start_server(), start_server()
    with labkit.connect(dying.url, trace=False) as watch:
        commands = {"pubsub": "publish", "queue": "evalsha", "rpc": "evalsha"}
        killer = when(lambda: calls(watch, commands[pattern]) > 100, dying.kill)
        found = sweep(
            brokers=[dying.url, living.url],
            pattern=pattern,  # type: ignore[arg-type]
            rates=[200],
            repeats=2,
            seconds=1.5,
            warmup=0,
            timeout=0.5,
            lag_limit_ms=math.inf,  # how busy this machine is is not the question here
        )
        killer.join()
    trials = found.trials

    assert len(trials) == 4
    bad = trials[~trials["valid"]]
    assert len(bad) == 2
    assert bad["why_invalid"].str.contains("broker was gone|could not begin").all()
    assert trials["completed"].max() == 300


def test_a_broker_that_dies_in_a_trial_of_processes_leaves_none_of_them(
    server: RedisServer, lab: Lab
) -> None:
    with labkit.connect(server.url, trace=False) as watch:
        killer = when(lambda: calls(watch, "publish") > 100, server.kill)
        measured = trial(
            lab, schedule=Constant(200), seconds=10, warmup=0, timeout=0.5, processes=True
        )
        killer.join()
    row = row_of(measured)

    assert not row["valid"]
    assert "gone" in str(row["why_invalid"])
    assert row["completed"] > 0  # type: ignore[operator]
    assert row["seconds"] < 10  # type: ignore[operator]
    assert children_of(os.getpid()) == []


def test_a_subscriber_process_that_is_killed_is_named(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Child] = []
    begin = Child.__init__

    def remembered(child: Child, *arguments: object) -> None:
        begin(child, *arguments)  # type: ignore[arg-type]
        started.append(child)

    monkeypatch.setattr(Child, "__init__", remembered)
    killer = when(lambda: calls(lab, "publish") > 50, lambda: started[0]._process.kill())
    row = row_of(
        trial(lab, schedule=Constant(100), seconds=2, warmup=0, timeout=0.5, processes=True)
    )
    killer.join()

    assert "subscriber 0 ended unexpectedly" in str(row["why_invalid"])
    assert row["completed"] == 0
    assert row["sent"] == 200


# --- somebody who stops it ------------------------------------------------------------------------

SWEEP = """
import json, sys
from labkit.measure import sweep
processes = sys.argv[2:] != []
found = sweep(sys.argv[1], rates=[200], repeats=4, seconds=2, warmup=0, processes=processes)
print(json.dumps({"rows": len(found.trials), "interrupted": found.trials["interrupted"].tolist(),
    "completed": found.trials["completed"].tolist(), "notes": list(found.notes)}))
"""


@pytest.mark.parametrize("processes", [False, True])
def test_ctrl_c_ends_a_sweep_keeps_what_is_done_and_says_so(
    server: RedisServer, lab: Lab, processes: bool
) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", SWEEP, server.url, *(["processes"] if processes else [])],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        eventually(lambda: calls(lab, "publish") > 500, timeout=60)  # in the second of four
        program.send_signal(signal.SIGINT)
        said, _ = program.communicate(timeout=60)
    finally:
        program.kill()
    told, last = said.splitlines()
    found = json.loads(last)

    assert told == "Interrupted: 2 of 4 trials are kept, the last one cut short."
    assert found["notes"] == [told]
    assert found["interrupted"] == [False, True]
    assert found["completed"][0] == 400
    assert 100 < found["completed"][1] < 400


TRIAL = """
import sys
from labkit.measure import Constant, trial
trial(sys.argv[1], schedule=Constant(100), seconds=100, subscribers=2, processes=True)
"""


def test_processes_end_when_the_one_that_measures_is_killed(server: RedisServer, lab: Lab) -> None:
    program = subprocess.Popen([sys.executable, "-c", TRIAL, server.url], cwd=ROOT)
    try:
        eventually(lambda: calls(lab, "publish") > 10, timeout=60)
        children = children_of(program.pid)
    finally:
        program.kill()
        program.wait()

    assert len(children) == 3
    eventually(lambda: not any(map(psutil.Process.is_running, children)), timeout=20)
