"""What goes into a stream, what comes out of it, and what comes out that is no event."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from labkit._html import table
from labkit.broker import Entry, Position
from labkit.envelopes import decode_many
from labkit.errors import DecodeError
from labkit.message import Message

if TYPE_CHECKING:
    import pandas

DEFAULT_TYPE = "event"
_ROWS_SHOWN = 60
_COLUMNS = ("position", "key", "revision", "type", "content", "timestamp", "sender")


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to be appended, with more than its content.

    Attributes:
        content: any JSON value, or a ready `Message`.
        key: what the event is about; events of one key keep their order on every broker.
        type: what happened, as `noun.verb`.
        version: the form of the content, from 1; it stands in the metadata as `version`.
        metadata: facts about the event, beside those that labkit adds.
    """

    content: Any
    key: str | None = None
    type: str | None = None
    version: int | None = None
    metadata: dict[str, Any] | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event, read from a stream.

    Attributes:
        position: where it is; its `str` can be written down and read from again.
        message: the envelope.
        key: what it is about, or None.
        revision: the how manyeth event of its key it is, from 1; None where nobody counted.
        attempt: the how manyeth delivery within its group it is; None where no group reads.
    """

    position: Position
    message: Message
    key: str | None = None
    revision: int | None = None
    attempt: int | None = None

    @property
    def type(self) -> str:
        """What happened, as `noun.verb`."""
        return self.message.type

    @property
    def content(self) -> Any:
        """The facts."""
        return self.message.content

    @property
    def time(self) -> datetime:
        """When, as the sender says (UTC)."""
        return self.message.time

    @property
    def id(self) -> str | None:
        """The message id; an event that was appended twice has it twice."""
        return self.message.id

    @property
    def version(self) -> int:
        """The form of the content, from 1."""
        found = self.message.metadata.get("version", 1)
        return found if type(found) is int else 1

    @property
    def label(self) -> str:
        """What a person would call it: "B6 739 departed"."""
        return self.message.label

    def __repr__(self) -> str:
        of_key = f" of {self.key!r}" if self.key is not None else ""
        number = f", number {self.revision}{of_key}" if self.revision else of_key
        return f"<Event {self.type!r} at {self.position}{number}: {self.content!r}>"


class UnreadableEvent(DecodeError):
    """An entry that is no event. It is counted and kept; it never ends a loop.

    Attributes:
        position: where it is.
        key: its key, or None.
        body: its bytes, whole; b"" if it has none.
        more: what it holds beside those, by name: somebody else wrote it.
    """

    def __init__(self, reason: str, entry: Entry, stream: str) -> None:
        self.position = entry.position
        self.key = entry.key
        self.body = entry.body or b""
        self.more = dict(entry.more)
        super().__init__(f"{reason}, at {entry.position}", self.body, stream)


class Events(list[Event]):
    """Events in order, as a table in a notebook; what was unreadable among them is beside it."""

    def __init__(
        self, events: Iterable[Event] = (), unreadable: Sequence[UnreadableEvent] = ()
    ) -> None:
        super().__init__(events)
        self.unreadable = tuple(unreadable)

    def add(self, more: Events) -> None:
        """What comes behind these."""
        self += more
        self.unreadable += more.unreadable

    def to_frame(self) -> pandas.DataFrame:
        """One row an event: position, key, revision, type, content, timestamp, sender."""
        import pandas

        return pandas.DataFrame([_row(event) for event in self], columns=list(_COLUMNS))

    def __repr__(self) -> str:
        lines = [repr(event) for event in self[:_ROWS_SHOWN]]
        if len(self) > _ROWS_SHOWN:
            lines.append(f"… {len(self):,} events in all")
        return "\n".join([*lines, *self._about_unreadable()]) or "no events"

    def _repr_html_(self) -> str:
        shown = "" if len(self) <= _ROWS_SHOWN else f", the first {_ROWS_SHOWN} shown"
        caption = "; ".join([f"{len(self):,} events{shown}", *self._about_unreadable()])
        return table(_COLUMNS, map(_row, self[:_ROWS_SHOWN]), caption)

    def _about_unreadable(self) -> list[str]:
        return [f"{len(self.unreadable):,} unreadable"] if self.unreadable else []


def _row(event: Event) -> tuple[object, ...]:
    message = event.message
    about = (str(event.position), event.key, event.revision)
    return (*about, message.type, message.content, message.timestamp, message.sender)


def read_entries(
    entries: Sequence[Entry], stream: str, max_bytes: int
) -> list[Event | UnreadableEvent]:
    """What the entries are, in order."""
    bodies = [entry.body or b"" for entry in entries]
    messages = decode_many(bodies, channel=stream, max_bytes=max_bytes)
    return [
        Event(entry.position, message, entry.key, entry.revision, entry.attempt)
        if type(message) is Message
        else _unreadable(entry, message, stream)
        for entry, message in zip(entries, messages, strict=True)
    ]


def _unreadable(entry: Entry, error: Message | DecodeError, stream: str) -> UnreadableEvent:
    if entry.body is None:
        fields = ", ".join(f"{name}={value!r}" for name, value in entry.more.items())
        return UnreadableEvent(f"no body, but {fields[:200] or 'nothing'}", entry, stream)
    assert isinstance(error, DecodeError)
    return UnreadableEvent(error.reason, entry, stream)
