"""The requester: asks services, waits for their answers, and never takes one for another."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from typing import Any, Self

from labkit.broker import ReplyBroker, Sent
from labkit.errors import (
    BrokerUnavailable,
    ConfigurationError,
    LabkitError,
    NoResponder,
)
from labkit.message import DEFAULT_MAX_BYTES
from labkit.patterns.request_reply.collector import Collector
from labkit.patterns.request_reply.ledger import RequesterLedger
from labkit.patterns.request_reply.outcome import Gathered, Pending, Reply, Result, gather
from labkit.patterns.request_reply.stamps import Stamps
from labkit.patterns.request_reply.statistics import RequesterStatistics
from labkit.patterns.request_reply.support import require_replies, seconds
from labkit.trace import Action

DEFAULT_TIMEOUT_S = 2.0
DEFAULT_TYPE = "request"

KEPT_S = 3600.0
"""How much longer than its time-out the broker keeps a request that nobody takes."""


class Requester:
    """Sends requests to services and waits for the replies.

    At most once: a request or a reply may be lost, and then ends in `RequestTimeout`; whether the
    work was done is not known. Nothing is sent again. A reply goes to the request that it answers
    or to none: late ones, second ones and strangers' are counted. May be used from several threads.

    Deadlines are times of the lab's clock, and travel with the requests: the clocks of all hosts
    must agree. Waiting for the network is real time.

    Args:
        lab: an open broker, from `labkit.connect()`.
        name: who asks; default one that is unlikely to meet another.
        inbox_life: seconds after which the inbox is forgotten if this program dies.
        max_bytes: largest encoded message.
    """

    def __init__(
        self,
        lab: ReplyBroker,
        name: str | None = None,
        *,
        inbox_life: float = 60.0,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self.name = f"requester-{secrets.token_hex(2)}" if name is None else name
        if not self.name or not isinstance(self.name, str):
            raise ConfigurationError(f"A requester's name is a non-empty str, got {name!r}.")
        self._lab = require_replies(lab)
        self._inbox_life = seconds("inbox_life", inbox_life)
        self._max_bytes = max_bytes
        self._ledger = RequesterLedger(self.name, lab)
        self._collector = Collector(self.name, lab.clock, self._ledger, max_bytes)
        self._stamps = Stamps(self.name, lab.clock, max_bytes)
        self._lock = threading.Lock()  # guards the stamps

    # --- connection ---------------------------------------------------------------------------

    def connect(self) -> Self:
        """Open an inbox.

        Raises:
            BrokerUnavailable: no broker answers.
        """
        with self._lock:
            if self._collector.inbox is None:
                self._collector.open(self._lab.open_inbox(self._inbox_life))
                self._stamps.begin()
                self._ledger.about_us(Action.CONNECTED)
        return self

    def disconnect(self) -> None:
        """Close the inbox; requests that still wait end in `RequestTimeout`."""
        with self._lock:
            if self._collector.inbox is not None:
                self._collector.close()
                self._ledger.about_us(Action.DISCONNECTED)

    @property
    def connected(self) -> bool:
        """Whether the broker could be heard at the last look."""
        inbox = self._collector.inbox
        return inbox is not None and inbox.connected

    # --- one request --------------------------------------------------------------------------

    def request(
        self,
        to: str,
        content: Any,
        timeout: float = DEFAULT_TIMEOUT_S,
        *,
        type: str = DEFAULT_TYPE,
        metadata: dict[str, Any] | None = None,
    ) -> Reply:
        """Ask a service, and wait for the answer: `send` and `collect`.

        Args:
            to: the service.
            content: any JSON value.
            timeout: seconds to wait for the reply; the request carries its deadline along.
            type: what is asked, as `noun.verb`.
            metadata: facts about the request, beside those that labkit adds.

        Raises:
            NoResponder: nobody serves `to`; nothing was sent.
            RequestTimeout: no reply in time. The work may have been done.
            RemoteError: the handler failed.
            ValidationError: the request cannot be sent; nothing was.
            BrokerUnavailable: no broker; nothing was sent.
        """
        pending = self.send(to, content, timeout, type=type, metadata=metadata)
        self._collector.wait(lambda: pending.done, self._left([pending]))
        return _reply_of(self._collector.end(pending))

    def send(
        self,
        to: str,
        content: Any,
        timeout: float = DEFAULT_TIMEOUT_S,
        *,
        type: str = DEFAULT_TYPE,
        metadata: dict[str, Any] | None = None,
    ) -> Pending:
        """The first half of `request`: send, and do not wait. `collect` gets the reply.

        Raises:
            NoResponder, ValidationError, BrokerUnavailable: as `request`.
        """
        [pending] = self._send_all([(to, content)], timeout, type, metadata)
        if isinstance(pending, LabkitError):
            raise pending
        if isinstance(pending.result, LabkitError):
            raise pending.result
        return pending

    def collect(self, pending: Pending, timeout: float | None = None) -> Reply:
        """The second half of `request`: wait for the reply. Afterwards nobody waits for it.

        Args:
            pending: what `send` returned.
            timeout: real seconds to wait at most; default what is left until the deadline. 0 takes
                a reply that is there already.

        Raises:
            RequestTimeout: no reply, or one that was sent after the deadline.
            RemoteError: the handler failed.
        """
        self._collector.wait(lambda: pending.done, 0.0)  # it is often there already
        if not pending.done:
            left = self._left([pending])
            self._collector.wait(
                lambda: pending.done, left if timeout is None else min(timeout, left)
            )
        return _reply_of(self._collector.end(pending))

    # --- many requests ------------------------------------------------------------------------

    def request_many(
        self,
        to: str,
        contents: Sequence[Any],
        timeout: float = DEFAULT_TIMEOUT_S,
        *,
        type: str = DEFAULT_TYPE,
    ) -> list[Result]:
        """Ask a service many things at once, and wait for all answers, over one inbox.

        The time-out counts from sending, for each of them: the responders must be fast enough for
        all that is in flight.

        Returns:
            in the order of `contents`, for each its `Reply`, or the error that `request` would
            have raised.
        """
        sent = self._send_all([(to, content) for content in contents], timeout, type, None)
        pending = [one for one in sent if isinstance(one, Pending)]
        self._collector.wait(lambda: all(one.done for one in pending), self._left(pending))
        return [self._collector.end(one) if isinstance(one, Pending) else one for one in sent]

    def scatter_gather(
        self,
        services: Sequence[str],
        content: Any,
        *,
        first: int | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
        type: str = DEFAULT_TYPE,
    ) -> Gathered:
        """Ask several services the same, and gather what they answer.

        Args:
            services: whom to ask; each once.
            content: any JSON value.
            first: be content with so many replies; None waits for all until the deadline.
            timeout: seconds to wait.
            type: what is asked.
        """
        names = _check_services(services, first)
        sent = self._send_all([(name, content) for name in names], timeout, type, None)
        for failure in (one for one in sent if isinstance(one, LabkitError)):
            raise failure  # what cannot be sent to one can be sent to none
        pending = [one for one in sent if isinstance(one, Pending)]

        def enough() -> bool:
            replies = sum(isinstance(one.result, Reply) for one in pending)
            return all(one.done for one in pending) or (first is not None and replies >= first)

        self._collector.wait(enough, self._left(pending))
        if enough():
            for one in pending:
                self._collector.abandon(one)
        return gather(zip(names, map(self._collector.end, pending), strict=True))

    # --- what happened ------------------------------------------------------------------------

    def drain(self) -> int:
        """Look into the inbox without waiting: how many bodies there were.

        What answers no request that waits (a late reply, say) is counted in `stats()`.
        """
        before = self._collector.taken
        self._collector.wait(lambda: False, 0.0)
        return self._collector.taken - before

    def stats(self) -> RequesterStatistics:
        """Counts per service, rate, errors, latency, up to now."""
        return self._ledger.stats()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *exc: object) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        if self._collector.inbox is None:
            state = "not connected"
        elif not self.connected:
            state = "connection lost, coming back"
        else:
            state = f"{self._ledger.tally['messages']:,} sent, {len(self._collector):,} waiting"
        return f"<Requester {self.name!r}: {state}>"

    # --- sending ------------------------------------------------------------------------------

    def _send_all(
        self,
        questions: Sequence[tuple[str, Any]],
        timeout: float,
        type: str,
        metadata: dict[str, Any] | None,
    ) -> list[Pending | LabkitError]:
        """Send each to its service; those that cannot be encoded come back as errors."""
        seconds("timeout", timeout)
        inbox = self._collector.require_inbox()
        with self._lock:
            stamped = self._stamps.stamp_all(inbox.address, questions, timeout, type, metadata)
            for one in stamped:
                if not isinstance(one, LabkitError):
                    self._collector.expect(one[0])
                    self._ledger.sent(one[0], len(one[1]))
        ready = [one for one in stamped if not isinstance(one, LabkitError)]
        by_service: dict[str, list[tuple[Pending, bytes]]] = {}
        for pending, body in ready:
            by_service.setdefault(pending.service, []).append((pending, body))
        for service, batch in by_service.items():
            bodies = [body for _, body in batch]
            outcomes = inbox.send(service, bodies, timeout + KEPT_S)
            for (pending, _), outcome in zip(batch, outcomes, strict=True):
                self._left_us(pending, outcome)
        return [one if isinstance(one, LabkitError) else one[0] for one in stamped]

    def _left_us(self, pending: Pending, outcome: Sent) -> None:
        """What the broker said of a request."""
        if isinstance(outcome, BrokerUnavailable) and outcome.sent:
            self._ledger.unsure(pending, outcome)  # it may have arrived: wait for the reply
        elif isinstance(outcome, LabkitError):
            self._fail(pending, outcome)
        elif outcome == 0:
            self._fail(pending, NoResponder(pending.service))
        else:
            self._ledger.accepted(pending, outcome)

    def _fail(self, pending: Pending, error: LabkitError) -> None:
        if not self._collector.fail(pending, error):
            return
        if isinstance(error, NoResponder):
            self._ledger.no_responder(pending, error)
        else:
            self._ledger.failed(pending, error)

    def _left(self, pending: Sequence[Pending]) -> float:
        """Seconds until the last deadline."""
        if not pending:
            return 0.0
        now = self._lab.clock.now()
        return max(0.0, max(min(one.timeout, one.deadline - now) for one in pending))


def _reply_of(result: Result) -> Reply:
    if isinstance(result, LabkitError):
        raise result
    return result


def _check_services(services: Sequence[str], first: int | None) -> list[str]:
    if isinstance(services, str):
        raise ConfigurationError(f"services is a list of names, got the name {services!r}.")
    names = list(services)
    if len(set(names)) < len(names):
        raise ConfigurationError(
            f"Each service is asked once, got {names!r}. Responders of one service share its "
            "requests; to ask them all, give each a service of its own."
        )
    if first is not None and not 1 <= first <= len(names):
        raise ConfigurationError(
            f"first is between 1 and the number of services ({len(names)}), got {first}."
        )
    return names
