"""The systems that benchmarks/queue.py compares: each says how it is filled, and how it works.

A module here has `SETTINGS` (a line for the reader), `put_many(count)` and `put_one_by_one(count)`,
which fill its queue with empty tasks, and `work()`, which does tasks until it is killed. Where
Redis is stands in the environment, where other users of the machine cannot read it.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

URL = "BENCH_REDIS_URL"
PREFETCH = "BENCH_PREFETCH"

NAME = "bench"
"""What everybody calls the queue."""

MANY, ONE = 100, 1
"""The prefetches compared."""


def redis_url() -> str:
    return os.environ[URL]


def prefetch() -> int:
    """How many tasks a worker may have taken and not done; some take no notice."""
    return int(os.environ[PREFETCH])


class System(Protocol):
    """What a module here has."""

    def put_many(self, count: int) -> None:
        """Empty tasks into the queue, in the fastest way that its documentation shows."""

    def put_one_by_one(self, count: int) -> None:
        """The same, one call and one answer a task."""

    def work(self) -> None:
        """Do tasks for ever."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A system.

    Attributes:
        rough: about how many tasks a second it does, by prefetch: so many are worth measuring.
            Who cannot be told a prefetch takes one at a time, and has one figure.
    """

    module: str
    title: str
    package: str
    requirement: str
    rough: Mapping[int, int]

    @property
    def there(self) -> bool:
        """Whether its package is installed."""
        return find_spec(self.package) is not None

    @property
    def settings(self) -> str:
        """What the module says, without importing what it needs."""
        tree = ast.parse((Path(__file__).parent / f"{self.module}.py").read_text())
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SETTINGS":
                return str(ast.literal_eval(node.value))
        raise LookupError(f"{self.module} has no SETTINGS")

    def load(self) -> System:
        """Its module."""
        return cast(System, import_module(f"peers.{self.module}"))


OURS = Entry("labkit_queue", "labkit", "labkit", "labkit", {MANY: 50_000, ONE: 8_000})
BARE = Entry("bare_stream", "bare redis-py loop", "redis", "redis", {MANY: 300_000, ONE: 14_000})
PEERS = (
    Entry("celery_app", "Celery", "celery", "celery[redis]", {MANY: 1_700, ONE: 1_700}),
    Entry("dramatiq_app", "Dramatiq", "dramatiq", "dramatiq[redis]", {MANY: 7_000, ONE: 250}),
    Entry("rq_app", "RQ", "rq", "rq", {ONE: 400}),
    Entry("huey_app", "Huey", "huey", "huey", {ONE: 8_000}),
)
