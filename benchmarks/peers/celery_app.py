"""Celery: one process that does the tasks itself (solo), acknowledging after the work."""

from __future__ import annotations

import warnings

from celery import Celery

from peers import NAME, prefetch, redis_url
from peers.counting import empty

SETTINGS = (
    "pool solo, acks_late, worker_prefetch_multiplier 100 or 1, no results, events, gossip, "
    "mingle, heart-beat or remote control, log level ERROR; apply_async with one producer; delay"
)

app = Celery(NAME, broker=redis_url())
app.conf.update(
    task_acks_late=True,
    task_default_queue=NAME,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=prefetch(),
    worker_redirect_stdouts=False,
    worker_send_task_events=False,
)
task = app.task(name="empty")(empty)


def put_many(count: int) -> None:
    with app.producer_or_acquire() as producer:
        for _ in range(count):
            task.apply_async(producer=producer)


def put_one_by_one(count: int) -> None:
    for _ in range(count):
        task.delay()


def work() -> None:
    warnings.simplefilter("ignore")  # of being root, which one may be in a container
    options = ["--pool=solo", "--concurrency=1", "--loglevel=ERROR"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    app.worker_main(["worker", *options, *quiet])
