"""Many trials: every combination, several times, in an order that chance chooses.

In a fixed order a machine that warms up, or a neighbour that wakes, would look like an effect of
whatever changed last.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from labkit.broker import Lab
from labkit.errors import ConfigurationError, LabkitError
from labkit.measure import outcome as outcomes
from labkit.measure.lags import LAG_LIMIT_MS
from labkit.measure.recorder import DEFAULT_CAPACITY
from labkit.measure.results import Measurements
from labkit.measure.schedules import Closed, Constant, Poisson, Schedule
from labkit.measure.simulated import SimulatedServer
from labkit.measure.tables import TrialTables, tables
from labkit.measure.trial_options import TrialOptions
from labkit.measure.trials import (
    DEFAULT_TIMEOUT_S,
    DEFAULT_WARMUP_S,
    Pattern,
    Target,
    broker_name,
    environment,
    opened,
    run,
)


@dataclass(frozen=True, slots=True)
class Planned:
    """One trial to come."""

    target: Target
    options: TrialOptions


def sweep(
    lab: Target = None,
    *,
    brokers: Sequence[Target] | None = None,
    pattern: Pattern | Sequence[Pattern] = "pubsub",
    sizes: Sequence[int] = (100,),
    rates: Sequence[float | None] = (None,),
    clients: Sequence[int] = (1,),
    batches: Sequence[int] = (1,),
    subscribers: Sequence[int] = (1,),
    workers: Sequence[int] = (1,),
    repeats: int = 3,
    seconds: float = 1.0,
    arrivals: Literal["constant", "poisson"] = "constant",
    seed: int = 0,
    budget_s: float | None = None,
    progress: bool | None = None,
    timeout: float = DEFAULT_TIMEOUT_S,
    warmup: float = DEFAULT_WARMUP_S,
    processes: bool = False,
    work: float = 0.0,
    publishers: int = 1,
    lag_limit_ms: float = LAG_LIMIT_MS,
) -> Measurements:
    """Measure every combination `repeats` times, in an order drawn by `seed`.

    Ctrl+C ends it and returns what is done, which says so. A broker that goes away makes its trial
    invalid, and the others go on.

    Args:
        lab: where to measure, as for `trial`.
        brokers: several of them, instead of `lab`.
        pattern: "pubsub", "queue", "rpc", or several of them.
        sizes: bytes of a message.
        rates: operations a second, as intended; None: closed, with each number of `clients`.
        clients: how many closed clients, where the rate is None.
        batches: operations in one call.
        subscribers: for pubsub; the other patterns have no such number.
        workers: for queue and rpc.
        repeats: how often each.
        seconds: length of one trial, after its warm-up.
        arrivals: "constant" or "poisson", where there is a rate.
        seed: draws the order, and the arrivals.
        budget_s: no trial begins that would end later than so many seconds from now.
        progress: a bar on standard error; None: only in a terminal, where no notebook stores it.
        timeout, warmup, processes, work, publishers, lag_limit_ms: as for `trial`.

    Raises:
        ConfigurationError: arguments that cannot work, before anything is measured.
    """
    if brokers is not None and lab is not None:
        raise ConfigurationError("Pass lab or brokers, not both.")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ConfigurationError(f"repeats is a whole number from 1, got {repeats!r}.")
    if arrivals not in ("constant", "poisson"):
        raise ConfigurationError(f'arrivals is "constant" or "poisson", got {arrivals!r}.')
    common: dict[str, Any] = {
        "seconds": seconds,
        "timeout": timeout,
        "warmup": warmup,
        "processes": processes,
        "work": work,
        "publishers": publishers,
        "lag_limit_ms": lag_limit_ms,
        "capacity": DEFAULT_CAPACITY,
        "tick": 0.1,
        "stall": None,
    }
    patterns = [pattern] if isinstance(pattern, str) else list(pattern)
    plan: list[Planned] = []
    for repeat, what, (rate, many), size, batch in itertools.product(
        range(repeats), patterns, _loads(rates, clients), sizes, batches
    ):
        schedule = _schedule(rate, many, arrivals, seed + repeat)
        for ends in subscribers if what == "pubsub" else workers:
            options = TrialOptions(
                subscribers=ends if what == "pubsub" else 1,
                workers=1 if what == "pubsub" else ends,
                pattern=what,
                schedule=schedule,
                size=size,
                batch=batch,
                repeat=repeat,
                **common,
            )
            plan += [Planned(target, options) for target in (brokers or [lab])]
    random.Random(seed).shuffle(plan)
    return _carry_out(plan, budget_s, progress)


def _loads(
    rates: Iterable[float | None], clients: Sequence[int]
) -> Iterator[tuple[float | None, int]]:
    """Closed ones by clients, open ones by rate."""
    for rate in rates:
        for many in clients if rate is None else (1,):
            yield rate, many


def _schedule(rate: float | None, clients: int, arrivals: str, seed: int) -> Schedule:
    if rate is None:
        return Closed(clients)
    return Poisson(rate, seed) if arrivals == "poisson" else Constant(rate)


def _carry_out(
    plan: Sequence[Planned], budget_s: float | None, progress: bool | None
) -> Measurements:
    done: list[TrialTables] = []
    notes: list[str] = []
    places: dict[str, dict[str, Any]] = {}
    began = time.monotonic()
    with _bar(len(plan), progress) as advance:
        try:
            for planned in plan:
                length = planned.options.warmup + planned.options.seconds
                if budget_s is not None and time.monotonic() - began + length > budget_s:
                    notes.append(
                        f"Out of time: {len(done)} of {len(plan)} trials fitted into "
                        f"{budget_s:g} s."
                    )
                    break
                done.append(_one(planned, places))
                if done[-1].trial["interrupted"]:
                    raise KeyboardInterrupt
                advance()
        except KeyboardInterrupt:
            cut = bool(done) and done[-1].trial["interrupted"]
            notes.append(
                f"Interrupted: {len(done)} of {len(plan)} trials are kept"
                f"{', the last one cut short' if cut else ''}."
            )
            print(notes[-1])
    found = next(iter(places.values()), {})
    if len(places) > 1:
        found = {**found, "brokers": list(places.values())}
    return Measurements.of(done, found, notes)


def _one(planned: Planned, places: dict[str, dict[str, Any]]) -> TrialTables:
    """One trial; where its broker cannot be reached at all, a row that says so."""
    target, options = planned.target, planned.options
    try:
        with opened(target) as lab:
            name = broker_name(lab)
            places.setdefault(name, environment(lab))
            return run(lab, options)
    except ConfigurationError:
        raise  # an argument that can never work: not a matter of this one trial
    except LabkitError as error:
        setting = options.setting(_name_of(target), _embedded(target))
        return tables(outcomes.nothing(f"it could not begin: {error}"), setting)


def _name_of(target: Target) -> str:
    if isinstance(target, str) or target is None:
        scheme = (target or "embedded").partition(":")[0]
        return "redis" if scheme in ("redis", "rediss", "unix", "auto") else scheme
    return broker_name(target)


def _embedded(target: Target) -> bool:
    return target.embedded if isinstance(target, Lab | SimulatedServer) else False


@contextmanager
def _bar(total: int, progress: bool | None) -> Iterator[Any]:
    """A progress bar; one that was not asked for may also be missing."""
    wanted = sys.stderr.isatty() if progress is None else progress
    if not wanted:
        yield lambda: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        if progress:
            raise ConfigurationError(
                "The progress bar is tqdm's, which is not installed: "
                "pip install 'messaging-lab[notebooks]', or pass progress=False."
            ) from None
        yield lambda: None
        return
    with tqdm(total=total, unit="trial") as bar:
        yield bar.update
