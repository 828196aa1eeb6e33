"""Many bodies in few round trips: packed into one buffer, and the next one sent before Redis has
answered to the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from labkit.broker import Receipt
from labkit.brokers.redis.client import CONNECTION_ERRORS, RedisClient
from labkit.brokers.redis.shown import COMMANDS_KEPT
from labkit.brokers.redis.wire import REFUSALS, Reply, read_many
from labkit.errors import BatchError, BrokerUnavailable

BATCH_SIZE = 500
"""Commands in one buffer: enough to hide its cost, few enough to know what went."""

BATCH_BYTES = 256 * 1024
"""Bodies in one buffer, unless a single one is larger."""

Item = tuple[str, bytes]

_HEAD = b"\r\n*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n"
_BYTES = frozenset({bytes})
_INT = frozenset({int})


def publish_many(client: RedisClient, items: Sequence[Item]) -> list[Receipt]:
    """PUBLISH all, in order.

    Two buffers are on their way at most: Redis, which answers with a few bytes to each command,
    works on one while we make the next.

    Raises:
        BatchError: says which were sent, which were not, and which may have been.
    """
    if not items:
        return []
    channels, bodies = zip(*items, strict=True)
    if not _BYTES.issuperset(map(type, bodies)):
        encode: Any = client.pool.get_encoder().encode  # which knows, or refuses, other types
        bodies = tuple(bytes(encode(body)) for body in bodies)
    names = {name: (client.options.namespace + name).encode() for name in set(channels)}
    total = len(bodies)
    replies: list[Reply] = []
    reached = 0  # so many may have left
    try:
        with client.borrowed() as connection:
            for end, packed in _buffers(names, channels, bodies):
                begun, reached = reached, end
                connection.send_packed_command([packed])
                if begun:
                    read_many(connection, begun - len(replies), replies)
            read_many(connection, total - len(replies), replies)
    except BrokerUnavailable as error:  # there is no connection
        raise _batch_error(error, replies, reached, total) from None
    except CONNECTION_ERRORS as error:
        broke = client.unavailable(error, sent=True)
        raise _batch_error(broke, replies, reached, total) from None
    finally:
        for channel, body in items[max(0, reached - COMMANDS_KEPT) : reached]:
            client.log(("PUBLISH", client.options.namespace + channel, body))
    if not _INT.issuperset(map(type, replies)):
        first = next(reply for reply in replies if isinstance(reply, REFUSALS))
        raise _batch_error(first, replies, total, total)
    receipts = _Receipts()
    return [receipts[key] for key in zip(channels, replies, strict=True)]


def _buffers(
    names: Mapping[str, bytes], channels: Sequence[str], bodies: Sequence[bytes]
) -> Iterator[tuple[int, bytes]]:
    """Commands packed into one buffer after the other, each with the position after its last."""
    heads = _Heads(names)
    start = 0
    while start < len(bodies):
        end = min(start + BATCH_SIZE, len(bodies))
        while (size := sum(map(len, bodies[start:end]))) > BATCH_BYTES and end - start > 1:
            end = start + max(1, (end - start) * BATCH_BYTES // size)
        chunk = bodies[start:end]
        parts = [b""] * (2 * len(chunk) + 1)
        parts[:-1:2] = [heads[key] for key in zip(channels[start:end], map(len, chunk))]  # noqa: B905
        parts[1::2] = chunk
        parts[0] = parts[0][2:]  # nothing stands before the first
        parts[-1] = b"\r\n"
        yield end, b"".join(parts)
        start = end


class _Heads(dict[tuple[str, int], bytes]):
    """What stands before a body of that length on that channel, from the end of the one before."""

    def __init__(self, names: Mapping[str, bytes]) -> None:
        self._names = names

    def __missing__(self, key: tuple[str, int]) -> bytes:
        channel, size = key
        name = self._names[channel]
        head = self[key] = _HEAD % (len(name), name, size)
        return head


class _Receipts(dict[tuple[str, int], Receipt]):
    """What Redis said to a publish on a channel; equal answers are one object."""

    def __missing__(self, key: tuple[str, int]) -> Receipt:
        receipt = self[key] = Receipt(*key)
        return receipt


def _batch_error(
    reason: Exception, replies: Sequence[Reply], reached: int, total: int
) -> BatchError:
    """`replies` came; up to `reached` was on its way; the rest of `total` never left."""
    refused = [i for i, reply in enumerate(replies) if isinstance(reply, REFUSALS)]
    return BatchError(
        str(reason) if isinstance(reason, BrokerUnavailable) else f"Redis refused: {reason}.",
        sent=[i for i in range(len(replies)) if i not in set(refused)],
        unknown=range(len(replies), reached),
        unsent=[*refused, *range(reached, total)],
    )
