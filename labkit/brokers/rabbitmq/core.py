"""What all patterns on one RabbitMQ share: two connections, confirms, what was declared and said.

Two connections, because an alarm of the broker (memory, disk) stops reading from connections that
publish: acknowledgements on the same one would be held up, too, and nothing would ever be freed.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pika

from labkit.brokers.rabbitmq import words
from labkit.brokers.rabbitmq.channel import Channel
from labkit.brokers.rabbitmq.confirms import Batch, Confirms, Outgoing
from labkit.brokers.rabbitmq.line import Line
from labkit.errors import ConfigurationError, NotConnected
from labkit.options import Options, redact

COMMANDS_KEPT = 200
"""The last commands, to be shown."""

HEARTBEAT_S = 20
"""A connection over which nothing came for about so long is dead."""

_SHOWN = 60


class Core:
    """The connections of one lab to one RabbitMQ."""

    def __init__(self, url: str, options: Options) -> None:
        self.options = options
        self.address = url
        self.url = redact(url)
        plain, self.direct_replies = _direct_replies(url)
        self.parameters = _parameters(plain, options)
        self.closed = False
        self._log: deque[str] = deque(maxlen=COMMANDS_KEPT)
        self._lines: dict[str, Line | None] = {"publishing": None, "consuming": None}
        self._lock = threading.RLock()
        self._declared: set[tuple[Line, str]] = set()
        self._admin: Channel | None = None
        self._admin_lock = threading.RLock()
        self.confirms = Confirms(lambda: self.line("publishing"), options.timeout)
        self._daring = Confirms(lambda: self.line("publishing"), options.timeout)

    @property
    def namespace(self) -> str:
        """A prefix on every name."""
        return self.options.namespace

    @property
    def blocked(self) -> str | None:
        """Why the broker holds our publishers back; None while it does not."""
        line = self._lines["publishing"]
        return None if line is None else line.blocked

    def line(self, purpose: str) -> Line:
        """The connection for this purpose, opened again if it is gone.

        Raises:
            BrokerUnavailable: no broker there, or it refuses us.
        """
        with self._lock:
            self.require_open()
            line = self._lines[purpose]
            if line is None or line.lost is not None:
                if line is not None:
                    line.close()
                name = f"labkit RabbitMQ {purpose}"
                line = Line(self.parameters, self.options.connect_timeout, self.url, name)
                self._lines[purpose] = line
            return line

    def channel(
        self,
        *,
        on_lost: Callable[[str], None] | None = None,
        setup: Callable[[Any], None] | None = None,
    ) -> Channel:
        """A new channel on the connection that consumes."""
        line = self.line("consuming")
        return Channel(line, self.options.timeout, on_lost=on_lost, setup=setup)

    @contextlib.contextmanager
    def opening(
        self, on_lost: Callable[[str], None], wanted: Callable[[], bool]
    ) -> Iterator[Channel]:
        """A new channel for a consumer; closed again, if what is begun on it fails.

        Also closed where RabbitMQ cancels a consumer because somebody deleted its queue: then it
        counts as lost, and whoever uses it comes back, as long as it is `wanted`.
        """

        def setup(native: Any) -> None:
            native.add_on_cancel_callback(lambda _: wanted() and native.is_open and native.close())

        channel = self.channel(on_lost=on_lost, setup=setup)
        try:
            yield channel
        except BaseException:
            channel.drop()
            raise

    def usable(self, channel: Channel | None) -> Channel | None:
        """It, if it is there and RabbitMQ can be told something on it."""
        there = channel is not None and channel.lost is None and not self.closed
        return channel if there else None

    def ask(self, start: Callable[[Any, Callable[..., None]], None]) -> Any:
        """Declare, bind, count, on a channel that all share: a refusal closes only that one."""
        with self._admin_lock:
            if self._admin is None or self._admin.lost is not None:
                self._admin = self.channel()
            return self._admin.ask(start)

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """`ask`, for one method of pika's channel that takes a callback."""

        def start(channel: Any, done: Callable[..., None]) -> None:
            getattr(channel, method)(*arguments, **named, callback=done)

        return self.ask(start)

    def send(self, items: Sequence[Outgoing], *, daring: bool = False) -> Batch:
        """Publish with confirms.

        Args:
            daring: to an exchange that may not be there: RabbitMQ would close the channel, and
                with it what others have on their way, so it is one of its own.
        """
        self.require_open()
        for item in items[:1] if len(items) > 20 else items:
            self.log(
                "basic.publish",
                exchange=item.exchange,
                routing_key=item.key,
                body=item.body,
            )
        if len(items) > 20:
            self.log(f"… {len(items) - 1:,} more, then one wait for all confirms")
        return (self._daring if daring else self.confirms).send(items)

    def declare_exchange(self, name: str, kind: str, *, auto_delete: bool = False) -> None:
        """A durable exchange, once for each connection."""

        def declare() -> None:
            self.log("exchange.declare", exchange=name, type=kind, durable=True)
            self.ask(
                lambda channel, done: channel.exchange_declare(
                    name, kind, durable=True, auto_delete=auto_delete, callback=done
                )
            )

        self.once(f"exchange {name}", declare)

    def declare_queue(self, name: str, arguments: dict[str, Any], *, shown: bool = True) -> int:
        """A durable queue; returns how many messages wait in it."""
        if shown:
            self.log("queue.declare", queue=name, durable=True, arguments=arguments)
        answer = self.ask(
            lambda channel, done: channel.queue_declare(
                name, durable=True, arguments=arguments, callback=done
            )
        )
        return int(answer.method.message_count)

    def bind(self, queue: str, exchange: str, key: str) -> None:
        """Let the exchange send what has this key to the queue."""
        self.log("queue.bind", queue=queue, exchange=exchange, routing_key=key)
        self.ask(lambda channel, done: channel.queue_bind(queue, exchange, key, callback=done))

    def once(self, what: str, act: Callable[[], None]) -> None:
        """Do it once for each connection: a broker that was started anew may have forgotten."""
        line = self.line("consuming")
        with self._admin_lock:
            if (line, what) not in self._declared:
                act()
                self._declared = {known for known in self._declared if known[0] is line}
                self._declared.add((line, what))

    def forget(self, what: str) -> None:
        """It is no longer there: `once` shall do it again."""
        with self._admin_lock:
            self._declared = {known for known in self._declared if known[1] != what}

    def log(self, method: str, **arguments: Any) -> None:
        """Keep a command to be shown."""
        shown = " ".join(f"{name}={_short(value)}" for name, value in arguments.items())
        self._log.append(f"{method} {shown}".rstrip())

    def commands(self, last: int) -> list[str]:
        """The last commands, oldest first."""
        return list(self._log)[-last:] if last > 0 else []

    def require_open(self) -> None:
        """Refuse what comes after `close`."""
        if self.closed:
            raise NotConnected("This lab is closed. Open another one with labkit.connect(…).")

    def close(self) -> None:
        """Let go of every connection."""
        self.closed = True
        with self._lock:
            lines = [line for line in self._lines.values() if line is not None]
            self._lines = dict.fromkeys(self._lines)
        for line in lines:
            line.close()


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _direct_replies(url: str) -> tuple[str, bool]:
    """The URL without what is only for labkit, and whether it asks for direct reply-to."""
    front, mark, query = url.partition("?")
    pairs = query.split("&") if mark else []
    ours = [pair for pair in pairs if pair.startswith("replies=")]
    wrong = [pair for pair in ours if pair not in ("replies=direct", "replies=queue")]
    if wrong:
        raise ConfigurationError(f"?replies=direct or ?replies=queue (the default), got {wrong[0]}")
    others = "&".join(pair for pair in pairs if pair not in ours)
    return f"{front}?{others}" if others else front, "replies=direct" in ours


def _parameters(url: str, options: Options) -> pika.ConnectionParameters:
    if options.database is not None:
        raise ConfigurationError(
            "RabbitMQ has virtual hosts with names, and no numbered databases. Put the virtual "
            "host at the end of the URL: amqp://user:password@host:port/vhost."
        )
    try:
        found = pika.URLParameters(url)
    except Exception as error:
        told = words.reason(error).replace(url, redact(url))
        raise ConfigurationError(f"{redact(url)!r} is no address of a RabbitMQ: {told}.") from None
    if options.username is not None or options.password is not None:
        known = found.credentials
        found.credentials = pika.PlainCredentials(
            options.username if options.username is not None else known.username,
            options.password if options.password is not None else known.password,
        )
    if options.tls_ca is not None:
        context = ssl.create_default_context(cafile=options.tls_ca)
        found.ssl_options = pika.SSLOptions(context, found.host)
    found.connection_attempts = 1
    found.socket_timeout = options.connect_timeout
    found.stack_timeout = options.connect_timeout
    found.heartbeat = found.heartbeat if "heartbeat=" in url else HEARTBEAT_S
    found.client_properties = {"product": "labkit", "connection_name": "labkit"}
    return found
