"""A connection that does not work: what happened, in words, with what to do next."""

from __future__ import annotations

import redis

from labkit.errors import BrokerRefused, BrokerUnavailable

MAX_CONNECTIONS = 1000
"""Connections of one lab at once: each subscriber holds one."""


def sentence(url: str, error: Exception, sent: bool) -> str:
    """What happened, in words, with what to do next."""
    reason = str(error) or type(error).__name__
    if isinstance(error, redis.AuthenticationError) or "NOAUTH" in reason:
        return (
            f"The broker at {url} wants a user and a password that it knows. "
            "Put them into the URL (redis://user:password@host:port) or pass password=…."
        )
    if isinstance(error, redis.exceptions.MaxConnectionsError):
        return (
            f"This lab holds {MAX_CONNECTIONS:,} connections to {url}, and may not hold more. "
            "Disconnect subscribers that are no longer needed."
        )
    if "max number of clients" in reason:
        return f"The broker at {url} has as many clients as it lets in. Close some, or try later."
    if isinstance(error, redis.BusyLoadingError):
        return f"The broker at {url} is still loading its data. Try again in a moment."
    if isinstance(error, redis.ResponseError):
        return f"The broker at {url} refuses the connection: {reason}."
    if sent:
        return (
            f"The connection to {url} broke ({reason}). What was on its way may have arrived or "
            "not. The next call connects again."
        )
    if isinstance(error, redis.InvalidResponse):
        return f"What answers at {url} is not a Redis ({reason}). Check host and port."
    if "SSL" in reason or "certificate" in reason.lower():
        return (
            f"No TLS connection to {url} ({_short(reason)}). Use rediss:// only where the server "
            "speaks TLS, and name the authority that signed its certificate: tls_ca=…."
        )
    return (
        f"No broker answers at {url} ({_short(reason)}). "
        "Start one with 'labkit up', or use labkit.connect() for the embedded one."
    )


def refusal(url: str, what: str, reply: Exception) -> BrokerUnavailable | BrokerRefused:
    """The error of a command that Redis has answered with no, and has not carried out."""
    if isinstance(reply, redis.BusyLoadingError):  # it was restarted, and reads its files
        return BrokerUnavailable(sentence(url, reply, False))
    return BrokerRefused(f"Redis refused {what}: {reply}.")


def _short(reason: str) -> str:
    """redis-py's 'Error 111 connecting to h:p. Connection refused.' without the address again."""
    return reason.rpartition("connecting to ")[2].partition(". ")[2].rstrip(".") or reason
