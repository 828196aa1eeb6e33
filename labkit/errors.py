"""What can go wrong, in the words of the person who reads it in a notebook.

Every error that labkit raises is a `LabkitError`, and says what happened, to what, and what to
do next.
"""

from __future__ import annotations

from collections.abc import Sequence

PREVIEW_BYTES = 64
"""How much of an unreadable body a `DecodeError` keeps."""


class LabkitError(Exception):
    """The parent of all errors raised by labkit."""


class ConfigurationError(LabkitError, ValueError):
    """An argument or an address that cannot work."""


class ValidationError(LabkitError, ValueError):
    """A message that does not have the form it must have: which field, and what was expected."""

    def __init__(self, field: str, expected: str, got: str | None = None) -> None:
        self.field = field
        self.expected = expected
        self.got = got
        super().__init__(f"{field}: expected {expected}" + (f", got {got}" if got else "") + ".")


class MessageTooLarge(ValidationError):
    """A message over the size limit."""

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            "message",
            f"at most {limit:,} bytes (raise it with max_bytes=…, or send a reference instead)",
            f"{size:,} bytes",
        )


class DecodeError(LabkitError):
    """Bytes that are not a message. Raised by `Message.decode`; a subscriber keeps it as a record.

    Attributes:
        reason: what is wrong, in words.
        channel: where the bytes arrived, or None.
        size: how many bytes they were.
        preview: the first bytes, at most `PREVIEW_BYTES`.
    """

    def __init__(self, reason: str, body: bytes, channel: str | None = None) -> None:
        self.reason = reason
        self.channel = channel
        self.size = len(body)
        self.preview = bytes(body[:PREVIEW_BYTES])
        where = f" on {channel!r}" if channel is not None else ""
        super().__init__(
            f"Unreadable message{where}: {reason} ({self.size:,} bytes, {self.preview!r}"
            f"{'…' if self.size > PREVIEW_BYTES else ''})"
        )


class NotConnected(LabkitError):
    """Used before `connect()`, or after `disconnect()`."""


class NotSupported(LabkitError):
    """The broker at hand cannot do this; the sentence says why."""


class BrokerUnavailable(LabkitError, ConnectionError):
    """No broker answers, or it refuses us.

    `sent` is True where the broker may have acted on what we sent before the connection broke:
    trying again may then do it twice.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        self.sent = sent
        super().__init__(message)


class BatchError(LabkitError):
    """A batch that was not sent whole. Indices are positions in the batch, from 0.

    Attributes:
        sent: the broker confirmed these.
        unknown: on their way when the connection broke; the broker may have them or not.
        unsent: these never left; sending them again is safe.
    """

    def __init__(
        self,
        reason: str,
        *,
        sent: Sequence[int] = (),
        unknown: Sequence[int] = (),
        unsent: Sequence[int] = (),
    ) -> None:
        self.sent = tuple(sent)
        self.unknown = tuple(unknown)
        self.unsent = tuple(unsent)
        super().__init__(
            f"{reason} Of {len(sent) + len(unknown) + len(unsent)} messages: {len(sent)} sent, "
            f"{len(unknown)} unknown, {len(unsent)} not sent "
            "(see .sent, .unknown and .unsent of this error)."
        )


class BufferFull(LabkitError):
    """A subscriber with `overflow="error"` got more than its buffer holds."""


class ServerError(LabkitError):
    """A server on this machine that could not be found, started or stopped."""


class BrokerRefused(LabkitError):
    """The broker answered, and the answer is no: not allowed, wrong arguments, out of memory."""


class QueueFull(BatchError):
    """A bounded queue has no room for one of the tasks; those before it are in."""
