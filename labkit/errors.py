"""What can go wrong, in the words of the person who reads it in a notebook.

Every error that labkit raises is a `LabkitError`, and says what happened, to what, and what to
do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labkit._words import plural

PREVIEW_BYTES = 64
"""How much of an unreadable body a `DecodeError` keeps."""


class LabkitError(Exception):
    """The parent of all errors raised by labkit. They survive being sent between processes."""

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[LabkitError], args: tuple[object, ...], state: dict[str, object]) -> object:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


def describe(error: BaseException) -> str:
    """Type and text of any exception: "KeyError: 'delay'"; never raises itself."""
    try:
        text = str(error)
    except Exception:
        text = "(an error that cannot say what it is)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


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
        duplicates: the broker refused these, because tasks of their ids are in already.
        returned: those of `sent` that the broker had nobody for, and said so (RabbitMQ does).
    """

    def __init__(
        self,
        reason: str,
        *,
        sent: Sequence[int] = (),
        unknown: Sequence[int] = (),
        unsent: Sequence[int] = (),
        duplicates: Sequence[int] = (),
        returned: Sequence[int] = (),
    ) -> None:
        self.sent = tuple(sent)
        self.unknown = tuple(unknown)
        self.unsent = tuple(unsent)
        self.duplicates = tuple(duplicates)
        self.returned = tuple(returned)
        total = len(sent) + len(unknown) + len(unsent) + len(duplicates)
        twice = f", {len(duplicates)} in already (.duplicates)" if duplicates else ""
        super().__init__(
            f"{reason} Of {plural(total, 'message')}: {len(sent)} sent, "
            f"{len(unknown)} unknown, {len(unsent)} not sent "
            f"(see .sent, .unknown and .unsent of this error){twice}."
        )


class BufferFull(LabkitError):
    """A subscriber with `overflow="error"` got more than its buffer holds."""


class ServerError(LabkitError):
    """A server on this machine that could not be found, started or stopped."""


class BrokerRefused(LabkitError):
    """The broker answered, and the answer is no: not allowed, wrong arguments, out of memory."""


class QueueFull(BatchError):
    """A bounded queue has no room for one of the tasks; those before it are in."""


class RequestTimeout(LabkitError, TimeoutError):
    """No reply in time. The work may have been done all the same, or may still be.

    Attributes:
        service: who was asked.
        correlation_id: which request.
        seconds: how long a reply was waited for.
    """

    def __init__(self, service: str, correlation_id: str, seconds: float) -> None:
        self.service = service
        self.correlation_id = correlation_id
        self.seconds = seconds
        super().__init__(
            f"No reply from {service!r} within {seconds:g} s (request {correlation_id}). It may "
            "have done the work or not: ask again only if doing it twice is harmless, or give it "
            "a longer timeout."
        )


class NoResponder(LabkitError):
    """Nobody serves what was asked for; the request was not sent.

    Attributes:
        service: who was asked.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        super().__init__(
            f"Nobody serves {service!r}, so the request was not sent. Check the name, and start "
            f"a Responder(lab, {service!r}, handler)."
        )


class RemoteError(LabkitError):
    """The responder's handler failed, and said so in its reply.

    Attributes:
        remote_type: the type of its error: "KeyError".
        remote_message: the text of its error.
        service: who was asked.
        responder: who failed.
        remote_traceback: where it failed, or None: told only with `expose_traceback=True`.
    """

    def __init__(
        self,
        remote_type: str,
        remote_message: str,
        *,
        service: str,
        responder: str,
        remote_traceback: str | None = None,
    ) -> None:
        self.remote_type = remote_type
        self.remote_message = remote_message
        self.service = service
        self.responder = responder
        self.remote_traceback = remote_traceback
        super().__init__(
            f"{responder!r} could not answer for {service!r}: {remote_type}: {remote_message}. "
            "The error is in the responder; mend the request if that is what it complains of."
        )


class Conflict(LabkitError):
    """Somebody else has appended meanwhile: what was decided was decided on an old state.

    Attributes:
        key: of which key the entries are.
        expected: how many entries of it the caller had seen.
        actual: how many there are.
    """

    def __init__(self, key: str, expected: int, actual: int) -> None:
        self.key = key
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"{key!r} was expected at revision {expected} and is at {actual}; nothing was "
            "appended. Read what is new, decide again, and append with the revision you then know."
        )


class TrimRefused(LabkitError):
    """A trim that would have destroyed entries that groups have not done with; nothing is gone.

    Attributes:
        stream: which stream.
        unread: for each group that has not read some of them, how many.
        pending: for each group that has read and not committed some of them, how many.
    """

    def __init__(self, stream: str, unread: Mapping[str, int], pending: Mapping[str, int]) -> None:
        self.stream = stream
        self.unread = dict(unread)
        self.pending = dict(pending)
        told = [f"{count:,} that {name!r} has not read" for name, count in unread.items()]
        told += [f"{count:,} that {name!r} has not committed" for name, count in pending.items()]
        super().__init__(
            f"Trimming {stream!r} would destroy {', '.join(told)}. Let them be done first, or "
            "pass force=True to destroy them."
        )


class PoisonEvent(LabkitError):
    """An event that a projection cannot apply; it has stopped just before it.

    Attributes:
        projection: which projection.
        position: where the event is, as `skip` takes it.
        reason: what was raised, or why it is unreadable.
    """

    def __init__(self, projection: str, position: str, reason: str) -> None:
        self.projection = projection
        self.position = position
        self.reason = reason
        super().__init__(
            f"Projection {projection!r} stopped before the event at {position}: {reason}. Mend the "
            f"function and catch up again, or leave the event out: projection.skip({position!r})."
        )


class SnapshotMismatch(LabkitError):
    """A snapshot, or the place of a projection, that does not fit to the stream or to the code."""
