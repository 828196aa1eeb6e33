"""A connection for each thread, kept between its commands.

Taking one from redis-py's pool and giving it back takes longer than many a command.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import weakref
from typing import Any

import redis


class Kept:
    """The connections that threads keep between two commands.

    For the pool they are in use. They come back to it when their thread ends, and when the pool has
    no other left to give.
    """

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool
        self._own = threading.local()
        self._begin()

    def _begin(self) -> None:
        """Nothing of a fork's parent: a thread of its own may have held the lock."""
        self._places: weakref.WeakSet[_Place] = weakref.WeakSet()
        self._lock = threading.RLock()  # a finaliser may come through here at any time
        self._process = os.getpid()

    def take(self) -> Any:
        """This thread's connection; None if it keeps none."""
        try:
            return self._place().connections.pop()
        except IndexError:
            return None

    def keep(self, connection: Any) -> bool:
        """Keep it for this thread's next command; False if there is one already."""
        connections = self._place().connections
        if connections:  # what interrupted the use of one (a finaliser, say) took another
            return False
        connections.append(connection)
        return True

    def give_all_back(self) -> None:
        """Let the pool have those of all threads."""
        self._place()  # after a fork: no longer those of the parent's threads
        with self._lock:
            places = list(self._places)
        for place in places:
            _give_back(self._pool, place.connections)

    def _place(self) -> _Place:
        if self._process != os.getpid():
            self._begin()
        try:
            place: _Place = self._own.place
            if place.process == os.getpid():
                return place
            place.connections.clear()  # of a fork's parent, who goes on using it
            place.process = os.getpid()
        except AttributeError:
            place = self._own.place = _Place()  # goes when its thread does
            ending = weakref.finalize(place, _give_back, self._pool, place.connections)
            ending.atexit = False
        with self._lock:
            self._places.add(place)
        return place


class _Place:
    """Where one thread keeps its connection: in a list, because `pop` is a single step."""

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self.process = os.getpid()


def _give_back(pool: redis.ConnectionPool, connections: list[Any]) -> None:
    while True:
        try:
            pool.release(connections.pop())
        except IndexError:
            return


def is_quiet(connection: Any) -> bool:
    """Whether a command may go out on it: open on both sides, no bytes on it that nobody read."""
    line = getattr(connection, "_sock", None)
    try:
        if type(line) is socket.socket and hasattr(select, "poll"):  # as redis-py, in fewer steps
            look = select.poll()
            look.register(line, select.POLLIN)
            return not look.poll(0)
        return line is not None and not connection.can_read(0)
    except (redis.RedisError, OSError, ValueError):  # the last: closed by another thread just now
        return False
