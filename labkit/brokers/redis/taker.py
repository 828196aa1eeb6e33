"""Taking from one list, blocked in Redis, on a connection that comes back by itself."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from labkit.brokers.redis.client import CONNECTION_ERRORS, REFUSALS, Command, RedisClient, Reply
from labkit.brokers.redis.wire import pack
from labkit.errors import BrokerRefused, BrokerUnavailable, NotConnected

LONGEST_BLOCK_S = 1.0
"""Longest single wait in Redis: a connection that died quietly is noticed after it."""

EMBEDDED_PAUSE_S = 0.005
"""Between two looks at the embedded broker, which cannot block."""


class _Closed(Exception):
    """Another thread closed this end while this one took from it."""


class Taker:
    """Takes bodies off the left end of a list. It belongs to one thread at a time.

    What Redis had handed out when the connection broke is lost. `close()` may be called by any
    thread: it ends a `take` under way, and that one gives the connection back.

    Args:
        client: how to reach Redis.
        key: the list.
        on_return: called after a lost connection came back: Redis may have forgotten us.
    """

    def __init__(self, client: RedisClient, key: str, on_return: Callable[[], None]) -> None:
        self._client = client
        self._key = key
        self._on_return = on_return
        self._connection: Any = client.connection()
        self._failures = 0
        self._next_try_at = 0.0
        self._lock = threading.Lock()  # after the end no command leaves, and one gives back
        self._process = os.getpid()
        self._over = threading.Event()
        self._taking = False

    @property
    def connected(self) -> bool:
        """Whether Redis could be heard at the last look."""
        return not self._failures and not self._over.is_set()

    def take(self, count: int, timeout: float) -> list[bytes]:
        """At most `count` bodies; waits up to `timeout` seconds for the first.

        Raises:
            BrokerRefused: Redis answers with an error.
        """
        with self._lock:
            if self._over.is_set():
                raise NotConnected("This end is closed. Open a new one.")
            self._taking = True
        try:
            return self._take_until(count, time.monotonic() + timeout)
        finally:
            with self._lock:
                self._taking = False
                over = self._over.is_set()
            if over:
                self._client.release(self._connection, broken=True)

    def close(self) -> None:
        """Close the connection; Redis gives nothing more to a `take` under way, which ends.

        What it has given already comes out of that `take`.
        """
        if self._process != os.getpid():
            return  # the connection of a fork's parent, who still needs it
        with self._lock:
            if self._over.is_set():
                return
            self._over.set()
            if self._taking:  # whoever reads from it gives it back; two on one connection mix up
                _hang_up(self._connection)
                return
        self._client.release(self._connection, broken=True)

    def _take_until(self, count: int, deadline: float) -> list[bytes]:
        while True:
            left = max(0.0, deadline - time.monotonic())
            before = self._failures
            bodies = self._look(count, left)
            just_lost = self._failures > before == 0  # worth one more look, on a new connection
            if bodies or self._over.is_set() or (left <= 0 and not just_lost):
                return bodies

    def _look(self, count: int, timeout: float) -> list[bytes]:
        """One look, which may be shorter than `timeout`."""
        try:
            if self._failures and not self._came_back(timeout):
                return []
            if timeout <= 0 or self._client.embedded:
                return self._take_ready(count, timeout)
            return self._take_blocked(count, timeout)
        except _Closed:
            return []
        except CONNECTION_ERRORS:
            self._connection.disconnect()
            self._next_try_at = time.monotonic() + (
                self._client.options.reconnect.wait(self._failures) if self._failures else 0.0
            )
            self._failures += 1
            return []
        except REFUSALS as error:
            raise BrokerRefused(f"Redis refuses to take from {self._key}: {error}.") from None
        except BaseException:  # Ctrl+C: what comes on this connection is for nobody
            self._connection.disconnect()
            raise

    def _came_back(self, timeout: float) -> bool:
        """Wait for the time of the next attempt, at most `timeout`, then connect."""
        pause = self._next_try_at - time.monotonic()
        if pause > timeout:
            self._over.wait(timeout)
            return False
        if self._over.wait(max(0.0, pause)):
            return False
        self._client.require_open()
        self._connection.connect()
        self._failures = 0
        with contextlib.suppress(BrokerUnavailable, BrokerRefused):
            self._on_return()
        return True

    def _take_ready(self, count: int, timeout: float) -> list[bytes]:
        """LPOP; on the embedded broker, which cannot block, a short pause where it found none."""
        command: Command = ("LPOP", self._key, count)
        bodies: list[bytes] = self._exchange([command], 0.0)[0] or []
        if bodies:
            self._client.log(command)
        elif timeout > 0:
            self._over.wait(min(timeout, EMBEDDED_PAUSE_S))
        return bodies

    def _take_blocked(self, count: int, timeout: float) -> list[bytes]:
        """BLPOP, and in the same breath LPOP of what else is there."""
        block_s = max(0.001, round(min(timeout, LONGEST_BLOCK_S), 3))  # 0 would be for ever
        commands: list[Command] = [("BLPOP", self._key, block_s)]
        if count > 1:
            commands.append(("LPOP", self._key, count - 1))
        first, *rest = self._exchange(commands, block_s)
        bodies = ([first[1]] if first else []) + ((rest[0] or []) if rest else [])
        if bodies:
            for command in commands:
                self._client.log(command)
        return bodies

    def _exchange(self, commands: list[Command], block_s: float) -> list[Reply]:
        """Send all, read all; an answer may take `block_s` longer than usual."""
        connection = self._connection
        packed = pack(connection, commands)
        connection.connect()  # where Ctrl+C has cut it off; not under the lock, it may take long
        with self._lock:
            if self._over.is_set():
                raise _Closed
            connection.send_packed_command(packed)
        patience = block_s + self._client.options.timeout
        replies: list[Reply] = []
        for _ in commands:
            try:
                replies.append(connection.read_response(timeout=patience))
            except redis.ResponseError as error:
                replies.append(error)
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                raise reply
        return replies


def _hang_up(connection: Any) -> None:
    """End a connection that another thread may be reading from.

    Only our half of it: what Redis has handed out is still on its way to us, and that thread reads
    it, and then the end. Redis sees our end before whatever we send it on other connections from
    now on. TLS is passed by: its own good-bye would change an object that the other thread uses.
    """
    line = getattr(connection, "_sock", None)
    if isinstance(line, socket.socket):
        with contextlib.suppress(OSError):
            socket.socket.shutdown(line, socket.SHUT_WR)
