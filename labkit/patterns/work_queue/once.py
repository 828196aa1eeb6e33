"""Doing a thing once, although it is asked for twice.

A queue that loses nothing delivers some tasks again. What makes the second time harmless is a mark:
"this key is done". Where the mark goes decides what a crash between two lines does:

    mark first, then act    a crash in between: marked, never done       (at most once)
    act first, then mark    a crash in between: done, and done again     (at least once)
    both in one transaction a crash in between: neither; the next try does both    (once)

So the effect has to live where the mark lives. An effect elsewhere (an e-mail, a card charged at a
bank) cannot be part of the transaction: it needs a key that the other side remembers.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from labkit.errors import ConfigurationError, ValidationError

BUSY_S = 30.0
"""Longest wait for another process that is writing."""

Effect = Callable[[sqlite3.Cursor], Any]
"""Does its work through the cursor it is given, and returns a JSON value or None."""

_TABLE = "CREATE TABLE IF NOT EXISTS labkit_once (key TEXT PRIMARY KEY, result TEXT NOT NULL)"


class OnceStore:
    """Effects and the marks that they are done, in one SQLite database.

    May be used by several threads; with a path, by several processes, too.

    A store remembers a key for as long as it lives, so a key must not come again for something
    else. The ids that a queue gives do so on a `StepClock`, which counts alike in each run: there
    give each task an id of your own, or each run a store of its own.

    Args:
        path: the database's file; ":memory:" lives as long as this object.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self.path = str(path)
        self._lock = threading.RLock()
        self._inside = False
        try:
            self._connection = sqlite3.connect(
                self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")  # what is acknowledged is on disk
            self._connection.execute(_TABLE)
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"{self.path!r} cannot hold marks: {error}. Name a file in a folder that exists "
                "and can be written to, or none to keep them in memory."
            ) from None

    def run(self, key: str, effect: Effect) -> Any:
        """Do `effect`, unless it has been done under this key; return its result, old or new.

        Args:
            key: names the effect: a task's id, or better what must not happen twice.
            effect: called with a cursor inside the transaction that also sets the mark. If it
                raises, nothing has happened, and the error comes out.

        Raises:
            ValidationError: the result is not what JSON can hold; nothing has happened.
        """
        if not isinstance(key, str) or not key:
            raise ValidationError("key", "a non-empty str", repr(key))
        with self._transaction() as cursor:
            cursor.execute("SELECT result FROM labkit_once WHERE key = ?", (key,))
            found = cursor.fetchone()
            if found is not None:
                return json.loads(found[0])
            result = effect(cursor)
            try:
                text = json.dumps(result, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise ValidationError("result", "what JSON can hold", str(error)) from None
            cursor.execute("INSERT INTO labkit_once VALUES (?, ?)", (key, text))
            return json.loads(text)

    def seen(self, key: str) -> bool:
        """Whether the effect has been done under this key."""
        found = self._read("SELECT 1 FROM labkit_once WHERE key = ?", key)
        return found is not None

    def count(self) -> int:
        """How many effects have been done."""
        return int(self._read("SELECT count(*) FROM labkit_once")[0])

    @property
    def connection(self) -> sqlite3.Connection:
        """SQLite's own connection: to create tables, and to look at what the effects did."""
        return self._connection

    def close(self) -> None:
        """Close the database; one in memory is gone."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.count()

    def __contains__(self, key: str) -> bool:
        return self.seen(key)

    def __repr__(self) -> str:
        return f"<OnceStore {self.path!r}: {self.count():,} done>"

    def _read(self, query: str, *arguments: str) -> Any:
        with self._lock:
            return self._connection.execute(query, arguments).fetchone()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        with self._lock:
            if self._inside:
                raise ConfigurationError(
                    "An effect runs inside a transaction and cannot start another run(): give "
                    "both one key, or run them one after the other."
                )
            self._inside = True
            cursor = self._connection.cursor()
            try:
                cursor.execute("BEGIN IMMEDIATE")  # writers wait for each other here
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
            finally:
                self._inside = False
                cursor.close()
