"""Reading many entries in parts: Redis works on the next part while we work on the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from labkit.brokers.redis.client import CONNECTION_ERRORS, Command, RedisClient
from labkit.brokers.redis.log_calls import answer
from labkit.brokers.redis.wire import REFUSALS, pack, read_one

PART = 100
"""Entries in one part: enough to hide a round trip, few enough to stay in the processor's cache."""

FIRST_PART = 25
"""Fewer in the first, for which nobody has anything else to do than to wait."""

AHEAD = 2
"""Parts that Redis has been asked for and we have not read."""


def rows_ahead(
    client: RedisClient, command: Callable[[int], Command], count: int
) -> Iterator[list[Any]]:
    """The rows of XREADGROUP, part by part, at most `count` in all.

    Args:
        client: how to reach Redis.
        command: the command that reads so many at most.
        count: how many.

    Raises:
        BrokerUnavailable, BrokerRefused, Forgotten: as `ask`.
    """
    sizes = _sizes(count)
    commands = [command(size) for size in sizes]
    asked, refused = AHEAD, None
    try:
        with client.borrowed() as connection:
            connection.send_packed_command(pack(connection, commands[:asked]))
            for index, size in enumerate(sizes):
                if index == asked:
                    break
                reply = read_one(connection)
                if refused is None and isinstance(reply, REFUSALS):
                    refused = reply
                if refused is not None:  # what comes after that is told by nobody, and comes again
                    continue
                rows: list[Any] = reply[0][1] if reply else []
                if rows:
                    client.log(commands[index])
                if len(rows) == size and (more := commands[asked : asked + 1]):
                    connection.send_packed_command(pack(connection, more))
                    asked += 1
                if rows:
                    yield rows
    except CONNECTION_ERRORS as error:
        raise client.unavailable(error, sent=True) from None
    answer(client, refused, "XREADGROUP")  # nothing is on its way any more


def _sizes(count: int) -> list[int]:
    if count <= PART:
        return [count]
    return [FIRST_PART, *(min(PART, count - n) for n in range(FIRST_PART, count, PART))]
