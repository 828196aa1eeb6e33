"""Who did what to which message, and when.

Everything that a lab shows of a conversation (the table under a cell, the space-time picture, the
counts that a test asserts) is read off one `Trace`.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from labkit._html import table
from labkit._words import plural
from labkit.clock import Clock, SystemClock
from labkit.errors import ConfigurationError

if TYPE_CHECKING:
    import pandas

DEFAULT_CAPACITY = 10_000
"""Events kept; older ones make room and are counted in `forgotten`."""

_ROWS_SHOWN = 60


class Action(StrEnum):
    """What happened. The message-less ones are about the actor."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    SUBSCRIBED = "subscribed"
    UNSUBSCRIBED = "unsubscribed"
    SENT = "sent"
    ACCEPTED = "accepted"
    SEND_FAILED = "send failed"
    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    FILTERED = "filtered out"
    FAILED = "failed"
    UNREADABLE = "unreadable"
    DROPPED = "dropped"
    LOST = "lost"
    CONNECTION_LOST = "connection lost"
    RECONNECTED = "reconnected"
    TIMED_OUT = "timed out"
    EXPIRED = "expired"
    LATE_REPLY = "late reply"
    CRASHED = "crashed"
    REDELIVERED = "redelivered"
    ACKED = "acked"
    LATE_ACK = "late ack"
    RETRYING = "retrying"
    RETURNED = "returned"
    RECOVERED = "recovered"
    DEAD = "dead"
    READ = "read"
    COMMITTED = "committed"
    CLAIMED = "claimed"
    CONFLICT = "conflict"
    TRIMMED = "trimmed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One line of a trace.

    Attributes:
        time: seconds since the trace began, on the trace's clock.
        actor: who: the sender, the subscriber's name, or "broker".
        action: what.
        channel: where, or None.
        message_id: which message, or None.
        label: what a person would call the message: "B6 739 departed".
        detail: anything else worth reading, such as an error.
    """

    time: float
    actor: str
    action: Action
    channel: str | None = None
    message_id: str | None = None
    label: str = ""
    detail: str = ""


_Facts = tuple[float, str, Action, str | None, str | None, str, str]
"""What a `TraceEvent` holds: to record is a matter of a microsecond."""


class Trace:
    """A bounded record of events, safe to write from several threads.

    Args:
        clock: where the times come from.
        capacity: how many events are kept.
        enabled: False records nothing (for measuring).
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        capacity: int = DEFAULT_CAPACITY,
        enabled: bool = True,
    ) -> None:
        if capacity < 1:
            raise ConfigurationError(f"A trace needs room: capacity={capacity}.")
        self.enabled = enabled
        self.forgotten = 0
        self._clock = clock if clock is not None else SystemClock()
        self._began: float | None = None
        self._events: deque[_Facts] = deque(maxlen=capacity)  # made into events when read
        self._lock = threading.Lock()

    def record(
        self,
        actor: str,
        action: Action,
        *,
        channel: str | None = None,
        message_id: str | None = None,
        label: str = "",
        detail: str = "",
        at: float | None = None,
    ) -> None:
        """Add an event: now, or `at` a moment of the clock's `now()` that has passed."""
        if not self.enabled:
            return
        with self._lock:
            moment = self._clock.now() if at is None else at
            if self._began is None:
                self._began = moment
            seconds = moment - self._began
            if len(self._events) == self._events.maxlen:
                self.forgotten += 1
            self._events.append((seconds, actor, action, channel, message_id, label, detail))

    @property
    def events(self) -> tuple[TraceEvent, ...]:
        """The events, oldest first."""
        with self._lock:
            facts = tuple(self._events)
        return tuple(TraceEvent(*fact) for fact in facts)

    def select(
        self,
        *actions: Action | str,
        actor: str | None = None,
        channel: str | None = None,
        message_id: str | None = None,
    ) -> tuple[TraceEvent, ...]:
        """Events with one of `actions` (all if none is named), of one actor, channel, message."""
        wanted = {Action(action) for action in actions}
        return tuple(
            event
            for event in self.events
            if (not wanted or event.action in wanted)
            and actor in (None, event.actor)
            and channel in (None, event.channel)
            and message_id in (None, event.message_id)
        )

    def count(self, *actions: Action | str, actor: str | None = None) -> int:
        """How many events `select` finds."""
        return len(self.select(*actions, actor=actor))

    def counts(self) -> dict[str, int]:
        """How often each action happened."""
        return dict(Counter(str(event.action) for event in self.events))

    def clear(self) -> None:
        """Forget everything; time starts again at the next event."""
        with self._lock:
            self._events.clear()
            self._began = None
            self.forgotten = 0

    def to_frame(self) -> pandas.DataFrame:
        """One row an event: time_s, actor, action, channel, message_id, label, detail."""
        import pandas

        columns = ["time_s", "actor", "action", "channel", "message_id", "label", "detail"]
        rows = [
            (e.time, e.actor, str(e.action), e.channel, e.message_id, e.label, e.detail)
            for e in self.events
        ]
        return pandas.DataFrame(rows, columns=columns)

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[TraceEvent]:
        return iter(self.events)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {action}" for action, count in self.counts().items())
        return f"Trace({plural(len(self), 'event')}{': ' + counts if counts else ''})"

    def _repr_html_(self) -> str:
        events = self.events[:_ROWS_SHOWN]
        rows = [
            (f"{e.time:.3f}", e.actor, e.action, e.channel, e.label or e.message_id, e.detail)
            for e in events
        ]
        more = len(self) - len(events)
        caption = f"Trace: {plural(len(self), 'event')}" + (
            f", the first {len(events)} shown" if more else ""
        )
        return table(("time (s)", "who", "did", "channel", "message", "detail"), rows, caption)
