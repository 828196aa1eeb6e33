"""What all servers that are started here can do, whatever they are: start, stop, faults, log."""

from __future__ import annotations

import contextlib
import signal
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from labkit.errors import ServerError
from labkit.servers.process import GRACE_S, HOST, LOG_LINES, ServerProcess


class Server(ABC):
    """A server process and its temporary folder; a context manager that stops it at the end.

    Args:
        name: of the product, with its version, for messages.
        prefix: how the name of the temporary folder begins.
    """

    _RESTART_GRACE_S: ClassVar[float] = GRACE_S
    """How long it may take to write down what it holds."""

    _STOP_GRACE_S: ClassVar[float | None] = None
    """The same when its folder goes with it; None leaves it to the watchdog."""

    def __init__(self, name: str, prefix: str) -> None:
        self._name = name
        self._prefix = prefix
        self._process: ServerProcess | None = None
        self._last_log = ""
        self._lock = threading.RLock()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; the same after a restart.

        Raises:
            ServerError: it has none before it is started.
        """
        port = self._port_or_none
        if port is None:
            raise ServerError(f"{self._name} has no port before it is started.")
        return port

    @property
    def pid(self) -> int | None:
        """The process id of the server; None while it does not run."""
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists; a paused one does, but does not answer."""
        return self.pid is not None

    @property
    def folder(self) -> Path:
        """Where its data files are.

        Raises:
            ServerError: it was in a temporary folder that went with the server.
        """
        return self._living().folder / "data"

    def log_tail(self, lines: int = LOG_LINES) -> str:
        """The last lines of its log since it was last started; also after `stop()`."""
        if self._process is None or self._process.closed:
            return "\n".join(self._last_log.splitlines()[-lines:]) if lines > 0 else ""
        return self._process.log_tail(lines)

    def start(self) -> Self:
        """Start it again on the same port, and wait until it answers; nothing if it runs.

        After `kill()` it finds its files; after `stop()` those in a temporary folder are gone.

        Raises:
            ServerError: it does not start.
        """
        with self._lock:
            if self.running:
                return self
            if self._process is not None and not self._process.closed:
                self._bring_up(self._process)
                return self
            self._process = ServerProcess(self._name, self._prefix)
            try:
                self._bring_up(self._process)
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self) -> None:
        """End it and remove its temporary folder. Stopping twice is fine."""
        with self._lock:
            if self._process is None or self._process.closed:
                return
            self._last_log = self._process.log_text()
            if self._STOP_GRACE_S is not None:
                with contextlib.suppress(ServerError):
                    self._process.end(self._STOP_GRACE_S)
            self._process.close()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would. Port and files stay for `start()`."""
        with self._lock:
            self._living().end(grace=0)

    def restart(self) -> None:
        """Shut it down in order, and start it again on the same port with the same files."""
        with self._lock:
            self._living().end(self._RESTART_GRACE_S)
            self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing is answered."""
        self._living().signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused one go on (SIGCONT)."""
        self._living().signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.running else "not running"
        return f"{type(self).__name__}({self._name} at {HOST}:{self._port_or_none}, {state})"

    # --- for the servers ----------------------------------------------------------------------

    @property
    @abstractmethod
    def _port_or_none(self) -> int | None:
        """Where it listens, once that is known."""

    @abstractmethod
    def _bring_up(self, process: ServerProcess) -> None:
        """Start it and wait until it answers, on the ports it had or on free ones.

        Between choosing a free port and binding it, another program may take it: try again.
        """

    def _living(self) -> ServerProcess:
        if self._process is None or self._process.closed:
            raise ServerError(f"{self._name} has been stopped. Start it again with .start().")
        return self._process


class PortTakenError(ServerError):
    """The port that we wanted is another program's."""
