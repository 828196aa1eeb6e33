"""How to reach a broker, and how to speak of its address without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass

from labkit.backoff import Backoff
from labkit.clock import Clock
from labkit.trace import Trace

_URL = re.compile(r"([a-z+]+://)?(?:([^?#]*)@)?([^?#]*)(.*)", re.DOTALL)
_USER = re.compile(r"[\w.-]*")


@dataclass(frozen=True)
class Options:
    """How to connect; every broker takes the same ones.

    Attributes:
        namespace: prefix on every name.
        username, password, database: override those in the URL.
        timeout: seconds to wait for an answer.
        connect_timeout: seconds to wait for the broker to let us in.
        tls_ca: file with the certificate authority to trust.
        reconnect: waits between attempts to reach a broker that went away.
        clock, trace: where time comes from, and where what happens is recorded.
    """

    namespace: str
    username: str | None
    password: str | None
    database: int | None
    timeout: float
    connect_timeout: float
    tls_ca: str | None
    reconnect: Backoff
    clock: Clock
    trace: Trace

    def __repr__(self) -> str:
        return f"Options(namespace={self.namespace!r})"  # no credentials


def redact(url: str) -> str:
    """The URL without its password, for people to see; query and fragment are left out, too.

    What cannot be told apart for certain is hidden: a password may hold any character.
    """
    found = _URL.fullmatch(url)
    scheme, login, place, rest = found.groups() if found else (None, None, "", "")
    if "@" in rest:  # which part is the password?
        return f"{scheme or ''}***"
    if login is None:
        return f"{scheme or ''}{place}"
    user, colon, _ = login.partition(":")
    shown = (f"{user}:***" if colon else user) if _USER.fullmatch(user) else "***"
    return f"{scheme or ''}{shown}@{place}"
