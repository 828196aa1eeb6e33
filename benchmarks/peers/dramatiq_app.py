"""Dramatiq: one process with one worker thread; it always acknowledges after the work."""

from __future__ import annotations

import os
import threading

from peers import NAME, prefetch, redis_url

os.environ["dramatiq_queue_prefetch"] = str(prefetch())  # noqa: SIM112  # read at its import

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from peers.counting import empty

SETTINGS = (
    "1 process, 1 thread, dramatiq_queue_prefetch 100 or 1 (it pauses between looks at Redis, so "
    "that little prefetch is slow), its default middleware, no results; send(), also for many"
)

broker = RedisBroker(url=redis_url())
dramatiq.set_broker(broker)
actor = dramatiq.actor(queue_name=NAME)(empty)


def put_many(count: int) -> None:
    for _ in range(count):
        actor.send()


put_one_by_one = put_many


def work() -> None:
    worker = dramatiq.Worker(broker, worker_threads=1)
    worker.start()
    threading.Event().wait()
