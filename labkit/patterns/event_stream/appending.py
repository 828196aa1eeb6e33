"""From contents to entries, and from what the broker said to what is counted and told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from labkit.broker import Appended, BrokerStream, NewEntry, StreamBroker
from labkit.errors import (
    BatchError,
    BrokerRefused,
    BrokerUnavailable,
    ConfigurationError,
    Conflict,
    LabkitError,
    ValidationError,
    describe,
)
from labkit.message import Message, format_timestamp, with_content
from labkit.patterns.event_stream.event import DEFAULT_TYPE, NewEvent
from labkit.patterns.event_stream.ledger import BROKER, Ledger
from labkit.trace import Action

Stamped = tuple[Message, NewEntry]


class Batch(NamedTuple):
    """What is appended together.

    Attributes:
        messages: one an entry, for the trace; none where nothing is recorded.
        last_facts: what labkit added to the last one.
    """

    entries: list[NewEntry]
    messages: list[Message]
    last_facts: Mapping[str, Any]


class Appender:
    """The writing half of an `EventStream`."""

    def __init__(
        self,
        lab: StreamBroker,
        log: BrokerStream,
        stream: str,
        sender: str,
        ledger: Ledger,
        max_bytes: int,
    ) -> None:
        self._clock = lab.clock
        self._log = log
        self._stream = stream
        self._sender = sender
        self._ledger = ledger
        self._max_bytes = max_bytes
        self._epoch = lab.clock.new_epoch()
        self._prefix = f"{sender}/{self._epoch}/{stream}/"
        self._numbers = itertools.count(1)
        self._good_type = DEFAULT_TYPE

    def append_one(self, new: NewEvent, expected: int | None) -> Appended:
        """Append one event."""
        message, entry = self._stamp(new)
        batch = Batch([entry], [message] if self._ledger.tracing else [], message.metadata)
        try:
            [done] = self._append(batch, expected)
        except (BrokerUnavailable, BrokerRefused) as error:
            self._failed(batch, range(1), error)
            raise
        return done

    def append_all(self, items: Sequence[Any], expected: int | None) -> list[Appended]:
        """Append many."""
        batch = self._stamp_all(items)
        if not batch.entries:
            return []
        try:
            return self._append(batch, expected)
        except BatchError as error:
            self._accepted(batch, error.sent, None)
            self._failed(batch, sorted((*error.unknown, *error.unsent)), error)
            raise
        except (BrokerUnavailable, BrokerRefused) as error:  # a single one, or all in one step
            every = range(len(batch.entries))
            self._failed(batch, every, error)
            maybe = isinstance(error, BrokerUnavailable) and error.sent
            raise BatchError(
                str(error), unknown=every if maybe else (), unsent=() if maybe else every
            ) from None

    def new(
        self,
        content: Any,
        key: str | None,
        type: str | None,
        version: int | None,
        metadata: dict[str, Any] | None,
    ) -> NewEvent:
        """The arguments of `EventStream.append` as one thing."""
        if isinstance(content, NewEvent):
            if (key, type, version, metadata) != (None, None, None, None):
                raise ConfigurationError("A NewEvent brings its key and type; pass it alone.")
            return content
        return NewEvent(content, key, type, version, metadata)

    # --- inside -------------------------------------------------------------------------------

    def _append(self, batch: Batch, expected: int | None) -> list[Appended]:
        every = range(len(batch.entries))
        self._tell(batch, every, Action.SENT, actor=self._sender)
        try:
            if expected is None:
                done = self._log.append(batch.entries)
            else:
                done = self._log.append_expected(batch.entries, _checked(expected))
        except Conflict as error:
            self._ledger.tally.add(self._stream, conflicts=len(every))
            told = f"expected revision {error.expected}, is at {error.actual}"
            self._tell(batch, every, Action.CONFLICT, lambda _: told)
            raise
        self._accepted(batch, every, done)
        return done

    def _stamp_all(self, items: Sequence[Any]) -> Batch:
        batch = Batch([], [], {})
        stamp, entries, tracing = self._stamp, batch.entries, self._ledger.tracing
        message = None
        for index, item in enumerate(items):
            try:
                message, entry = stamp(item if type(item) is NewEvent else NewEvent(item))
            except (ValidationError, ConfigurationError) as error:
                raise BatchError(
                    f"Event {index} cannot be appended, so none was: {error}",
                    unsent=range(len(items)),
                ) from error
            entries.append(entry)
            if tracing:
                batch.messages.append(message)
        return batch if message is None else Batch(entries, batch.messages, message.metadata)

    def _stamp(self, new: NewEvent) -> Stamped:
        """The event as a message, and as what the broker keeps."""
        key, content, kind = new.key, new.content, new.type
        if key is not None and not (type(key) is str and key and key.isascii()):
            check_key(key)
        clock = self._clock
        now = clock.now()
        facts: dict[str, Any] = {
            "message_id": f"{self._prefix}{next(self._numbers)}",
            "epoch": self._epoch,
            "sent_ns": clock.monotonic_ns(),
        }
        if new.version is not None:
            facts = {"version": _checked_version(new.version), **facts}
        if isinstance(content, Message):
            if kind is not None or new.metadata is not None:
                raise ConfigurationError(
                    "A ready Message brings its type and metadata; pass it without those."
                )
            message = content.with_metadata(**facts)
        elif new.metadata is None and (kind is None or kind == self._good_type):
            stamp = format_timestamp(now)
            message = with_content(content, kind or DEFAULT_TYPE, stamp, self._sender, facts)
        else:
            metadata = {**new.metadata, **facts} if new.metadata else facts
            kind = DEFAULT_TYPE if kind is None else kind
            message = Message(kind, content, format_timestamp(now), self._sender, metadata)
            self._good_type = kind  # most events of a batch are of one type
        return message, NewEntry(message.encode(self._max_bytes), key, round(now * 1000))

    def _accepted(
        self, batch: Batch, which: Sequence[int], done: Sequence[Appended] | None
    ) -> None:
        if not which:
            return
        entries = batch.entries
        size = sum(len(entries[index].body) for index in which)
        self._ledger.tally.add(self._stream, messages=len(which), bytes=size)
        self._ledger.tally.seen_at(batch.last_facts["sent_ns"])
        place = None if done is None else lambda index: f"at {done[index].position}"
        self._tell(batch, which, Action.ACCEPTED, place)

    def _failed(self, batch: Batch, which: Sequence[int], error: LabkitError) -> None:
        self._ledger.tally.add(self._stream, failed=len(which))
        self._ledger.raised(error, batch.last_facts["message_id"])
        told = describe(error)
        self._tell(batch, which, Action.SEND_FAILED, lambda _: told, actor=self._sender)

    def _tell(
        self,
        batch: Batch,
        which: Sequence[int],
        action: Action,
        detail: Callable[[int], str] | None = None,
        *,
        actor: str = BROKER,
    ) -> None:
        if not batch.messages:
            return
        for index in which:
            told = "" if detail is None else detail(index)
            self._ledger.about_message(action, batch.messages[index], told, actor)


def check_key(key: object) -> None:
    """A key is text that can be written down."""
    if not isinstance(key, str) or not key:
        raise ConfigurationError(f"A key is a non-empty str, or None, got {key!r}.")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"A key is Unicode text, got {key!r}.") from None


def check_stream_name(what: str, name: object) -> None:
    """Braces would decide where a cluster keeps it."""
    if not isinstance(name, str) or not name or "{" in name or "}" in name:
        raise ConfigurationError(f"{what} has a name, a str without braces, got {name!r}.")
    check_key(name)


def _checked(expected: object) -> int:
    if isinstance(expected, bool) or not isinstance(expected, int) or expected < 0:
        raise ConfigurationError(
            f"expected is how many events of the key there are, 0 or more, got {expected!r}."
        )
    return expected


def _checked_version(version: object) -> int:
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ConfigurationError(f"A version is a whole number from 1, got {version!r}.")
    return version
