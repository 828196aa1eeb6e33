"""A Redis subscription that says what redis-py keeps quiet: confirmations and gaps.

redis-py's PubSub returns from `subscribe()` before the server has confirmed, and reconnects without
a word. This one waits for the confirmation, and after a lost connection hands out a `Gap`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from typing import Any

import redis

from labkit import channels as naming
from labkit.broker import Gap, Mark, Polled, Received
from labkit.brokers.redis.client import CONNECTION_ERRORS, RedisClient
from labkit.brokers.redis.names import Channels, to_wire
from labkit.brokers.redis.things import Loss, read_thing
from labkit.brokers.redis.wire import received
from labkit.errors import BrokerRefused, BrokerUnavailable, NotConnected

PING_AFTER_S = 5.0
"""Silence after which a real server is asked whether it is still there."""

LONGEST_WAIT_S = 60.0
"""Longest single wait for a socket, whatever the caller's time-out."""

PONG_WITHIN_S = 2.0
"""How long it may take to say so; then the connection counts as lost."""

_RECEIVED = frozenset({Received})


class RedisSubscription:
    """One connection in subscribed mode. It belongs to one thread at a time."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._namespace = client.options.namespace
        self._channels = Channels(self._namespace)
        self._names: dict[bool, set[str]] = {False: set(), True: set()}  # by "is a pattern"
        self._connection: Any = client.connection()
        self._ready: deque[Polled] = deque()
        self._unconfirmed: set[tuple[bytes, bytes]] = set()
        self._heard_at = time.monotonic()
        self._pinged_at: float | None = None
        self._lost: Loss | None = None
        self._marks = 0
        self._closed = False
        self._closing = threading.Lock()

    @property
    def connected(self) -> bool:
        """Whether the broker could be heard at the last look."""
        return self._lost is None and not self._closed

    def add(self, *names: str, pattern: bool = False, timeout: float | None = None) -> None:
        """Subscribe; returns once Redis has confirmed every name."""
        naming.check_names(names)
        before = set(self._names[pattern])
        self._names[pattern].update(names)
        try:
            self._change("PSUBSCRIBE" if pattern else "SUBSCRIBE", names, pattern, timeout)
        except BaseException:
            self._names[pattern] = before
            raise

    def remove(self, *names: str, pattern: bool = False, timeout: float | None = None) -> None:
        """Unsubscribe; returns once Redis has confirmed every name."""
        naming.check_names(names)
        self._names[pattern].difference_update(names)
        self._change("PUNSUBSCRIBE" if pattern else "UNSUBSCRIBE", names, pattern, timeout)

    def mark(self) -> int:
        """Ask for a `Mark`, by a PING: Redis answers in order, so what comes first was first."""
        self._require_open()
        if self._lost is not None or not any(self._names.values()):
            return 0
        self._marks += 1
        try:
            self._ping(str(self._marks))
        except CONNECTION_ERRORS as error:
            self._lose(error)
            return 0
        return self._marks

    def poll(self, timeout: float = 0.0) -> Polled | None:
        """The next message, gap or mark; None if nothing comes within `timeout` seconds."""
        self._require_open()
        self._wait(timeout)
        return self._ready.popleft() if self._ready else None

    def poll_many(self, timeout: float = 0.0, limit: int = 1_000) -> list[Polled]:
        """What arrived, at most `limit` things; what is no `Received` is the last of its list."""
        self._require_open()
        self._wait(timeout)
        ready = self._ready
        if len(ready) <= limit and _RECEIVED.issuperset(map(type, ready)):
            things = list(ready)
            ready.clear()
            return things
        things = []
        while ready and len(things) < limit:
            things.append(ready.popleft())
            if type(things[-1]) is not Received:
                break
        return things

    def close(self) -> None:
        """Give the connection back."""
        with self._closing:
            if not self._closed and self._lost is None:
                self._client.release(self._connection, broken=True)
            self._closed = True

    def _wait(self, timeout: float) -> None:
        """Until something is ready, or `timeout` seconds have passed."""
        deadline = time.monotonic() + timeout
        while not self._ready:
            left = deadline - time.monotonic()
            if not self._advance(min(max(0.0, left), LONGEST_WAIT_S)) and left <= 0:
                return

    def _require_open(self) -> None:
        if self._closed:
            raise NotConnected("This subscription is closed. Open a new one.")
        self._client.require_open()

    def _change(
        self, command: str, names: tuple[str, ...], pattern: bool, timeout: float | None
    ) -> None:
        """Send a (P)(UN)SUBSCRIBE and wait until Redis has confirmed it."""
        self._require_open()
        within = self._client.options.timeout if timeout is None else timeout
        deadline = time.monotonic() + within
        if self._lost is None:
            try:
                self._send(command, names, pattern)
            except CONNECTION_ERRORS as error:
                self._lose(error)
        while self._lost is not None or self._unconfirmed:
            left = deadline - time.monotonic()
            if left <= 0:
                self._unconfirmed.clear()
                why = f" {self._lost.reason}" if self._lost is not None else " Is the broker up?"
                raise BrokerUnavailable(
                    f"{command} {', '.join(names)}: no confirmation from {self._client.url} "
                    f"within {within:g} s.{why}",
                    sent=True,
                )
            self._advance(min(left, LONGEST_WAIT_S))

    def _send(self, command: str, names: tuple[str, ...] | set[str], pattern: bool) -> None:
        wire = [to_wire(self._namespace, name, pattern=pattern) for name in sorted(names)]
        self._client.log((command, *wire))
        self._unconfirmed |= {(command.lower().encode(), name) for name in wire}
        self._connection.send_command(command, *wire)

    def _advance(self, timeout: float) -> bool:
        """One step: read one reply, or try to come back. True if something was done."""
        self._require_open()
        if self._lost is not None:
            return self._recover(self._lost, timeout)
        try:
            return self._read(timeout)
        except CONNECTION_ERRORS as error:
            self._lose(error)
        except redis.ResponseError as error:
            self._refused(error)
        except (AttributeError, TypeError, ValueError):  # closed by another thread, while we read
            self._require_open()
            raise
        return True

    def _refused(self, error: redis.ResponseError) -> None:
        """A subscription is refused, or a PING is (MISCONF, say): then it was answered."""
        if self._unconfirmed:
            self._unconfirmed.clear()
            raise BrokerRefused(f"Redis refuses the subscription: {error}.") from None
        self._heard()
        self._ready.append(Mark(self._marks))

    def _heard(self) -> None:
        self._heard_at = time.monotonic()
        self._pinged_at = None

    def _read(self, timeout: float) -> bool:
        """Take in what is here, or comes within `timeout` seconds; False if nothing does."""
        if not self._connection.is_connected:  # redis-py would connect again, without a word
            raise redis.ConnectionError("the connection was closed on this side")
        if not self._connection.can_read(0):  # what is here already is an answer, too
            self._ask_after_silence()
            if not self._connection.can_read(self._until_next_look(timeout)):
                return False
        self._take(self._connection.read_response())
        self._heard()
        refusals = []
        for reply in received(self._connection):
            if isinstance(reply, redis.ResponseError):
                refusals.append(reply)  # first what came with it: that is no longer elsewhere
            elif type(reply) is list and reply[0] == b"message":  # nearly always
                self._ready.append(Received(self._channels[reply[1]], reply[2]))
            else:
                self._take(reply)
        for refusal in refusals:
            self._refused(refusal)
        return True

    def _take(self, reply: Any) -> None:
        """Keep what is handed out, and strike off what is confirmed."""
        if isinstance(reply, Exception):
            raise reply
        thing = read_thing(reply, self._namespace, self._channels)
        if thing is not None:
            self._ready.append(thing)
        self._unconfirmed.discard((reply[0], reply[1]))

    def _ping(self, word: str) -> None:
        self._pinged_at = self._pinged_at or time.monotonic()
        self._client.log(("PING", word))
        self._connection.send_command("PING", word)

    def _ask_after_silence(self) -> None:
        """A connection that died quietly looks like a quiet one: ask."""
        if self._client.embedded or not any(self._names.values()):
            return
        now = time.monotonic()
        if self._pinged_at is not None and now - self._pinged_at > PONG_WITHIN_S:
            raise redis.ConnectionError(f"no answer to a ping within {PONG_WITHIN_S:g} s")
        if self._pinged_at is None and now - self._heard_at > PING_AFTER_S:
            self._ping("still there?")

    def _until_next_look(self, timeout: float) -> float:
        if self._client.embedded:
            return timeout
        return min(timeout, PONG_WITHIN_S if self._pinged_at is not None else PING_AFTER_S)

    def _lose(self, error: Exception) -> None:
        now = time.monotonic()
        gap = Gap(
            channels=tuple(sorted(self._names[False] | self._names[True])),
            started=self._client.options.clock.now(),
            ended=None,
            silent_s=now - self._heard_at,
            reason=str(error) or type(error).__name__,
        )
        with self._closing:
            self._lost = Loss(gap, reason=gap.reason, next_try_at=now)
            self._client.release(self._connection, broken=True)
        self._pinged_at = None
        self._unconfirmed.clear()
        if gap.channels:
            self._ready.append(gap)

    def _recover(self, loss: Loss, timeout: float) -> bool:
        """Wait for the next attempt's time, at most `timeout`, then try to subscribe again."""
        pause = loss.next_try_at - time.monotonic()
        if pause > timeout:
            time.sleep(timeout)
            return False
        time.sleep(max(0.0, pause))
        earlier, self._ready = self._ready, deque()
        try:
            self._resubscribe()
        except BaseException as error:
            self._ready = earlier  # after Ctrl+C or a refusal, too: it is nowhere else
            self._unconfirmed.clear()
            if not isinstance(error, BrokerUnavailable | redis.RedisError | OSError):
                raise
            loss.reason = str(error)
            loss.attempts += 1
            loss.next_try_at = time.monotonic() + self._client.options.reconnect.wait(loss.attempts)
            return True
        with self._closing:
            if self._closed:  # meanwhile, by another thread
                self._client.release(self._connection, broken=True)
                return True
            self._lost = None
        if loss.gap.channels:
            earlier.append(replace(loss.gap, ended=self._client.options.clock.now()))
        self._ready.extendleft(reversed(earlier))
        return True

    def _resubscribe(self) -> None:
        self._connection = self._client.connection(patient=False)
        self._heard_at = time.monotonic()
        deadline = self._heard_at + self._client.options.timeout
        try:
            for pattern, command in ((False, "SUBSCRIBE"), (True, "PSUBSCRIBE")):
                if self._names[pattern]:
                    self._send(command, self._names[pattern], pattern)
            while self._unconfirmed:
                if not self._read(deadline - time.monotonic()) and time.monotonic() > deadline:
                    raise redis.TimeoutError("the subscriptions were not confirmed")
        except BaseException:
            self._client.release(self._connection, broken=True)
            raise
