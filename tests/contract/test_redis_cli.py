"""A peer that we did not write takes part: redis-cli sees what we send, and sends what we read."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from conftest import missing
from helpers import eventually

import labkit
from labkit import Message, Publisher, Subscriber
from labkit.servers import RedisServer


@pytest.fixture
def cli(redis_server: RedisServer) -> list[str]:
    path = shutil.which("redis-cli")
    if path is None:
        missing("redis-cli")
    return [path, "-h", "127.0.0.1", "-p", str(redis_server.port)]


@pytest.fixture
def login(redis_server: RedisServer) -> dict[str, str]:
    return {"REDISCLI_AUTH": redis_server.password or ""}


def test_redis_cli_sees_our_messages(
    redis_server: RedisServer, cli: list[str], login: dict[str, str]
) -> None:
    with (
        subprocess.Popen(
            [*cli, "SUBSCRIBE", "cli.news"], stdout=subprocess.PIPE, text=True, env=login
        ) as listener,
        labkit.connect(redis_server.url) as lab,
        Publisher(lab, sender="tower") as tower,
    ):
        assert listener.stdout is not None
        eventually(lambda: dict(lab.native.pubsub_numsub("cli.news"))[b"cli.news"] == 1)
        assert tower.publish("cli.news", {"flight": "B6 739"}).subscriptions == 1
        lines = [listener.stdout.readline().strip() for _ in range(6)]
        listener.terminate()
    assert lines[:5] == ["subscribe", "cli.news", "1", "message", "cli.news"]
    envelope = json.loads(lines[5])
    assert sorted(envelope) == ["content", "metadata", "sender", "timestamp", "type"]
    assert envelope["content"] == {"flight": "B6 739"}


def test_we_read_what_redis_cli_sends(
    redis_server: RedisServer, cli: list[str], login: dict[str, str]
) -> None:
    envelope = json.dumps(
        {
            "type": "flight.departed",
            "content": {"flight": "B6 35"},
            "timestamp": "2013-03-08T05:00:00.000Z",
            "sender": "someone else",
            "metadata": {},
        }
    )
    with labkit.connect(redis_server.url) as lab, Subscriber(lab, name="board") as board:
        board.subscribe("cli.flights")
        for body in (envelope, "only text"):
            said = subprocess.run(
                [*cli, "PUBLISH", "cli.flights", body],
                capture_output=True,
                text=True,
                env=login,
                check=True,
            )
            assert said.stdout.strip() == "1"
        [incoming] = board.drain()
    assert incoming.message == Message.decode(envelope.encode())
    [unreadable] = board.stats().decode_errors
    assert unreadable.preview == b"only text"
