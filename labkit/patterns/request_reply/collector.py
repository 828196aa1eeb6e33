"""The reading end of a requester: one inbox, and all who wait for something in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from labkit.broker import ReplyInbox
from labkit.clock import Clock
from labkit.errors import (
    ConfigurationError,
    DecodeError,
    LabkitError,
    NotConnected,
    RemoteError,
    RequestTimeout,
)
from labkit.message import Message
from labkit.patterns.request_reply.envelope import ERROR, error_facts, on_clock, read_reply
from labkit.patterns.request_reply.ledger import RequesterLedger
from labkit.patterns.request_reply.outcome import Pending, Reply, Result
from labkit.patterns.request_reply.waiting import Closed, Stray, Waiting

_SLICE_S = 0.25
"""Longest single wait of whoever reads the inbox: so long may `close` take."""

_MOST_REPLIES = 500
"""Replies taken from the inbox at once."""

_MANY = 8
_GATHER_S = 0.0003
"""While more than so many wait, replies may gather so long: to fetch each by itself would cost the
broker and the responders more time than it saves."""


class Collector:
    """Gives each reply to the request that it answers, or to none. Safe to use from many threads.

    One thread reads the inbox for all that wait; when it is done, another takes its place.

    Attributes:
        taken: bodies that came out of the inbox so far.
    """

    def __init__(self, name: str, clock: Clock, ledger: RequesterLedger, max_bytes: int) -> None:
        self._name = name
        self._clock = clock
        self._ledger = ledger
        self._max_bytes = max_bytes
        self.taken = 0
        self._inbox: ReplyInbox | None = None
        self._waiting = Waiting()
        self._reading = False
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def inbox(self) -> ReplyInbox | None:
        """The inbox, while there is one."""
        return self._inbox

    def require_inbox(self) -> ReplyInbox:
        """The inbox.

        Raises:
            NotConnected: there is none.
        """
        inbox = self._inbox
        if inbox is None:
            raise NotConnected(
                f"Requester {self._name!r} is not connected. Call connect() first, or use "
                "'with Requester(lab) as requester:'."
            )
        return inbox

    def open(self, inbox: ReplyInbox) -> None:
        """Read from this inbox from now on."""
        self._inbox = inbox

    def close(self) -> None:
        """Close the inbox; what still waits is given up."""
        with self._lock:
            inbox, self._inbox = self._inbox, None
            for pending in self._waiting.waiting():
                self._abandon(pending)
            while self._reading:
                self._changed.wait()
        if inbox is not None:
            inbox.close()

    def expect(self, asked: Iterable[Pending]) -> None:
        """Replies to these requests are welcome from now on."""
        with self._lock:
            for pending in asked:
                self._waiting.add(pending)

    def fail(self, pending: Pending, error: LabkitError) -> bool:
        """It was not sent. False if it has ended before."""
        with self._lock:
            return self._waiting.give_up(pending, error)

    def abandon(self, asked: Iterable[Pending]) -> None:
        """Nobody waits for these any more; replies that come now are late."""
        with self._lock:
            for pending in asked:
                self._abandon(pending)

    def end(self, pending: Pending) -> Result:
        """How it ended; if it has not, it does now, in a `RequestTimeout`."""
        if pending.result is not None:
            return pending.result
        with self._lock:
            if pending.result is None and self._waiting.give_up(pending, _timeout(pending)):
                self._ledger.timed_out(pending)
            if pending.result is None:
                raise ConfigurationError(f"{pending!r} is not a request of {self._name!r}.")
            return pending.result

    def wait(self, done: Callable[[], bool], timeout: float) -> None:
        """Wait until `done()`, at most `timeout` seconds, after one look into the inbox at least.

        Raises:
            NotConnected: there is no inbox, or no longer.
            BrokerRefused: the broker answers with an error.
        """
        until = time.monotonic() + timeout
        bodies = self._look(done, max(0.0, timeout), first=True)
        while bodies is not None:
            if bodies and len(self._waiting) > _MANY:
                time.sleep(_GATHER_S)
            left = max(0.0, until - time.monotonic())
            bodies = self._look(done, left, first=False)

    def _look(self, done: Callable[[], bool], left: float, *, first: bool) -> int | None:
        """Take in what comes, or wait for whoever does that; how many bodies it was, None: done."""
        bodies: list[bytes] = []
        ours = False
        try:
            with self._lock:
                if done() or (left <= 0 and not first):
                    return None
                if self._reading:  # somebody is looking for us
                    self._changed.wait(left)
                    return 0
                inbox = self.require_inbox()
                count = min(_MOST_REPLIES, max(1, len(self._waiting)))
                ours = self._reading = True
            bodies = inbox.poll(count, min(_SLICE_S, left))
            self._ledger.heard(inbox.connected)
        finally:  # on Ctrl+C, too, wherever it comes: nobody would read for the others any more
            if ours:
                with self._lock:
                    self._reading = False
                    for body in bodies:
                        self._take(body)
                    self._changed.notify_all()
        return len(bodies)

    def _take(self, body: bytes) -> None:
        self.taken += 1
        try:
            reply, correlation_id = read_reply(body, self._max_bytes)
        except DecodeError as error:
            self._ledger.unreadable(error)
            return
        found = self._waiting.answered(correlation_id)
        if isinstance(found, Closed):
            self._ledger.stray(found, reply)
        elif self._too_late(found, reply):
            found.result = _timeout(found)
            self._ledger.timed_out(found)
            late = Closed(Stray.LATE, found.service, found.message.label)
            self._ledger.stray(late, reply)
        else:
            self._settle(found, reply)

    def _too_late(self, pending: Pending, reply: Message) -> bool:
        """Whether it was sent after the deadline, where one clock knows both times.

        For a reply that comes while somebody waits this is never so. In a lesson, where a handler
        lets the time pass and the reply is collected afterwards, it is what would have happened.
        """
        began, replied = on_clock(pending.message, self._clock), on_clock(reply, self._clock)
        if began is None or replied is None:
            return False
        return replied - began > pending.timeout * 1e9

    def _settle(self, pending: Pending, message: Message) -> None:
        sent_ns = pending.message.metadata["sent_ns"]
        reply = Reply(pending.service, message, (self._clock.monotonic_ns() - sent_ns) / 1e9)
        failed = message.type == ERROR
        pending.result = _remote_error(reply) if failed else reply
        self._ledger.replied(pending, reply, error=failed)

    def _abandon(self, pending: Pending) -> None:
        if self._waiting.give_up(pending, _timeout(pending)):
            self._ledger.abandoned(pending)


def _timeout(pending: Pending) -> RequestTimeout:
    return RequestTimeout(pending.service, pending.correlation_id, pending.timeout)


def _remote_error(reply: Reply) -> RemoteError:
    kind, text, trace = error_facts(reply.message)
    return RemoteError(
        kind, text, service=reply.service, responder=reply.responder, remote_traceback=trace
    )
