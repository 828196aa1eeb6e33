"""What a queue has handed out here, and to whom an answer may be on its way that never arrived."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from labkit.broker import Delivery


class Handed:
    """Who was told of which deliveries; broken connections leave workers that must ask again."""

    def __init__(self) -> None:
        self._tags: dict[str, set[str]] = {}  # by worker
        self._unsure: set[str] = set()  # workers that may have been given what never arrived

    def unsure(self, worker: str) -> bool:
        """Whether the worker may hold what it was never told of."""
        return worker in self._unsure

    @contextmanager
    def told(self, worker: str, found: Sequence[Delivery] = ()) -> Iterator[None]:
        """If this breaks, the worker may hold what it was never told of: it asks the next time."""
        try:
            yield
        except BaseException:
            self.back(found)
            self._unsure.add(worker)
            raise

    def out(self, worker: str, found: list[Delivery]) -> list[Delivery]:
        """The worker is told of these now."""
        self._tags.setdefault(worker, set()).update([item.tag for item in found])
        return found

    def back(self, deliveries: Iterable[Delivery]) -> None:
        """They are no longer in its hands."""
        for item in deliveries:
            held = self._tags.get(item.worker)
            if held:
                held.discard(item.tag)

    def forget(self, worker: str) -> None:
        """It has gone, or what it held has been taken away."""
        self._tags.pop(worker, None)

    def leave(self, worker: str) -> None:
        """It has gone: nothing on its way is for it."""
        self.forget(worker)
        self._unsure.discard(worker)

    def find(self, worker: str, holds: Sequence[Delivery], count: int) -> list[Delivery]:
        """Of what it holds, `count` that it has never been told of; sure if that was all."""
        known = self._tags.get(worker, set())
        found = [item for item in holds if item.tag not in known]
        if len(found) <= count:
            self._unsure.discard(worker)
        return self.out(worker, found[:count])
