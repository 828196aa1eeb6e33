"""A publisher, subscriber, worker or responder in a process of its own: what runs there.

As with the workers of a pool, the parent hands over what is needed on standard input as one line of
JSON, and then writes orders. When it ends, whatever ends it, that pipe does, too, and so do we.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO, cast

from labkit.broker import Lab
from labkit.clock import SystemClock
from labkit.errors import LabkitError, describe
from labkit.measure import body as bodies_of
from labkit.measure.ends import LOOK_S, FarEnd, Name
from labkit.measure.generator import Generator, Pace
from labkit.measure.loads import open_far, open_near
from labkit.measure.recorder import Recorder
from labkit.measure.schedules import schedule_from_json
from labkit.measure.tracker import Tracker

if TYPE_CHECKING:
    from labkit.measure.stalls import Stall

ORPHAN_ENDS_WITHIN_S = 5.0
"""How long a measurement may go on after the parent has died."""


class Orders:
    """What the parent says, and what we answer: one JSON object a line."""

    def __init__(self, incoming: TextIO, outgoing: TextIO) -> None:
        self.stop = threading.Event()
        self.start_ns = 0
        self.started = threading.Event()
        self.report: Callable[[], dict[str, Any]] = dict
        self._incoming = incoming
        self._outgoing = outgoing
        self._lock = threading.Lock()

    def say(self, kind: str, **facts: Any) -> None:
        """One line to the parent."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._outgoing.write(json.dumps({"say": kind, **facts}) + "\n")
            self._outgoing.flush()

    def listen(self) -> None:
        """Carry out orders until the parent has no more, or is gone."""
        for line in self._incoming:
            order = json.loads(line)
            match order["do"]:
                case "clock":
                    self.say("clock", ns=time.monotonic_ns())
                case "report":
                    self.say("report", **self.report())
                case "start":
                    self.start_ns = order["at_ns"]
                    self.started.set()
                case "stop":
                    self.stop.set()
                    self.started.set()
        self.stop.set()
        self.started.set()
        threading.Event().wait(ORPHAN_ENDS_WITHIN_S)
        os._exit(1)


def main() -> None:
    """Do our part of a trial, and hand over what we saw."""
    outgoing = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    incoming = os.fdopen(os.dup(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches us, too; the parent decides
    setup = json.loads(incoming.readline() or "{}")
    orders = Orders(incoming, outgoing)
    try:
        module, _, function = setup["opener"].partition(":")
        opener = getattr(import_module(module), function)
        with cast(Lab, opener(**setup["arguments"], trace=False)) as lab:
            part = publish if setup["part"] == "near" else attend
            part(lab, setup, orders)
    except LabkitError as error:
        orders.say("error", text=str(error))
    except BaseException as error:
        orders.say("error", text=describe(error))


def publish(lab: Lab, setup: dict[str, Any], orders: Orders) -> None:
    """The near end: send by the schedule."""
    no_stall: Stall | None = None
    near = open_near(lab, setup["pattern"], Name(setup["name"]), setup["size"])
    try:
        clock = SystemClock()
        recorder = _recorder(setup)
        tracker = Tracker(recorder, clock, 0, awaited=setup["pattern"] == "rpc")
        pace = Pace(
            schedule=schedule_from_json(setup["schedule"]),
            total_ns=setup["total_ns"],
            warmup_ns=setup["warmup_ns"],
            batch=setup["batch"],
            timeout_ns=setup["timeout_ns"],
            stall=no_stall,
            base=setup["index"] << bodies_of.NUMBER_BITS,
            stop=orders.stop,
        )
        generator = Generator(pace, near, tracker, clock)
        if not _begin(orders):
            return
        tracker.start_ns = orders.start_ns
        generator.run()
        orders.say(
            "done",
            **rows_of(recorder),
            lags=generator.lags.as_json(),
            ended_ns=generator.ended_ns,
            last_number=generator.last_number,
            broke=generator.broke,
            interrupted=generator.interrupted,
            send_errors=tracker.send_errors,
            duplicates=tracker.duplicates,
            out_of_order=tracker.out_of_order,
            late=tracker.late,
            nobody_subscribed=getattr(near, "nobody_subscribed", 0),
        )
        orders.stop.wait()
    finally:
        with contextlib.suppress(LabkitError):
            near.close()


def attend(lab: Lab, setup: dict[str, Any], orders: Orders) -> None:
    """A far end: take what comes until told to stop, and say what it was."""
    work_s = setup["work"]
    far = open_far(
        lab,
        setup["pattern"],
        Name(setup["name"]),
        setup["index"] if setup["pattern"] != "pubsub" else 0,
        prefetch=setup["batch"],
        work=(lambda: time.sleep(work_s)) if work_s else None,
    )
    try:
        recorder = _recorder(setup, publishers=setup["publishers"])
        seen = Seen(recorder, setup["capacity"])
        orders.report = lambda: {"taken": seen.taken, "highest": list(seen.highest.values())}
        if not _begin(orders):
            return
        seen.start_ns = orders.start_ns
        problem = _take_until_stopped(far, seen, orders)
        gaps = len(getattr(far, "gaps", ()))
        orders.say(
            "done",
            **rows_of(recorder),
            duplicates=seen.duplicates,
            out_of_order=seen.out_of_order,
            gaps=gaps,
            problem=problem,
        )
    finally:
        with contextlib.suppress(LabkitError):
            far.close()


class Seen:
    """What a far end has got. Its messages say when they were meant to go, and when they went.

    Args:
        recorder: with room for what all publishers keep.
        kept_by_publisher: each publisher keeps its first so many; only these are kept here.
    """

    def __init__(self, recorder: Recorder, kept_by_publisher: int) -> None:
        self._kept_by_publisher = kept_by_publisher
        self.start_ns = 0
        self.taken = self.duplicates = self.out_of_order = 0
        self._recorder = recorder
        self.highest: dict[int, int] = {}  # by publisher
        self._missing: set[int] = set()

    def arrived(self, end: int, body: bytes) -> None:
        """One message, now."""
        del end
        now = time.monotonic_ns() - self.start_ns
        number, intended, sent = bodies_of.unpack(body)
        publisher = number >> bodies_of.NUMBER_BITS
        highest = self.highest.get(publisher, (publisher << bodies_of.NUMBER_BITS) - 1)
        self.taken += 1
        if number > highest:
            if number > highest + 1:
                self._missing.update(range(highest + 1, number))
            self.highest[publisher] = number
        elif number in self._missing:
            self._missing.discard(number)
            self.out_of_order += 1
        else:
            self.duplicates += 1
            return
        times = intended - self.start_ns, sent - self.start_ns, now
        if number - (publisher << bodies_of.NUMBER_BITS) < self._kept_by_publisher:
            self._recorder.record(number, *times)
        else:
            self._recorder.count_only(*times)


def rows_of(recorder: Recorder) -> dict[str, Any]:
    """What a recorder holds, in what JSON can."""
    return {
        "rows": base64.b85encode(recorder.raw()).decode(),
        "later": {
            "count": recorder.in_histogram_only,
            "service": recorder.later_service.as_json(),
            "response": recorder.later_response.as_json(),
            "ticks": list(recorder.later_ticks.items()),
            "status": [[int(s), n] for s, n in recorder.later_status.items()],
        },
    }


def _begin(orders: Orders) -> bool:
    """Say that we are ready, and wait for the start; False if there will be none."""
    threading.Thread(target=orders.listen, name="labkit orders", daemon=True).start()
    orders.say("ready")
    orders.started.wait()
    return not orders.stop.is_set()


def _take_until_stopped(far: FarEnd, seen: Seen, orders: Orders) -> str:
    while not orders.stop.is_set():
        try:
            far.step(LOOK_S, seen.arrived)
        except LabkitError as error:  # the broker is away; the parent decides how long we wait
            problem = str(error)
            if orders.stop.wait(LOOK_S):
                return problem
    return ""


def _recorder(setup: dict[str, Any], publishers: int = 1) -> Recorder:
    return Recorder(
        setup["capacity"] * publishers,
        timeout_ns=setup["timeout_ns"],
        warmup_ns=setup["warmup_ns"],
    )


if __name__ == "__main__":
    main()
    sys.stdout.flush()
