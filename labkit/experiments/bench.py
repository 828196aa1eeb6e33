"""Where lab 05 measures: the embedded broker always, and a private real Redis where there is one.

A figure of the embedded broker is a figure of Python. So whatever is measured says where, and a lab
that can measure on a real server does; one that cannot runs whole all the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from labkit import servers
from labkit.broker import Lab
from labkit.connection import EMBEDDED_URL, connect
from labkit.errors import ServerError
from labkit.measure import Stall
from labkit.servers import RedisServer


class Bench:
    """The brokers to measure on. A context manager; `close()` stops what it started.

    Attributes:
        embedded: a lab on the embedded broker.
        real: a lab on a private Redis or Valkey; None where none can be started.
        server: that server, which can be frozen; None likewise.
    """

    def __init__(self) -> None:
        self.server: RedisServer | None = None
        self.real: Lab | None = None
        self.embedded: Lab = connect(EMBEDDED_URL)
        try:
            # What a subscriber has not read yet waits in a buffer; a limit would cut it off.
            limit = {"client-output-buffer-limit": "pubsub 0 0 0"}
            self.server = servers.start_redis(config=limit)
            self.real = connect(self.server.url)
        except ServerError:
            pass
        except BaseException:
            self.close()
            raise

    @property
    def lab(self) -> Lab:
        """The real one if there is one, else the embedded."""
        return self.real or self.embedded

    @property
    def labs(self) -> list[Lab]:
        """All there are."""
        return [self.embedded] if self.real is None else [self.embedded, self.real]

    def stall(self, at: float, seconds: float) -> Stall:
        """`lab`'s broker stands still: a real one by SIGSTOP, the embedded one by waiting."""
        return Stall(at, seconds, self.server)

    def close(self) -> None:
        """Close both labs and stop the server. Closing twice is fine."""
        for lab in (self.real, self.embedded):
            if lab is not None:
                lab.close()
        if self.server is not None:
            self.server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        server = (
            "no Redis or Valkey on this machine" if self.server is None else self.server.binary.name
        )
        return f"Bench(embedded broker; {server})"


@dataclass(slots=True)
class ServerBooks:
    """What a server spent, by its own books, while somebody measured.

    Attributes:
        kept: whether it keeps such books at all; the embedded broker does not.
        calls: how often the command was called.
        microseconds: to carry out one call (`INFO commandstats`), without reading and writing the
            connections.
        cpu: part of the time for which the server's process used a processor (`INFO cpu`), 0 to 1.
    """

    kept: bool
    calls: int = 0
    microseconds: float = 0.0
    cpu: float = 0.0

    def __str__(self) -> str:
        if not self.kept:
            return "The embedded broker keeps no such books."
        return (
            f"{self.calls:,} calls, {self.microseconds:.1f} µs each to carry out; "
            f"the server used its processor {self.cpu:.1%} of the time"
        )


@contextmanager
def server_books(lab: Lab, command: str) -> Iterator[ServerBooks]:
    """Within this the server's books begin anew; what they say of `command` is there at the end."""
    books = ServerBooks(kept=not lab.embedded)
    if not books.kept:
        yield books
        return
    native: Any = lab.native
    native.config_resetstat()
    cpu_before, began = _cpu_s(native), time.monotonic()
    yield books
    books.cpu = (_cpu_s(native) - cpu_before) / (time.monotonic() - began)
    found = native.info("commandstats").get(f"cmdstat_{command.lower()}", {})
    books.calls = int(found.get("calls", 0))
    books.microseconds = float(found.get("usec_per_call", 0.0))


def _cpu_s(native: Any) -> float:
    spent = native.info("cpu")
    return float(spent["used_cpu_sys"]) + float(spent["used_cpu_user"])


def what_people_say(
    measured: Sequence[tuple[str, float, float | None, float, str]],
) -> pd.DataFrame:
    """Claims beside what was measured, as a table for `plots.quoted`.

    Args:
        measured: for each claim: what people say, its lowest and highest figure, ours, the unit.
    """
    return pd.DataFrame(list(measured), columns=["claim", "low", "high", "measured", "unit"])
