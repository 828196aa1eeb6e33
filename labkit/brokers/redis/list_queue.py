"""A work queue on Redis lists: the ids move, the tasks stay where they are."""

from __future__ import annotations

import time

import redis

from labkit.brokers.redis.client import REFUSALS, Command
from labkit.brokers.redis.list_scripts import LIST_KEYS, SCRIPTS
from labkit.brokers.redis.queue import RedisQueue
from labkit.brokers.redis.queue_rows import Row
from labkit.brokers.redis.words import refusal

LONGEST_BLOCK_S = 0.1
"""BLMOVE waits for one list only: so long may a task of another priority have to wait."""


class ListQueue(RedisQueue):
    """LPUSH, LMOVE to a list of the worker's own, LREM.

    A task is a number in a list and two entries in hashes, so that adding one is always a script:
    with half of it the task would be lost.
    """

    scripts = SCRIPTS
    more_keys = LIST_KEYS

    def _prepare(self) -> None:
        """Lists and hashes are there as soon as something is in them."""

    def _block(self, worker: str, count: int, lease: Command, seconds: float) -> list[Row]:
        """BLMOVE of one task of normal priority, and what is behind its number."""
        del count
        wait_s = round(min(seconds, LONGEST_BLOCK_S), 3)
        normal, taken = self.places[1], self.keys[-1] + worker
        move: Command = ("BLMOVE", normal, taken, "RIGHT", "LEFT", wait_s)
        _, number = self._client.exchange(lease, move, shown=[])
        if isinstance(number, redis.exceptions.OutOfMemoryError):
            time.sleep(wait_s)  # BLMOVE, unlike our scripts, may do nothing at `maxmemory`
            return []
        if isinstance(number, REFUSALS):
            raise refusal(self._client.url, "BLMOVE", number)
        if number is None:
            return []
        self._client.log(move)
        return [row for row in self._holds(worker) if row[1] == number]
