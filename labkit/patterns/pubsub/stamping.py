"""Messages with the facts that labkit adds: an id, a number, the moment of sending."""

from __future__ import annotations

from collections import Counter
from typing import Any

from labkit.clock import Clock
from labkit.errors import BatchError, ConfigurationError, LabkitError, ValidationError
from labkit.message import Message, format_timestamp, with_content
from labkit.patterns.identity import message_id

DEFAULT_TYPE = "message"

_VALUES = frozenset({str, dict})
"""Most contents: to ask whether one is a `Message` takes a while."""


Stamped = tuple[str, Message, bytes]
"""A channel, a message that may go out on it, and its bytes."""


class Stamps:
    """The numbers of one run of one publisher, for each channel from 1."""

    def __init__(self, sender: str, epoch: str, clock: Clock, max_bytes: int) -> None:
        self.numbers: Counter[str] = Counter()
        self._sender = sender
        self._epoch = epoch
        self._clock = clock
        self._max_bytes = max_bytes
        self._good_channel: str | None = None  # the last one, looked at already

    def stamp(
        self,
        channel: str,
        content: Any,
        type: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Stamped:
        """The message with its number, and its bytes. Takes the number only if all is well."""
        if channel != self._good_channel:
            _check_channel(channel)
            self._good_channel = channel
        number = self.numbers[channel] + 1
        facts: dict[str, Any] = {
            "message_id": message_id(self._sender, self._epoch, channel, number),
            "epoch": self._epoch,
            "seq": number,
        }
        clock = self._clock
        if content.__class__ not in _VALUES and isinstance(content, Message):
            if type is not None or metadata is not None:
                raise ConfigurationError(
                    "A ready Message brings its type and metadata; pass it alone."
                )
            message = content.with_metadata(**facts, sent_ns=clock.monotonic_ns())
        else:
            stamp = format_timestamp(clock.now())
            if type is None and metadata is None:
                message = with_content(content, DEFAULT_TYPE, stamp, self._sender, facts)
            else:
                facts = _joined(metadata, facts)
                message = Message(type or DEFAULT_TYPE, content, stamp, self._sender, facts)
            facts["sent_ns"] = clock.monotonic_ns()  # read only for what is a message
        body = message.encode(self._max_bytes)
        self.numbers[channel] = number
        return channel, message, body

    def stamp_all(self, items: list[tuple[str, Any]]) -> list[Stamped]:
        """All of them, or none.

        Raises:
            BatchError: one of them cannot be sent; no number was taken.
        """
        before = self.numbers.copy()
        stamped = []
        for index, item in enumerate(items):
            try:
                channel, content = item
                stamped.append(self.stamp(channel, content))
            except (LabkitError, TypeError, ValueError) as error:
                self.numbers = before
                reason = str(error) if isinstance(error, LabkitError) else "not (channel, content)."
                raise BatchError(
                    f"Item {index} cannot be sent, so none was: {reason}", unsent=range(len(items))
                ) from error
        return stamped

    def take_back(self, batch: list[Stamped], error: BatchError) -> None:
        """Of a batch that was not sent whole, the numbers of what never left."""
        for channel, message, _ in reversed(batch):
            self.numbers[channel] = message.metadata["seq"] - 1
        for index in sorted((*error.sent, *error.unknown)):
            channel, message, _ = batch[index]
            self.numbers[channel] = message.metadata["seq"]


def _check_channel(channel: object) -> None:
    if not isinstance(channel, str) or not channel:
        raise ValidationError("channel", "a non-empty str", repr(channel))
    try:
        channel.encode()
    except UnicodeEncodeError:
        raise ValidationError("channel", "Unicode text", repr(channel)) from None


def _joined(given: Any, facts: dict[str, Any]) -> Any:
    """Both in one dict; what is none stays as it is, for `Message` to refuse."""
    if given is None:
        return facts
    return {**given, **facts} if type(given) is dict else given
