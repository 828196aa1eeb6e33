"""What a subscriber hands out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from labkit._html import table
from labkit.message import Message

if TYPE_CHECKING:
    import pandas


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """A message that arrived.

    Attributes:
        channel: where it was published.
        message: the message.
        pattern: the pattern it matched, or None for a subscription by name.
    """

    channel: str
    message: Message
    pattern: str | None = None

    @property
    def content(self) -> Any:
        """The message's content."""
        return self.message.content


class Inbox(list[Incoming]):
    """Messages in the order in which they were handled; a table in a notebook."""

    def to_frame(self) -> pandas.DataFrame:
        """One row a message: channel, type, content, sender, pattern."""
        import pandas

        return pandas.DataFrame(self._rows(), columns=["channel", "type", "content", "sender"])

    def _rows(self) -> list[tuple[str, str, Any, str]]:
        return [(i.channel, i.message.type, i.content, i.message.sender) for i in self]

    def __repr__(self) -> str:
        lines = [f"{channel}  {kind}  {content}" for channel, kind, content, _ in self._rows()]
        return "\n".join(lines) or "(no messages)"

    def _repr_html_(self) -> str:
        caption = f"{len(self)} message{'' if len(self) == 1 else 's'}"
        return table(("channel", "type", "content", "sender"), self._rows(), caption)
