"""Taking from a list while somebody else closes: what was handed out is not dropped."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from labkit import Backoff, SystemClock, Trace
from labkit.brokers.redis.client import RedisClient
from labkit.brokers.redis.taker import Taker
from labkit.options import Options

HANDED_OUT = b"*2\r\n$4\r\nlist\r\n$7\r\nrequest\r\n"


class SlowServer:
    """Hands something out at the very moment at which its client goes."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            while b"BLPOP" not in (received := connection.recv(65536)):
                connection.sendall(b"+OK\r\n" * received.count(b"*"))
            self.asked.set()
            assert connection.recv(65536) == b""  # the client has gone
            connection.sendall(HANDED_OUT)


@pytest.fixture
def server() -> Iterator[SlowServer]:
    server = SlowServer()
    yield server
    server.close()


def test_what_is_handed_out_while_we_close_is_not_dropped(server: SlowServer) -> None:
    clock = SystemClock()
    options = Options(
        namespace="",
        username=None,
        password=None,
        database=None,
        timeout=5.0,
        connect_timeout=5.0,
        tls_ca=None,
        reconnect=Backoff(),
        clock=clock,
        trace=Trace(clock),
    )
    client = RedisClient(server.url, options)
    taker = Taker(client, "list", lambda: None)
    taken: list[bytes] = []
    taking = threading.Thread(target=lambda: taken.extend(taker.take(1, 20.0)))
    taking.start()
    assert server.asked.wait(10)
    taker.close()
    taking.join(10)
    assert taken == [b"request"]
    client.close()
