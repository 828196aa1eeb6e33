"""A responder's place at its service: while it stands there, requests may come to it."""

from __future__ import annotations

from labkit.broker import ReplyBroker, Service
from labkit.errors import NotConnected
from labkit.patterns.request_reply.ledger import ResponderLedger


class Post:
    """Joins and leaves a service, and takes requests while it is there.

    Another thread may leave while one takes: that one then gets nothing.
    """

    def __init__(
        self, lab: ReplyBroker, ledger: ResponderLedger, service: str, name: str, presence: float
    ) -> None:
        self._lab = lab
        self._ledger = ledger
        self._service = service
        self._name = name
        self._presence = presence
        self._end: Service | None = None

    @property
    def manned(self) -> bool:
        """Whether we are there."""
        return self._end is not None

    @property
    def connected(self) -> bool:
        """Whether we are there, and the broker could be heard at the last look."""
        end = self._end
        return end is not None and end.connected

    def join(self) -> None:
        """Count as there.

        Raises:
            BrokerUnavailable: no broker answers.
        """
        self._end = self._lab.open_service(self._service, self._name, self._presence)

    def take(self, timeout: float) -> bytes | None:
        """One request; none any more where another thread has let us leave meanwhile.

        Raises:
            BrokerRefused: the broker answers with an error.
        """
        end = self._end
        if end is None:
            return None
        try:
            bodies = end.poll(1, timeout)
        except NotConnected:
            if end is self._end:
                raise
            return None
        if end is self._end:  # one that was closed is not one that broke
            self._ledger.heard(end.connected)
        return bodies[0] if bodies else None

    def leave(self) -> None:
        """Go, and say so."""
        end, self._end = self._end, None
        if end is not None:
            end.close()

    def abandon(self) -> None:
        """Go without a word."""
        end, self._end = self._end, None
        if end is not None:
            end.abandon()
