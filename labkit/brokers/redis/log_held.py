"""What a member of a group was given and has not committed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from labkit.broker import Entry, Position


class Held:
    """Ids of entries, each once.

    Most members are given ever newer entries and commit all that they have: for those, the batches
    as they came will do. As soon as anything else is asked, the ids are put into a dict.
    """

    def __init__(self) -> None:
        self._batches: list[list[str]] = []
        self._ids: dict[str, None] = {}
        self._furthest: tuple[int, ...] = ()
        self._mixed = False  # not in the stream's order: some were claimed, or came again

    def add(self, entries: Sequence[Entry]) -> None:
        """These were given, in the stream's order."""
        if not entries:
            return
        self._mixed = self._mixed or entries[0].position.order <= self._furthest
        self._furthest = max(self._furthest, entries[-1].position.order)
        self._batches.append([entry.position.text for entry in entries])

    def up_to(self, place: Position) -> list[str]:
        """Those that are not behind it, in the stream's order."""
        last = place.order
        if last >= self._furthest and self._plain:  # all of it, as most do
            return list(chain.from_iterable(self._batches))
        ids = self._as_dict()
        found = list(ids) if last >= self._furthest else [i for i in ids if order(i) <= last]
        return sorted(found, key=order) if self._mixed else found

    def discard(self, ids: Iterable[str]) -> None:
        """It does not hold these any more."""
        held = self._as_dict()
        for entry_id in ids:
            held.pop(entry_id, None)
        if not held:
            self.clear()

    def clear(self) -> None:
        """It holds nothing any more."""
        self._batches.clear()
        self._ids.clear()
        self._furthest, self._mixed = (), False

    def __contains__(self, entry_id: str) -> bool:
        return entry_id in self._as_dict()

    def __len__(self) -> int:
        return sum(map(len, self._batches)) if self._plain else len(self._as_dict())

    @property
    def _plain(self) -> bool:
        return not (self._ids or self._mixed)

    def _as_dict(self) -> dict[str, None]:
        for batch in self._batches:
            self._ids.update(dict.fromkeys(batch))
        self._batches.clear()
        return self._ids


def order(entry_id: str) -> tuple[int, ...]:
    """What ids are compared by."""
    return Position(entry_id).order
