"""The requester: asks services, waits for their answers, and never takes one for another."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Self

from labkit.broker import ReplyBroker
from labkit.errors import ConfigurationError, LabkitError
from labkit.message import DEFAULT_MAX_BYTES
from labkit.patterns.identity import Home
from labkit.patterns.request_reply.asking import Asked, Asking
from labkit.patterns.request_reply.collector import Collector
from labkit.patterns.request_reply.ledger import RequesterLedger
from labkit.patterns.request_reply.outcome import Gathered, Pending, Reply, Result, gather, reply_of
from labkit.patterns.request_reply.statistics import RequesterStatistics
from labkit.patterns.request_reply.support import check_services, require_replies, seconds
from labkit.trace import Action

DEFAULT_TIMEOUT_S = 2.0
DEFAULT_TYPE = "request"


class Requester:
    """Sends requests to services and waits for the replies.

    At most once: a request or a reply may be lost, and then ends in `RequestTimeout`; whether the
    work was done is not known. Nothing is sent again. A reply goes to the request that it answers
    or to none: late ones, second ones and strangers' are counted. May be used from several threads.

    Deadlines are times of the lab's clock, and travel with the requests: the clocks of all hosts
    must agree. Waiting for the network is real time.

    Ctrl+C gives up what was being waited for. A fork needs a requester of its own.

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
        self._home = Home(f"Requester {self.name!r}")
        self._lab = require_replies(lab)
        self._inbox_life = seconds("inbox_life", inbox_life)
        self._ledger = RequesterLedger(self.name, lab)
        self._collector = Collector(self.name, lab.clock, self._ledger, max_bytes)
        self._asking = Asking(lab.clock, self._collector, self._ledger, self.name, max_bytes)

    # --- connection ---------------------------------------------------------------------------

    def connect(self) -> Self:
        """Open an inbox.

        Raises:
            BrokerUnavailable: no broker answers.
        """
        self._home.require()
        with self._asking.lock:
            if self._collector.inbox is None:
                self._collector.open(self._lab.open_inbox(self._inbox_life))
                self._asking.begin()
                self._ledger.about_us(Action.CONNECTED)
        return self

    def disconnect(self) -> None:
        """Close the inbox; requests that still wait end in `RequestTimeout`."""
        if not self._home.here:
            return  # the inbox is that of a fork's parent
        with self._asking.lock:
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
        self._home.require()
        with Asked(self._collector) as asked:
            pending = self._ask_one(asked, to, content, timeout, type, metadata)
            self._collector.wait(lambda: pending.result is not None, self._asking.left(asked))
        return reply_of(self._collector.end(pending))

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
        self._home.require()
        with Asked(self._collector) as asked:
            return self._ask_one(asked, to, content, timeout, type, metadata)

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
        self._home.require()
        self._collector.wait(lambda: pending.done, 0.0)  # it is often there already
        if not pending.done:
            left = self._asking.left([pending])
            self._collector.wait(
                lambda: pending.done, left if timeout is None else min(timeout, left)
            )
        return reply_of(self._collector.end(pending))

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
        self._home.require()
        with Asked(self._collector) as asked:
            questions = [(to, content) for content in contents]
            sent = self._asking.ask(asked, questions, timeout, type, None)
            self._collector.wait(lambda: all(one.done for one in asked), self._asking.left(asked))
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
        self._home.require()
        names = check_services(services, first)
        with Asked(self._collector) as asked:

            def enough() -> bool:
                replies = sum(isinstance(one.result, Reply) for one in asked)
                return all(one.done for one in asked) or (first is not None and replies >= first)

            questions = [(name, content) for name in names]
            for one in self._asking.ask(asked, questions, timeout, type, None):
                if isinstance(one, LabkitError):
                    raise one  # what cannot be sent to one can be sent to none
            self._collector.wait(enough, self._asking.left(asked))
        if enough():
            self._collector.abandon(asked)
        return gather(zip(names, map(self._collector.end, asked), strict=True))

    # --- what happened ------------------------------------------------------------------------

    def drain(self) -> int:
        """Empty the inbox without waiting: how many bodies there were.

        What answers no request that waits (a late reply, say) is counted in `stats()`.
        """
        self._home.require()
        before = seen = self._collector.taken
        self._collector.wait(lambda: False, 0.0)
        while self._collector.taken > seen:
            seen = self._collector.taken
            self._collector.wait(lambda: False, 0.0)
        return seen - before

    def stats(self) -> RequesterStatistics:
        """Counts per service, rate, errors, latency, up to now."""
        self._home.require()
        return self._ledger.stats()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *exc: object) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        if not self._home.here:
            return repr(self._home)
        if self._collector.inbox is None:
            state = "not connected"
        elif not self.connected:
            state = "connection lost, coming back"
        else:
            state = f"{self._ledger.tally['messages']:,} sent, {len(self._collector):,} waiting"
        return f"<Requester {self.name!r}: {state}>"

    # --- inside -------------------------------------------------------------------------------

    def _ask_one(
        self,
        asked: list[Pending],
        to: str,
        content: Any,
        timeout: float,
        type: str,
        metadata: dict[str, Any] | None,
    ) -> Pending:
        [pending] = self._asking.ask(asked, [(to, content)], timeout, type, metadata)
        if isinstance(pending, LabkitError):
            raise pending
        if isinstance(pending.result, LabkitError):
            raise pending.result
        return pending
