"""What a trial was asked for, checked before anything is sent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from labkit.errors import ConfigurationError
from labkit.measure.generator import Pace
from labkit.measure.loads import check_pattern
from labkit.measure.schedules import Closed, Schedule
from labkit.measure.stalls import Stall
from labkit.measure.tables import Setting


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """What `trial` was asked for, checked."""

    pattern: str
    schedule: Schedule
    seconds: float
    size: int
    batch: int
    subscribers: int
    workers: int
    publishers: int
    timeout: float
    warmup: float
    stall: Stall | None
    processes: bool
    work: float
    lag_limit_ms: float
    capacity: int
    tick: float
    repeat: int = 0

    def __post_init__(self) -> None:
        check_pattern(self.pattern)
        for name in ("batch", "subscribers", "workers", "publishers", "capacity"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name} is a whole number from 1, got {value!r}.")
        for name, least in (("seconds", False), ("timeout", False), ("tick", False)):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ConfigurationError(f"{name} is in seconds and above {least:d}, got {value}.")
        for name in ("warmup", "work"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigurationError(f"{name} is in seconds, 0 or more, got {value}.")
        if not self.processes and (self.work or self.publishers > 1):
            raise ConfigurationError(
                "work and publishers need processes=True: in one process both ends share one "
                "thread, and would wait for each other."
            )

    @property
    def warmup_ns(self) -> int:
        """Length of the warm-up."""
        return round(self.warmup * 1e9)

    @property
    def measured_ns(self) -> int:
        """Length without it."""
        return round(self.seconds * 1e9)

    @property
    def timeout_ns(self) -> int:
        """What is not done after this is given up."""
        return round(self.timeout * 1e9)

    def pace(self, schedule: Schedule | None = None, base: int = 0) -> Pace:
        """How a generator drives it."""
        return Pace(
            schedule=schedule or self.schedule,
            total_ns=self.warmup_ns + self.measured_ns,
            warmup_ns=self.warmup_ns,
            batch=self.batch,
            timeout_ns=self.timeout_ns,
            stall=None if self.stall is None or self.stall.server is not None else self.stall,
            base=base,
        )

    def setting(self, broker: str, embedded: bool) -> Setting:
        """The columns that are known before, and how to read the outcome."""
        schedule = self.schedule
        columns: dict[str, Any] = {
            "broker": broker,
            "embedded": embedded,
            "pattern": self.pattern,
            "schedule": schedule.kind,
            "rate": schedule.rate,
            "clients": schedule.clients if isinstance(schedule, Closed) else 0,
            "size_bytes": self.size,
            "batch": self.batch,
            "subscribers": self.subscribers if self.pattern == "pubsub" else 0,
            "workers": 0 if self.pattern == "pubsub" else self.workers,
            "repeat": self.repeat,
        }
        return Setting(
            columns,
            self.warmup_ns,
            self.measured_ns,
            self.timeout_ns,
            self.lag_limit_ms,
            max(1, round(self.tick * 1e9)),
            self.processes,
        )
