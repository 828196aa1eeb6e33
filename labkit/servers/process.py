"""The life of a server process, whatever the server: start, wait until ready, stop, kill.

What a server is started with, and how one sees that it is ready, is its own module's affair
(`redis.py`); that it ends, with its folder, whatever happens to us, is this one's.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.errors import ConfigurationError, ServerError

GRACE_S = 5.0
"""How long a server may take to end by itself before it is killed."""

HOST = "127.0.0.1"
"""Where servers listen that are started here: nobody else reaches them."""

LOG_LINES = 20
"""How much of a log is shown, unless told."""

_LOG_BYTES = 65_536
_POLL_S = 0.01
_WATCHDOG = Path(__file__).with_name("watchdog.py")

# Below the ports that Linux (32768 on) and macOS (49152 on) give to outgoing connections. A client
# that knocks at the port of a dead server, again and again, may get that very port as its own and
# be connected to itself; the server then cannot come back.
_FREE_PORTS = range(20_000, 32_768)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has at this moment; somebody may take it the next."""
    for _ in range(100):
        port = random.choice(_FREE_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ServerError("No free port found between 20000 and 32767. Pass port=… to use another.")


def check_port(port: int) -> int:
    """The port, if it can be one.

    Raises:
        ConfigurationError: it cannot.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65_535:
        raise ConfigurationError(f"A port is a number from 1 to 65535, got {port!r}.")
    return port


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only this user can read, from its first byte on."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)


class ServerProcess:
    """One server on this machine and its private folder (only for this user, removed at the end).

    A watchdog process starts it, so that both end with us, even when we are killed; see
    `watchdog.py`. Methods may be called from any thread. In a fork of this process they refuse:
    the server belongs to the process that started it.

    Args:
        name: what to call it in errors: "Redis 7.0.15".
        prefix: beginning of the private folder's name.

    Raises:
        ServerError: no watchdog can be started.
    """

    def __init__(self, name: str, prefix: str) -> None:
        self.name = name
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._asked = 0
        self._log_starts_at = 0
        self._closed = False
        arguments = [str(self._owner), prefix, tempfile.gettempdir()]
        try:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_WATCHDOG), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # Ctrl+C in our terminal is not meant for it
            )
        except OSError as error:
            raise ServerError(f"{name} cannot be watched over: {error}.") from None
        try:
            answer = self._read()
        except BaseException:
            self._let_go()
            raise
        if "folder" not in answer:
            self._let_go()
            raise ServerError(f"{name} needs a temporary folder: {answer['problem']}.")
        self.folder = Path(answer["folder"])
        self.log = self.folder / "server.log"
        atexit.register(self.close)  # also keeps us alive: no server ends by garbage collection

    def start(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        lock: Sequence[Path] = (),
    ) -> int:
        """Start the server and return its process id; it is not ready yet.

        Args:
            command: program and arguments; others can see them, so no secrets.
            cwd: folder to start in.
            env: variables to set besides ours.
            lock: folders that no other server may be using.

        Raises:
            ServerError: it cannot be started.
        """
        self._log_starts_at = self.log.stat().st_size if self.log.exists() else 0
        reply = self._ask(
            "start",
            command=list(command),
            cwd=str(cwd),
            env=dict(env or {}),
            lock=[str(folder) for folder in lock],
            log=str(self.log),
        )
        if reply["problem"]:
            raise ServerError(f"{self.name} cannot be started: {reply['problem']}.")
        return int(reply["pid"] or 0)

    def wait_ready(self, ready: Callable[[], bool], timeout: float) -> None:
        """Return when `ready()` says so.

        Raises:
            ServerError: it ended, or `timeout` seconds passed; with the last lines of its log.
        """
        deadline = time.monotonic() + timeout
        while True:
            if not self.running:
                raise ServerError(f"{self.name} ended while starting. {self._log_quoted()}")
            if ready():
                return
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{self.name} did not answer within {timeout:g} s. {self._log_quoted()}"
                )
            time.sleep(_POLL_S)

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it does not run."""
        if self._closed or os.getpid() != self._owner:
            return None
        try:
            pid = self._ask("look")["pid"]
        except ServerError:
            return None
        return None if pid is None else int(pid)

    @property
    def running(self) -> bool:
        """Whether the server's process exists (a paused one does)."""
        return self.pid is not None

    @property
    def closed(self) -> bool:
        """Whether it is over: the server ended and the folder is gone."""
        return self._closed

    def end(self, grace: float = GRACE_S) -> None:
        """Ask the server to end and wait; after `grace` seconds, or at once for 0, kill it.

        The folder stays.

        Raises:
            ServerError: it could not be ended.
        """
        if self._ask("end", grace=grace)["pid"] is not None:
            raise ServerError(f"{self.name} did not end, although it was killed.")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and its children."""
        self._ask("signal", number=int(number))

    def log_text(self) -> str:
        """The end of what the server has written since it was last started."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_starts_at, size - _LOG_BYTES))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def log_tail(self, lines: int = LOG_LINES) -> str:
        """The last lines that the server has written since it was last started."""
        return "\n".join(self.log_text().splitlines()[-lines:]) if lines > 0 else ""

    def close(self) -> None:
        """End the server and remove its folder. Closing twice is fine."""
        if os.getpid() != self._owner:
            return  # a fork of the owner is exiting
        with self._lock:
            if self._closed:
                return
            self._closed = True
            atexit.unregister(self.close)
            with contextlib.suppress(OSError):
                self._write({"do": "close"})
            self._let_go()
            shutil.rmtree(self.folder, ignore_errors=True)  # still there if the watchdog was killed

    def _let_go(self) -> None:
        for pipe in (self._watchdog.stdin, self._watchdog.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._watchdog.wait()

    def _ask(self, what: str, **details: object) -> dict[str, Any]:
        if os.getpid() != self._owner:
            raise ServerError(f"{self.name} belongs to process {self._owner}; use it from there.")
        with self._lock:
            if self._closed:
                raise ServerError(f"{self.name} has been stopped.")
            self._asked += 1
            try:
                self._write({"id": self._asked, "do": what, **details})
            except OSError:
                raise self._abandoned() from None
            while True:
                reply = self._read()
                if reply.get("id") == self._asked:  # others were left by an interrupted call
                    return reply

    def _write(self, request: dict[str, object]) -> None:
        pipe = self._watchdog.stdin
        assert pipe is not None
        pipe.write(json.dumps(request).encode() + b"\n")
        pipe.flush()

    def _read(self) -> dict[str, Any]:
        pipe = self._watchdog.stdout
        assert pipe is not None
        line = pipe.readline()
        if not line:
            raise self._abandoned()
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _abandoned(self) -> ServerError:
        return ServerError(f"{self.name} was ended from outside, with the process that kept it.")

    def _log_quoted(self) -> str:
        tail = self.log_tail()
        return f"The last lines of its log:\n{tail}" if tail else "It wrote nothing to its log."
