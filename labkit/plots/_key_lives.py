"""Events read as lives: in which state each key was from when to when, and that in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from labkit._words import plural
from labkit.errors import ConfigurationError
from labkit.patterns.event_stream import Event
from labkit.plots._words import listing

_TOLD = 8
"""Keys told one by one in the alt text."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A key in one state: `end` is its next event, or None where none has come."""

    state: str
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Life:
    """What happened to one key, in the order of the stream."""

    key: str
    stretches: tuple[Stretch, ...]

    @property
    def state(self) -> str:
        """The last one."""
        return self.stretches[-1].state


@dataclass(frozen=True, slots=True)
class Lives:
    """What was read.

    Attributes:
        lives: one a key, in the order of their first events.
        noun: what the keys are, as the types say: "flight".
        ends: states after which nothing is expected.
        keyless: events left out, because they are about nothing in particular.
    """

    lives: tuple[Life, ...]
    noun: str
    ends: frozenset[str]
    keyless: int

    @property
    def states(self) -> list[str]:
        """All that last, early ones first: whichever lives are drawn, a state looks the same."""
        places: dict[str, list[int]] = {}
        for life in self.lives:
            for place, stretch in enumerate(life.stretches):
                places.setdefault(stretch.state, []).append(place)
        ordered = sorted(places, key=lambda state: (min(places[state]), max(places[state])))
        return [state for state in ordered if state not in self.ends]

    def over(self, life: Life) -> bool:
        """Whether nothing more is expected of it."""
        return life.state in self.ends


def read_lives(events: Iterable[Event], zone: tzinfo, ends: Collection[str]) -> Lives:
    """Sort events by key."""
    found: dict[str, list[tuple[str, datetime]]] = {}
    nouns: set[str] = set()
    keyless = 0
    for event in events:
        if not isinstance(event, Event):
            raise ConfigurationError(
                f"A timeline is made from events, as stream.read() returns them; got {event!r}."
            )
        if event.key is None:
            keyless += 1
            continue
        noun, _, state = event.type.rpartition(".")
        nouns.add(noun)
        found.setdefault(event.key, []).append((state, event.time.astimezone(zone)))
    lives = tuple(Life(key, tuple(_stretches(marks))) for key, marks in found.items())
    noun = nouns.pop() if len(nouns) == 1 else ""
    return Lives(lives, noun or "key", frozenset(ends), keyless)


def _stretches(marks: Sequence[tuple[str, datetime]]) -> Iterable[Stretch]:
    ends: list[datetime | None] = [time for _, time in marks[1:]]
    for (state, start), end in zip(marks, [*ends, None], strict=True):
        yield Stretch(state, start, None if end is None else max(start, end))


def lives_finding(lives: Lives, shown: Sequence[Life]) -> str:
    """The title: how many events, and what they came to."""
    if len(shown) == 1:
        [life] = shown
        first, last = life.stretches[0].start, life.stretches[-1].start
        span = f" in {duration(last - first)}" if last > first else ""
        return f"{life.key}: {plural(len(life.stretches), 'event')}{span}, and now {life.state}"
    count = sum(len(life.stretches) for life in shown)
    states = Counter(life.state for life in shown)
    told = listing([f"{n:,} {state}" for state, n in states.items()])
    if len(states) == 1:
        told = f"all {shown[0].state}"
    return f"{plural(count, 'event')} of {plural(len(shown), lives.noun)}: {told} in the end"


def lives_alt(lives: Lives, shown: Sequence[Life], caption: str) -> str:
    """The picture in words."""
    parts = [f"Timeline: time runs to the right, each {lives.noun} is a row with its states."]
    for life in shown[:_TOLD]:
        marks = [f"{stretch.state} at {stretch.start:%H:%M}" for stretch in life.stretches]
        parts.append(f"{life.key}: {', '.join(marks)}.")
    if len(shown) > _TOLD:
        parts.append(f"{len(shown) - _TOLD:,} more rows are like these.")
    return " ".join([*parts, *([caption] if caption else [])])


def duration(span: timedelta) -> str:
    """A span as a person says it: `9 h 20 min`, `45 min`, `30 s`."""
    whole = round(span.total_seconds())
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min"
