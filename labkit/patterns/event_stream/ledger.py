"""What a stream's users write down: each thing once in the counts and once in the trace."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.broker import Broker, Entry
from labkit.errors import describe
from labkit.message import Message
from labkit.patterns.event_stream.event import Event, Events, UnreadableEvent, read_entries
from labkit.patterns.statistics import ErrorRecord, Latency, Tally
from labkit.trace import Action

BROKER = "broker"

_ONLY_EVENTS = frozenset({Event})


class Ledger:
    """The books of a stream, or of one of its readers."""

    def __init__(self, name: str, stream: str, lab: Broker, max_bytes: int) -> None:
        self.tally = Tally()
        self.name = name
        self._stream = stream
        self._clock = lab.clock
        self._trace = lab.trace
        self._max_bytes = max_bytes

    @property
    def tracing(self) -> bool:
        """Whether it is worth while to say what happened to each event."""
        return self._trace.enabled

    def read(self, entries: Sequence[Entry]) -> Events:
        """Entries were read: they become events, or are unreadable."""
        found = self.read_in_place(entries)
        if _ONLY_EVENTS.issuperset(map(type, found)):
            return Events(found)  # type: ignore[arg-type]
        unreadable = [item for item in found if isinstance(item, UnreadableEvent)]
        return Events((item for item in found if isinstance(item, Event)), unreadable)

    def read_in_place(self, entries: Sequence[Entry]) -> list[Event | UnreadableEvent]:
        """The same, in their order."""
        found = read_entries(entries, self._stream, self._max_bytes)
        if not _ONLY_EVENTS.issuperset(map(type, found)):
            for item in found:
                if type(item) is UnreadableEvent:
                    self._keep(item)
        return found

    def delivered(
        self, entries: Sequence[Entry], events: Sequence[Event], *, claimed: bool = False
    ) -> None:
        """Entries were given to us as a member of a group, or claimed; these are the events."""
        if not entries:
            return
        now_ns = self._clock.monotonic_ns()
        self.tally.add(
            self._stream,
            messages=len(entries),
            bytes=sum([len(entry.body) for entry in entries if entry.body]),
            redelivered=sum([1 for entry in entries if entry.attempt and entry.attempt > 1]),
            claimed=len(entries) if claimed else 0,
        )
        self.tally.seen_at(now_ns)
        self._measure(events, now_ns)
        if self.tracing:
            for event in events:
                self._delivered(event, claimed)

    def about(
        self, action: Action, event: Event, detail: str = "", *, actor: str | None = None
    ) -> None:
        """Something that happened to an event."""
        self.about_message(action, event.message, detail, actor or self.name)

    def about_message(self, action: Action, message: Message, detail: str, actor: str) -> None:
        """Something that happened to an event, or to what is to become one."""
        self._trace.record(
            actor,
            action,
            channel=self._stream,
            message_id=message.id,
            label=message.label,
            detail=detail,
        )

    def broker_lost(self, error: Exception) -> None:
        """The broker cannot be reached."""
        self.tally.add(None, outages=1)
        self.raised(error)
        self.about_us(Action.CONNECTION_LOST, str(error))

    def broker_back(self) -> None:
        """It can be reached."""
        self.about_us(Action.RECONNECTED)

    def about_us(self, action: Action, detail: str = "") -> None:
        """Something that we did, or that happened to us."""
        self._trace.record(self.name, action, channel=self._stream, detail=detail)

    def raised(self, error: BaseException, message_id: str | None = None) -> None:
        """Something went wrong."""
        self.tally.errors.append(ErrorRecord(self._stream, message_id, describe(error)))

    def latency(self) -> Latency | None:
        """From appending to delivery."""
        return Latency.of(list(self.tally.latencies_ns))

    def _keep(self, error: UnreadableEvent) -> None:
        self.tally.add(self._stream, unreadable=1)
        self.tally.decode_errors.append(error)
        if self.tracing:
            self.about_us(Action.UNREADABLE, error.reason)

    def _delivered(self, event: Event, claimed: bool) -> None:
        again = (event.attempt or 1) > 1
        action = Action.CLAIMED if claimed else Action.REDELIVERED if again else Action.DELIVERED
        self.about(action, event, f"attempt {event.attempt}" if again else "")

    def _measure(self, events: Sequence[Event], now_ns: int) -> None:
        """The latencies of those that were appended on our clock."""
        ours = f"{self._clock.id}."
        good, bad = "", ""  # most events of a batch are of one writer
        found = []
        for event in events:
            facts = event.message.metadata
            epoch = facts.get("epoch", "")
            if epoch != good:
                if epoch == bad or not (type(epoch) is str and epoch.startswith(ours)):
                    bad = epoch
                    continue
                good = epoch
            sent_ns = facts.get("sent_ns")
            if epoch and type(sent_ns) is int:
                found.append(now_ns - sent_ns)
        self.tally.latencies_ns.extend(found)


def tell_of(
    lab: Broker, who: str, stream: str, action: Action, item: Event | UnreadableEvent, reason: str
) -> None:
    """One line in the trace, about what may be no event."""
    lab.trace.record(
        *(who, action),
        channel=stream,
        message_id=item.id if isinstance(item, Event) else None,
        label=item.label if isinstance(item, Event) else "",
        detail=f"at {item.position}" + (f": {reason}" if reason else ""),
    )
