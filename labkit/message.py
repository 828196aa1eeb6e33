"""The envelope: five fields, in JSON, the same on every broker.

    {"type": "user.created", "content": {…}, "timestamp": "2024-01-01T12:00:00.000Z",
     "sender": "user-service", "metadata": {"priority": "high"}}

`content` and `metadata` hold what JSON can hold and nothing else, so that what arrives equals what
was sent. Facts about the delivery (message id, sequence number, …) live in `metadata`.
"""

from __future__ import annotations

import re
from copy import copy
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from labkit._html import table
from labkit._json import MAX_DEPTH, check_json, describe, find_unencodable
from labkit.clock import Clock, SystemClock
from labkit.errors import DecodeError, MessageTooLarge, ValidationError

DEFAULT_MAX_BYTES = 1024 * 1024
"""Largest encoded message, unless told otherwise: 1 MiB."""

LABEL_CHARACTERS = 80
"""Longest label: enough to tell messages apart in a trace."""

FIELDS = ("type", "content", "timestamp", "sender", "metadata")

_TIMESTAMP_EXAMPLE = "2024-01-01T12:00:00.000Z"
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
SHALLOW_BYTES = 2 * MAX_DEPTH + len(
    '{"type":"a","content":,"timestamp":"","sender":"s","metadata":{}}' + _TIMESTAMP_EXAMPLE
)
"""In so many bytes nothing can nest too deeply."""
_SUBJECTS = ("label", "title", "flight", "message", "user_id", "order_id", "id")
_SYSTEM_CLOCK = SystemClock()
_PATH = re.compile(r" - at `\$\.?(.*)`$")


class _Checked(msgspec.StructMeta):
    """Looks at what is made by calling the class. What is decoded was read by a parser, which lets
    through nothing but JSON: there `Message.decode` looks at the rest."""

    def __call__(cls, *fields: Any, **named: Any) -> Any:  # noqa: N805 - of a class
        message = super().__call__(*fields, **named)
        message._check()
        return message


class Message(
    msgspec.Struct, metaclass=_Checked, frozen=True, forbid_unknown_fields=True, gc=False
):
    """One message. Use `Message.new` to let the time stamp be filled in.

    Attributes:
        type: what happened or is asked, as `noun.verb`: "user.created".
        content: the facts: any JSON value, usually an object.
        timestamp: when, ISO-8601 in UTC with milliseconds: "2024-01-01T12:00:00.000Z".
        sender: who says so.
        metadata: facts about the message rather than in it: priority, version, message id, …

    Raises:
        ValidationError: names the field and what was expected there.
    """

    type: str
    content: Any
    timestamp: str
    sender: str
    metadata: dict[str, Any]

    def _check(self) -> None:
        kind, sender = self.type, self.sender
        if type(kind) is not str or not kind:
            raise ValidationError("type", "a non-empty str", describe(kind))
        if type(sender) is not str or not sender:
            raise ValidationError("sender", "a non-empty str", describe(sender))
        _check_timestamp(self.timestamp)
        check_json("content", self.content)
        if type(self.metadata) is not dict:
            raise ValidationError("metadata", "a dict", describe(self.metadata))
        check_json("metadata", self.metadata)

    @classmethod
    def new(
        cls,
        type: str,
        content: Any,
        *,
        sender: str,
        metadata: dict[str, Any] | None = None,
        timestamp: str | None = None,
        clock: Clock = _SYSTEM_CLOCK,
    ) -> Message:
        """A message stamped with the time of `clock`, unless `timestamp` is given."""
        stamp = format_timestamp(clock.now()) if timestamp is None else timestamp
        return cls(type, content, stamp, sender, {} if metadata is None else metadata)

    @property
    def id(self) -> str | None:
        """The message id that the publisher gave it, if it gave one."""
        found = self.metadata.get("message_id")
        return found if isinstance(found, str) else None

    @property
    def time(self) -> datetime:
        """`timestamp` as a datetime (UTC)."""
        return datetime.fromisoformat(self.timestamp)

    @property
    def label(self) -> str:
        """What a person would call it, in at most `LABEL_CHARACTERS`: "B6 739 departed"."""
        verb = self.type.rpartition(".")[2] if "." in self.type else ""
        label = self.type
        if isinstance(self.content, str):
            label = self.content
        elif isinstance(self.content, dict):
            subject = next((name for name in _SUBJECTS if name in self.content), None)
            if subject is not None:
                label = f"{str(self.content[subject])[:LABEL_CHARACTERS]} {verb}".strip()
        return label if len(label) <= LABEL_CHARACTERS else label[: LABEL_CHARACTERS - 1] + "…"

    def with_metadata(self, **facts: Any) -> Message:
        """A copy whose metadata also holds `facts`."""
        check_json("metadata", facts)
        longer = copy(self)  # what was found good in this one is not looked at again
        _set(longer, "metadata", {**self.metadata, **facts})
        return longer

    def encode(self, max_bytes: int = DEFAULT_MAX_BYTES) -> bytes:
        """The message as JSON bytes.

        Raises:
            MessageTooLarge: over `max_bytes`.
            ValidationError: text that is not Unicode (a lone surrogate), a number that is too long.
        """
        try:
            body = _ENCODER.encode(self)
        except (UnicodeEncodeError, ValueError, RecursionError) as error:
            for field in FIELDS:
                find_unencodable(field, getattr(self, field))
            raise ValidationError("message", "what JSON can hold", str(error)) from error
        if len(body) > max_bytes:
            raise MessageTooLarge(len(body), max_bytes)
        return body

    def to_json(self, indent: int = 2) -> str:
        """The message as readable JSON."""
        return msgspec.json.format(self.encode(), indent=indent).decode()

    @classmethod
    def decode(
        cls, body: bytes, *, channel: str | None = None, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> Message:
        """Read a message.

        Raises:
            DecodeError: `body` is not a valid message; nothing else is ever raised for bytes.
        """
        if len(body) > max_bytes:
            raise DecodeError(f"larger than the limit of {max_bytes:,} bytes", body, channel)
        try:
            message = _DECODER.decode(body)  # JSON in the five fields, by construction
            content = message.content
            rest = len(body) - len(content) if type(content) is str else len(body)
            if (
                not message.type
                or not message.sender
                or not is_timestamp(message.timestamp)
                or (rest > SHALLOW_BYTES and may_be_deep(body))
            ):
                message._check()
            return message
        except RecursionError:
            raise DecodeError(f"nested deeper than {MAX_DEPTH} levels", body, channel) from None
        except (msgspec.MsgspecError, ValueError) as error:
            field, problem = explain(str(error))
            raise DecodeError(f"{field}: {problem}" if field else problem, body, channel) from None

    def _repr_html_(self) -> str:
        return table(
            ("field", "value"),
            [(field, getattr(self, field)) for field in FIELDS],
            caption="A message",
        )


def format_timestamp(seconds: float) -> str:
    """Seconds since 1970 as ISO-8601 UTC with milliseconds and Z."""
    return _format_ms(round(seconds * 1000))


@lru_cache(maxsize=1024)  # messages of one millisecond share it
def _format_ms(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _check_timestamp(value: object) -> None:
    if type(value) is not str or not is_timestamp(value):
        expected = f"ISO-8601 in UTC with milliseconds, such as {_TIMESTAMP_EXAMPLE}"
        raise ValidationError("timestamp", expected, describe(value))


def is_timestamp(text: str) -> bool:
    """Whether it is a moment in the form that the envelope wants."""
    return len(text) == len(_TIMESTAMP_EXAMPLE) and _is_moment(text)


@lru_cache(maxsize=1024)  # of short texts only: whoever sends us long ones must not fill it
def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return _TIMESTAMP.fullmatch(text) is not None


def with_content(
    content: Any, type: str, timestamp: str, sender: str, metadata: dict[str, Any]
) -> Message:
    """A message of which all but the content is known to be good.

    Raises:
        ValidationError: the content is not what JSON can hold.
    """
    check_json("content", content)
    message: Message = _make(Message, type, content, timestamp, sender, metadata)
    return message


_make = msgspec.StructMeta.__call__
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Message)
_set = msgspec.structs.force_setattr


def may_be_deep(body: bytes) -> bool:
    """Whether there are brackets enough to nest too deeply."""
    return body.count(b"[") + body.count(b"{") > MAX_DEPTH


def explain(reason: str) -> tuple[str, str]:
    """msgspec's message as the field ("" for the whole) and the problem, in words."""
    place = _PATH.search(reason)
    where = place[1] if place else ""
    text = reason[: place.start()] if place else reason.removesuffix(".")
    if missing := re.search(r"missing required field `(\w+)`", text):
        return f"{where}.{missing[1]}".lstrip("."), "expected, but missing"
    if unknown := re.search(r"unknown field `(.+)`", text):
        known = ", ".join(FIELDS)
        return f"{where}.{unknown[1]}".lstrip("."), f"not one of the five fields {known}"
    return where, f"{text[:1].lower()}{text[1:]}" if place else text
