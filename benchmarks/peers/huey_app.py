"""Huey: a consumer with one worker thread. It takes a task out for good before it works."""

from __future__ import annotations

from huey import RedisHuey

from peers import NAME, redis_url
from peers.counting import empty

SETTINGS = (
    "1 worker thread, results=False, no periodic tasks, no health check; it takes tasks out of "
    "Redis before the work (at most once: it has no later acknowledgement), one by one; task(), "
    "also for many"
)

huey = RedisHuey(NAME, url=redis_url(), results=False)
task = huey.task()(empty)


def put_many(count: int) -> None:
    for _ in range(count):
        task()


put_one_by_one = put_many


def work() -> None:
    huey.create_consumer(
        workers=1, worker_type="thread", periodic=False, check_worker_health=False
    ).run()
