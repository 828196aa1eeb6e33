"""Keeps one server, and ends it when the process that asked for it is gone. Run as a script.

Why a process of its own, and not the two shorter ways: `atexit` does not run after SIGKILL, and
`prctl(PR_SET_PDEATHSIG)`, set by the process that wants the server, is Linux only, is tied to the
*thread* that forked (a server started from a thread that ends would die with it), needs a
`preexec_fn`, which is unsafe beside threads, and leaves the temporary folder behind. Here the
operating system closes a pipe, whatever way the owner went, and who reads the other end cleans up.

This process has one thread and outlives no owner, so that here PR_SET_PDEATHSIG *is* safe, and
covers the one case left: somebody kills the watchdog.

    python -I -S watchdog.py OWNER_PID PREFIX TEMPORARY_FOLDER

Requests come on standard input, replies go to standard output, one JSON object a line. Only the
standard library, and nothing of labkit: it must start in milliseconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LOOK_S = 0.5
"""How often to look whether the owner is still there: a fork of it may hold the pipe open."""

GRACE_S = 5.0
"""How long a server may take to end by itself before it is killed."""

LOCK_WAIT_S = 3.0
"""How long to wait for the last server to let go of a data folder."""

STOP_WAIT_S = 2.0
"""How long to wait for a server that is paused to stand still."""

_PR_SET_PDEATHSIG = 1


class Watchdog:
    """One server at a time, in one private folder."""

    def __init__(self, owner: int, folder: Path) -> None:
        self.owner = owner
        self.folder = folder
        self.server: subprocess.Popen[bytes] | None = None
        self.locked: dict[str, int] = {}

    def serve(self) -> None:
        """Carry out requests until the owner says "close" or is gone."""
        for request in self._requests():
            try:
                problem = self._carry_out(request)
            except OSError as error:
                problem = f"{error.strerror or error}: {error.filename or request}"
            code = None if self.server is None else self.server.poll()
            pid = self.server.pid if self.server is not None and code is None else None
            say(id=request["id"], pid=pid, code=code, problem=problem)

    def close(self) -> None:
        """End the server and remove the folder."""
        try:
            self._end(GRACE_S)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _requests(self) -> Iterator[dict[str, Any]]:
        pipe = sys.stdin.fileno()
        buffer = b""
        while os.getppid() == self.owner:
            if self.server is not None:
                self.server.poll()  # a server that ended is not left as a zombie
            if not select.select([pipe], [], [], LOOK_S)[0]:
                continue
            data = os.read(pipe, 65536)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                request = json.loads(line)
                if request["do"] == "close":
                    return
                yield request

    def _carry_out(self, request: dict[str, Any]) -> str | None:
        match request["do"]:
            case "start":
                return self._start(request)
            case "end":
                self._end(request["grace"])
            case "signal":
                self._signal(request["number"])
        return None

    def _start(self, request: dict[str, Any]) -> str | None:
        if self.server is not None and self.server.poll() is None:
            return "it is running already"
        for folder in request["lock"]:
            if not self._lock(folder):
                return f"another server is using the folder {folder}"
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self.server = subprocess.Popen(
                request["command"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=request["cwd"],
                env={**os.environ, **request["env"]},
                start_new_session=True,  # so that its own children can be ended with it
                preexec_fn=_die_with_me(),
            )
        finally:
            os.close(log)
        return None

    def _lock(self, folder: str) -> bool:
        """Two servers on one folder would destroy its data; the last one may still be ending."""
        if folder in self.locked:
            return True
        handle = os.open(folder, os.O_RDONLY)
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline or os.getppid() != self.owner:
                    os.close(handle)
                    return False
                time.sleep(0.02)
                continue
            except OSError:
                pass  # a file system without locks: better a server than none
            self.locked[folder] = handle
            return True

    def _end(self, grace: float) -> None:
        if self.server is None:
            return
        if self.server.poll() is None and grace > 0:
            self.server.terminate()
            self._signal(signal.SIGCONT)  # while paused it would not see the other signal
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.server.wait(grace)
        self._signal(signal.SIGKILL)  # also what it started and left behind
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.server.wait(GRACE_S)

    def _signal(self, number: int) -> None:
        if self.server is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.server.pid, number)
            if number == signal.SIGSTOP:
                self._see_it_stop(self.server.pid)

    def _see_it_stop(self, pid: int) -> None:
        """A signal is only sent: until every thread of a busy server has stopped, it answers."""
        if not hasattr(os, "waitid"):  # macOS, before Python 3.13
            return
        what = os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG
        deadline = time.monotonic() + STOP_WAIT_S
        with contextlib.suppress(ChildProcessError):  # it has ended, and was seen to
            while os.waitid(os.P_PID, pid, what) is None and time.monotonic() < deadline:
                time.sleep(0.001)


def say(**reply: object) -> None:
    """One line to the owner."""
    os.write(sys.stdout.fileno(), json.dumps(reply).encode() + b"\n")


def _die_with_me() -> Callable[[], None] | None:
    """What the server's process does before it becomes the server (Linux)."""
    if sys.platform != "linux":
        return None
    import ctypes

    libc = ctypes.CDLL(None)
    me = os.getpid()

    def set_death_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != me:
            os._exit(1)

    return set_death_signal


def main() -> None:
    """Create the private folder, tell the owner where it is, and watch."""
    owner, prefix, temporary = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    os.umask(0o077)
    # Functions, not SIG_IGN: what is ignored here would be ignored in the server too.
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl+C is the owner's affair
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit())
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=temporary))
    except OSError as error:
        say(problem=f"{error.strerror}: {temporary}")
        return
    dog = Watchdog(owner, folder)
    try:
        say(folder=str(folder))
        dog.serve()
    except BrokenPipeError:
        pass  # the owner is gone
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        dog.close()


if __name__ == "__main__":
    main()
