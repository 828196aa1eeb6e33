"""Measuring what brokers really do, and not fooling oneself.

    from labkit.measure import Closed, Constant, sweep, trial

    fast = trial(lab, schedule=Closed(clients=1), seconds=2)
    fair = trial(lab, schedule=Constant(rate=1_000), seconds=2)
    fair.trials, fair.operations, fair.series, fair.health, fair.environment

The rules that it keeps: latency also from the moment at which an operation was *meant* to begin;
percentiles never averaged, histograms merged; what never came back counts as at least the time-out;
a generator that could not keep its schedule says so; negative times are reported; a warm-up is cut
off, and kept in sight.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.measure.histogram import Histogram
    from labkit.measure.recorder import Recorder, Unfinished, exact_percentile
    from labkit.measure.results import Measurements
    from labkit.measure.schedules import Closed, Constant, Poisson, Replay, Schedule
    from labkit.measure.simulated import SimulatedServer, exponential
    from labkit.measure.stalls import Stall, frozen
    from labkit.measure.statistics import LittlesLaw, intervals, littles_law
    from labkit.measure.sweeps import sweep
    from labkit.measure.trials import trial

# No module here may have the name of something that is handed on: once loaded, it would hide it.
_HOMES = {
    "Closed": "schedules",
    "Constant": "schedules",
    "Histogram": "histogram",
    "LittlesLaw": "statistics",
    "Measurements": "results",
    "Poisson": "schedules",
    "Recorder": "recorder",
    "Replay": "schedules",
    "Schedule": "schedules",
    "SimulatedServer": "simulated",
    "Stall": "stalls",
    "Unfinished": "recorder",
    "exact_percentile": "recorder",
    "exponential": "simulated",
    "frozen": "stalls",
    "intervals": "statistics",
    "littles_law": "statistics",
    "sweep": "sweeps",
    "trial": "trials",
}

__all__ = [
    "Closed",
    "Constant",
    "Histogram",
    "LittlesLaw",
    "Measurements",
    "Poisson",
    "Recorder",
    "Replay",
    "Schedule",
    "SimulatedServer",
    "Stall",
    "Unfinished",
    "exact_percentile",
    "exponential",
    "frozen",
    "intervals",
    "littles_law",
    "sweep",
    "trial",
]


def __getattr__(name: str) -> object:
    """Load a module when one of its names is first wanted."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("numpy", "pandas"):
            raise
        raise ImportError(
            "labkit.measure makes tables with pandas, which is not installed: "
            "pip install 'messaging-lab[notebooks]'."
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
