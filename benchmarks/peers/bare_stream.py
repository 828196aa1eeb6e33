"""redis-py and nothing else: how fast a loop over a stream can be here."""

from __future__ import annotations

import contextlib
from functools import cache

import redis

from peers import NAME, prefetch, redis_url
from peers.counting import empty

SETTINGS = (
    "XREADGROUP COUNT n and one XACK for the n; no envelope, lease, retry, counts or errors, and "
    "what is done stays in the stream; XADD in pipelines of 500; XADD"
)
_BATCH = 500
_BODY = {"b": b"{}"}


def put_many(count: int) -> None:
    client = _client()
    for start in range(0, count, _BATCH):
        pipeline = client.pipeline(transaction=False)
        for _ in range(min(_BATCH, count - start)):
            pipeline.xadd(NAME, _BODY)
        pipeline.execute()


def put_one_by_one(count: int) -> None:
    client = _client()
    for _ in range(count):
        client.xadd(NAME, _BODY)


def work() -> None:
    client = _client()
    with contextlib.suppress(redis.ResponseError):  # the group is there
        client.xgroup_create(NAME, NAME, "0", mkstream=True)
    while True:
        reply = client.xreadgroup(NAME, "worker", {NAME: ">"}, count=prefetch(), block=1000)
        for _, entries in reply.items() if isinstance(reply, dict) else reply:
            for _ in entries:
                empty()
            client.xack(NAME, NAME, *(entry for entry, _ in entries))


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(redis_url(), protocol=2)
