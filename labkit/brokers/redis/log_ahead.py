"""Reading many entries in parts: Redis works on the next part while we work on the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from labkit.brokers.redis.client import CONNECTION_ERRORS, Command, RedisClient, Reply
from labkit.brokers.redis.log_calls import answer
from labkit.brokers.redis.wire import REFUSALS, pack, read_one

PART = 125
"""Entries in one part: enough to hide a round trip, few enough to stay in the processor's cache."""


def rows_ahead(
    client: RedisClient, command: Callable[[int], Command], count: int
) -> Iterator[list[Any]]:
    """The rows of XREADGROUP, part by part, at most `count` in all; the last part is a short one.

    Args:
        client: how to reach Redis.
        command: the command that reads so many at most.
        count: how many.

    Raises:
        BrokerUnavailable, BrokerRefused, Forgotten: as `ask`.
    """
    sizes = [min(PART, count - start) for start in range(0, count, PART)]
    reply: Reply = None
    try:
        with client.borrowed() as connection:
            commands = [command(size) for size in sizes]
            connection.send_packed_command(pack(connection, commands[:1]))
            for index, size in enumerate(sizes):
                reply = read_one(connection)
                rows = _rows(reply)
                if rows:
                    client.log(commands[index])
                if len(rows) < size or index + 1 == len(sizes):
                    break
                connection.send_packed_command(pack(connection, commands[index + 1 : index + 2]))
                yield rows
    except CONNECTION_ERRORS as error:
        raise client.unavailable(error, sent=True) from None
    if rows := _rows(answer(client, reply, "XREADGROUP")):  # nothing is on its way any more
        yield rows


def _rows(reply: Reply) -> list[Any]:
    if not reply or isinstance(reply, REFUSALS):
        return []
    rows: list[Any] = reply[0][1]
    return rows
