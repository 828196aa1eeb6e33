"""Names of channels: as people give them, and as Redis has them, with the namespace in front."""

from __future__ import annotations

from labkit import channels as naming

CHANNELS_KEPT = 10_000
"""Channels whose names are kept ready; then all are made anew."""


class Channels(dict[bytes, str]):
    """The names of channels by what Redis calls them; each is made once."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def __missing__(self, name: bytes) -> str:
        if len(self) >= CHANNELS_KEPT:
            self.clear()
        channel = self[name] = from_wire(self._namespace, name)
        return channel


def to_wire(namespace: str, name: str, *, pattern: bool) -> bytes:
    """What Redis calls it."""
    prefix = naming.escape(namespace) if pattern else namespace
    return (prefix + name).encode()


def from_wire(namespace: str, name: bytes, *, pattern: bool = False) -> str:
    """What people call it."""
    prefix = naming.escape(namespace) if pattern else namespace
    return name.decode("utf-8", "backslashreplace").removeprefix(prefix)
