"""Where lab 05 measures: the embedded broker always, and a private real Redis where there is one.

A figure of the embedded broker is a figure of Python. So whatever is measured says where, and a lab
that can measure on a real server does; one that cannot runs whole all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class ServerCost:
    """What the server itself spent on one command, by its own books (`INFO commandstats`).

    Attributes:
        calls: how often it was called.
        microseconds: of the server's time, for each call.
        busy: part of the time in which the server worked on this command, 0 to 1.
    """

    calls: int
    microseconds: float
    busy: float


def server_cost(lab: Lab, command: str, seconds: float) -> ServerCost | None:
    """What `command` cost the server since `reset_server_cost`, which was `seconds` ago.

    Returns:
        None where the broker keeps no such books: the embedded one.
    """
    native: Any = lab.native
    if lab.embedded:
        return None
    found = native.info("commandstats").get(f"cmdstat_{command.lower()}")
    if not found:
        return ServerCost(0, 0.0, 0.0)
    return ServerCost(
        int(found["calls"]), float(found["usec_per_call"]), float(found["usec"]) / 1e6 / seconds
    )


def reset_server_cost(lab: Lab) -> None:
    """Begin the server's books anew; nothing on the embedded broker."""
    native: Any = lab.native
    if not lab.embedded:
        native.config_resetstat()


def what_people_say(
    measured: Sequence[tuple[str, float, float | None, float, str]],
) -> pd.DataFrame:
    """Claims beside what was measured, as a table for `plots.quoted`.

    Args:
        measured: for each claim: what people say, its lowest and highest figure, ours, the unit.
    """
    return pd.DataFrame(list(measured), columns=["claim", "low", "high", "measured", "unit"])
