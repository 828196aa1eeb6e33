"""Which requests wait for a reply, and which replies come to none of them."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import NamedTuple

from labkit.patterns.request_reply.outcome import Pending, Result

CLOSED_KEPT = 10_000
"""Requests that have ended, remembered to tell a late reply from a stranger's."""


class Stray(Enum):
    """A reply that no request waits for."""

    LATE = "late"
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"


class Closed(NamedTuple):
    """A request that has ended, as much of it as its stray replies need; or nobody's request."""

    what_comes_now: Stray
    service: str | None = None
    label: str | None = None


_NOBODYS = Closed(Stray.UNKNOWN)


class Waiting:
    """Requests by correlation id. Not locked: its owner does that."""

    def __init__(self) -> None:
        self._open: dict[str, Pending] = {}
        self._closed: OrderedDict[str, Closed] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, pending: Pending) -> None:
        """A reply to this request is welcome from now on."""
        self._open[pending.correlation_id] = pending

    def waiting(self) -> list[Pending]:
        """All of them."""
        return list(self._open.values())

    def answered(self, correlation_id: str) -> Pending | Closed:
        """The request to which a reply came, which waits no longer; or one that did not wait."""
        pending = self._open.pop(correlation_id, None)
        if pending is None:
            return self._closed.get(correlation_id, _NOBODYS)
        self._close(pending, Stray.DUPLICATE)
        return pending

    def give_up(self, pending: Pending, result: Result) -> bool:
        """It ends without a reply; one that comes now is late. False if it has ended before."""
        if self._open.pop(pending.correlation_id, None) is None:
            return False
        pending.result = result
        self._close(pending, Stray.LATE)
        return True

    def _close(self, pending: Pending, what_comes_now: Stray) -> None:
        closed = Closed(what_comes_now, pending.service, pending.message.label)
        self._closed[pending.correlation_id] = closed
        if len(self._closed) > CLOSED_KEPT:
            self._closed.popitem(last=False)
