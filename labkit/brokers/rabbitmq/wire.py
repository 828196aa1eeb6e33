"""Writing to a connection's socket from any thread, without waking the connection's own.

To hand bytes to another thread costs more than to send them: that thread has to wake up, twice for
a round trip. So whoever has a message writes it. A lock keeps the frames of several threads whole,
also those of pika, whose own writing is made to take it. What the socket does not take at once is
left to the connection's thread, and what comes after it queues up behind it.

Not over TLS: there two threads cannot use one connection. Nor with a pika that has other names for
what is needed here. Then the connection's thread writes, and all else is the same.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

_PLAIN = "_AsyncPlaintextTransport"
_PIKA_WRITES = ("write", "_on_socket_writable", "_close_and_finalize")
_PIKA_KNOWS = ("_sock", "_nbio", "_tx_buffers", "_buffer_tx_data", "_state", "_STATE_ACTIVE")


class Wire:
    """The way out of one connection.

    Attributes:
        guard: whoever holds it is the only one who writes.
    """

    def __init__(self) -> None:
        self.guard = threading.RLock()
        self._transport: Any = None
        self._post: Callable[[Callable[[], None]], None]

    @property
    def open(self) -> bool:
        """Whether any thread may write."""
        return self._transport is not None

    def take(self, transport: Any, post: Callable[[Callable[[], None]], None]) -> None:
        """In the connection's thread, when it is open: share pika's transport."""
        needed = (*_PIKA_WRITES, *_PIKA_KNOWS)
        if type(transport).__name__ != _PLAIN or not all(hasattr(transport, n) for n in needed):
            return
        for name in _PIKA_WRITES:
            setattr(transport, name, self._guarded(getattr(transport, name)))
        self._post = post
        self._transport = transport

    def send(self, data: bytes) -> None:
        """Send whole frames, or queue them up behind others. Where the line is cut: nothing."""
        with self.guard:
            transport = self._transport
            if transport._state != transport._STATE_ACTIVE:
                return
            waiting = bool(transport._tx_buffers)
            if not waiting:
                data = data[_sent(transport._sock, data) :]
            if data:
                transport._buffer_tx_data(data)
                if not waiting:
                    self._post(self._watch)

    def _watch(self) -> None:
        """In the connection's thread: send the rest when the socket takes it."""
        with self.guard:
            transport = self._transport
            if transport._state == transport._STATE_ACTIVE and transport._tx_buffers:
                socket = transport._sock.fileno()
                transport._nbio.set_writer(socket, transport._on_socket_writable)

    def _guarded(self, write: Callable[..., None]) -> Callable[..., None]:
        def guarded(*arguments: Any) -> None:
            with self.guard:
                write(*arguments)

        return guarded


def _sent(socket: Any, data: bytes) -> int:
    """How many bytes the socket took; that it is broken, the one who reads finds out."""
    with contextlib.suppress(OSError):
        return int(socket.send(data))
    return 0
