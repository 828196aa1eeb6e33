"""From a subscription into the buffer, as many at a time as there are."""

from __future__ import annotations

import time

from labkit.broker import Gap, Mark, Subscription
from labkit.patterns.pubsub.intake import Intake

MARK_WITHIN_S = 5.0
"""How long to wait for the broker to say that it has sent everything."""

MOST_AT_ONCE = 1_000
"""Things taken from a subscription in one go: few enough to do something else soon."""


def receive(
    subscription: Subscription, intake: Intake, timeout: float, most: int = MOST_AT_ONCE
) -> int:
    """Take in what comes within `timeout` seconds, and what came with it; how many things."""
    items = subscription.poll_many(timeout, min(intake.room, most))
    intake.take([item for item in items if not isinstance(item, Mark)])
    return len(items)


def receive_waiting(subscription: Subscription, intake: Intake) -> None:
    """Take in what is here already, at most one buffer full."""
    left = intake.capacity
    while left > 0 and not intake.must_wait:
        taken = receive(subscription, intake, 0.0, min(left, MOST_AT_ONCE))
        if not taken:
            return
        left -= taken


def receive_published(subscription: Subscription, intake: Intake) -> bool:
    """Take in all that was published before now; False if the buffer is full before that."""
    receive_waiting(subscription, intake)  # before we ask: asking a closed peer destroys the rest
    mark = subscription.mark()
    deadline = time.monotonic() + MARK_WITHIN_S
    while mark and subscription.connected and time.monotonic() < deadline:
        if intake.must_wait:
            return False
        left = deadline - time.monotonic()
        items = subscription.poll_many(left, min(intake.room, MOST_AT_ONCE))
        last = items[-1] if items else None  # only the last one can be other than a message
        intake.take([item for item in items if not isinstance(item, Mark)])
        if isinstance(last, Mark) and last.number >= mark:
            return True
        if isinstance(last, Gap):
            mark = subscription.mark()  # the old one went with the old connection
    return True
