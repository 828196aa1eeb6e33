"""A read model: what the events of a stream come to, and can come to again."""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar, cast

from labkit.broker import Cursor, Position
from labkit.errors import (
    BrokerUnavailable,
    ConfigurationError,
    PoisonEvent,
    SnapshotMismatch,
    describe,
)
from labkit.patterns.event_stream.event import Event, UnreadableEvent
from labkit.patterns.event_stream.ledger import tell_of
from labkit.patterns.event_stream.places import End, missed_before, up_to
from labkit.patterns.event_stream.snapshot import ProjectionStatistics, Snapshot
from labkit.patterns.event_stream.stream import EventStream
from labkit.patterns.event_stream.upcasting import Upcaster, Upcasters
from labkit.patterns.statistics import Tally
from labkit.trace import Action

State = TypeVar("State")


class Projection(Generic[State]):
    """A state that is computed from the events of a stream, one after the other, and nothing else.

    Events are read in batches: memory holds the state and one batch. It belongs to one thread.

    Args:
        initial: the state before the first event: a value (each rebuild gets a copy of its own) or
            a function that makes one, such as `dict`.
        apply: called with the state and an event; returns the new state, or changes the state that
            it was given and returns None.
        name: names it in errors and in snapshots.
        version: of the function `apply`: a snapshot of another version is refused.
        upcasters: from `(type, version)` to a function that makes a content of that version into
            one of the next; `apply` then sees the newest form alone.
    """

    def __init__(
        self,
        initial: State | Callable[[], State],
        apply: Callable[[State, Event], State | None],
        *,
        name: str = "projection",
        version: int = 1,
        upcasters: Mapping[tuple[str, int], Upcaster] | None = None,
    ) -> None:
        if not callable(apply):
            raise ConfigurationError(f"apply is a function of (state, event), got {apply!r}.")
        self.name = name
        self.version = version
        self._initial = initial
        self._apply = apply
        self._upcast = Upcasters(upcasters or {})
        self._skips: set[str] = set()
        self._tally = Tally()
        self._begin(self._first_state(), {}, Counter(), 0)

    # --- the state and its place ----------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the events up to `cursor` come to."""
        return self._state

    @property
    def cursor(self) -> Cursor:
        """Where it stands: in each partition, the last event behind it."""
        return dict(self._cursor)

    @property
    def position(self) -> str:
        """The same, as one reads it; "" at the beginning."""
        return ", ".join(map(str, self._cursor.values()))

    @property
    def applied(self) -> int:
        """How many events its state comes from, those of its snapshot included."""
        return self._applied

    @property
    def missed(self) -> int:
        """How many events were trimmed before it could read them: its state lacks them."""
        return self._missed

    def rebuild(self, stream: EventStream, end: End = None) -> State:
        """Forget the state, and compute it from the first event on; returns it.

        Raises:
            PoisonEvent: an event cannot be applied; the state is that just before it.
        """
        self._begin(self._first_state(), {}, Counter(), 0)
        self.catch_up(stream, end)
        return self._state

    def catch_up(self, stream: EventStream, end: End = None) -> int:
        """Apply what has come since; returns how many events were applied.

        Raises:
            PoisonEvent: an event cannot be applied; the state is that just before it.
            SnapshotMismatch: it stands where the stream never was.
        """
        if self._suspect and not self._undo(stream):
            raise SnapshotMismatch(
                f"Projection {self.name!r} was interrupted in the middle of an event, and what it "
                "came from is trimmed. Restore a snapshot, or rebuild it."
            )
        self._check(stream)
        before = self._applied
        for found, _ in stream.batches(self._cursor, end):
            self._apply_batch(stream, found)
        return self._applied - before

    def skip(self, event: Position | str | Event | UnreadableEvent | PoisonEvent) -> None:
        """Leave this event out, now and in every rebuild. Skips stand in snapshots, too."""
        place = (
            event.position if isinstance(event, Event | UnreadableEvent | PoisonEvent) else event
        )
        self._skips.add(str(Position.parse(str(place))))

    @property
    def skips(self) -> tuple[str, ...]:
        """The positions to be left out."""
        return tuple(sorted(self._skips))

    # --- snapshots ------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The state with its place, to go on from later.

        Raises:
            ConfigurationError: the state is not what JSON can hold.
        """
        return Snapshot.of(
            self.name,
            self.version,
            self._cursor,
            self._seen,
            self._applied,
            self.skips,
            self._state,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Stand where the snapshot stood.

        Raises:
            SnapshotMismatch: it is of another projection, or of another version of its function.
        """
        if (snapshot.name, snapshot.version) != (self.name, self.version):
            raise SnapshotMismatch(
                f"The snapshot is of projection {snapshot.name!r}, version {snapshot.version}; "
                f"this is {self.name!r}, version {self.version}. Use rebuild(stream)."
            )
        self._skips |= set(snapshot.skips)
        state = cast(State, copy.deepcopy(snapshot.state))
        seen = Counter({int(p): n for p, n in snapshot.seen.items()})
        self._begin(state, snapshot.cursor(), seen, snapshot.applied)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a snapshot as JSON; a crash in between leaves the old file."""
        return self.snapshot().write(Path(path))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read what `save` wrote.

        Raises:
            SnapshotMismatch: it is no snapshot, or one of another projection.
        """
        self.restore(Snapshot.read(Path(path)))

    def stats(self) -> ProjectionStatistics:
        """What it did here, up to now."""
        return self._tally.fill(ProjectionStatistics, self.name, missed=self._missed)

    def __repr__(self) -> str:
        missed = f", {self._missed:,} events were trimmed before it" if self._missed else ""
        place = self.position or "the beginning"
        return f"<Projection {self.name!r}: {self._applied:,} events, at {place}{missed}>"

    # --- inside ---------------------------------------------------------------------------------

    def _first_state(self) -> State:
        if callable(self._initial):
            return self._initial()
        return copy.deepcopy(self._initial)

    def _begin(
        self, state: State, cursor: Mapping[int, Position], seen: Counter[int], applied: int
    ) -> None:
        self._state = state
        self._cursor = dict(cursor)
        self._seen = seen
        self._applied = applied
        self._missed = 0
        self._suspect = False  # an event may be half in the state
        self._base = (copy.deepcopy(state), dict(cursor), Counter(seen), applied)

    def _check(self, stream: EventStream) -> None:
        """Is the stream the one that we come from? Have we missed what was trimmed?"""
        missed = missed_before(self._cursor, self._seen, stream.log)
        if missed is None:
            raise SnapshotMismatch(
                f"Projection {self.name!r} stands at {self.position}, and stream {stream.name!r} "
                "does not go so far: it is another stream, or the broker has lost events. Use "
                "rebuild(stream)."
            )
        self._missed += sum(missed.values())
        self._seen.update(missed)

    def _apply_batch(
        self, stream: EventStream, found: Sequence[Event | UnreadableEvent], *, again: bool = False
    ) -> None:
        apply, upcast, skips = self._apply, self._upcast, self._skips
        state, index = self._state, 0
        skipped: list[Event | UnreadableEvent] = []
        self._suspect = True
        try:
            for index, item in enumerate(found):  # noqa: B007
                if skips and str(item.position) in skips:
                    skipped.append(item)
                    continue
                if type(item) is not Event:
                    raise cast(UnreadableEvent, item)
                new = apply(state, upcast(item) if upcast else item)
                if new is not None:
                    state = new
        except BaseException as error:
            self._passed(stream, found[:index], skipped, state, again)
            if again or not isinstance(error, Exception):
                raise
            raise self._poison(stream, found[index], error) from error
        self._passed(stream, found, skipped, state, again)
        self._suspect = False

    def _passed(
        self,
        stream: EventStream,
        items: Sequence[Event | UnreadableEvent],
        skipped: Sequence[Event | UnreadableEvent],
        state: State,
        again: bool,
    ) -> None:
        """These are in the state, or skipped."""
        self._state = state
        self._cursor.update((item.position.partition, item.position) for item in items)
        self._seen.update(item.position.partition for item in items)
        self._applied += len(items) - len(skipped)
        if again:
            return
        upcast = self._upcast.take_count()
        self._tally.add(
            stream.name, messages=len(items) - len(skipped), skipped=len(skipped), upcast=upcast
        )
        for item in skipped:
            tell_of(stream.lab, self.name, stream.name, Action.SKIPPED, item, "")

    def _poison(
        self, stream: EventStream, item: Event | UnreadableEvent, error: Exception
    ) -> PoisonEvent:
        reason = error.reason if isinstance(error, UnreadableEvent) else describe(error)
        self._tally.add(stream.name, poisoned=1)
        tell_of(stream.lab, self.name, stream.name, Action.FAILED, item, reason)
        if not self._undo(stream):
            reason += " (the state may hold a part of it: what it came from has been trimmed)"
        return PoisonEvent(self.name, str(item.position), reason)

    def _undo(self, stream: EventStream) -> bool:
        """A function that raised may have changed half: compute the state before it again."""
        cursor, applied = dict(self._cursor), self._applied
        after = (self._state, cursor, self._seen, applied)
        self._state, self._cursor, self._seen, self._applied = copy.deepcopy(self._base)
        base_cursor = dict(self._cursor)
        try:
            for found, _ in stream.batches(base_cursor):
                inside = up_to(found, cursor)
                self._apply_batch(stream, inside, again=True)
                if len(inside) < len(found):
                    break
        except BrokerUnavailable:  # the next one tries again
            self._state, self._cursor, self._seen, self._applied = after
            self._suspect = True
            raise
        except Exception:  # a function that does not do the same twice
            self._applied = -1
        self._suspect = self._applied != applied
        if self._suspect:
            self._state, self._cursor, self._seen, self._applied = after
        return not self._suspect
