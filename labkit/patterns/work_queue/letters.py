"""Dead letters: tasks that nobody will try again, with what happened to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit._html import table
from labkit.broker import DeadItem
from labkit.errors import DecodeError
from labkit.message import Message

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One of them.

    Attributes:
        id: names the task.
        body: its bytes.
        message: the task; None if the bytes are not one.
        attempts: how often it was delivered.
        reason: why it is here.
        errors: what each attempt ended with, oldest first.
        died: when, seconds since 1970.
    """

    id: str
    body: bytes
    message: Message | None
    attempts: int
    reason: str
    errors: tuple[str, ...]
    died: float

    @classmethod
    def read(cls, item: DeadItem, max_bytes: int) -> DeadLetter:
        """From what the broker keeps."""
        try:
            message = Message.decode(item.body, max_bytes=max_bytes)
        except DecodeError:
            message = None
        return cls(item.id, item.body, message, item.attempts, item.reason, item.errors, item.died)

    @property
    def content(self) -> Any:
        """What was to be done; the bytes, if they are not a message."""
        return self.body if self.message is None else self.message.content


class DeadLetters(list[DeadLetter]):
    """Dead letters, oldest first; a table in a notebook."""

    def to_frame(self) -> pandas.DataFrame:
        """One row a letter: id, content, attempts, reason, errors."""
        import pandas

        return pandas.DataFrame(self._rows(), columns=list(_COLUMNS))

    def _rows(self) -> list[tuple[str, Any, int, str, str]]:
        return [(d.id, d.content, d.attempts, d.reason, " | ".join(d.errors)) for d in self]

    def __repr__(self) -> str:
        lines = [
            f"{id}  {content}  {attempts} attempts  {reason}  {errors}".rstrip()
            for id, content, attempts, reason, errors in self._rows()
        ]
        return "\n".join(lines) or "(no dead letters)"

    def _repr_html_(self) -> str:
        caption = f"{len(self):,} dead letter{'' if len(self) == 1 else 's'}"
        return table(_COLUMNS, self._rows(), caption)


_COLUMNS = ("id", "content", "attempts", "reason", "errors")
