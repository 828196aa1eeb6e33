"""One operation of each pattern.

| pattern | an operation is done when |
|---------|---------------------------|
| pubsub  | every subscriber has got the message |
| queue   | a worker has taken the task and its acknowledgement is confirmed |
| rpc     | the reply is back at the one who asked |

The *near end* sends, the *far ends* are the subscribers, workers or responders. In one process both
take turns in one thread (`Together`): no thread waits for another one's turn at the interpreter,
and all times are readings of one clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from labkit.broker import Lab
from labkit.errors import ConfigurationError
from labkit.measure.bare_ends import (
    Answering,
    Asking,
    Enqueueing,
    Publishing,
    Slow,
    Subscribed,
    Working,
)
from labkit.measure.ends import Arrived, Failure, FarEnd, Name, NearEnd

PATTERNS = ("pubsub", "queue", "rpc")


class Together:
    """Both ends in one thread: after sending, the far ends take their turn."""

    def __init__(self, near: NearEnd, far: Sequence[FarEnd]) -> None:
        self._near = near
        self._far = far
        self.trailer = near.trailer
        self.most_at_once = near.most_at_once
        self.keeps_order = near.keeps_order
        self._waits_for_far = isinstance(near, Publishing)

    def send(self, bodies: Sequence[bytes], arrived: Arrived) -> Failure | None:
        """As the near end."""
        return self._near.send(bodies, arrived)

    def collect(self, wait_s: float, arrived: Arrived) -> None:
        """A turn for each far end, then the near one. Only a subscriber can be waited for:
        what a worker or responder can have was there before."""
        for far in self._far:
            far.step(wait_s if self._waits_for_far else 0.0, arrived)
            wait_s = 0.0
        self._near.collect(0.0, arrived)

    @property
    def gaps(self) -> int:
        """How often a subscriber's connection was lost."""
        return sum(len(far.gaps) for far in self._far if isinstance(far, Subscribed))

    @property
    def nobody_subscribed(self) -> int:
        """Messages of which the broker said that it wrote them to nobody."""
        return self._near.nobody_subscribed if isinstance(self._near, Publishing) else 0

    def all_lost(self) -> bool:
        """As the near end."""
        return self._near.all_lost()

    def close(self) -> None:
        """Far ends first."""
        for far in self._far:
            far.close()
        self._near.close()


def open_near(lab: Lab, pattern: str, name: Name, size: int) -> NearEnd:
    """The sending end of a pattern."""
    makers: dict[str, Callable[[Lab, Name, int], NearEnd]]
    makers = {"pubsub": Publishing, "queue": Enqueueing, "rpc": Asking}
    return makers[check_pattern(pattern)](lab, name, size)


def open_far(
    lab: Lab,
    pattern: str,
    name: Name,
    end: int,
    *,
    prefetch: int = 1,
    work: Callable[[], None] | None = None,
) -> FarEnd:
    """A subscriber, worker or responder."""
    if check_pattern(pattern) == "pubsub":
        subscribed = Subscribed(lab, name, end)
        return subscribed if work is None else Slow(subscribed, work)
    kind = Working if pattern == "queue" else Answering
    return kind(lab, name, end, prefetch=prefetch, work=work)


def open_together(
    lab: Lab, pattern: str, *, size: int, subscribers: int, workers: int, batch: int
) -> Together:
    """Both ends of a pattern in this thread."""
    name = Name.new()
    far: list[FarEnd] = []
    try:
        for end in range(subscribers if pattern == "pubsub" else workers):
            far.append(open_far(lab, pattern, name, end, prefetch=max(batch, 16)))
        return Together(open_near(lab, pattern, name, size), far)
    except BaseException:
        for end_ in far:
            end_.close()
        raise


def check_pattern(pattern: str) -> str:
    """The pattern, if it can be measured.

    Raises:
        ConfigurationError: it is none of them.
    """
    if pattern not in PATTERNS:
        raise ConfigurationError(f"pattern is one of {', '.join(PATTERNS)}, got {pattern!r}.")
    return pattern
