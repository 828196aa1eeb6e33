"""A Redis that was restarted and still reads its files: it is away, and refuses nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from helpers import eventually

import labkit
from labkit import EventStream, NewEvent, WorkQueue
from labkit.errors import BatchError, BrokerUnavailable
from labkit.servers import RedisServer

KEYS = 4000
DELAY_US = 400
"""What Redis waits at each key: a second and a half for all."""

StartServer = Callable[..., RedisServer]


@pytest.fixture
def server(start_server: StartServer) -> RedisServer:
    slowly = {"key-load-delay": DELAY_US, "loading-process-events-interval-bytes": 1024}
    return start_server(config=slowly)


def test_whatever_is_asked_meanwhile_says_so_and_works_afterwards(server: RedisServer) -> None:
    with labkit.connect(server.url) as lab:
        stream, queue = EventStream(lab, "log"), WorkQueue(lab, "jobs")
        stream.append_many(range(10))
        member = stream.group("boards").join("ada")
        member.poll(2)
        queue.put("first")
        lab.native.mset({f"key:{n}": "x" * 100 for n in range(KEYS)})
        lab.native.save()
        server.kill()
        starting = threading.Thread(target=server.start)
        starting.start()
        try:
            calls: dict[str, Callable[[], Any]] = {
                "revision": lambda: stream.revision("k"),
                "poll": lambda: member.poll(300),
                "commit": member.commit,
                "append": lambda: stream.append("a"),
                "put": lambda: queue.put("second"),
                "depth": queue.depth,
            }
            eventually(lambda: "loading" in said(member.poll), timeout=10)
            told = {name: said(call) for name, call in calls.items()}
            with pytest.raises(BatchError, match="loading") as batch:
                queue.put_many(["third", "fourth"])
            with pytest.raises(BatchError, match="loading") as events:
                stream.append_many([NewEvent("b"), NewEvent("c")])
        finally:
            starting.join()
        assert told == dict.fromkeys(calls, told["poll"])
        assert "still loading its data. Try again in a moment." in told["poll"]
        assert list(batch.value.unsent) == list(events.value.unsent) == [0, 1]
        assert [e.content for e in member.poll(300)] == list(range(2, 10))
        assert member.commit() == 10
        assert queue.depth().ready == 1


def said(call: Callable[[], Any]) -> str:
    """What an attempt says that must fail, and change nothing; "" if it is answered."""
    try:
        call()
    except BrokerUnavailable as error:
        return str(error) if error.sent is False else f"sent: {error}"
    return ""
