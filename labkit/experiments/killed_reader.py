"""A member of a group that is killed in the middle of its batch, on a real Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from labkit import servers
from labkit.connection import BROKER_URL_VARIABLE, connect
from labkit.errors import ServerError
from labkit.patterns.event_stream import EventStream

EVENTS = 12
BATCH = 6
BEGUN = 3
"""So many of its batch the first reader has begun when it is killed; it commits at the end."""

IDLE_S = 0.2
"""So long a member must have been silent before its events are claimed."""

STREAM, GROUP = "flights", "board"
_DEADLINE_S = 30.0


@dataclass(frozen=True)
class KilledReader:
    """What became of the events.

    Attributes:
        server: which server it was.
        appended: events in the log.
        pending: how many were pending with the killed member.
        claimed: how many of these another has claimed.
        handled: how many events the other has handled in the end.
        begun_twice: how many both of them had begun.
        lag: what the group had still to do in the end.
    """

    server: str
    appended: int
    pending: int
    claimed: int
    handled: int
    begun_twice: int
    lag: int


def kill_reader_in_the_middle() -> KilledReader | None:
    """Start a private Redis and a reader's process; kill it in its batch; let another go on.

    Returns:
        what happened, or None where there is no Redis or Valkey to start (see `labkit doctor`).
    """
    try:
        server = servers.start_redis()
    except ServerError:
        return None
    with (
        server,
        connect(server.url) as lab,
        tempfile.TemporaryDirectory(prefix="labkit-") as folder,
    ):
        stream = EventStream(lab, STREAM, sender="tower")
        stream.append_many(range(EVENTS))
        group = stream.group(GROUP)
        begun = _kill_one(server.url, Path(folder) / "begun")
        pending = group.state().pending.get("first") or 0
        handled: list[str] = []
        claimed = 0
        deadline = time.monotonic() + _DEADLINE_S
        with group.join("second") as second:
            while group.lag() and time.monotonic() < deadline:
                stale = second.claim_stale(IDLE_S)
                claimed += len(stale)
                handled += [str(event.position) for event in (*stale, *second.poll(timeout=0.1))]
                second.commit()
            return KilledReader(
                server=lab.name,
                appended=EVENTS,
                pending=pending,
                claimed=claimed,
                handled=len(set(handled)),
                begun_twice=len(begun & set(handled)),
                lag=group.lag(),
            )


def _kill_one(url: str, note: Path) -> set[str]:
    """Run a reader in a process until it is in its batch, then kill it; what it has begun."""
    environment = {**os.environ, BROKER_URL_VARIABLE: url}
    with subprocess.Popen([sys.executable, "-m", __name__, str(note)], env=environment) as process:
        try:
            deadline = time.monotonic() + _DEADLINE_S
            while len(_lines(note)) < BEGUN and time.monotonic() < deadline:
                if process.poll() is not None:
                    break
                time.sleep(0.01)
        finally:
            process.kill()
    return set(_lines(note))


def _lines(note: Path) -> list[str]:
    return note.read_text().splitlines() if note.exists() else []


def _read_slowly(note: Path) -> None:
    """The life of the reader that will be killed."""
    with connect() as lab:
        member = EventStream(lab, STREAM).group(GROUP).join("first")
        for number, event in enumerate(member.poll(BATCH, _DEADLINE_S), 1):
            with note.open("a") as file:
                file.write(f"{event.position}\n")
            if number == BEGUN:
                time.sleep(_DEADLINE_S)
        member.commit()


if __name__ == "__main__":
    _read_slowly(Path(sys.argv[1]))
