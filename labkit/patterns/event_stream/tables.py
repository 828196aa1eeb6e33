"""Where everybody stands, as tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from labkit._html import table
from labkit.broker import Extent, GroupState, Holding

if TYPE_CHECKING:
    import pandas

_COLUMNS = ("group", "delivered", "committed", "unread", "pending", "lag", "members")
_HOLDING_COLUMNS = ("member", "holds", "attempt")


class Positions:
    """Where the groups of a stream stand, as a table: a row a group (and a partition).

    `delivered` is the last event that a member was given, `committed` the last one up to which all
    is done, `unread` and `pending` count what was not given yet and what was given and is not
    committed; `lag` is both together: what the group has still to do.
    """

    def __init__(
        self, stream: str, extents: Iterable[Extent], groups: Iterable[GroupState]
    ) -> None:
        self.stream = stream
        self.extents = tuple(extents)
        self.groups = tuple(groups)

    def __getitem__(self, group: str) -> GroupState:
        found = {state.name: state for state in self.groups}
        if group not in found:
            raise KeyError(f"No group {group!r}; there are: {', '.join(found) or 'none'}")
        return found[group]

    def __len__(self) -> int:
        return len(self.groups)

    def rows(self) -> list[tuple[object, ...]]:
        """Group, delivered, committed, unread, pending, lag, members (with what each holds)."""
        return [
            (
                state.name,
                place.delivered and str(place.delivered),
                place.committed and str(place.committed),
                place.unread,
                place.pending,
                place.lag,
                ", ".join(
                    name if held is None else f"{name} {held}"
                    for name, held in state.pending.items()
                ),
            )
            for state in self.groups
            for place in state.places
        ]

    def to_frame(self) -> pandas.DataFrame:
        """One row a group: group, delivered, committed, unread, pending, lag, members."""
        import pandas

        return pandas.DataFrame(self.rows(), columns=list(_COLUMNS))

    @property
    def summary(self) -> str:
        """How much there is, and from where to where."""
        told = []
        for extent in self.extents:
            where = f"partition {extent.partition}: " if len(self.extents) > 1 else ""
            span = f", {extent.first} to {extent.last}" if extent.length else ""
            told.append(f"{where}{extent.length:,} events{span}")
        return f"Stream {self.stream!r}: {'; '.join(told)}"

    def __repr__(self) -> str:
        lines = [self.summary]
        for name, delivered, committed, unread, pending, lag, members in self.rows():
            lines.append(
                f"{name}: delivered up to {delivered or '-'}, committed up to {committed or '-'}, "
                f"{unread} unread, {pending} pending, lag {lag}; members: {members or 'none'}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return table(_COLUMNS, self.rows(), self.summary)


class Holdings(list[Holding]):
    """Who is responsible for what, as a table."""

    def to_frame(self) -> pandas.DataFrame:
        """One row an entry (or a partition): member, holds, attempt."""
        import pandas

        return pandas.DataFrame(self._rows(), columns=list(_HOLDING_COLUMNS))

    def __repr__(self) -> str:
        lines = [
            f"{member} holds {holds}" + (f" (attempt {attempt})" if attempt else "")
            for member, holds, attempt in self._rows()
        ]
        return "\n".join(lines) or "nobody holds anything"

    def _repr_html_(self) -> str:
        return table(_HOLDING_COLUMNS, self._rows(), "Who holds what")

    def _rows(self) -> list[tuple[object, ...]]:
        return [
            (
                row.member,
                f"partition {row.partition}" if row.position is None else str(row.position),
                row.attempt,
            )
            for row in self
        ]
