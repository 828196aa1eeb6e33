"""A trial whose ends are processes of their own, so that no interpreter measures itself.

The parent starts them, checks that their clocks agree with its own, starts them all at one moment,
waits until what was sent has arrived (or was given up), and puts together what each has seen.
"""

from __future__ import annotations

import base64
import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import IO, Any, Self

from labkit.broker import Lab
from labkit.clock import SystemClock
from labkit.errors import LabkitError
from labkit.measure import clocks
from labkit.measure.ends import Name
from labkit.measure.joining import Report, joined
from labkit.measure.outcome import Outcome
from labkit.measure.schedules import shares
from labkit.measure.stalls import freezing
from labkit.measure.trial_options import TrialOptions

READY_WITHIN_S = 30.0
"""How long a process may take to start and to connect."""

STARTS_IN_S = 0.05
"""From the order to the start: everybody has heard it by then."""

ENDS_WITHIN_S = 5.0
_ASK_EVERY_S = 0.05
_GRACE_S = 15.0
"""How much longer than planned a publisher may take before it counts as lost."""


class Child:
    """One process, as its parent sees it; a context manager that ends it."""

    def __init__(self, name: str, setup: dict[str, Any]) -> None:
        self.name = name
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "labkit.measure.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout,), name=f"labkit {name}", daemon=True
        )
        self._reader.start()
        self._write(setup)

    def order(self, what: str, **facts: Any) -> None:
        """Tell it; does not wait."""
        self._write({"do": what, **facts})

    def hear(self, kind: str, timeout: float) -> dict[str, Any]:
        """What it says next; other kinds are passed by.

        Raises:
            LabkitError: it said that it failed, ended, or said nothing in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                said = self._said.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise LabkitError(f"{self.name} said nothing for {timeout:g} s.") from None
            if said is None:
                self._said.put(None)
                raise LabkitError(f"{self.name} ended unexpectedly.")
            if said["say"] == "error":
                raise LabkitError(f"{self.name} failed: {said['text']}")
            if said["say"] == kind:
                return said

    def read_clock(self) -> int:
        """Its monotonic time."""
        self.order("clock")
        return int(self.hear("clock", READY_WITHIN_S)["ns"])

    def close(self) -> None:
        """It ends, if need be by force."""
        self.order("stop")
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _write(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it is gone
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # half a line: it was killed while writing
                    self._said.put(json.loads(line))
        self._said.put(None)


def measure_in_processes(lab: Lab, options: TrialOptions) -> Outcome:
    """One trial; every process has ended when it returns.

    Raises:
        NotSupported: the broker lives in this process alone.
        LabkitError: a process could not start, or its clock is another.
    """
    clock = SystemClock()
    setups = _setups(lab, options)
    with ExitStack() as stack:
        far = [stack.enter_context(Child(*setup)) for setup in setups["far"]]
        near = [stack.enter_context(Child(*setup)) for setup in setups["near"]]
        _ready((*far, *near))
        start_ns = clock.monotonic_ns() + round(STARTS_IN_S * 1e9)
        for child in (*far, *near):
            child.order("start", at_ns=start_ns)
        with freezing(options.stall, clock, start_ns, options.warmup_ns):
            sent, interrupted = _sendings(near, options)
        given_up = _wait_for_arrivals(far, sent, options)
        taken = _takings(far)
        for child in near:
            child.order("stop")
    outcome = joined(sent, taken, options)
    outcome.interrupted = outcome.interrupted or interrupted or given_up
    return outcome


def _setups(lab: Lab, options: TrialOptions) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    handover = lab.handover()
    common: dict[str, Any] = {
        "opener": handover.opener,
        "arguments": handover.arguments,
        "pattern": options.pattern,
        "name": Name.new().text,
        "size": options.size,
        "batch": options.batch,
        "total_ns": options.warmup_ns + options.measured_ns,
        "warmup_ns": options.warmup_ns,
        "timeout_ns": options.timeout_ns,
        "capacity": options.capacity,
        "publishers": options.publishers,
        "work": options.work,
    }
    kind, ends = ("subscriber", options.subscribers)
    if options.pattern != "pubsub":
        kind, ends = ("worker" if options.pattern == "queue" else "responder", options.workers)
    parts = shares(options.schedule, options.publishers)
    return {
        "far": [(f"{kind} {i}", {**common, "part": "far", "index": i}) for i in range(ends)],
        "near": [
            (f"publisher {i}", {**common, "part": "near", "index": i, "schedule": s.as_json()})
            for i, s in enumerate(parts)
        ],
    }


def _ready(children: Sequence[Child]) -> None:
    for child in children:
        child.hear("ready", READY_WITHIN_S)
        clocks.require(clocks.compare(child.read_clock), child.name)


def _sendings(near: Sequence[Child], options: TrialOptions) -> tuple[list[Report], bool]:
    """What each publisher has sent; Ctrl+C ends them early."""
    patience = options.warmup + options.seconds + options.timeout + _GRACE_S
    try:
        return [_report(child, patience) for child in near], False
    except KeyboardInterrupt:
        for child in near:
            child.order("stop")
        return [_report(child, _GRACE_S) for child in near], True


def _report(child: Child, patience: float) -> Report:
    said = child.hear("done", patience)
    return Report(said, base64.b85decode(said["rows"]))


def _wait_for_arrivals(far: Sequence[Child], sent: Sequence[Report], options: TrialOptions) -> bool:
    """Until everybody has what is on its way, or the time-out has passed since the end.

    True if Ctrl+C ended the wait.
    """
    if options.pattern == "rpc":
        return False  # those who asked have waited for their replies
    expected = sum(report.sent for report in sent)
    last = {report.facts["last_number"] for report in sent}
    each_gets_all = options.pattern == "pubsub"
    deadline = time.monotonic() + options.timeout
    try:
        while time.monotonic() < deadline:
            for child in far:
                child.order("report")
            told = [child.hear("report", ENDS_WITHIN_S) for child in far]
            if each_gets_all:  # in order: who has each publisher's last one has what there is
                arrived = all(last <= set(one["highest"]) for one in told)
            else:
                arrived = sum(one["taken"] for one in told) >= expected
            if arrived:
                break
            time.sleep(_ASK_EVERY_S)
    except LabkitError:
        pass  # who said nothing is asked once more, and counts as dead then
    except KeyboardInterrupt:
        return True
    return False


def _takings(far: Sequence[Child]) -> list[Report | LabkitError]:
    """What each far end has seen; one that died has seen nothing, and the trial says so."""
    for child in far:
        child.order("stop")
    found: list[Report | LabkitError] = []
    for child in far:
        try:
            found.append(_report(child, _GRACE_S))
        except LabkitError as error:
            found.append(error)
    return found
