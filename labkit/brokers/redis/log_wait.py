"""Waiting for an entry: blocked in Redis where Redis can block, looking again where it cannot."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from labkit.brokers.redis.client import RedisClient

LONGEST_BLOCK_S = 0.5
"""Longest single wait in Redis; half the time-out of the connection, where that is less."""

EMBEDDED_PAUSE_S = (0.002, 0.05)
"""Between two looks at the embedded broker, which cannot block: at first, and after a while."""

Found = TypeVar("Found")


def wait_for(
    client: RedisClient,
    look: Callable[[], list[Found]],
    block: Callable[[int], list[Found]],
    timeout: float,
) -> list[Found]:
    """Look; then, until `timeout` seconds have passed, wait for something.

    Args:
        client: how to reach Redis.
        look: looks without waiting.
        block: waits so many milliseconds, at least 1.
        timeout: seconds.
    """
    if (found := look()) or timeout <= 0:
        return found
    deadline = time.monotonic() + timeout
    longest = min(LONGEST_BLOCK_S, client.options.timeout / 2)
    pause, longest_pause = EMBEDDED_PAUSE_S
    while True:
        left = deadline - time.monotonic()
        if left < 0.001:  # BLOCK 0 would wait for ever
            return look()
        if client.embedded:
            time.sleep(min(left, pause))
            pause = min(2 * pause, longest_pause)
            found = look()
        else:
            found = block(max(1, int(min(left, longest) * 1000)))
        if found:
            return found
