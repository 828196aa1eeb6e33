"""Ten jobs a day in a table of a database: nothing more to run, and every loss can be seen."""

from __future__ import annotations

import sqlite3
from pathlib import Path

CLAIM = """
update jobs set state = 'begun', attempts = attempts + 1
where id = (select id from jobs where state = 'waiting' order by id limit 1)
returning id, what
"""
"""Take the oldest that waits, in one statement."""


class JobTable:
    """Jobs in a file. Each is waiting, begun, or done; nothing disappears.

    Args:
        path: the file; it is made if it is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute(
            "create table if not exists jobs "
            "(id integer primary key, what text, state text default 'waiting', "
            "attempts integer default 0)"
        )

    def put(self, *what: str) -> None:
        """Add jobs."""
        with self._database:
            self._database.executemany("insert into jobs (what) values (?)", [(w,) for w in what])

    def take(self) -> tuple[int, str] | None:
        """The oldest that waits: its id, and what is to be done. One statement: no two get it."""
        found: tuple[int, str] | None = self._database.execute(CLAIM).fetchone()
        return found

    def done(self, job: int) -> None:
        """This one is done."""
        self._database.execute("update jobs set state = 'done' where id = ?", (job,))

    def give_back(self, job: int) -> None:
        """Whoever had begun it is dead: let another one try."""
        self._database.execute("update jobs set state = 'waiting' where id = ?", (job,))

    def states(self) -> dict[str, int]:
        """How many there are in each state."""
        rows = self._database.execute("select state, count(*) from jobs group by state order by 1")
        return dict(rows.fetchall())

    def begun(self) -> list[tuple[int, str]]:
        """What somebody has begun, and nobody has finished: look at it once a day."""
        return self._database.execute("select id, what from jobs where state = 'begun'").fetchall()

    def close(self) -> None:
        """Let go of the file; the jobs stay in it."""
        self._database.close()
