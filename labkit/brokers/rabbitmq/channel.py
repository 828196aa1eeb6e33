"""One AMQP channel, for any thread: what it asks is carried out in its connection's thread."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

import pika
from pika import frame, spec

from labkit.brokers.rabbitmq import words
from labkit.brokers.rabbitmq.line import Line
from labkit.errors import BrokerRefused, BrokerUnavailable

_LOOK_S = 0.25


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
        self.ended = False
        self.native: Any = None
        self.sweeps = False
        self.prefetch = 0
        self._patience = patience
        self._on_lost = on_lost
        self._setup = setup
        self._given_up = False
        self._waiting: set[Future[Any]] = set()
        future: Future[Any] = Future()
        line.post(lambda: self._begin(future))
        try:
            self._result(future, patience)
        except BaseException:
            with contextlib.suppress(BrokerUnavailable):
                line.post(self._give_up)
            raise

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
                with contextlib.suppress(pika.exceptions.ChannelWrongStateError):  # it is closing
                    act(self.native)

        with contextlib.suppress(BrokerUnavailable):
            self.line.post(begin)

    def drop(self) -> None:
        """Close it, and do not wait."""
        self.tell(lambda native: native.close())

    def write(self, act: Callable[[], None]) -> None:
        """Do something that does nothing but `line.write`, and do not wait.

        At once, in this thread, where it may be; nobody else writes meanwhile.

        Raises:
            BrokerUnavailable: the connection is gone; it will not be done.
        """

        def go() -> None:
            with self.line.wire.guard:
                act()

        if self.line.wire.open:
            go()
        else:
            self.line.post(go)

    def acknowledge(self, *tags: int, multiple: bool = False) -> None:
        """basic.ack; nothing if the channel is gone, and the messages with it."""
        number = self.native.channel_number
        acks = [frame.Method(number, spec.Basic.Ack(tag, multiple)).marshal() for tag in tags]

        def act() -> None:
            if self.lost is None and not self.ended:
                self.line.write(b"".join(acks))

        with contextlib.suppress(BrokerUnavailable):
            self.write(act)

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
            if self._given_up:
                self.line.detach(self)
                channel.close()
                return
            self.native = channel
            self._see_the_end(channel)
            channel.add_on_close_callback(self._on_close)
            if self._setup is not None:
                self._setup(channel)
            self._settle(future, ())

        try:
            self.line.connection.channel(on_open_callback=opened)
        except Exception as error:
            self._fail(words.reason(error), BrokerUnavailable(words.reason(error)))

    def _give_up(self) -> None:
        """Nobody waits for it any more: should it open yet, it is closed."""
        self._given_up = True
        if self.native is not None and self.native.is_open:
            self.native.close()

    def _see_the_end(self, native: Any) -> None:
        """What is written behind a channel's end would be a mistake that ends the connection."""
        send = native._send_method

        def watched(method: Any, *content: Any) -> None:
            if isinstance(method, spec.Channel.Close | spec.Channel.CloseOk):
                with self.line.wire.guard:
                    self.ended = True
                    send(method, *content)
            else:
                send(method, *content)

        native._send_method = watched

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
