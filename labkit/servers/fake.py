"""A stand-in for machines without a real server: fakeredis behind a TCP port."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import Any, ClassVar, Self

import redis
from fakeredis import FakeRedis, TcpFakeServer

from labkit.errors import ServerError
from labkit.servers.process import HOST, check_port, free_port

_LOOK_S = 0.05
_STOP_S = 2.0
_PORT_ATTEMPTS = 8


def start_fake(port: int | None = None) -> FakeServerHandle:
    """Serve fakeredis on a port of 127.0.0.1, in threads of this process.

    For `labkit up` where no real server is installed: other terminals and `redis-cli` can use it.
    It is not a broker to measure (a few thousand commands a second, no limits, no persistence),
    and it lets everybody on this machine in: fakeredis knows AUTH, but carries out commands
    without it and takes any password.

    Args:
        port: where it listens; default a free one.

    Raises:
        ServerError: the port is taken.
    """
    if port is not None:
        return FakeServerHandle(_bind(check_port(port)))
    for _ in range(_PORT_ATTEMPTS):
        with contextlib.suppress(ServerError):
            return FakeServerHandle(_bind(free_port()))
    raise ServerError(f"{_PORT_ATTEMPTS} free ports were taken in a row. Pass port=….")


class FakeServerHandle:
    """A fakeredis server in threads of this process; a context manager that stops it at the end.

    Attributes:
        requires_password: always False; fakeredis cannot keep anybody out.
    """

    requires_password: ClassVar[bool] = False

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._port: int = server.server_address[1]
        self._lock = threading.Lock()
        self._running = True
        self._thread = threading.Thread(
            target=server.serve_forever, args=(_LOOK_S,), name="labkit-fake-server", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is; there is no password."""
        return f"redis://{HOST}:{self._port}/0"

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return self._port

    @property
    def running(self) -> bool:
        """Whether it takes connections."""
        return self._running

    def stop(self) -> None:
        """Cut off every client, end the threads and free the port. Stopping twice is fine."""
        with self._lock:
            if not self._running:
                return
            self._running = False
            self._server.shutdown()
            self._server.server_close()
            self._server.cut_off(time.monotonic() + _STOP_S)
            self._thread.join(_STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"FakeServerHandle({self.url}, {'running' if self._running else 'stopped'})"


class _Server(TcpFakeServer):
    """TcpFakeServer, whose threads end when it is told to and print nothing."""

    def __init__(self, port: int) -> None:
        super().__init__((HOST, port), bind_and_activate=False)
        self.allow_reuse_address = os.name == "posix"  # on Windows two could have the port
        self._served: dict[threading.Thread, socket.socket] = {}
        self._served_lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one client in a thread that `cut_off` can find."""
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="labkit-fake-client",
            daemon=True,  # one that does not end must not keep Python from ending
        )
        with self._served_lock:
            self._served = {t: r for t, r in self._served.items() if t.is_alive()}
            thread.start()
            self._served[thread] = request

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle of an answer is nothing to print."""

    def cut_off(self, deadline: float) -> None:
        """End every client's connection and thread, those that wait in BLPOP and the like too."""
        with self._served_lock:
            served = {t: r for t, r in self._served.items() if t.is_alive()}
        for connection in served.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes reads that block (on Windows)
        while time.monotonic() < deadline and any(thread.is_alive() for thread in served):
            self._unblock()
            for thread in served:
                thread.join(_LOOK_S / len(served))

    def _unblock(self) -> None:
        inside = FakeRedis(server=self.fake_server)
        with contextlib.suppress(redis.RedisError):
            for client in inside.client_list():
                inside.client_unblock(int(client["id"]))
        inside.close()


def _bind(port: int) -> _Server:
    server = _Server(port)
    try:
        server.server_bind()
        server.server_activate()
    except OSError as error:
        server.server_close()
        raise ServerError(
            f"Port {port} of {HOST} cannot be used: {error.strerror}. "
            "Pass another port=…, or none to get a free one."
        ) from None
    return server
