"""A subscriber that does not read, on a real Redis, until Redis cuts it off.

Redis keeps what a subscriber has not read yet in an output buffer, for a while. When the buffer
passes `client-output-buffer-limit pubsub` (by default 32 MB, or 8 MB for 60 seconds), it closes the
connection. The subscriber comes back by itself; what was published meanwhile is gone.
"""

from __future__ import annotations

from dataclasses import dataclass

from labkit import servers
from labkit.connection import connect
from labkit.errors import ServerError
from labkit.patterns.pubsub import Publisher, Subscriber

BUFFER_LIMIT = "pubsub 1mb 1mb 0"
"""Small, so that the experiment takes a moment; the mechanism is the same at 32 MB."""

BODY_BYTES = 10_000
_AT_MOST = 5_000


@dataclass(frozen=True)
class CutOff:
    """What a publisher saw and what a subscriber got.

    Attributes:
        server: which server it was.
        sent: messages published.
        receipts_of_one: of these, how many receipts said that one subscription got them.
        received: how many the subscriber has handled in the end.
        lost: how many it knows to have lost.
        gaps: how often its connection was gone.
    """

    server: str
    sent: int
    receipts_of_one: int
    received: int
    lost: int
    gaps: int


def cut_off_slow_subscriber() -> CutOff | None:
    """Start a private Redis, publish to a subscriber that does not read, then let it read.

    Returns:
        what happened, or None where there is no Redis or Valkey to start (see `labkit doctor`).
    """
    try:
        server = servers.start_redis(config={"client-output-buffer-limit": BUFFER_LIMIT})
    except ServerError:
        return None
    with (
        server,
        connect(server.url) as lab,
        Subscriber(lab, name="slow") as slow,
        Publisher(lab, sender="tower") as tower,
    ):
        slow.subscribe("flights.JFK")
        receipts: list[int] = []
        while not receipts or (receipts[-1] and len(receipts) < _AT_MOST):
            receipts.append(tower.publish("flights.JFK", "x" * BODY_BYTES).subscriptions or 0)
        while not slow.stats().gaps:  # read what is left in the sockets, then notice the end
            slow.drain(timeout=1.0)
        tower.publish("flights.JFK", "after the gap")
        slow.drain()
        stats = slow.stats()
        return CutOff(
            server=lab.name,
            sent=len(receipts) + 1,
            receipts_of_one=sum(receipts) + 1,
            received=stats.handled,
            lost=stats.lost,
            gaps=stats.gaps,
        )
