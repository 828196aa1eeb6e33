"""A projection's state and the place it stands at, as JSON."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from labkit.broker import Position
from labkit.errors import ConfigurationError, SnapshotMismatch
from labkit.patterns.statistics import Statistics


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a projection came to, and where.

    Attributes:
        name, version: of which projection.
        positions: in each partition, the last event behind it.
        seen: in each partition, how many entries that were.
        applied: how many events are in the state.
        skips: positions that were left out on purpose.
        state: the state, as JSON holds it.
    """

    name: str
    version: int
    positions: dict[str, str]
    seen: dict[str, int]
    applied: int
    skips: list[str]
    state: Any

    @classmethod
    def of(
        cls,
        name: str,
        version: int,
        cursor: Mapping[int, Position],
        seen: Mapping[int, int],
        applied: int,
        skips: Sequence[str],
        state: object,
    ) -> Snapshot:
        """A snapshot with a state of its own: what happens to the given one does not change it.

        Raises:
            ConfigurationError: the state would not come back from JSON as it went in.
        """
        try:
            kept = msgspec.json.decode(msgspec.json.encode(state))
            same = kept == state
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(_not_json(name, str(error))) from None
        if not same:
            raise ConfigurationError(
                _not_json(name, "tuples, sets, dates and keys that are no text come back changed")
            )
        return cls(
            name,
            version,
            {str(partition): place.text for partition, place in cursor.items()},
            {str(partition): count for partition, count in seen.items()},
            applied,
            list(skips),
            kept,
        )

    def cursor(self) -> dict[int, Position]:
        """The place, to read on from."""
        return {int(p): Position(text, int(p)) for p, text in self.positions.items()}

    def to_json(self) -> str:
        """As text."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Snapshot:
        """What `to_json` wrote.

        Raises:
            SnapshotMismatch: it is none.
        """
        try:
            found = msgspec.json.decode(text, type=cls)
            for partition, place in found.positions.items():
                Position.parse(f"{int(partition)}:{place}")
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise SnapshotMismatch(f"This is no snapshot: {error}. Use rebuild(stream).") from None
        return found

    def write(self, path: Path) -> Path:
        """Into a file; a crash in between leaves the old one."""
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(self.to_json())
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
        return path

    @classmethod
    def read(cls, path: Path) -> Snapshot:
        """From a file."""
        return cls.from_json(path.read_bytes())


def _not_json(name: str, why: str) -> str:
    return (
        f"The state of projection {name!r} is not what JSON can hold, so it has no snapshot: "
        f"{why}. Keep it in dicts with str keys, lists, str, numbers, True, False and None."
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class ProjectionStatistics(Statistics):
    """What a projection did; `messages` counts the events that it applied, rebuilds included.

    Attributes:
        skipped: events left out on purpose.
        upcast: events that were made into a newer form.
        poisoned: how often an event stopped it.
        missed: events trimmed before it could read them, since its last rebuild.
    """

    role = "Projection"

    skipped: int
    upcast: int
    poisoned: int
    missed: int
