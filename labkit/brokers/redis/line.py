"""One connection for one script after the other: what is asked often does not queue for a pool."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import redis

from labkit.brokers.redis.client import REFUSALS, Command, RedisClient, Reply
from labkit.brokers.redis.scripts import Argument, Script
from labkit.errors import BrokerRefused


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
        self._lock = threading.Lock()
        self._connection: Any = None
        self._process = 0

    def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Reply:
        """Run one script.

        Raises:
            BrokerUnavailable: the connection broke; `sent` tells whether it may have been done.
            BrokerRefused: Redis answered with an error.
        """
        with self._lock:
            connection = self._fresh_connection()
            self._client.log(("EVALSHA", f"<{script.name}>", *arguments[:2]))
            try:
                reply = _ask(connection, *script.command(keys, *arguments))
                if isinstance(reply, redis.exceptions.NoScriptError):
                    _ask(connection, "SCRIPT", "LOAD", script.source)
                    reply = _ask(connection, *script.command(keys, *arguments))
            except (redis.RedisError, OSError) as error:
                self._drop()
                raise self._client.unavailable(error, sent=True) from None
            except BaseException:  # Ctrl+C: a reply that nobody read is still to come
                self._drop()
                raise
        if isinstance(reply, REFUSALS):
            raise BrokerRefused(f"Redis refused {script.name}: {reply}.")
        return reply

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _fresh_connection(self) -> Any:
        """The one that we have, if nothing has happened to it meanwhile."""
        if self._process != os.getpid():
            self._connection, self._process = None, os.getpid()
        if self._connection is not None:
            self._client.require_open()
            try:
                if not self._connection.can_read(0):
                    return self._connection
            except (redis.RedisError, OSError):
                pass  # the other side has closed it
            self._drop()
        self._connection = self._client.connection()
        self._greet(self._connection)
        return self._connection

    def _greet(self, connection: Any) -> None:
        """Say what must go first; where it fails, the script has not been sent."""
        for command in self._greeting:
            try:
                reply = _ask(connection, *command)
            except (redis.RedisError, OSError) as error:
                self._drop()
                raise self._client.unavailable(error) from None
            except BaseException:
                self._drop()
                raise
            if isinstance(reply, REFUSALS):
                self._drop()  # so that the next one is greeted, too
                raise BrokerRefused(f"Redis refused {command[0]!s}: {reply}.")

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._client.release(connection, broken=True)


def _ask(connection: Any, *command: Argument) -> Reply:
    connection.send_packed_command(connection.pack_command(*command))
    try:
        return connection.read_response()
    except REFUSALS as error:
        return error
