"""From the bytes of a request to its reply, whatever is in them and whatever the handler does."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from labkit.broker import ReplyBroker
from labkit.errors import BrokerRefused, BrokerUnavailable, DecodeError, describe
from labkit.message import Message
from labkit.patterns.identity import message_id
from labkit.patterns.request_reply.envelope import (
    ERROR,
    REPLY,
    Call,
    error_content,
    on_clock,
    read_request,
    sendable,
)
from labkit.patterns.request_reply.ledger import ResponderLedger, reply_channel
from labkit.patterns.request_reply.outcome import Outcome, Served

Handler = Callable[[Message], Any]
"""Called with the request; what it returns is the content of the reply."""


class _Life:
    """One life of a responder. Requests taken in a life that is over get no reply."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.numbers = itertools.count(1)
        self.over = False


class Answering:
    """What a responder does with one request. Safe to use from several threads."""

    def __init__(
        self,
        lab: ReplyBroker,
        ledger: ResponderLedger,
        handler: Handler,
        *,
        service: str,
        name: str,
        expose_traceback: bool,
        grace: float,
        max_bytes: int,
    ) -> None:
        self._lab = lab
        self._ledger = ledger
        self._handler = handler
        self._service = service
        self._name = name
        self._expose_traceback = expose_traceback
        self._grace = grace
        self._max_bytes = max_bytes
        self._life = _Life("")
        self._life.over = True

    def begin(self) -> None:
        """A new life: replies are numbered from 1 again."""
        self._life = _Life(self._lab.clock.new_epoch())

    def forget(self) -> None:
        """The requests in hand get no reply."""
        self._life.over = True

    def answer(self, body: bytes) -> Served | None:
        """Read, check, handle, reply; None where the responder died meanwhile. Raises nothing."""
        life = self._life
        served = self._answer(body, life)
        if served is not None:
            self._ledger.ended(served.outcome)
        return served

    def take_in_hand(self, body: bytes) -> Message | None:
        """The part of `answer` before the handler, for a responder that dies there."""
        self._ledger.received(body)
        call = self._read(body)
        if isinstance(call, Served):
            self._ledger.ended(call.outcome)
            return call.request
        self._ledger.delivered(call.message, call.correlation_id)
        return call.message

    def _answer(self, body: bytes, life: _Life) -> Served | None:
        self._ledger.received(body)
        call = self._read(body)
        if isinstance(call, Served):
            return call
        if life.over:  # given up between taking it and here
            return None
        began_ns = self._lab.clock.monotonic_ns()
        self._ledger.delivered(call.message, call.correlation_id)
        outcome, error, content = self._handle(call)
        if life.over:
            return None
        reply, encoded, problem = self._reply(call, outcome, content, life)
        if problem:
            outcome, error = Outcome.ERROR, problem
        undelivered = self._send(call, reply, encoded, began_ns)
        if undelivered is not None:
            outcome, why = undelivered
            error = f"{error}; {why}" if error else why
        return Served(call.message, outcome, error)

    def _read(self, body: bytes) -> Call | Served:
        """The request, if it is one and somebody still waits for it."""
        try:
            call = read_request(body, self._service, self._max_bytes)
        except DecodeError as error:
            self._ledger.unreadable(error)
            return Served(None, Outcome.UNREADABLE, error.reason)
        if self._expired(call):
            self._ledger.expired(call.message, call.correlation_id)
            return Served(call.message, Outcome.EXPIRED, "its deadline had passed")
        return call

    def _expired(self, call: Call) -> bool:
        if call.deadline is None:
            return False
        clock = self._lab.clock
        grace = self._grace if on_clock(call.message, clock) is None else 0.0
        return clock.now() - grace > call.deadline

    def _handle(self, call: Call) -> tuple[Outcome, str, Any]:
        """What became of it, what went wrong, and the content of the reply."""
        try:
            return Outcome.REPLIED, "", self._handler(call.message)
        except (Exception, SystemExit) as error:
            text = self._ledger.failed(call.message, error)
            content = error_content(error, expose_traceback=self._expose_traceback)
            return Outcome.ERROR, text, content

    def _reply(
        self, call: Call, outcome: Outcome, content: Any, life: _Life
    ) -> tuple[Message, bytes, str]:
        """The reply and its bytes; one that cannot be sent becomes an error, with the reason."""
        number = next(life.numbers)
        try:
            kind = REPLY if outcome is Outcome.REPLIED else ERROR
            reply = self._message(call, kind, content, life, number)
            return reply, reply.encode(self._max_bytes), ""
        except Exception as error:  # a content may even fail when it is shown
            problem = f"what the handler returned cannot be sent: {describe(error)}"
            self._ledger.failed(call.message, error)
            facts = {"type": type(error).__name__, "message": sendable(problem)}
            reply = self._message(call, ERROR, facts, life, number)
            return reply, reply.encode(), problem

    def _message(self, call: Call, kind: str, content: Any, life: _Life, number: int) -> Message:
        clock = self._lab.clock
        facts = {
            "message_id": message_id(self._name, life.epoch, reply_channel(self._service), number),
            "correlation_id": call.correlation_id,
            "epoch": life.epoch,
            "sent_ns": clock.monotonic_ns(),
        }
        return Message.new(kind, content, sender=self._name, metadata=facts, clock=clock)

    def _send(
        self, call: Call, reply: Message, encoded: bytes, began_ns: int
    ) -> tuple[Outcome, str] | None:
        """Send it; None if it is in the inbox."""
        self._ledger.replying(call.message, reply)
        try:
            there = self._lab.send_reply(call.reply_to, encoded)
        except (BrokerUnavailable, BrokerRefused) as error:
            why = describe(error)
            self._ledger.reply_failed(call.message, reply, why)
            return Outcome.NOT_SENT, why
        if there is False:
            why = "nobody waits for the reply any more: the inbox is closed or forgotten"
            self._ledger.reply_failed(call.message, reply, why)
            return Outcome.NO_INBOX, why
        now_ns = self._lab.clock.monotonic_ns()
        self._ledger.replied(call.message, reply, now_ns - began_ns)
        return None
