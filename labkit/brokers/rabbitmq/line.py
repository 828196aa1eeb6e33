"""One AMQP connection, the thread that serves it, and its channels.

pika's connections belong to one thread. So each connection here has a thread of its own, which does
nothing but serve it: heartbeats are answered however long a handler takes, and whatever other
threads want is handed to it (`add_callback_threadsafe`) and waited for.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop, SelectConnection

from labkit.brokers.rabbitmq import words
from labkit.errors import BrokerRefused, BrokerUnavailable

_CLOSE_S = 2.0
_LOOK_S = 0.25


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
        """In the thread: send marshalled frames now, and not only when the loop comes round."""
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


class Channel:
    """One AMQP channel; its methods may be called from any thread but the connection's own.

    Args:
        line: the connection.
        patience: seconds to wait for an answer.
        on_lost: called in the connection's thread when it is gone, with the reason.
        setup: called in the connection's thread with pika's new channel.
    """

    def __init__(
        self,
        line: Line,
        patience: float,
        *,
        on_lost: Callable[[str], None] | None = None,
        setup: Callable[[Any], None] | None = None,
    ) -> None:
        self.line = line
        self.lost: str | None = None
        self.error: BrokerRefused | None = None
        self.native: Any = None
        self.sweeps = False
        self.prefetch = 0
        self._patience = patience
        self._on_lost = on_lost
        self._setup = setup
        self._waiting: set[Future[Any]] = set()
        future: Future[Any] = Future()
        line.post(lambda: self._begin(future))
        self._result(future, patience)

    def ask(self, start: Callable[[Any, Callable[..., None]], None]) -> Any:
        """Start something in the connection's thread, and wait for its answer.

        `start` gets pika's channel and a function to be called with the answer.

        Raises:
            BrokerRefused: the broker closed the channel; says why, in words.
            BrokerUnavailable: the connection broke, or no answer came.
        """
        future: Future[Any] = Future()

        def begin() -> None:
            if self._gone(future):
                return
            self._waiting.add(future)
            try:
                start(self.native, lambda *answer: self._settle(future, answer))
            except Exception as error:
                self._waiting.discard(future)
                future.set_exception(BrokerUnavailable(words.reason(error), sent=True))

        self.line.post(begin)
        return self._result(future, self._patience)

    def tell(self, act: Callable[[Any], None]) -> None:
        """Do something in the connection's thread and do not wait; nothing if it is gone."""

        def begin() -> None:
            if self.lost is None:
                act(self.native)

        with contextlib.suppress(BrokerUnavailable):
            self.line.post(begin)

    def close(self) -> None:
        """Close it; what was delivered and not acknowledged goes back to its queue."""
        if self.lost is None:
            with contextlib.suppress(BrokerUnavailable, BrokerRefused):
                self.ask(self._start_close)

    def _start_close(self, channel: Any, done: Callable[..., None]) -> None:
        self._on_lost = None
        channel.add_on_close_callback(lambda *_: done())
        channel.close()

    # --- in the connection's thread -----------------------------------------------------------

    def connection_lost(self, why: str | None) -> None:
        """The connection is gone, and the channel with it."""
        self._fail(
            why or "closed",
            BrokerUnavailable(
                f"The connection broke: {why}. What was sent last is uncertain.", sent=True
            ),
        )

    def _begin(self, future: Future[Any]) -> None:
        self.line.attach(self)
        self._waiting.add(future)

        def opened(channel: Any) -> None:
            self.native = channel
            channel.add_on_close_callback(self._on_close)
            if self._setup is not None:
                self._setup(channel)
            self._settle(future, ())

        try:
            self.line.connection.channel(on_open_callback=opened)
        except Exception as error:
            self._fail(words.reason(error), BrokerUnavailable(words.reason(error)))

    def _on_close(self, _: Any, error: BaseException) -> None:
        self.line.detach(self)
        code, text = getattr(error, "reply_code", 0), str(getattr(error, "reply_text", error))
        if isinstance(error, pika.exceptions.ChannelClosedByBroker):
            told = words.closed_channel(code, text)
            self.error = BrokerRefused(told)
            self._fail(told, self.error)
        else:
            self._fail(text, BrokerUnavailable(f"The channel is closed: {text}.", sent=True))

    def _fail(self, why: str, error: Exception) -> None:
        if self.lost is not None:
            return
        self.lost = why
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_exception(error)
        if self._on_lost is not None:
            self._on_lost(why)

    def _settle(self, future: Future[Any], answer: tuple[Any, ...]) -> None:
        self._waiting.discard(future)
        if not future.done():
            future.set_result(answer[0] if len(answer) == 1 else answer)

    def _gone(self, future: Future[Any]) -> bool:
        if self.lost is None:
            return False
        future.set_exception(self.error or BrokerUnavailable(f"The channel is gone: {self.lost}."))
        return True

    # --- in the caller's thread ---------------------------------------------------------------

    def _result(self, future: Future[Any], patience: float) -> Any:
        """Its result. While an alarm holds publishers back the time does not count."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return future.result(_LOOK_S)
            except NotYet:
                if self.line.blocked is not None:
                    deadline = time.monotonic() + patience
                elif time.monotonic() > deadline:
                    raise BrokerUnavailable(
                        f"No answer from RabbitMQ within {patience:g} s.", sent=True
                    ) from None
