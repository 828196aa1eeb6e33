"""Who is who: the ids of messages, the names that brokers know us by, and whose process this is.

A fork copies whatever its parent has made, names and all: two requesters with one inbox would get
each other's answers, and a worker would acknowledge for its twin. So each thing that a broker knows
by a name remembers the process in which it was made, and works in no other.
"""

from __future__ import annotations

import os
import secrets

from labkit.clock import Clock
from labkit.errors import ConfigurationError


def message_id(sender: str, epoch: str, channel: str, number: int) -> str:
    """The id of a message, which can be told even of one that never came."""
    return f"{sender}/{epoch}/{channel}/{number}"


def life_of(name: str, clock: Clock) -> str:
    """What a broker knows one life of `name` by, never a predecessor's.

    The epoch alone would not do: a clock that a lesson controls gives the same ones in each run.
    """
    return f"{name}/{clock.new_epoch()}.{secrets.token_hex(4)}"


class Home:
    """The process in which something was made.

    Args:
        what: names the thing in errors: "Requester 'gate'".
    """

    __slots__ = ("_process", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._process = os.getpid()

    @property
    def here(self) -> bool:
        """Whether this is that process. What ends a thing does nothing where it is not."""
        return self._process == os.getpid()

    def require(self) -> None:
        """Go on only in that process; asked before any lock, which a thread left behind may hold.

        Raises:
            ConfigurationError: this is a fork of it.
        """
        if self._process != os.getpid():
            raise ConfigurationError(
                f"{self._what} was made in another process; make one in each process."
            )

    def __repr__(self) -> str:
        return f"<{self._what}: made in {'this' if self.here else 'another'} process>"
