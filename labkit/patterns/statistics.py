"""What was counted, as an object to read, to show and to turn into a frame."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, fields
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from labkit._html import table
from labkit._words import plural
from labkit.broker import Gap
from labkit.errors import DecodeError

if TYPE_CHECKING:
    import pandas

RECORDS_KEPT = 100
"""Errors, gaps and unreadable bodies kept for inspection; all are counted."""

CHANNELS_KEPT = 10_000
OTHER_CHANNELS = "(other channels)"
"""Where the counts of more channels go."""

LATENCIES_KEPT = 10_000
"""The latest latencies kept, for percentiles."""


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """One thing that went wrong: where, with which message, and what was raised.

    Attributes:
        channel: where, or None.
        message_id: which message, or None.
        error: type and text: "KeyError: 'delay'".
        where: file and line in the function that raised, or "".
    """

    channel: str | None
    message_id: str | None
    error: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Latency:
    """From one moment to another on one clock, in milliseconds."""

    samples: int
    min_ms: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, nanoseconds: list[int]) -> Latency | None:
        """Exact percentiles (nearest rank) of the samples; None without any."""
        if not nanoseconds:
            return None
        ms = sorted(sample / 1e6 for sample in nanoseconds)

        def rank(quantile: float) -> float:
            return ms[max(0, -(-len(ms) * round(quantile * 100) // 100) - 1)]

        return cls(len(ms), ms[0], fmean(ms), rank(0.50), rank(0.99), ms[-1])


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Counts at one moment.

    Attributes:
        name: whose.
        messages: how many in all.
        bytes: their bodies.
        seconds: between the first and the last message, on the broker's clock.
        channels: for each channel the counts that belong to it.
        errors: the last errors.
    """

    role: ClassVar[str] = ""

    name: str
    messages: int
    bytes: int
    seconds: float
    channels: Mapping[str, Mapping[str, int]]
    errors: tuple[ErrorRecord, ...]

    @property
    def rate(self) -> float | None:
        """Messages per second between the first and the last; None below two messages."""
        return (self.messages - 1) / self.seconds if self.messages > 1 and self.seconds else None

    @classmethod
    def counters(cls) -> tuple[str, ...]:
        """The names of the counts."""
        return tuple(f.name for f in fields(cls) if f.type == "int")

    def counts(self) -> dict[str, int]:
        """All counts by name."""
        return {name: getattr(self, name) for name in self.counters()}

    def to_frame(self) -> pandas.DataFrame:
        """One row a channel, one column a count."""
        import pandas

        columns = self.counters()
        rows = [[counts.get(name, 0) for name in columns] for counts in self.channels.values()]
        index = pandas.Index(list(self.channels), name="channel")
        return pandas.DataFrame(rows, index=index, columns=list(columns))

    def __repr__(self) -> str:
        told = [_counted(count, name) for name, count in self.counts().items() if count]
        rate = f", {self.rate:,.1f}/s" if self.rate else ""
        return f"{self.role} {self.name!r}: {', '.join(told) or 'nothing yet'}{rate}"

    def _repr_html_(self) -> str:
        shown = [n for n in self.counters() if getattr(self, n) or n in ("messages", "bytes")]
        rows: list[tuple[object, ...]] = [
            (channel, *(counts.get(name, 0) for name in shown))
            for channel, counts in self.channels.items()
        ]
        rows.append(("all", *(getattr(self, name) for name in shown)))
        headers = ("channel", *(_words(name) for name in shown))
        return table(headers, rows, f"{self.role} {self.name}")


@dataclass(frozen=True, kw_only=True, repr=False)
class PublisherStatistics(Statistics):
    """What a publisher did.

    Attributes:
        subscriptions: to how many subscriptions the broker wrote, summed over the messages.
        unheard: messages that the broker wrote to nobody.
        failed: messages that were not sent, or may not have been.
    """

    role = "Publisher"

    subscriptions: int
    unheard: int
    failed: int


@dataclass(frozen=True, kw_only=True, repr=False)
class SubscriberStatistics(Statistics):
    """What a subscriber saw.

    Attributes:
        handled: messages handed to the handlers (or returned, where there are none).
        filtered: messages that a filter kept away from them.
        unreadable: bodies that are not messages; the last ones are in `decode_errors`.
        callback_errors: exceptions of handlers and filters; the last ones are in `errors`.
        dropped: messages that the full buffer had no room for.
        lost: numbers missing between messages of one sender on one channel.
        duplicates: messages that came more than once.
        out_of_order: messages that came after a later one of the same sender and channel.
        missed_before: numbers before the first that was seen: sent before we subscribed.
        gaps: times without a connection, the last ones in `gap_records`.
        latency: from sending to handling, for messages sent in this process; else None.
    """

    role = "Subscriber"

    handled: int
    filtered: int
    unreadable: int
    callback_errors: int
    dropped: int
    lost: int
    duplicates: int
    out_of_order: int
    missed_before: int
    gaps: int
    decode_errors: tuple[DecodeError, ...]
    gap_records: tuple[Gap, ...]
    latency: Latency | None

    @property
    def rate(self) -> float | None:
        """Messages handled per second between the first and the last; None below two."""
        return (self.handled - 1) / self.seconds if self.handled > 1 and self.seconds else None


Kind = TypeVar("Kind", bound=Statistics)


class Tally:
    """Counts while things happen; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._channels: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._handled: deque[str] = deque()
        self._first_ns: int | None = None
        self._last_ns = 0
        self.errors: deque[ErrorRecord] = deque(maxlen=RECORDS_KEPT)
        self.decode_errors: deque[DecodeError] = deque(maxlen=RECORDS_KEPT)
        self.gaps: deque[Gap] = deque(maxlen=RECORDS_KEPT)
        self.latencies_ns: deque[int] = deque(maxlen=LATENCIES_KEPT)

    def add(self, channel: str | None, **counts: int) -> None:
        """Add to the totals, and to the channel's counts where there is one."""
        with self._lock:
            self._add(channel, counts)
            self._settle()

    def handled(self, channel: str) -> None:
        """One more was handled. Cheap: it is added up later, before anybody looks."""
        self._handled.append(channel)

    def _add(self, channel: str | None, counts: Mapping[str, int]) -> None:
        for name, count in counts.items():  # many times faster than Counter.update
            self._totals[name] += count
        if channel is None:
            return
        if channel not in self._channels and len(self._channels) >= CHANNELS_KEPT:
            channel = OTHER_CHANNELS
        of_channel = self._channels[channel]
        for name, count in counts.items():
            of_channel[name] += count

    def _settle(self) -> None:
        """Add up what was handled."""
        handled = self._handled
        if handled:
            for channel, count in Counter(handled.popleft() for _ in range(len(handled))).items():
                self._add(channel, {"handled": count})

    def seen_at(self, reading_ns: int) -> None:
        """A message passed at this reading of the clock."""
        if self._first_ns is None:
            with self._lock:
                self._first_ns = reading_ns if self._first_ns is None else self._first_ns
        self._last_ns = reading_ns

    def __getitem__(self, name: str) -> int:
        with self._lock:
            self._settle()
            return self._totals[name]

    def fill(self, kind: type[Kind], name: str, **more: Any) -> Kind:
        """The counts of one kind of statistics, now, with what only that kind has."""
        with self._lock:
            self._settle()
            counts = {counter: self._totals[counter] for counter in kind.counters()}
            facts: dict[str, Any] = {**counts, **more}
            return kind(
                name=name,
                seconds=self._seconds(),
                channels=self._by_channel(),
                errors=tuple(self.errors),
                **facts,
            )

    def publisher(self, name: str) -> PublisherStatistics:
        """The counts of a publisher, now."""
        return self.fill(PublisherStatistics, name)

    def subscriber(self, name: str) -> SubscriberStatistics:
        """The counts of a subscriber, now."""
        return self.fill(
            SubscriberStatistics,
            name,
            decode_errors=tuple(self.decode_errors),
            gap_records=tuple(self.gaps),
            latency=Latency.of(list(self.latencies_ns)),
        )

    def _seconds(self) -> float:
        return 0.0 if self._first_ns is None else (self._last_ns - self._first_ns) / 1e9

    def _by_channel(self) -> dict[str, dict[str, int]]:
        return {channel: dict(counts) for channel, counts in sorted(self._channels.items())}


def _counted(count: int, name: str) -> str:
    """`1 message`, `2 messages`, `1 connection lost`, `1 handled`."""
    many = _words(name)
    one = " ".join(word.removesuffix("s") for word in many.split())
    return plural(count, one, many)


def _words(name: str) -> str:
    return name.replace("_", " ")
