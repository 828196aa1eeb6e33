"""What a log consists of: places, and what is kept there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from labkit.errors import ConfigurationError

# gc=False: these are made by the hundred thousand and can be in no cycle.
_TEXT = re.compile(r"(?:(\d+):)?(\d+(?:-\d+)*)", re.ASCII)


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where an entry stands in one partition: opaque, printable, ordered within its partition.

    Its `str` is what `Position.parse` reads: "1362718800000-0" (Redis, one partition), "2:57"
    (offset 57 of partition 2).

    Attributes:
        text: the broker's own name of the place: whole numbers, joined by dashes.
        partition: the part of the stream.
    """

    text: str
    partition: int = 0

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position that was printed so.

        Raises:
            ConfigurationError: it is none.
        """
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ConfigurationError(
                f"{text!r} is no position. One looks like 1362718800000-0, or 2:57 where a stream "
                "has partitions; take it from an event."
            )
        return cls(found[2], int(found[1] or 0))

    @property
    def order(self) -> tuple[int, ...]:
        """What positions of one partition are compared by."""
        return tuple(map(int, self.text.split("-")))

    def __lt__(self, other: Position) -> bool:
        if not isinstance(other, Position):
            return NotImplemented
        ours, theirs = self._orders(other)
        return ours < theirs

    def __le__(self, other: Position) -> bool:
        return self == other or self < other

    def __gt__(self, other: Position) -> bool:
        if not isinstance(other, Position):
            return NotImplemented
        return other < self

    def __ge__(self, other: Position) -> bool:
        return self == other or self > other

    def _orders(self, other: Position) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if self.partition != other.partition:
            raise ConfigurationError(
                f"{self} and {other} are in two partitions, between which there is no order."
            )
        return self.order, other.order

    def __str__(self) -> str:
        return f"{self.partition}:{self.text}" if self.partition else self.text


Cursor = Mapping[int, Position]
"""Where one stands: of each partition the last entry behind us; at its start if it is not there."""


class NewEntry(msgspec.Struct, frozen=True, gc=False):
    """What is to be appended.

    Attributes:
        body: the bytes.
        key: entries of one key keep their order; None for any place.
        time_ms: when it happened, milliseconds since 1970. A broker whose positions are times uses
            it where a lesson controls the clock, so that they are the same on every machine.
    """

    body: bytes
    key: str | None = None
    time_ms: int = 0


class Appended(msgspec.Struct, frozen=True, gc=False):
    """What the broker said to an append.

    Attributes:
        position: where the entry is.
        revision: the how manyeth of its key it is, from 1; None without a key, or where the broker
            does not count.
    """

    position: Position
    revision: int | None = None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry of a stream.

    Attributes:
        position: where it is.
        body: the bytes; None where it has none: somebody else wrote it in another form.
        key: its key, or None.
        revision: the how manyeth of its key it is; None where nobody counted.
        attempt: the how manyeth delivery within its group it is, from 1; None where the broker does
            not count, or where no group reads.
        more: what else it holds, by name.
    """

    position: Position
    body: bytes | None
    key: str | None = None
    revision: int | None = None
    attempt: int | None = None
    more: Mapping[str, bytes] = {}


@dataclass(frozen=True, slots=True)
class Extent:
    """One partition: how much there is. `first` and `last` are None while nothing is.

    Attributes:
        length: how many entries are kept.
        first: the oldest one.
        last: the newest one.
        end: the last position that was ever given, trimmed or not; None for none.
        removed: how many entries that were appended are not kept any more; None where the broker
            does not know.
    """

    partition: int
    length: int
    first: Position | None
    last: Position | None
    end: Position | None
    removed: int | None = 0
