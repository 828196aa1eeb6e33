"""labkit: WorkQueue and Worker."""

from __future__ import annotations

from functools import cache

import labkit
from labkit import Worker, WorkQueue
from peers import NAME, prefetch, redis_url
from peers.counting import empty

SETTINGS = (
    "connect(trace=False), Worker(ack='after'), acknowledgements together when the next tasks are "
    "taken (one a round trip with prefetch 1); put_many; put"
)


def put_many(count: int) -> None:
    _queue().put_many([None] * count)


def put_one_by_one(count: int) -> None:
    queue = _queue()
    for _ in range(count):
        queue.put(None)


def depth() -> int:
    return _queue().depth().unfinished


def work() -> None:
    Worker(_queue(), empty, prefetch=prefetch()).run(timeout=None)


@cache
def _queue() -> WorkQueue:
    return WorkQueue(labkit.connect(redis_url(), trace=False), NAME)
