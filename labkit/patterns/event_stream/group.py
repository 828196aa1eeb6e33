"""Readers that share a stream: each event to one member, at least once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from labkit.broker import GroupState, StreamGroup
from labkit.errors import ConfigurationError
from labkit.patterns.event_stream.member import Member
from labkit.patterns.event_stream.places import Start, cursor_before, the_end
from labkit.patterns.event_stream.tables import Holdings

if TYPE_CHECKING:
    from labkit.patterns.event_stream.stream import EventStream


class Group:
    """A group of readers of one stream: what one member is given, no other is.

    Each group has a place of its own; several groups read the same events.
    """

    def __init__(self, stream: EventStream, name: str, group: StreamGroup) -> None:
        self.stream = stream
        self.name = name
        self._group = group

    def join(self, name: str = "reader") -> Member:
        """A new member. Two that live at once need two names.

        One that takes up the name of a dead member is first given what that one held.
        """
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"A member's name is a non-empty str, got {name!r}.")
        return Member(self.stream, self.name, name, self._group.join(name))

    def state(self) -> GroupState:
        """Where it stands, and what each member was given and has not committed."""
        return self._group.state()

    def lag(self) -> int:
        """How many events it has not committed: unread ones, and those in members' hands."""
        return sum(place.lag for place in self.state().places)

    def owners(self, limit: int = 1000) -> Holdings:
        """Who is responsible for what: for each entry (or partition) the member that holds it."""
        return Holdings(self._group.holdings(limit))

    def rewind(self, start: Start = "first") -> None:
        """Read again from there, or skip to there ("end"); nobody holds anything any more."""
        log = self.stream.log
        self._group.reset(the_end(log) if start == "end" else cursor_before(log, start))

    def delete(self) -> None:
        """Forget the group, and where it stood."""
        self._group.delete()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def __repr__(self) -> str:
        return f"<Group {self.name!r} of stream {self.stream.name!r}>"
