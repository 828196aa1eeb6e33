"""The responder: takes requests, works, and answers; one of several for its service, perhaps."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from typing import Self

from labkit.broker import ReplyBroker
from labkit.errors import BrokerRefused, ConfigurationError, NotConnected
from labkit.message import DEFAULT_MAX_BYTES, Message
from labkit.patterns.background import Background
from labkit.patterns.identity import Home
from labkit.patterns.request_reply.answering import Answering, Handler
from labkit.patterns.request_reply.crew import Crew
from labkit.patterns.request_reply.ledger import ResponderLedger
from labkit.patterns.request_reply.outcome import Served
from labkit.patterns.request_reply.post import Post
from labkit.patterns.request_reply.statistics import ResponderStatistics
from labkit.patterns.request_reply.support import check_responder, require_replies, seconds
from labkit.trace import Action

_SLICE_S = 0.1
"""Longest single wait for a request: so long may `stop` take."""

SERVED_KEPT = 1_000
"""Requests that `serve()` tells of, at most."""

_AFTER_REFUSAL_S = 0.2
"""Pause of the background after the broker said no, before it asks again."""


class Responder:
    """Serves a service, step by step with `serve_one()` or in the background with `start()`.

    At most once: a request that this responder has taken goes to no other one, whatever happens.
    Several responders of one service share its requests. The service counts as served while one of
    them is connected, whether it is busy, idle or waiting for its next `serve_one()`.

    Args:
        lab: an open broker, from `labkit.connect()`.
        service: what is served.
        handler: called with the request, a `Message`; what it returns is the reply's content. Its
            exception becomes the reply of type "error".
        name: who serves; default one that is unlikely to meet another.
        concurrency: how many requests are handled at once, in threads, after `start()`.
        expose_traceback: let error replies say where the handler failed, too. They tell whoever
            asks what the code looks like: for debugging.
        presence: seconds after which this responder counts as gone if its program dies.
        grace: seconds by which the clocks of other hosts may differ from ours; so long after its
            deadline a request of theirs is still handled.
        max_bytes: larger requests count as unreadable; larger replies become errors.
    """

    def __init__(
        self,
        lab: ReplyBroker,
        service: str,
        handler: Handler,
        *,
        name: str | None = None,
        concurrency: int = 1,
        expose_traceback: bool = False,
        presence: float = 5.0,
        grace: float = 1.0,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self.name = f"responder-{secrets.token_hex(2)}" if name is None else name
        check_responder(self.name, service, handler, concurrency)
        self._home = Home(f"Responder {self.name!r}")
        self.service = service
        self._lab = require_replies(lab)
        self._ledger = ResponderLedger(self.name, service, lab)
        self._post = Post(lab, self._ledger, service, self.name, seconds("presence", presence))
        self._answering = Answering(
            lab,
            self._ledger,
            handler,
            service=service,
            name=self.name,
            expose_traceback=expose_traceback,
            grace=grace,
            max_bytes=max_bytes,
        )
        self._connected = False
        self._crew = Crew(f"labkit responder {self.name}", concurrency, self._answering.answer)
        self._stopping = threading.Event()
        self._served_before_start = 0
        self._background = Background(f"labkit responder {self.name}", self._step)

    # --- connection ---------------------------------------------------------------------------

    def connect(self) -> Self:
        """Be there: from now on requests are accepted, and wait for the first `serve_one()`.

        Raises:
            BrokerUnavailable: no broker answers.
        """
        self._home.require()
        if not self._connected:
            self._join()
            self._connected = True
            self._ledger.about_us(Action.CONNECTED)
        return self

    def disconnect(self) -> None:
        """Stop, and go. The broker stays open."""
        if not self._home.here:
            return  # what it joined is a fork's parent's
        try:
            self.stop()
        except NotConnected:
            pass  # the lab was closed before us: there is nothing left to stop
        finally:
            if self._connected:
                self._connected = False
                self._ledger.about_us(Action.DISCONNECTED)

    @property
    def connected(self) -> bool:
        """Whether the broker could be heard at the last look."""
        return self._post.connected

    # --- step by step -------------------------------------------------------------------------

    def serve_one(self, timeout: float = 0.0) -> Served | None:
        """Take one request, handle it and answer; None if none comes within `timeout` seconds.

        Raises:
            BrokerRefused: the broker answers with an error.
        """
        self._require_step("serve_one()")
        self._join()
        body = self._post.take(timeout)
        return None if body is None else self._answering.answer(body)

    def serve(self, max_requests: int | None = None, timeout: float = 0.0) -> list[Served]:
        """Serve requests one after the other, in this thread.

        Ends after `max_requests`, when none has come for `timeout` seconds (0: those that are
        waiting; `math.inf`: for ever), on `stop()` from a handler, a signal or another thread, and
        on Ctrl+C. Returns the last `SERVED_KEPT`.
        """
        self._require_step("serve()")
        self._stopping.clear()
        self._join()
        served: deque[Served] = deque(maxlen=SERVED_KEPT)
        count = 0
        until = time.monotonic() + timeout
        while (max_requests is None or count < max_requests) and not self._stopping.is_set():
            left = until - time.monotonic()
            body = self._post.take(max(0.0, min(left, _SLICE_S)))
            if body is not None:
                result = self._answering.answer(body)
                served += [] if result is None else [result]
                count += 1
                until = time.monotonic() + timeout
            elif left <= 0:
                break
        return list(served)

    # --- in the background --------------------------------------------------------------------

    def start(self) -> Self:
        """Serve in the background, `concurrency` requests at once, until `stop()`.

        The thread runs the same step as `serve_one()`; it prints nothing.
        """
        self._require_connected()
        if not self._background.running:
            self._served_before_start = self._ledger.tally["ended"]
            self._stopping.clear()
            self._join()
            self._crew.gather()
        self._background.start()
        return self

    def stop(self, drain: bool = True, timeout: float = 5.0) -> bool:
        """Take no more requests, and no longer count as there; `start()` begins again.

        Args:
            drain: wait until the requests in hand are answered. False gives them up: they get no
                reply.
            timeout: seconds to wait; without `drain` no longer than it takes to stop taking.

        Returns:
            False if a handler is still busy after that, or if a handler calls this.
        """
        if not self._home.here:
            return True
        self._stopping.set()
        if not drain:
            self._answering.forget()
            self._post.leave()  # ends the wait for a request, so that a slice is time enough
            timeout = _SLICE_S
        until = time.monotonic() + timeout
        try:
            ended = self._background.stop(timeout)
        finally:
            self._post.leave()
            idle = self._crew.dismiss(until)
        return ended and idle

    def crash(self) -> Message | None:
        """Die as a program dies, with a request in hand: no reply, no good-bye.

        Step by step, the next request that waits is taken first, and is the one that is lost; after
        `start()`, one that the broker hands out at this very moment is, too. Its requester gets a
        `RequestTimeout`. The others count us as there until our `presence` has run out.

        Returns:
            the request that was in hand, where one was taken by this call.
        """
        self._require_connected()
        in_hand = None
        if not self._background.running:
            self._join()
            body = self._post.take(0.0)
            in_hand = None if body is None else self._answering.take_in_hand(body)
        self._answering.forget()
        self._stopping.set()
        self._background.stop(0.0)
        self._crew.forsake()
        self._post.abandon()
        self._connected = False
        self._ledger.about_us(Action.CRASHED)
        return in_hand

    @property
    def serving(self) -> bool:
        """Whether the background is running."""
        return self._background.running

    def wait_for(self, count: int, timeout: float = 5.0) -> bool:
        """Wait until `start()` has dealt with `count` requests; False after `timeout` seconds."""
        self._home.require()
        enough = self._served_before_start + count
        return self._background.wait_until(lambda: self._ledger.tally["ended"] >= enough, timeout)

    # --- what happened ------------------------------------------------------------------------

    def stats(self) -> ResponderStatistics:
        """Counts, rate, errors, handling times, up to now."""
        self._home.require()
        return self._ledger.stats()

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *exc: object) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        if not self._home.here:
            return repr(self._home)
        if not self._connected:
            state = "not connected"
        elif self._post.manned and not self._post.connected:
            state = "connection lost, coming back"
        elif self.serving:
            state = "serving"
        else:
            state = "connected" if self._post.manned else "stopped"
        taken = self._ledger.tally["messages"]
        return f"<Responder {self.name!r} of {self.service!r}: {state}, {taken:,} taken>"

    # --- inside -------------------------------------------------------------------------------

    def _require_connected(self) -> None:
        self._home.require()
        if not self._connected:
            raise NotConnected(
                f"Responder {self.name!r} is not connected. Call connect() first, or use "
                "'with Responder(lab, service, handler) as responder:'."
            )

    def _require_step(self, what: str) -> None:
        self._require_connected()
        if self._background.running:
            raise ConfigurationError(
                f"Responder {self.name!r} serves in the background. Call stop() before {what}."
            )

    def _join(self) -> None:
        """Count as there, as a new life."""
        if not self._post.manned:
            self._answering.begin()
            self._post.join()

    def _step(self) -> None:
        """One step of the background thread: take one request, handle it or have it handled."""
        try:
            self._crew.step(lambda: self._post.take(_SLICE_S), _SLICE_S)
        except BrokerRefused as error:  # it may think better of it: READONLY, out of memory
            self._ledger.broke(error)
            self._stopping.wait(_AFTER_REFUSAL_S)
