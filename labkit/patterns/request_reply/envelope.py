"""What a request and a reply say beside their content.

In a request's metadata: `correlation_id` (which request this is), `reply_to` (the inbox for the
reply), `deadline` (seconds since 1970 on the lab's clock, after which nobody waits), `attempt`. A
reply repeats the correlation id. It is of type "reply", or of type "error" with content
`{"type": …, "message": …}`.

A deadline is a time of day: the clocks of the hosts that take part must agree. Within one clock it
is exact; for others a responder allows some grace.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

from labkit.clock import Clock
from labkit.errors import DecodeError
from labkit.message import Message

REPLY = "reply"
ERROR = "error"

LONGEST_ERROR = 2_000
"""Characters of a handler's error that travel back."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as a responder reads it.

    Attributes:
        message: the request.
        correlation_id: which one it is.
        reply_to: where the reply goes.
        deadline: seconds since 1970, or None for no deadline.
    """

    message: Message
    correlation_id: str
    reply_to: str
    deadline: float | None


def read_request(body: bytes, service: str, max_bytes: int) -> Call:
    """The request in a body.

    Raises:
        DecodeError: it is no message, or no request.
    """
    message = Message.decode(body, channel=service, max_bytes=max_bytes)
    deadline = message.metadata.get("deadline")
    if isinstance(deadline, bool) or not isinstance(deadline, int | float | None):
        raise DecodeError("metadata.deadline: expected seconds since 1970", body, service)
    return Call(
        message,
        _text(message, "correlation_id", body, service),
        _text(message, "reply_to", body, service),
        deadline,
    )


def read_reply(body: bytes, max_bytes: int) -> tuple[Message, str]:
    """The reply in a body, and its correlation id.

    Raises:
        DecodeError: it is no message, or no reply.
    """
    message = Message.decode(body, max_bytes=max_bytes)
    return message, _text(message, "correlation_id", body, None)


def on_clock(message: Message, clock: Clock) -> int | None:
    """When the message was sent, in nanoseconds of `clock`; None if another clock says so."""
    epoch, sent_ns = message.metadata.get("epoch"), message.metadata.get("sent_ns")
    same = isinstance(epoch, str) and epoch.startswith(f"{clock.id}.")
    return sent_ns if same and type(sent_ns) is int else None


def error_content(error: BaseException, *, expose_traceback: bool) -> dict[str, Any]:
    """What an error reply says of a handler's error; always something that can be sent."""
    content = {"type": type(error).__name__, "message": sendable(_message(error))}
    if expose_traceback:  # its end says where it happened
        lines = "".join(traceback.format_exception(error))
        content["traceback"] = sendable(lines[-LONGEST_ERROR:])
    return content


def error_facts(message: Message) -> tuple[str, str, str | None]:
    """Type, text and traceback in an error reply, whoever wrote it."""
    content = message.content if isinstance(message.content, dict) else {"message": message.content}
    trace = content.get("traceback")
    return (
        str(content.get("type", "unknown error")),
        str(content.get("message", "")),
        trace if isinstance(trace, str) else None,
    )


def _text(message: Message, name: str, body: bytes, channel: str | None) -> str:
    value = message.metadata.get(name)
    if isinstance(value, str) and value:
        return value
    raise DecodeError(f"metadata.{name}: expected a non-empty str", body, channel)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(an error that cannot say what it is)"


def sendable(text: str) -> str:
    """Text that JSON can hold, and not too much of it: no lone surrogates."""
    clean = text.encode("utf-8", "backslashreplace").decode()
    return clean if len(clean) <= LONGEST_ERROR else clean[: LONGEST_ERROR - 1] + "…"
