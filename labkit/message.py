"""The envelope: five fields, in JSON, the same on every broker.

    {"type": "user.created", "content": {…}, "timestamp": "2024-01-01T12:00:00.000Z",
     "sender": "user-service", "metadata": {"priority": "high"}}

`content` and `metadata` hold what JSON can hold and nothing else, so that what arrives equals what
was sent. Facts about the delivery (message id, sequence number, …) live in `metadata`.
"""

from __future__ import annotations

import math
import re
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from labkit._html import table
from labkit.clock import Clock, SystemClock
from labkit.errors import DecodeError, MessageTooLarge, ValidationError

DEFAULT_MAX_BYTES = 1024 * 1024
"""Largest encoded message, unless told otherwise: 1 MiB."""

MAX_DEPTH = 100
"""Deepest nesting of lists and objects in a message."""

LABEL_CHARACTERS = 80
"""Longest label: enough to tell messages apart in a trace."""

FIELDS = ("type", "content", "timestamp", "sender", "metadata")

_TIMESTAMP_EXAMPLE = "2024-01-01T12:00:00.000Z"
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_SCALARS = frozenset({str, int, bool, type(None)})
_SUBJECTS = ("label", "title", "flight", "message", "user_id", "order_id", "id")
_SYSTEM_CLOCK = SystemClock()
_PATH = re.compile(r" - at `\$\.?(.*)`$")


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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

    def __post_init__(self) -> None:
        for field in ("type", "sender"):
            value = getattr(self, field)
            if type(value) is not str or not value:
                raise ValidationError(field, "a non-empty str", _describe(value))
        _check_timestamp(self.timestamp)
        _check_json("content", self.content)
        if type(self.metadata) is not dict:
            raise ValidationError("metadata", "a dict", _describe(self.metadata))
        _check_json("metadata", self.metadata)

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
        return msgspec.structs.replace(self, metadata={**self.metadata, **facts})

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
                _find_unencodable(field, getattr(self, field))
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
            return _DECODER.decode(body)
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


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Message)


def format_timestamp(seconds: float) -> str:
    """Seconds since 1970 as ISO-8601 UTC with milliseconds and Z."""
    return _format_ms(round(seconds * 1000))


@lru_cache(maxsize=1024)  # messages of one millisecond share it
def _format_ms(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _describe(value: object) -> str:
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 40 else shown[:39] + '…'}"


def _check_timestamp(value: object) -> None:
    if not isinstance(value, str) or not _is_timestamp(value):
        expected = f"ISO-8601 in UTC with milliseconds, such as {_TIMESTAMP_EXAMPLE}"
        raise ValidationError("timestamp", expected, _describe(value))


@lru_cache(maxsize=1024)
def _is_timestamp(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return _TIMESTAMP.fullmatch(text) is not None


def _check_json(path: str, value: Any, depth: int = 0) -> None:
    """Refuse what would not come back from JSON as it went in."""
    kind = type(value)
    if kind in _SCALARS:
        return
    if depth >= MAX_DEPTH and kind in (dict, list):
        field = path.replace("[", ".").partition(".")[0]
        raise ValidationError(field, f"nesting of at most {MAX_DEPTH} levels")
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise ValidationError(
                    path, "str keys, because JSON turns every key into one", f"key {key!r}"
                )
            if type(item) not in _SCALARS:
                _check_json(f"{path}.{key}", item, depth + 1)
    elif kind is list:
        for index, item in enumerate(value):
            if type(item) not in _SCALARS:
                _check_json(f"{path}[{index}]", item, depth + 1)
    elif kind is float:
        if not math.isfinite(value):
            raise ValidationError(
                path, "a finite number (JSON has no NaN or infinity)", repr(value)
            )
    elif kind is tuple:
        raise ValidationError(path, "a list, because JSON has no tuples", _describe(value))
    else:
        expected = "None, bool, int, float, str, list or dict (what JSON can hold)"
        raise ValidationError(path, expected, _describe(value))


def _find_unencodable(path: str, value: Any) -> None:
    """Raise for text or a number that cannot be written down; looked for when encoding fails."""
    if isinstance(value, dict):
        for key, item in value.items():
            _find_unencodable(path, key)
            _find_unencodable(f"{path}.{key}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _find_unencodable(f"{path}[{index}]", item)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValidationError(
                path, "Unicode text (a lone surrogate is half a character)", _describe(value)
            ) from None
    elif isinstance(value, int):
        try:
            str(value)
        except ValueError:
            digits = sys.get_int_max_str_digits()
            size = f"one of {value.bit_length():,} bits"
            raise ValidationError(path, f"a number of at most {digits:,} digits", size) from None


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
