"""One trial: one pattern, one schedule, one broker, for a few seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Literal

from labkit.broker import Lab
from labkit.clock import Clock, SystemClock
from labkit.connection import connect
from labkit.errors import ConfigurationError, LabkitError
from labkit.measure import outcome as outcomes
from labkit.measure.ends import NearEnd
from labkit.measure.environment import environment_of, short_name
from labkit.measure.generator import Generator
from labkit.measure.lags import LAG_LIMIT_MS
from labkit.measure.loads import open_together
from labkit.measure.outcome import Outcome
from labkit.measure.recorder import DEFAULT_CAPACITY, Recorder
from labkit.measure.results import Measurements
from labkit.measure.schedules import Closed, Poisson, Schedule
from labkit.measure.simulated import SimulatedServer
from labkit.measure.stalls import Stall, freezing
from labkit.measure.tables import TrialTables, tables
from labkit.measure.tracker import Tracker
from labkit.measure.trial_options import TrialOptions

Pattern = Literal["pubsub", "queue", "rpc"]
Target = Lab | SimulatedServer | str | None

DEFAULT_TIMEOUT_S = 2.0
DEFAULT_WARMUP_S = 0.2
_STARTS_IN_NS = 2_000_000


def trial(
    lab: Target = None,
    *,
    pattern: Pattern = "pubsub",
    schedule: Schedule | None = None,
    seconds: float = 1.0,
    size: int = 100,
    batch: int = 1,
    subscribers: int = 1,
    workers: int = 1,
    publishers: int = 1,
    timeout: float = DEFAULT_TIMEOUT_S,
    warmup: float = DEFAULT_WARMUP_S,
    stall: Stall | None = None,
    processes: bool = False,
    work: float = 0.0,
    lag_limit_ms: float = LAG_LIMIT_MS,
    capacity: int = DEFAULT_CAPACITY,
    tick: float = 0.1,
    seed: int | None = None,
) -> Measurements:
    """Measure one pattern on one broker.

    In one process both ends take turns in one thread (an *echo*), and all times are readings of
    one clock. With `processes=True` publishers, subscribers, workers and responders are processes
    of their own, on this machine, whose clocks have been compared; a closed client of pub/sub or a
    queue then sends its next operation when the broker has taken the last one.

    An operation is *done* when every subscriber has it (pubsub), when a worker has taken it and its
    acknowledgement is confirmed (queue), or when the reply is back (rpc).

    Args:
        lab: a lab, an address for `labkit.connect`, or a `SimulatedServer`; None as for `connect`.
        pattern: "pubsub", "queue" or "rpc".
        schedule: `Closed`, `Constant`, `Poisson` or `Replay`; default one closed client.
        seconds: how long to measure, after the warm-up.
        size: bytes of a message.
        batch: operations in one call. An open schedule waits until so many are due: what the first
            one waits for the last is in its response time.
        subscribers: how many get each message (pubsub).
        workers: how many workers (queue) or responders (rpc).
        publishers: how many processes send; needs `processes`.
        timeout: seconds after which an operation is given up; it counts for so long, at least.
        warmup: seconds before the measured ones; its operations are kept and marked, not counted.
        stall: let the broker stand still once.
        processes: see above; not on the embedded broker.
        work: seconds that a subscriber, worker or responder spends on each message.
        lag_limit_ms: see `labkit.measure.lags.LAG_LIMIT_MS`; none for a simulated server.
        capacity: operations kept one by one; later ones are in the histograms only.
        tick: seconds between two rows of `.series`.
        seed: draws the arrivals of a `Poisson` schedule anew, instead of its own seed.

    Raises:
        ConfigurationError: arguments that cannot work.
        BrokerUnavailable: no broker there. One that goes away later ends the trial, which says so.
    """
    if isinstance(schedule, Poisson) and seed is not None:
        schedule = replace(schedule, seed=seed)
    options = TrialOptions(
        pattern=pattern,
        schedule=schedule if schedule is not None else Closed(),
        seconds=seconds,
        size=size,
        batch=batch,
        subscribers=subscribers,
        workers=workers,
        publishers=publishers,
        timeout=timeout,
        warmup=warmup,
        stall=stall,
        processes=processes,
        work=work,
        lag_limit_ms=lag_limit_ms,
        capacity=capacity,
        tick=tick,
    )
    with opened(lab) as target:
        found = environment(target)
        result = run(target, options)
    notes = ["Interrupted; what was measured until then is kept."] * result.trial["interrupted"]
    return Measurements.of([result], found, notes)


def run(target: Lab | SimulatedServer, options: TrialOptions) -> TrialTables:
    """One trial on an open broker."""
    setting = options.setting(broker_name(target), target.embedded)
    if isinstance(
        target, SimulatedServer
    ):  # sending costs nothing there: all lag is waiting for it
        setting = replace(setting, lag_limit_ms=math.inf)
    return tables(_measure(target, options), setting)


def broker_name(target: Lab | SimulatedServer) -> str:
    """What a table calls it."""
    return target.name if isinstance(target, SimulatedServer) else short_name(target)


def environment(target: Lab | SimulatedServer) -> dict[str, Any]:
    """Where it is measured."""
    if isinstance(target, SimulatedServer):
        return environment_of(None) | {"broker": target.name, "embedded": True}
    return environment_of(target)


@contextmanager
def opened(lab: Target) -> Iterator[Lab | SimulatedServer]:
    """A target to measure; what was opened here is closed here."""
    if isinstance(lab, str) or lab is None:
        with connect(lab, trace=False) as fresh:
            yield fresh
    else:
        yield lab


def _measure(target: Lab | SimulatedServer, options: TrialOptions) -> Outcome:
    if isinstance(target, SimulatedServer):
        return _simulate(target, options)
    _check_stall(target, options)
    if options.processes:
        from labkit.measure.processes import measure_in_processes

        return measure_in_processes(target, options)
    clock = SystemClock()
    load = open_together(
        target,
        options.pattern,
        size=options.size,
        subscribers=options.subscribers,
        workers=options.workers,
        batch=options.batch,
    )
    try:
        outcome = _drive(load, options, clock, target)
    finally:
        _close(load)
    outcome.gaps, outcome.nobody_subscribed = load.gaps, load.nobody_subscribed
    return outcome


def _drive(load: NearEnd, options: TrialOptions, clock: Clock, target: Lab | None) -> Outcome:
    recorder = Recorder(
        options.capacity, timeout_ns=options.timeout_ns, warmup_ns=options.warmup_ns
    )
    ends = options.subscribers if options.pattern == "pubsub" and target is not None else 1
    tracker = Tracker(recorder, clock, clock.monotonic_ns(), ends=ends)
    generator = Generator(options.pace(), load, tracker, clock)
    tracker.start_ns = clock.monotonic_ns() + (0 if clock.manual else _STARTS_IN_NS)
    problem = ""
    try:
        with freezing(options.stall, clock, tracker.start_ns, options.warmup_ns):
            generator.run()
    except LabkitError as error:
        problem = f"the server could not be stalled: {error}"
    made = outcomes.of_one_process(generator, tracker)
    made.problem = problem
    return made


def _simulate(server: SimulatedServer, options: TrialOptions) -> Outcome:
    if options.processes:
        raise ConfigurationError("A simulated server lives in this process: no processes=True.")
    if options.stall is not None and options.stall.server is not None:
        raise ConfigurationError("A simulated server is stalled by Stall(at, seconds) alone.")
    load, clock = server.open(options.size)
    return _drive(load, options, clock, None)


def _check_stall(lab: Lab, options: TrialOptions) -> None:
    stall = options.stall
    if stall is None or (stall.server is None) == lab.embedded:
        return
    if lab.embedded:
        raise ConfigurationError("The embedded broker is stalled by Stall(at, seconds) alone.")
    raise ConfigurationError(
        "A real server is stalled by freezing it: Stall(at, seconds, server=…) with the server "
        "that labkit.servers.start_redis() returned."
    )


def _close(load: NearEnd) -> None:
    """Closing must also work where the broker does not answer any more."""
    with suppress(LabkitError, OSError):
        load.close()
