"""RQ: a SimpleWorker, which does the jobs in its own process instead of forking for each."""

from __future__ import annotations

from functools import cache

from redis import Redis
from rq import Queue, SimpleWorker

from peers import NAME, redis_url
from peers.counting import empty

SETTINGS = (
    "SimpleWorker, burst, result_ttl 0, log level WARNING; a job is in its registry until it has "
    "ended; enqueue_many with 500 a call; enqueue"
)
_BATCH = 500


def put_many(count: int) -> None:
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        _queue().enqueue_many([Queue.prepare_data(empty, result_ttl=0) for _ in range(size)])


def put_one_by_one(count: int) -> None:
    for _ in range(count):
        _queue().enqueue(empty, result_ttl=0)


def work() -> None:
    queue = _queue()
    SimpleWorker([queue], connection=queue.connection).work(burst=True, logging_level="WARNING")


@cache
def _queue() -> Queue:
    return Queue(NAME, connection=Redis.from_url(redis_url()))
