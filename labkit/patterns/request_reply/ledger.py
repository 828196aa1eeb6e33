"""What requesters and responders write down: each thing once in the counts, once in the trace."""

from __future__ import annotations

import traceback

from labkit.broker import Broker
from labkit.errors import DecodeError, LabkitError, NoResponder, describe
from labkit.message import Message
from labkit.patterns.request_reply.outcome import Outcome, Pending, Reply
from labkit.patterns.request_reply.statistics import RequesterStatistics, ResponderStatistics
from labkit.patterns.request_reply.waiting import Closed, Stray
from labkit.patterns.statistics import ErrorRecord, Latency, Tally
from labkit.trace import Action

_STRAYS = {
    Stray.LATE: ("late", Action.LATE_REPLY),
    Stray.DUPLICATE: ("duplicates", Action.DUPLICATE),
    Stray.UNKNOWN: ("unknown", Action.DROPPED),
}
_COUNTERS = {
    Outcome.REPLIED: "replied",
    Outcome.ERROR: "handler_errors",
    Outcome.EXPIRED: "expired",
    Outcome.UNREADABLE: "unreadable",
    Outcome.NO_INBOX: "no_inbox",
    Outcome.NOT_SENT: "not_sent",
}


def reply_channel(service: str) -> str:
    """What a trace calls the way back from a service."""
    return f"{service} reply"


def reply_label(request_label: str) -> str:
    """What a person would call the reply to a request."""
    return f"re: {request_label}"


class _Ledger:
    """What both have in common."""

    def __init__(self, name: str, lab: Broker) -> None:
        self.tally = Tally()
        self._name = name
        self._clock = lab.clock
        self._trace = lab.trace
        self._heard = True

    def about_us(self, action: Action, channel: str | None = None) -> None:
        """Something that we did ourselves."""
        self._trace.record(self._name, action, channel=channel)

    def heard(self, connected: bool) -> None:
        """Whether the broker could be heard at the last look: changes are written down."""
        if connected == self._heard:
            return
        self._heard = connected
        if not connected:
            self.tally.add(None, connections_lost=1)
        self.about_us(Action.RECONNECTED if connected else Action.CONNECTION_LOST)

    def _unreadable(self, channel: str | None, error: DecodeError) -> None:
        error.__traceback__ = error.__context__ = None  # its frames hold the body
        self.tally.decode_errors.append(error)
        self._trace.record(self._name, Action.UNREADABLE, channel=channel, detail=error.reason)

    def _record(
        self,
        action: Action,
        channel: str | None,
        message: Message,
        detail: str = "",
        *,
        actor: str | None = None,
        label: str | None = None,
        at: float | None = None,
    ) -> None:
        if not self._trace.enabled:
            return  # before anything is put into words
        self._trace.record(
            self._name if actor is None else actor,
            action,
            channel=channel,
            message_id=message.id,
            label=message.label if label is None else label,
            detail=detail,
            at=at,
        )


class RequesterLedger(_Ledger):
    """The books of one requester."""

    def sent(self, pending: Pending, size: int) -> None:
        """A request leaves."""
        self.tally.add(pending.service, messages=1, bytes=size)
        self.tally.seen_at(pending.message.metadata["sent_ns"])
        self._about(pending, Action.SENT)

    def accepted(self, pending: Pending, responders: int | None) -> None:
        """The broker has it."""
        known = "" if responders is None else f"for 1 of {responders}, "
        self._about(pending, Action.ACCEPTED, known + pending.correlation_id, actor="broker")

    def no_responder(self, pending: Pending, error: NoResponder) -> None:
        """Nobody serves it; it did not leave."""
        self.tally.add(pending.service, no_responder=1)
        self._about(pending, Action.SEND_FAILED, describe(error))

    def failed(self, pending: Pending, error: LabkitError) -> None:
        """It did not leave."""
        self.tally.add(pending.service, failed=1)
        self.unsure(pending, error)

    def unsure(self, pending: Pending, error: LabkitError) -> None:
        """It may not have left; it is counted as what will have become of it."""
        text = describe(error)
        self.tally.errors.append(ErrorRecord(pending.service, pending.message.id, text))
        self._about(pending, Action.SEND_FAILED, text)

    def replied(self, pending: Pending, reply: Reply, *, error: bool) -> None:
        """Its reply is here."""
        self.tally.add(pending.service, **{"remote_errors" if error else "replied": 1})
        self.tally.latencies_ns.append(round(reply.seconds * 1e9))
        self._about_reply(Action.DELIVERED, pending.service, pending.label, reply.message)

    def timed_out(self, pending: Pending) -> None:
        """No reply in time: at its deadline, where that has passed."""
        self.tally.add(pending.service, timed_out=1)
        over = self._clock.now() >= pending.deadline
        self._about(pending, Action.TIMED_OUT, at=pending.deadline if over else None)

    def abandoned(self, pending: Pending) -> None:
        """We no longer wait for it."""
        self.tally.add(pending.service, abandoned=1)

    def stray(self, closed: Closed, reply: Message) -> None:
        """A reply that no request waits for."""
        counter, action = _STRAYS[closed.what_comes_now]
        self.tally.add(closed.service, **{counter: 1})
        self._about_reply(action, closed.service, closed.label, reply)

    def unreadable(self, error: DecodeError) -> None:
        """A body in the inbox that is no reply."""
        self.tally.add(None, unreadable=1)
        self._unreadable(None, error)

    def stats(self) -> RequesterStatistics:
        """The counts, now."""
        return self.tally.fill(
            RequesterStatistics,
            self._name,
            decode_errors=tuple(self.tally.decode_errors),
            latency=Latency.of(list(self.tally.latencies_ns)),
        )

    def _about(
        self,
        pending: Pending,
        action: Action,
        detail: str | None = None,
        *,
        actor: str | None = None,
        at: float | None = None,
    ) -> None:
        detail = pending.correlation_id if detail is None else detail
        self._record(action, pending.service, pending.message, detail, actor=actor, at=at)

    def _about_reply(
        self, action: Action, service: str | None, request_label: str | None, reply: Message
    ) -> None:
        if not self._trace.enabled:
            return
        self._record(
            action,
            None if service is None else reply_channel(service),
            reply,
            str(reply.metadata["correlation_id"]),
            label=None if request_label is None else reply_label(request_label),
        )


class ResponderLedger(_Ledger):
    """The books of one responder."""

    def __init__(self, name: str, service: str, lab: Broker) -> None:
        super().__init__(name, lab)
        self._service = service

    def received(self, body: bytes) -> None:
        """A body was taken."""
        self.tally.add(self._service, messages=1, bytes=len(body))
        self.tally.seen_at(self._clock.monotonic_ns())

    def ended(self, outcome: Outcome) -> None:
        """What became of a request."""
        self.tally.add(self._service, **{_COUNTERS[outcome]: 1, "ended": 1})

    def unreadable(self, error: DecodeError) -> None:
        """It is no request."""
        self._unreadable(self._service, error)

    def expired(self, request: Message, correlation_id: str) -> None:
        """Nobody waits for it any more."""
        self._record(Action.EXPIRED, self._service, request, correlation_id)

    def delivered(self, request: Message, correlation_id: str) -> None:
        """It is handed to the handler now."""
        self._record(Action.DELIVERED, self._service, request, correlation_id)

    def failed(self, request: Message | None, error: BaseException) -> str:
        """The handler raised; returns what did, in words."""
        text = describe(error)
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else ""
        message_id = None if request is None else request.id
        self.tally.errors.append(ErrorRecord(self._service, message_id, text, where))
        if request is not None:
            self._record(Action.FAILED, self._service, request, text)
        return text

    def broke(self, error: Exception) -> None:
        """The broker refused something between two requests."""
        self.tally.errors.append(ErrorRecord(self._service, None, describe(error)))

    def replying(self, request: Message, reply: Message) -> None:
        """A reply leaves."""
        self._about_reply(Action.SENT, request, reply)

    def replied(self, request: Message, reply: Message, handling_ns: int) -> None:
        """The broker has put it into the inbox."""
        self.tally.latencies_ns.append(handling_ns)
        self._about_reply(Action.ACCEPTED, request, reply, actor="broker")

    def reply_failed(self, request: Message, reply: Message, why: str) -> None:
        """It reaches nobody, or may reach nobody."""
        self._about_reply(Action.SEND_FAILED, request, reply, why)

    def stats(self) -> ResponderStatistics:
        """The counts, now."""
        return self.tally.fill(
            ResponderStatistics,
            self._name,
            decode_errors=tuple(self.tally.decode_errors),
            latency=Latency.of(list(self.tally.latencies_ns)),
        )

    def _about_reply(
        self,
        action: Action,
        request: Message,
        reply: Message,
        detail: str | None = None,
        *,
        actor: str | None = None,
    ) -> None:
        if not self._trace.enabled:
            return
        known = str(reply.metadata["correlation_id"])
        self._record(
            action,
            reply_channel(self._service),
            reply,
            known if detail is None else detail,
            actor=actor,
            label=reply_label(request.label),
        )
