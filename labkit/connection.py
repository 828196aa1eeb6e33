"""`connect(url)`: the one place that knows which broker a URL means."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

from labkit.backoff import Backoff
from labkit.broker import Lab
from labkit.clock import Clock, SystemClock
from labkit.errors import ConfigurationError, LabkitError
from labkit.options import Options, redact
from labkit.trace import Trace

BROKER_URL_VARIABLE = "LABKIT_BROKER_URL"
NAMESPACE_VARIABLE = "LABKIT_NAMESPACE"
EMBEDDED_URL = "embedded://"
DEFAULT_REDIS_URL = "redis://127.0.0.1:6379"

DEFAULT_TIMEOUT_S = 5.0
"""Longest wait for an answer to one command."""

DEFAULT_CONNECT_TIMEOUT_S = 0.9
"""Longest wait for a broker to let us in: an answer, good or bad, comes within a second."""

_BACKENDS = {
    "embedded": "labkit.brokers.redis",
    "redis": "labkit.brokers.redis",
    "rediss": "labkit.brokers.redis",
    "unix": "labkit.brokers.redis",
    "amqp": "labkit.brokers.rabbitmq",
    "amqps": "labkit.brokers.rabbitmq",
    "kafka": "labkit.brokers.kafka",
    "kafkas": "labkit.brokers.kafka",
    "kafka+embedded": "labkit.brokers.kafka",
}

_TLS = ("rediss", "amqps", "kafkas")


def connect(
    url: str | None = None,
    *,
    namespace: str | None = None,
    username: str | None = None,
    password: str | None = None,
    database: int | None = None,
    timeout: float = DEFAULT_TIMEOUT_S,
    connect_timeout: float = DEFAULT_CONNECT_TIMEOUT_S,
    tls_ca: str | Path | None = None,
    reconnect: Backoff | None = None,
    clock: Clock | None = None,
    trace: Trace | bool = True,
) -> Lab:
    """Open a broker.

    Args:
        url: where it is.
            None: what `LABKIT_BROKER_URL` says, else the embedded broker.
            "embedded://": Python in this process; "embedded://name" is shared by that name.
            "redis://user:password@host:port/db", "rediss://…" (TLS), "unix:///path".
            "amqp://user:password@host:port/vhost", "amqps://…" (TLS): RabbitMQ.
            "kafka+embedded://": librdkafka's mock cluster in this process, "?brokers=3" of them;
            "kafka://user:password@host:port,host:port", "kafkas://…" (TLS). With "?partitions=8"
            topics that labkit makes have so many.
            "auto": `LABKIT_BROKER_URL`, else a running server, else one that is started here,
            else the embedded one; `broker.name` says which it became.
        namespace: a prefix on every name, so that many can share a server without meeting; one
            that ends in a letter or digit gets a colon. Default `LABKIT_NAMESPACE`, else none.
        username: overrides the URL's.
        password: overrides the URL's.
        database: overrides the URL's number.
        timeout: seconds to wait for an answer to one command.
        connect_timeout: seconds to wait for the broker to let us in.
        tls_ca: file with the certificate authority to trust, for rediss://.
        reconnect: waits between attempts after a lost connection.
        clock: the clock of time stamps and pauses; a `StepClock` makes a lesson repeatable.
        trace: a `Trace` to record into, True for a new one, False to record nothing.

    Raises:
        ConfigurationError: a URL or an option that cannot work.
        BrokerUnavailable: no broker there, or it refuses; says what to do next.
    """
    for option, seconds in {"timeout": timeout, "connect_timeout": connect_timeout}.items():
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ConfigurationError(f"{option} is in seconds and above 0, got {seconds}.")
    space = os.environ.get(NAMESPACE_VARIABLE, "") if namespace is None else namespace
    if any(character.isspace() for character in space):
        raise ConfigurationError(f"A namespace has no spaces, got {space!r}.")
    if space and space[-1].isalnum():
        space += ":"  # or "ada" would hear "adam"
    the_clock = clock if clock is not None else SystemClock()
    options = Options(
        namespace=space,
        username=username,
        password=password,
        database=database,
        timeout=timeout,
        connect_timeout=connect_timeout,
        tls_ca=None if tls_ca is None else str(tls_ca),
        reconnect=reconnect or Backoff(),
        clock=the_clock,
        trace=trace if isinstance(trace, Trace) else Trace(the_clock, enabled=trace),
    )
    if url == "auto":
        return _auto(options)
    if url is None:
        url = os.environ.get(BROKER_URL_VARIABLE) or EMBEDDED_URL
        if url == "auto":
            return _auto(options)
    return _open(url, options)


def _open(url: str, options: Options, *, on_close: Callable[[], None] | None = None) -> Lab:
    scheme, separator, _ = url.partition("://")
    if url == "embedded":
        scheme, separator, url = "embedded", "://", EMBEDDED_URL
    if not separator or scheme not in _BACKENDS:
        known = ", ".join(f"{name}://" for name in _BACKENDS)
        raise ConfigurationError(
            f'{redact(url)!r} names no broker that labkit knows. Use one of {known}, or "auto".'
        )
    if options.tls_ca is not None:
        _check_tls(scheme, options.tls_ca)
    backend = import_module(_BACKENDS[scheme])
    return cast(Lab, backend.open_broker(url, options, on_close=on_close))


def _check_tls(scheme: str, tls_ca: str) -> None:
    """A certificate authority that would not be used, or cannot be read, is a mistake."""
    if scheme not in _TLS:
        raise ConfigurationError(
            "tls_ca needs a URL that speaks TLS: rediss://…, amqps://… or kafkas://…, not "
            f"{scheme}://…. Without TLS everything, passwords too, would travel readable."
        )
    if not Path(tls_ca).is_file():
        raise ConfigurationError(f"tls_ca={tls_ca!r} is not a file.")


def _auto(options: Options) -> Lab:
    """The best broker to be had, in the order that `connect` documents."""
    from labkit import servers

    given = os.environ.get(BROKER_URL_VARIABLE)
    if given and given != "auto":
        return _open(given, options)
    for url in (servers.announced_url(), DEFAULT_REDIS_URL):
        if url is None:
            continue
        try:
            return _open(url, options)
        except LabkitError:
            continue  # nobody there, or somebody else's: look further
    try:
        server = servers.start_redis()
    except LabkitError:
        return _open(EMBEDDED_URL, options)
    try:
        return _open(server.url, options, on_close=server.stop)
    except BaseException:
        server.stop()
        raise
