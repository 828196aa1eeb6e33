"""One connection for one script after the other: what is asked often does not queue for a pool."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import redis

from labkit.brokers.redis.client import RedisClient
from labkit.brokers.redis.kept import is_quiet
from labkit.brokers.redis.scripts import Argument, Script
from labkit.brokers.redis.wire import REFUSALS, Command, Reply, pack, read_one
from labkit.brokers.redis.words import refusal


class Line:
    """Runs scripts on a connection that it keeps. Threads take turns; a fork gets its own.

    Args:
        client: how to reach Redis.
        greeting: commands that go first on each new connection: its server may be one that was
            restarted, and has forgotten what it must know. They leave no line in `commands()`.
    """

    def __init__(self, client: RedisClient, greeting: Sequence[Command] = ()) -> None:
        self._client = client
        self._greeting = greeting
        self._begin()

    def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Reply:
        """Run one script.

        Raises:
            BrokerUnavailable: the connection broke; `sent` tells whether it may have been done.
            BrokerRefused: Redis answered with an error.
        """
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            connection = self._fresh_connection()
            self._client.log(("EVALSHA", f"<{script.name}>", *arguments[:2]))
            try:
                reply = _ask(connection, script.command(keys, *arguments))
                if isinstance(reply, redis.exceptions.NoScriptError):
                    _ask(connection, ("SCRIPT", "LOAD", script.source))
                    reply = _ask(connection, script.command(keys, *arguments))
            except (redis.RedisError, OSError) as error:
                self._drop()
                raise self._client.unavailable(error, sent=True) from None
            except BaseException:  # Ctrl+C: a reply that nobody read is still to come
                self._drop()
                raise
        if isinstance(reply, REFUSALS):
            raise refusal(self._client.url, script.name, reply)
        return reply

    def close(self) -> None:
        """Close the connection; a fork's is not ours to close."""
        if self._process == os.getpid():
            with self._lock:
                self._drop()

    def _begin(self) -> None:
        """Nothing of a fork's parent: a thread of its own may have held the lock."""
        self._connection: Any = None
        self._lock = threading.Lock()
        self._process = os.getpid()

    def _fresh_connection(self) -> Any:
        """The one that we have, if nothing has happened to it meanwhile."""
        if self._connection is not None:
            self._client.require_open()
            if is_quiet(self._connection):
                return self._connection
            self._drop()  # the other side has closed it
        self._connection = self._client.connection()
        self._greet(self._connection)
        return self._connection

    def _greet(self, connection: Any) -> None:
        """Say what must go first; where it fails, the script has not been sent."""
        for command in self._greeting:
            try:
                reply = _ask(connection, command)
            except (redis.RedisError, OSError) as error:
                self._drop()
                raise self._client.unavailable(error) from None
            except BaseException:
                self._drop()
                raise
            if isinstance(reply, REFUSALS):
                self._drop()  # so that the next one is greeted, too
                raise refusal(self._client.url, str(command[0]), reply)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._client.release(connection, broken=True)


def _ask(connection: Any, command: Command) -> Reply:
    connection.send_packed_command(pack(connection, [command]))
    return read_one(connection)
