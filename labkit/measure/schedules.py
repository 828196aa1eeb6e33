"""When operations are meant to begin: the schedules of a load.

An *open* schedule says when each operation is due, whatever the broker does: that is how people and
machines outside arrive. A *closed* one sends the next operation when the last is done, and so slows
down together with what it measures: it cannot see a queue that it does not let grow.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count, islice
from typing import Any, Protocol

from labkit.errors import ConfigurationError

SECOND_NS = 1_000_000_000


class OpenSchedule(Protocol):
    """Says when each operation is due, whether earlier ones are done or not."""

    @property
    def kind(self) -> str:
        """Its name in a table: "constant", "poisson", "replay"."""

    @property
    def rate(self) -> float:
        """Operations a second, as intended."""

    def intended(self, until_ns: int) -> Iterator[int]:
        """When each is due, in nanoseconds from the start, ascending, all before `until_ns`."""

    def as_json(self) -> dict[str, Any]:
        """What another process needs to make the same schedule."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Each client sends its next operation when its last one is done (or given up).

    Attributes:
        clients: how many operations (with batches: batches) are under way at a time.
    """

    clients: int = 1
    kind: str = field(default="closed", init=False, repr=False)
    rate: float = field(default=math.nan, init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.clients, bool) or not isinstance(self.clients, int) or self.clients < 1:
            raise ConfigurationError(f"clients is a whole number from 1, got {self.clients!r}.")

    def as_json(self) -> dict[str, Any]:
        """What another process needs to make the same schedule."""
        return {"kind": self.kind, "clients": self.clients}


@dataclass(frozen=True, slots=True)
class Constant:
    """One operation every 1/rate seconds, like a sensor.

    Attributes:
        rate: operations a second.
    """

    rate: float
    kind: str = field(default="constant", init=False, repr=False)

    def __post_init__(self) -> None:
        _check_rate(self.rate)

    def intended(self, until_ns: int) -> Iterator[int]:
        """Evenly spaced from 0; reckoned from the number, so that no rounding adds up."""
        step = SECOND_NS / self.rate
        for number in count():
            due = round(number * step)
            if due >= until_ns:
                return
            yield due

    def as_json(self) -> dict[str, Any]:
        """What another process needs to make the same schedule."""
        return {"kind": self.kind, "rate": self.rate}


@dataclass(frozen=True, slots=True)
class Poisson:
    """Arrivals that know nothing of each other, like people: gaps are exponentially distributed.

    In any stretch of t seconds there are rate·t arrivals on average, with the same variance.

    Attributes:
        rate: operations a second, on average.
        seed: makes it the same each time.
    """

    rate: float
    seed: int = 0
    kind: str = field(default="poisson", init=False, repr=False)

    def __post_init__(self) -> None:
        _check_rate(self.rate)

    def intended(self, until_ns: int) -> Iterator[int]:
        """The times of arrival."""
        gap = random.Random(self.seed).expovariate
        at = gap(self.rate)
        while at * SECOND_NS < until_ns:
            yield int(at * SECOND_NS)
            at += gap(self.rate)

    def as_json(self) -> dict[str, Any]:
        """What another process needs to make the same schedule."""
        return {"kind": self.kind, "rate": self.rate, "seed": self.seed}


class Replay:
    """A recorded day's own arrival times, played faster or slower.

    Only the times are replayed; sizes and bodies are the trial's.

    Args:
        messages: what happened, in order: anything with a `time` (`labkit.data.stormy_day()`),
            datetimes, or seconds.
        speed: 60 plays an hour in a minute.
    """

    kind = "replay"

    def __init__(self, messages: Iterable[object], speed: float = 60.0) -> None:
        if not (speed > 0 and math.isfinite(speed)):
            raise ConfigurationError(
                f"A speed is above 0 (60 plays an hour in a minute), got {speed}."
            )
        seconds = [_seconds(message) for message in messages]
        if not seconds:
            raise ConfigurationError("A replay needs at least one message.")
        if seconds != sorted(seconds):
            raise ConfigurationError("A replay's messages are in the order in which they happened.")
        self.speed = speed
        first = seconds[0]
        self._due_ns = [round((at - first) / speed * SECOND_NS) for at in seconds]

    @property
    def rate(self) -> float:
        """Operations a second, on average over the whole recording."""
        return len(self._due_ns) / self.seconds if self._due_ns[-1] else math.nan

    @property
    def seconds(self) -> float:
        """How long the whole recording plays."""
        return self._due_ns[-1] / SECOND_NS

    def intended(self, until_ns: int) -> Iterator[int]:
        """The recorded times, the first one at 0."""
        for due in self._due_ns:
            if due >= until_ns:
                return
            yield due

    def as_json(self) -> dict[str, Any]:
        """What another process needs to make the same schedule."""
        return {"kind": self.kind, "due_ns": self._due_ns}

    def __repr__(self) -> str:
        return f"Replay({len(self._due_ns)} messages, speed={self.speed:g})"


@dataclass(frozen=True, slots=True)
class Share:
    """Every `of`-th operation of a schedule: what one of several publishers has to send."""

    whole: OpenSchedule
    index: int
    of: int

    @property
    def kind(self) -> str:
        """As the whole's."""
        return self.whole.kind

    @property
    def rate(self) -> float:
        """This one's part of it."""
        return self.whole.rate / self.of

    def intended(self, until_ns: int) -> Iterator[int]:
        """Its operations' times."""
        return islice(self.whole.intended(until_ns), self.index, None, self.of)

    def as_json(self) -> dict[str, Any]:
        """What another process needs to make the same schedule."""
        return {"kind": "share", "whole": self.whole.as_json(), "index": self.index, "of": self.of}


Schedule = Closed | OpenSchedule


def schedule_from_json(facts: dict[str, Any]) -> Schedule:
    """The schedule that `as_json` wrote down."""
    kind = facts["kind"]
    if kind == "closed":
        return Closed(facts["clients"])
    if kind == "constant":
        return Constant(facts["rate"])
    if kind == "poisson":
        return Poisson(facts["rate"], facts["seed"])
    if kind == "replay":
        return Replay([ns / SECOND_NS for ns in facts["due_ns"]], speed=1.0)
    whole = schedule_from_json(facts["whole"])
    assert not isinstance(whole, Closed)
    return Share(whole, facts["index"], facts["of"])


def shares(schedule: Schedule, of: int) -> Sequence[Schedule]:
    """A schedule divided among `of` publishers.

    Raises:
        ConfigurationError: fewer closed clients than publishers.
    """
    if of == 1:
        return [schedule]
    if not isinstance(schedule, Closed):
        return [Share(schedule, index, of) for index in range(of)]
    if schedule.clients < of:
        raise ConfigurationError(
            f"{of} publishers need {of} clients or more, got Closed({schedule.clients})."
        )
    each, more = divmod(schedule.clients, of)
    return [Closed(each + (index < more)) for index in range(of)]


def _check_rate(rate: float) -> None:
    if not (rate > 0 and math.isfinite(rate)):
        raise ConfigurationError(f"rate is operations a second, above 0, got {rate!r}.")


def _seconds(message: object) -> float:
    moment = getattr(message, "time", message)
    if isinstance(moment, datetime):
        return moment.timestamp()
    if isinstance(moment, int | float) and not isinstance(moment, bool):
        return float(moment)
    raise ConfigurationError(
        "A replay takes what has a time (labkit.data.stormy_day()), datetimes or seconds; "
        f"got {message!r:.80}."
    )
