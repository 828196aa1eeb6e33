"""Those who handle a responder's requests: the one thread that takes them, or several beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Crew:
    """Has each request handled that is taken, `size` at once.

    Args:
        name: names its threads.
        size: how many requests at once; for one, whoever takes it handles it.
        answer: handles a request; raises nothing.
    """

    def __init__(self, name: str, size: int, answer: Callable[[bytes], object]) -> None:
        self._name = name
        self._size = size
        self._answer = answer
        self._pool: ThreadPoolExecutor | None = None
        self._free = threading.BoundedSemaphore(size)

    def gather(self) -> None:
        """Be ready."""
        if self._size > 1 and self._pool is None:
            self._pool = ThreadPoolExecutor(self._size, thread_name_prefix=self._name)

    def step(self, take: Callable[[], bytes | None], patience: float) -> None:
        """Take one request once somebody is free, which they may be in `patience` seconds."""
        pool = self._pool
        if pool is None:
            if (body := take()) is not None:
                self._answer(body)
        elif self._free.acquire(timeout=patience):
            self.hand_over(take, pool)

    def hand_over(self, take: Callable[[], bytes | None], pool: ThreadPoolExecutor) -> None:
        """Take only what a thread is free for, so that other responders get the rest."""
        body = None
        try:
            body = take()
        finally:
            if body is None:
                self._free.release()
        if body is None:
            return
        try:
            future = pool.submit(self._answer, body)
        except RuntimeError:  # stopped meanwhile: it is in hand, and is answered here
            try:
                self._answer(body)
            finally:
                self._free.release()
            return
        future.add_done_callback(lambda _: self._free.release())

    def dismiss(self, until: float) -> bool:
        """Wait for those who are busy; False if they still are at that time, in real seconds."""
        pool, self._pool = self._pool, None
        if pool is None:
            return True
        pool.shutdown(wait=False)
        return self._all_free(until)

    def forsake(self) -> None:
        """Leave them, and what they have not begun."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _all_free(self, until: float) -> bool:
        taken = 0
        for _ in range(self._size):
            if not self._free.acquire(timeout=max(0.0, until - time.monotonic())):
                break
            taken += 1
        for _ in range(taken):
            self._free.release()
        return taken == self._size
