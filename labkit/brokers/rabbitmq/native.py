"""pika's own connection, opened when something is first done with it.

Whether a lab has some attribute is asked often (`isinstance` with a protocol does), and that must
not open a connection that nobody serves.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pika


class NativeConnection(pika.BlockingConnection):  # type: ignore[misc]
    """A `pika.BlockingConnection`; pika's own beginning is put off."""

    def __init__(self, parameters: pika.ConnectionParameters) -> None:
        self._labkit_parameters = parameters

    def __getattr__(self, name: str) -> Any:
        """What is missing before pika has begun."""
        if self.begun or name.startswith("__"):
            raise AttributeError(name)
        try:
            super().__init__(self._labkit_parameters)
        except BaseException:
            self.__dict__.pop("_impl", None)
            raise
        return getattr(self, name)

    @property
    def begun(self) -> bool:
        """Whether it was ever opened."""
        return "_impl" in self.__dict__

    @property
    def usable(self) -> bool:
        """Whether it is open, or not opened yet."""
        return not self.begun or bool(self.is_open)

    def let_go(self) -> None:
        """Close it, if it is there; that it has broken before is no matter any more."""
        if self.begun and self.is_open:
            with contextlib.suppress(pika.exceptions.AMQPError):
                self.close()
