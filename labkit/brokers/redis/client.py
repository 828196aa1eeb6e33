"""Commands out, replies in: redis-py's connections, with every failure told apart.

redis-py's own client retries a command by itself, so that a PUBLISH whose reply was lost goes out
twice. Here a command is sent once; who calls decides what may be repeated.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from labkit.brokers.redis.kept import Kept, is_quiet
from labkit.brokers.redis.shown import COMMANDS_KEPT, beginning, in_words
from labkit.brokers.redis.wire import REFUSALS, Command, Reply, pack, read_many, read_one
from labkit.brokers.redis.words import MAX_CONNECTIONS, refusal, sentence
from labkit.errors import BrokerUnavailable, ConfigurationError, NotConnected
from labkit.options import Options, redact

__all__ = [
    "CONNECTION_ERRORS",
    "REFUSALS",
    "Command",
    "ExchangeBroken",
    "RedisClient",
    "Reply",
]

SERVER_TIME_KEPT_S = 30.0
"""How long a comparison of the server's clock with ours holds."""

STEP_S = 0.5
"""Our two clocks have moved so much against each other: compare with the server anew."""

CONNECTION_ERRORS = (redis.ConnectionError, redis.TimeoutError, redis.InvalidResponse, OSError)


class RedisClient:
    """A pool of connections to one Redis, real or embedded."""

    def __init__(self, url: str, options: Options) -> None:
        self.url = redact(url)
        self.address = url  # with its password: to connect with, not to show
        self.options = options
        self.embedded = url.startswith("embedded://")
        settings: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "socket_timeout": options.timeout,
            "max_connections": MAX_CONNECTIONS,
            "decode_responses": False,
        }
        if self.embedded:
            from labkit.brokers.redis.embedded import fake_redis, version

            self.native: redis.Redis = fake_redis(url, settings)
            self.name = f"embedded (fakeredis {version()})"
        else:
            self.native = redis.Redis.from_pool(_pool(url, options, settings))
            self.name = "Redis"
        self.pool = self.native.connection_pool
        self._kept = Kept(self.pool)
        self._server_s = 0.0  # the server's clock less our monotonic one
        self._server_until = 0.0
        self._apart_s = 0.0  # our wall clock less our monotonic one, when that was measured
        self._closed = False
        self._log: deque[Command] = deque(maxlen=COMMANDS_KEPT)

    def connection(self, *, patient: bool = True) -> Any:
        """A connection that the broker let in; give it back with `release`.

        A patient caller waits out a broker that is just restarting: it tries again, with back-off,
        until `connect_timeout` has passed.

        Raises:
            BrokerUnavailable: nothing has been sent.
        """
        self.require_open()
        deadline = time.monotonic() + self.options.connect_timeout
        for attempt in itertools.count():
            try:
                return self._from_pool()
            except (redis.RedisError, OSError) as error:
                pause = self.options.reconnect.wait(attempt)
                hopeless = isinstance(error, (*REFUSALS, redis.exceptions.MaxConnectionsError))
                if hopeless or not patient or time.monotonic() + pause > deadline:
                    raise self.unavailable(error) from None
                time.sleep(pause)
        raise AssertionError("unreachable")

    def probe(self, *command: str) -> Reply:
        """Let a new connection in and have it answer, all within `connect_timeout`.

        Args:
            command: what to ask; default PING. The answer may be a `ResponseError`.

        Raises:
            BrokerUnavailable: in words, with what to do.
        """
        self.require_open()
        step = self.options.connect_timeout / 2  # one half to be let in, one half to be answered
        connection = self.pool.connection_class(**self.pool.connection_kwargs)
        connection.socket_connect_timeout = connection.socket_timeout = step
        try:
            connection.connect()
            connection.send_command(*(command or ("PING",)))
            try:
                return connection.read_response()
            except redis.ResponseError as error:  # it knows us; it does not know, or allow, this
                return error
        except (redis.RedisError, OSError) as error:
            raise self.unavailable(error) from None
        finally:
            connection.disconnect()

    def release(self, connection: Any, *, broken: bool = False) -> None:
        """Give a connection back; a broken one is closed."""
        if broken:
            connection.disconnect()
        self.pool.release(connection)

    def exchange(self, *commands: Command, shown: Sequence[Command] | None = None) -> list[Reply]:
        """Send all commands at once and read all replies, in order.

        A reply may be a `ResponseError`. Nothing is retried. `commands()` tells of them as they
        are, or as `shown`.

        Raises:
            BrokerUnavailable: there is no connection; nothing was sent.
            ExchangeBroken: it broke; `cause.sent` tells whether commands may have been carried
                out, and `replies` has the replies that did come.
            redis.DataError: an argument that no command can hold; nothing was sent.
        """
        connection = self._ready_connection()
        try:  # what cannot be written down breaks no connection, and is not tried again
            packed = pack(connection, commands)
        except BaseException:
            self._keep(connection)
            raise
        for command in (commands if shown is None else shown)[-COMMANDS_KEPT:]:
            self.log(command)
        replies: list[Reply] = []
        try:
            connection.send_packed_command(packed)
            if len(commands) == 1:
                replies.append(read_one(connection))
            else:
                read_many(connection, len(commands), replies)
        except (redis.RedisError, OSError) as error:
            self.release(connection, broken=True)
            raise ExchangeBroken(self.unavailable(error, sent=True), replies) from None
        except BaseException:  # Ctrl+C in the middle: replies that nobody read are still to come
            self.release(connection, broken=True)
            raise
        self._keep(connection)
        return replies

    def now(self) -> float:
        """Seconds since 1970 for leases and delays, which all clients of one server must share.

        The server's clock, read now and then and in between counted on by our monotonic one: a
        step of our wall clock moves nobody's lease. On the embedded broker, and with a clock that
        a lesson controls, that clock.
        """
        clock = self.options.clock
        if self.embedded or clock.manual:
            return clock.now()
        step_s = clock.now() - time.monotonic() - self._apart_s  # or this machine was asleep
        if time.monotonic() >= self._server_until or abs(step_s) > STEP_S:
            try:  # unasked: no line for it among the reader's own
                [[seconds, microseconds]] = self.exchange(("TIME",), shown=[])
            except ExchangeBroken as broken:
                raise broken.cause from None
            self._server_s = int(seconds) + int(microseconds) / 1e6 - time.monotonic()
            self._server_until = time.monotonic() + SERVER_TIME_KEPT_S
            self._apart_s = clock.now() - time.monotonic()
        return self._server_s + time.monotonic()

    def call(self, *command: str | bytes | int | float) -> Reply:
        """Send one command and return its reply.

        Raises:
            BrokerUnavailable: the connection broke; `sent` tells whether it may have been done.
            BrokerRefused: the broker answered with an error.
        """
        try:
            [reply] = self.exchange(command)
        except ExchangeBroken as broken:
            raise broken.cause from None
        if isinstance(reply, REFUSALS):
            raise refusal(self.url, str(command[0]), reply)
        return reply

    def log(self, command: Command) -> None:
        """Remember a command, as much of it as will be shown: no body lives on in here."""
        self._log.append(beginning(command))

    def commands(self, last: int) -> list[str]:
        """The last commands, as one would type them into redis-cli."""
        kept = list(self._log)
        return list(map(in_words, kept[max(0, len(kept) - last) :]))

    @contextmanager
    def borrowed(self) -> Iterator[Any]:
        """A connection ready for commands; closed if the block ends with an exception."""
        connection = self._ready_connection()
        try:
            yield connection
        except BaseException:  # replies that nobody read may still be to come
            self.release(connection, broken=True)
            raise
        self._keep(connection)

    def _ready_connection(self) -> Any:
        """The connection that this thread keeps, if it is as it was left; else a new one."""
        self.require_open()
        kept = self._kept.take()
        if kept is not None:
            if is_quiet(kept):
                return kept
            self.release(kept, broken=True)
        return self.connection()

    def _keep(self, connection: Any) -> None:
        """Leave a connection that is as it should be to this thread's next command."""
        if self._closed:  # meanwhile, by another thread
            self.release(connection, broken=True)
        elif not self._kept.keep(connection):
            self.release(connection)

    def _from_pool(self) -> Any:
        try:
            return self.pool.get_connection()
        except redis.exceptions.MaxConnectionsError:
            self._kept.give_all_back()  # what threads keep and do not use just now
            return self.pool.get_connection()

    def unavailable(self, error: Exception, *, sent: bool = False) -> BrokerUnavailable:
        """What happened, in words, with what to do next."""
        return BrokerUnavailable(sentence(self.url, error, sent), sent=sent)

    def require_open(self) -> None:
        """Raise `NotConnected` after `close()`."""
        if self._closed:
            raise NotConnected(f"The lab at {self.url} is closed. Call labkit.connect() again.")

    def close(self) -> None:
        """Close every connection; nothing works afterwards."""
        self._closed = True
        self.native.close()
        with suppress(ValueError):  # of the embedded one, where a thread is in the middle of a call
            self.pool.disconnect()


class ExchangeBroken(Exception):
    """A connection that broke in the middle of an exchange: what came back before that."""

    def __init__(self, cause: BrokerUnavailable, replies: Sequence[Reply]) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.replies = replies


def _pool(url: str, options: Options, settings: dict[str, Any]) -> redis.ConnectionPool:
    given = {
        "username": options.username,
        "password": options.password,
        "db": options.database,
        "ssl_ca_certs": options.tls_ca if url.startswith("rediss://") else None,
    }
    if not url.startswith("unix://"):
        settings["socket_connect_timeout"] = options.connect_timeout
    try:
        database = urlsplit(url).path.strip("/")
        if database and not database.isdigit() and not url.startswith("unix://"):
            raise ValueError(database)
        pool = redis.ConnectionPool.from_url(url, **settings)
        fixed = {name: settings[name] for name in ("retry", "protocol", "decode_responses")}
        pool.connection_kwargs.update({k: v for k, v in given.items() if v is not None} | fixed)
        pool.connection_class(**pool.connection_kwargs)  # not connected: are the options known?
    except (ValueError, TypeError, redis.RedisError):  # their texts may quote the password
        raise ConfigurationError(
            f"{redact(url)!r} is not a usable Redis URL. It looks like redis://user:password@host:"
            "port/database, with numbers for port and database and only options that redis-py "
            "knows behind a '?'. If the password has one of / ? # @ : % in it, percent-encode "
            "it (%2F for /), or leave it out and pass password=…."
        ) from None
    return pool
