"""Appending to a log in few round trips, and saying of each entry whether it is in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import redis

from labkit.broker import Appended, NewEntry, Position
from labkit.brokers.redis.client import REFUSALS, ExchangeBroken, RedisClient, Reply
from labkit.brokers.redis.log_scripts import APPEND
from labkit.brokers.redis.scripts import Argument, run_many
from labkit.errors import (
    BatchError,
    BrokerRefused,
    BrokerUnavailable,
    ConfigurationError,
    Conflict,
)

BATCH_SIZE = 500
BATCH_BYTES = 4 * 1024 * 1024
"""Most that goes in one round trip: one entry, or less than both of these."""

SHOWN_ARGUMENTS = 8
"""Of a script's arguments, so many are told in `broker.commands()`."""


def append(client: RedisClient, keys: Sequence[str], entries: Sequence[NewEntry]) -> list[Appended]:
    """Append all; a batch that Redis has answered is in as a whole."""
    done: list[Appended] = []
    total = len(entries)
    for batch in _batches(entries):
        reached = len(done) + len(batch)
        try:
            reply = _send(client, keys, batch, "")
        except ExchangeBroken as broken:
            if total == 1:
                raise broken.cause from None
            raise BatchError(
                str(broken.cause),
                sent=range(len(done)),
                unknown=range(len(done), reached),
                unsent=range(reached, total),
            ) from None
        except BrokerUnavailable as error:
            if total == 1:
                raise
            unsent = range(len(done), total)
            raise BatchError(str(error), sent=range(len(done)), unsent=unsent) from None
        if isinstance(reply, REFUSALS):
            if total == 1:
                raise BrokerRefused(f"Redis refused the entry: {reply}.")
            raise BatchError(
                f"Redis refused: {reply}.", sent=range(len(done)), unsent=range(len(done), total)
            )
        done += _answers(reply)
    return done


def append_expected(
    client: RedisClient, keys: Sequence[str], entries: Sequence[NewEntry], expected: int
) -> list[Appended]:
    """Append entries of one key in one script, if its revision is the expected one."""
    key = entries[0].key
    if key is None or any(entry.key != key for entry in entries):
        raise ConfigurationError("An expected revision is one of a key: give all entries that key.")
    if len(entries) > BATCH_SIZE:
        raise ConfigurationError(
            f"At most {BATCH_SIZE} entries go in one step, got {len(entries):,}."
        )
    try:
        reply = _send(client, keys, entries, expected)
    except ExchangeBroken as broken:
        raise broken.cause from None
    if isinstance(reply, REFUSALS):
        raise BrokerRefused(f"Redis refused the entries: {reply}.")
    if isinstance(reply, int):
        raise Conflict(key, expected, reply)
    return _answers(reply)


def _send(
    client: RedisClient, keys: Sequence[str], batch: Sequence[NewEntry], expected: int | str
) -> Reply:
    arguments: list[Argument]
    if client.options.clock.manual:
        arguments = [expected, 1]
        for entry in batch:
            arguments += (entry.key or "", entry.body, entry.time_ms)
    else:
        arguments = [expected, 0]
        for entry in batch:
            arguments += (entry.key or "", entry.body)
    shown = APPEND.shown(*arguments[:SHOWN_ARGUMENTS])
    [reply] = run_many(client, [(APPEND, arguments)], keys, quiet=True)
    if isinstance(reply, redis.BusyLoadingError):  # it was restarted and reads its files
        raise client.unavailable(reply)
    client.log(shown if len(arguments) <= SHOWN_ARGUMENTS else (*shown, f"… {len(batch)} entries"))
    return reply


def _answers(reply: Reply) -> list[Appended]:
    ids, revisions = reply[::2], reply[1::2]
    return [
        Appended(Position(entry_id.decode()), revision or None)
        for entry_id, revision in zip(ids, revisions, strict=True)
    ]


def _batches(entries: Sequence[NewEntry]) -> Iterator[Sequence[NewEntry]]:
    start = 0
    while start < len(entries):
        batch = entries[start : start + BATCH_SIZE]
        if sum(len(entry.body) for entry in batch) > BATCH_BYTES:
            batch = batch[: _fitting(batch)]
        yield batch
        start += len(batch)


def _fitting(batch: Sequence[NewEntry]) -> int:
    """How many of them go in one round trip; at least one."""
    size = 0
    for index, entry in enumerate(batch):
        size += len(entry.body)
        if size > BATCH_BYTES and index:
            return index
    return len(batch)
