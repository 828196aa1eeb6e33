"""The sending end of a requester: from questions to requests that are on their way."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from labkit.broker import Sent
from labkit.clock import Clock
from labkit.errors import BrokerUnavailable, LabkitError, NoResponder
from labkit.patterns.request_reply.collector import Collector
from labkit.patterns.request_reply.ledger import RequesterLedger
from labkit.patterns.request_reply.outcome import Pending
from labkit.patterns.request_reply.stamps import Stamps
from labkit.patterns.request_reply.support import seconds

KEPT_S = 3600.0
"""How much longer than its time-out the broker keeps a request that nobody takes."""


class Asked:
    """The requests of one call. If an exception ends it, Ctrl+C, too, nobody waits for them."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._requests: list[Pending] = []

    def __enter__(self) -> list[Pending]:
        return self._requests

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._collector.abandon(self._requests)


class Asking:
    """Stamps requests and sends them. Safe to use from several threads.

    Attributes:
        lock: guards the stamps; whoever opens or closes the inbox holds it, too.
    """

    def __init__(
        self, clock: Clock, collector: Collector, ledger: RequesterLedger, name: str, max_bytes: int
    ) -> None:
        self._clock = clock
        self._collector = collector
        self._ledger = ledger
        self._stamps = Stamps(name, clock, max_bytes)
        self.lock = threading.Lock()

    def begin(self) -> None:
        """A new epoch: no correlation id comes twice."""
        self._stamps.begin()

    def ask(
        self,
        asked: list[Pending],
        questions: Sequence[tuple[str, Any]],
        timeout: float,
        type: str,
        metadata: dict[str, Any] | None,
    ) -> list[Pending | LabkitError]:
        """Send each question to its service; those that cannot be encoded come back as errors.

        Args:
            asked: takes in each request before it leaves.
            questions: the services and contents.
            timeout: seconds until the deadline of all.
            type: what is asked.
            metadata: facts about the requests, beside our own.
        """
        seconds("timeout", timeout)
        inbox = self._collector.require_inbox()
        with self.lock:
            stamped = self._stamps.stamp_all(inbox.address, questions, timeout, type, metadata)
            ready = [one for one in stamped if not isinstance(one, LabkitError)]
            asked += [pending for pending, _ in ready]
            self._collector.expect(asked)
            for pending, body in ready:
                self._ledger.sent(pending, len(body))
        by_service: dict[str, list[tuple[Pending, bytes]]] = {}
        for one in ready:
            by_service.setdefault(one[0].service, []).append(one)
        for service, batch in by_service.items():
            outcomes = inbox.send(service, [body for _, body in batch], timeout + KEPT_S)
            for (pending, _), outcome in zip(batch, outcomes, strict=True):
                self._left_us(pending, outcome)
        return [one if isinstance(one, LabkitError) else one[0] for one in stamped]

    def left(self, asked: Sequence[Pending]) -> float:
        """Seconds until the last deadline."""
        if not asked:
            return 0.0
        now = self._clock.now()
        return max(0.0, max(min(one.timeout, one.deadline - now) for one in asked))

    def _left_us(self, pending: Pending, outcome: Sent) -> None:
        """What the broker said of a request."""
        if outcome is None or (isinstance(outcome, int) and outcome > 0):
            self._ledger.accepted(pending, outcome)
        elif isinstance(outcome, BrokerUnavailable) and outcome.sent:
            self._ledger.unsure(pending, outcome)  # it may have arrived: wait for the reply
        elif isinstance(outcome, LabkitError):
            self._fail(pending, outcome)
        else:
            self._fail(pending, NoResponder(pending.service))

    def _fail(self, pending: Pending, error: LabkitError) -> None:
        if not self._collector.fail(pending, error):
            return
        if isinstance(error, NoResponder):
            self._ledger.no_responder(pending, error)
        else:
            self._ledger.failed(pending, error)
