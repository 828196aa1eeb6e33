"""An effect and its mark in one transaction: once, whatever happens in between."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from labkit import OnceStore
from labkit.errors import ConfigurationError, ValidationError


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> OnceStore:
    store = OnceStore(":memory:" if request.param == "memory" else tmp_path / "once.db")
    store.connection.execute("CREATE TABLE charges (card TEXT)")
    return store


def charges(store: OnceStore) -> int:
    return int(store.connection.execute("SELECT count(*) FROM charges").fetchone()[0])


def charge(cursor: sqlite3.Cursor) -> dict[str, Any]:
    cursor.execute("INSERT INTO charges VALUES ('4711')")
    return {"receipt": cursor.lastrowid, "lines": [1, None]}


def test_the_second_time_only_the_result_comes_back(store: OnceStore) -> None:
    first, again = store.run("t", charge), store.run("t", charge)

    assert first == again == {"receipt": 1, "lines": [1, None]}
    assert charges(store) == 1
    assert store.run("u", charge)["receipt"] == 2
    assert (store.count(), len(store), store.seen("t"), "t" in store) == (2, 2, True, True)
    assert not store.seen("v")
    assert "2 done" in repr(store)


def test_an_effect_that_fails_has_not_happened(store: OnceStore) -> None:
    def half(cursor: sqlite3.Cursor) -> None:
        charge(cursor)
        raise OSError("the line went dead")

    with pytest.raises(OSError, match="went dead"):
        store.run("t", half)

    assert (charges(store), store.seen("t")) == (0, False)
    store.run("t", charge)
    assert charges(store) == 1


@pytest.mark.parametrize("result", [{1, 2}, object(), float("nan")])
def test_a_result_that_cannot_be_kept_undoes_the_effect(store: OnceStore, result: object) -> None:
    def effect(cursor: sqlite3.Cursor) -> object:
        charge(cursor)
        return result

    with pytest.raises(ValidationError, match="JSON"):
        store.run("t", effect)

    assert (charges(store), store.count()) == (0, 0)


@pytest.mark.parametrize("key", ["", None, 7])
def test_a_key_is_a_text(store: OnceStore, key: Any) -> None:
    with pytest.raises(ValidationError, match="key"):
        store.run(key, charge)


def test_a_run_inside_a_run_is_refused_and_undone(store: OnceStore) -> None:
    with pytest.raises(ConfigurationError, match="inside a transaction"):
        store.run("outer", lambda _: store.run("inner", charge))

    assert store.count() == 0
    store.run("outer", charge)
    assert charges(store) == 1


def test_threads_take_turns(store: OnceStore) -> None:
    start = threading.Barrier(8)

    def work() -> None:
        start.wait(10)
        for n in range(20):
            store.run(f"t{n}", charge)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert charges(store) == store.count() == 20


PROGRAM = """
import sys
from labkit import OnceStore
store = OnceStore(sys.argv[1])
store.connection.execute("CREATE TABLE IF NOT EXISTS charges (card TEXT)")
for n in range(50):
    store.run(f"t{n}", lambda db: db.execute("INSERT INTO charges VALUES ('4711')").rowcount)
"""


def test_processes_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "once.db"
    programs = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(path)], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for program in programs:
        _, complaints = program.communicate(timeout=60)
        assert program.returncode == 0, complaints.decode()

    with OnceStore(path) as store:
        assert charges(store) == store.count() == 50


DIES = """
import os, sys
from labkit import OnceStore

def effect(cursor):
    cursor.execute("INSERT INTO charges VALUES ('4711')")
    os._exit(9)

store = OnceStore(sys.argv[1])
store.connection.execute("CREATE TABLE IF NOT EXISTS charges (card TEXT)")
store.run("t", effect)
"""


def test_a_process_that_dies_in_between_has_done_neither(tmp_path: Path) -> None:
    path = tmp_path / "once.db"
    assert subprocess.run([sys.executable, "-c", DIES, str(path)], check=False).returncode == 9

    with OnceStore(path) as store:
        assert (charges(store), store.seen("t")) == (0, False)
        store.run("t", charge)
        assert charges(store) == 1


def test_a_place_that_cannot_hold_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="folder that exists"):
        OnceStore(tmp_path / "nowhere" / "once.db")
    (tmp_path / "text.db").write_text("not a database " * 100)
    with pytest.raises(ConfigurationError, match="cannot hold marks"):
        OnceStore(tmp_path / "text.db")
