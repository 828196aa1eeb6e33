"""How a trace of request/reply is read: from events to requests and what became of each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from labkit.errors import ConfigurationError
from labkit.trace import Trace, TraceEvent

_REPLY = " reply"
"""Ends the name of the way back from a service."""
_CORRELATION = re.compile(r"\S+/\d+")


@dataclass(slots=True)
class Call:
    """One request, and when what became of it, in seconds; None where it did not happen."""

    id: str
    label: str
    service: str
    requester: str
    sent: float
    correlation: str = ""
    responder: str = ""
    taken: float | None = None
    replied: float | None = None
    answered: float | None = None
    late: float | None = None
    timed_out: float | None = None
    expired: float | None = None
    refused: float | None = None
    failed: str = ""
    why: str = ""
    crashed: float | None = None
    undelivered: bool = False

    @property
    def troubled(self) -> bool:
        """Whether it did not end in a plain answer."""
        return self.answered is None or bool(self.failed) or self.timed_out is not None


@dataclass(slots=True)
class Calls:
    """What a trace says of requests."""

    calls: list[Call]
    crashes: dict[str, list[float]]
    first: float
    last: float
    forgotten: int = 0


@dataclass(slots=True)
class _Reader:
    services: set[str]
    calls: list[Call] = field(default_factory=list)
    by_id: dict[str, Call] = field(default_factory=dict)
    by_correlation: dict[str, Call] = field(default_factory=dict)
    crashes: dict[str, list[float]] = field(default_factory=dict)

    def take(self, event: TraceEvent) -> None:
        channel, action = event.channel or "", str(event.action)
        if action == "crashed":
            self._crashed(event)
        elif channel in self.services:
            self._request(event, action)
        elif channel.removesuffix(_REPLY) in self.services:
            self._reply(event, action)

    def _request(self, event: TraceEvent, action: str) -> None:
        key, time = event.message_id or "", event.time
        if action == "sent":
            call = Call(key, event.label or key, event.channel or "?", event.actor, time)
            call.correlation = event.detail
            self.calls.append(call)
            self.by_id[key] = self.by_correlation[event.detail] = call
        call_or_none = self.by_id.get(key)
        if call_or_none is None:
            return
        call = call_or_none
        match action:
            case "delivered":
                call.taken, call.responder = time, event.actor
            case "expired":
                call.expired, call.responder = time, event.actor
            case "failed":
                call.failed = event.detail or "failed"
            case "timed out":
                call.timed_out = time
            case "send failed":
                call.refused, call.why = time, event.detail

    def _reply(self, event: TraceEvent, action: str) -> None:
        call = self.by_id.get(event.message_id or "") or self.by_correlation.get(event.detail)
        if call is None:
            return
        if action == "sent":
            call.replied, call.responder = event.time, event.actor
            self.by_id[event.message_id or ""] = call
        elif action == "delivered":
            call.answered = event.time
        elif action == "late reply":
            call.late = event.time
        elif action == "send failed":
            call.undelivered = True

    def _crashed(self, event: TraceEvent) -> None:
        self.crashes.setdefault(event.actor, []).append(event.time)
        for call in self.calls:
            open_there = call.taken is not None and call.replied is None
            if open_there and call.responder == event.actor and call.crashed is None:
                call.crashed = event.time


def services_in(events: Iterable[TraceEvent]) -> set[str]:
    """The channels on which requests were sent: their events carry correlation ids."""
    asked = {
        event.channel
        for event in events
        if event.channel and str(event.action) == "sent" and _CORRELATION.fullmatch(event.detail)
    }
    back = {name for name in asked if name.removesuffix(_REPLY) in asked and name.endswith(_REPLY)}
    return asked - back


def read_calls(trace: Trace | Iterable[TraceEvent], service: str | None = None) -> Calls:
    """Read a trace; `service` limits it to one.

    Raises:
        ConfigurationError: no request in it.
    """
    enabled = trace.enabled if isinstance(trace, Trace) else True
    events = sorted(trace, key=lambda event: event.time)
    services = services_in(events)
    reader = _Reader({service} if service is not None else services)
    for event in events:
        reader.take(event)
    if not reader.calls:
        why = (
            "send one with a Requester, and let a Responder serve it."
            if enabled
            else "it was switched off (enabled=False), so nothing was recorded."
        )
        raise ConfigurationError(f"The trace holds no request to draw: {why}")
    times = [time for call in reader.calls for time in _times(call)]
    forgotten = trace.forgotten if isinstance(trace, Trace) else 0
    return Calls(reader.calls, reader.crashes, min(times), max(times), forgotten)


def _times(call: Call) -> list[float]:
    times = [
        call.sent, call.taken, call.replied, call.answered, call.late, call.timed_out,
        call.expired, call.refused, call.crashed,
    ]  # fmt: skip
    return [time for time in times if time is not None]
