"""One AMQP connection, and the thread that serves it.

pika's connections belong to one thread. So each connection here has a thread of its own, which does
nothing but serve it: heartbeats are answered however long a handler takes, and whatever other
threads want is handed to it (`add_callback_threadsafe`) and waited for. Only messages and
acknowledgements are written by whoever has them (`Wire`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import TYPE_CHECKING, Any

import pika
from pika.adapters.select_connection import IOLoop, SelectConnection

from labkit.brokers.rabbitmq import words
from labkit.brokers.rabbitmq.wire import Wire
from labkit.errors import BrokerUnavailable

if TYPE_CHECKING:
    from labkit.brokers.rabbitmq.channel import Channel

_CLOSE_S = 2.0


class Line:
    """An open connection.

    Args:
        parameters: pika's.
        timeout: seconds to wait for the broker to let us in.
        url: how to speak of it.
        name: of the thread.

    Attributes:
        lost: why it broke; None while it is open.
        blocked: why the broker does not read what we publish (an alarm); None while it does.
        server: what the broker says of itself.
        wire: the way out, for those who need not wait for the thread.

    Raises:
        BrokerUnavailable: no broker there, or it refuses us.
    """

    def __init__(self, parameters: pika.ConnectionParameters, timeout: float, url: str, name: str):
        self.lost: str | None = None
        self.blocked: str | None = None
        self.server: dict[str, Any] = {}
        self._url = url
        self._parameters = parameters
        self._lock = threading.Lock()
        self.wire = Wire()
        self._channels: set[Channel] = set()
        self._connection: SelectConnection | None = None
        self._loop = IOLoop()
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()
        try:
            self._opened.result(timeout)
        except NotYet:
            self._give_up()
            told = words.cannot_connect(url, f"no answer within {timeout:g} s")
            raise BrokerUnavailable(told) from None
        except BaseException:
            self._thread.join(_CLOSE_S)
            raise

    def post(self, act: Callable[[], None]) -> None:
        """Let the thread do this soon.

        Raises:
            BrokerUnavailable: the connection is gone; nothing was sent.
        """
        with self._lock:  # the loop is not closed between the look and the call
            if self.lost is not None:
                raise BrokerUnavailable(f"The connection to {self._url} is lost: {self.lost}.")
            self._loop.add_callback_threadsafe(act)

    def close(self) -> None:
        """Say goodbye and end the thread."""
        with contextlib.suppress(BrokerUnavailable):
            self.post(self._say_goodbye)
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_S)
            if self._thread.is_alive():  # a broker that is paused answers no goodbye
                self._give_up()

    def attach(self, channel: Channel) -> None:
        """In the thread: tell this channel when the connection breaks."""
        self._channels.add(channel)

    def detach(self, channel: Channel) -> None:
        """In the thread: no longer."""
        self._channels.discard(channel)

    @property
    def connection(self) -> Any:
        """In the thread: pika's connection."""
        return self._connection

    def write(self, data: bytes) -> None:
        """Send marshalled frames now; from any thread while `wire.open`, else in the thread."""
        if self.wire.open:
            self.wire.send(data)
            return
        connection = self.connection
        connection._output_marshaled_frames([data])
        transport = connection._transport
        if transport is not None and transport.get_write_buffer_size() == len(data):
            flush = getattr(transport, "_on_socket_writable", None)
            if flush is not None:
                flush()

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """In the thread: do this after so many seconds, if the connection still lives."""
        self._loop.call_later(seconds, act)

    # --- in the thread ------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._connection = SelectConnection(
                self._parameters,
                on_open_callback=self._on_open,
                on_open_error_callback=self._on_open_error,
                on_close_callback=lambda _, error: self._end(words.reason(error)),
                custom_ioloop=self._loop,
            )
            self._loop.start()
            self._end("closed on this side")
        except BaseException as error:
            self._end(words.reason(error))
        finally:
            with self._lock:
                self._loop.close()

    def _on_open(self, connection: Any) -> None:
        self.server = dict(connection.server_properties)
        self.wire.take(connection._transport, self._loop.add_callback_threadsafe)
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(lambda *_: setattr(self, "blocked", None))
        self._opened.set_result(None)

    def _on_open_error(self, _: Any, error: BaseException) -> None:
        self.lost = words.reason(error)
        told = words.cannot_connect(self._url, error)
        self._opened.set_exception(BrokerUnavailable(told))
        self._loop.stop()

    def _on_blocked(self, _: Any, method: Any) -> None:
        self.blocked = str(method.method.reason or "an alarm")

    def _end(self, why: str) -> None:
        with self._lock:
            if self.lost is None:
                self.lost = why
        self.blocked = None
        if not self._opened.done():
            told = words.cannot_connect(self._url, why)
            self._opened.set_exception(BrokerUnavailable(told))
        channels, self._channels = self._channels, set()
        for channel in channels:
            channel.connection_lost(self.lost)
        self._loop.stop()

    def _say_goodbye(self) -> None:
        connection = self._connection
        if connection is None or not connection.is_open:
            self._loop.stop()
            return
        connection.close()

    def _give_up(self) -> None:
        with contextlib.suppress(BrokerUnavailable):
            self.post(self._loop.stop)
