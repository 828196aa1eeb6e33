"""A Redis subscription that says what redis-py keeps quiet: confirmations and gaps.

redis-py's PubSub returns from `subscribe()` before the server has confirmed, and reconnects without
a word. This one waits for the confirmation, and after a lost connection hands out a `Gap`.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import redis

from labkit import channels as naming
from labkit.broker import Gap, Mark, Received
from labkit.brokers.redis.client import CONNECTION_ERRORS, RedisClient
from labkit.errors import BrokerRefused, BrokerUnavailable, ConfigurationError, NotConnected

PING_AFTER_S = 5.0
"""Silence after which a real server is asked whether it is still there."""

PONG_WITHIN_S = 2.0
"""How long it may take to say so; then the connection counts as lost."""


class RedisSubscription:
    """One connection in subscribed mode. It belongs to one thread at a time."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._prefix = client.options.namespace
        self._names: dict[bool, set[str]] = {False: set(), True: set()}  # by "is a pattern"
        self._connection: Any = client.connection()
        self._ready: deque[Received | Gap | Mark] = deque()
        self._unconfirmed: set[tuple[bytes, bytes]] = set()
        self._heard_at = time.monotonic()
        self._pinged_at: float | None = None
        self._lost: _Loss | None = None
        self._marks = 0
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether the broker could be heard at the last look."""
        return self._lost is None and not self._closed

    def add(self, *names: str, pattern: bool = False, timeout: float = 5.0) -> None:
        """Subscribe; returns once Redis has confirmed every name."""
        _check_names(names)
        before = set(self._names[pattern])
        self._names[pattern].update(names)
        try:
            self._change("PSUBSCRIBE" if pattern else "SUBSCRIBE", names, pattern, timeout)
        except BaseException:
            self._names[pattern] = before
            raise

    def remove(self, *names: str, pattern: bool = False, timeout: float = 5.0) -> None:
        """Unsubscribe; returns once Redis has confirmed every name."""
        _check_names(names)
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

    def poll(self, timeout: float = 0.0) -> Received | Gap | Mark | None:
        """The next message, gap or mark; None if nothing comes within `timeout` seconds."""
        self._require_open()
        deadline = time.monotonic() + timeout
        while not self._ready:
            left = deadline - time.monotonic()
            if not self._advance(max(0.0, left)) and left <= 0:
                return None
        return self._ready.popleft()

    def close(self) -> None:
        """Give the connection back."""
        if not self._closed:
            self._closed = True
            if self._lost is None:
                self._client.release(self._connection, broken=True)

    def _require_open(self) -> None:
        if self._closed:
            raise NotConnected("This subscription is closed. Open a new one.")

    def _change(self, command: str, names: tuple[str, ...], pattern: bool, timeout: float) -> None:
        """Send a (P)(UN)SUBSCRIBE and wait until Redis has confirmed it."""
        self._require_open()
        deadline = time.monotonic() + timeout
        if self._lost is None:
            try:
                self._send(command, names, pattern)
            except CONNECTION_ERRORS as error:
                self._lose(error)
        while self._lost is not None or self._unconfirmed:
            left = deadline - time.monotonic()
            if left <= 0:
                self._unconfirmed.clear()
                raise BrokerUnavailable(
                    f"{command} {', '.join(names)}: no confirmation from {self._client.url} "
                    f"within {timeout:g} s. Is the broker up? Try again.",
                    sent=True,
                )
            self._advance(left)

    def _send(self, command: str, names: tuple[str, ...] | set[str], pattern: bool) -> None:
        wire = [self._to_wire(name, pattern) for name in sorted(names)]
        self._client.log((command, *wire))
        self._unconfirmed |= {(command.lower().encode(), name) for name in wire}
        self._connection.send_command(command, *wire)

    def _advance(self, timeout: float) -> bool:
        """One step: read one reply, or try to come back. True if something was done."""
        if self._lost is not None:
            return self._recover(self._lost, timeout)
        try:
            return self._read(timeout)
        except CONNECTION_ERRORS as error:
            self._lose(error)
            return True
        except redis.ResponseError as error:
            self._unconfirmed.clear()
            raise BrokerRefused(f"Redis refuses the subscription: {error}.") from None

    def _read(self, timeout: float) -> bool:
        self._ask_after_silence()
        if not self._connection.can_read(self._until_next_look(timeout)):
            return False
        kind, *rest = self._connection.read_response()
        self._heard_at = time.monotonic()
        self._pinged_at = None
        if kind == b"message":
            self._ready.append(Received(self._from_wire(rest[0]), rest[1]))
        elif kind == b"pmessage":
            pattern = self._from_wire(rest[0], pattern=True)
            self._ready.append(Received(self._from_wire(rest[1]), rest[2], pattern))
        elif kind == b"pong":
            if rest[0].isdigit():
                self._ready.append(Mark(int(rest[0])))
        else:
            self._unconfirmed.discard((kind, rest[0]))
        return True

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
        self._lost = _Loss(
            started=self._client.options.clock.now(),
            silent_s=now - self._heard_at,
            reason=str(error) or type(error).__name__,
            next_try_at=now,
        )
        self._pinged_at = None
        self._unconfirmed.clear()
        self._client.release(self._connection, broken=True)

    def _recover(self, loss: _Loss, timeout: float) -> bool:
        """Wait for the next attempt's time, at most `timeout`, then try to subscribe again."""
        pause = loss.next_try_at - time.monotonic()
        if pause > timeout:
            time.sleep(timeout)
            return False
        time.sleep(max(0.0, pause))
        earlier, self._ready = self._ready, deque()
        try:
            self._resubscribe()
        except (BrokerUnavailable, redis.RedisError, OSError):
            self._ready = earlier
            self._unconfirmed.clear()
            loss.attempts += 1
            loss.next_try_at = time.monotonic() + self._client.options.reconnect.wait(loss.attempts)
            return True
        self._lost = None
        gap = Gap(
            channels=tuple(sorted(self._names[False] | self._names[True])),
            started=loss.started,
            ended=self._client.options.clock.now(),
            silent_s=loss.silent_s,
            reason=loss.reason,
        )
        self._ready.extendleft(reversed([*earlier, gap]))
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

    def _to_wire(self, name: str, pattern: bool) -> bytes:
        prefix = naming.escape(self._prefix) if pattern else self._prefix
        return (prefix + name).encode()

    def _from_wire(self, name: bytes, *, pattern: bool = False) -> str:
        prefix = naming.escape(self._prefix) if pattern else self._prefix
        return name.decode("utf-8", "backslashreplace").removeprefix(prefix)


class _Loss:
    """A lost connection, and the attempts to come back."""

    def __init__(self, started: float, silent_s: float, reason: str, next_try_at: float) -> None:
        self.started = started
        self.silent_s = silent_s
        self.reason = reason
        self.next_try_at = next_try_at
        self.attempts = 0


def _check_names(names: tuple[str, ...]) -> None:
    if not names:
        raise ConfigurationError("Name at least one channel or pattern.")
    for name in names:
        if not isinstance(name, str) or not name:
            raise ConfigurationError(
                f"A channel or pattern is a non-empty str, got {name!r}. "
                'Pass several as arguments: subscribe("news", "alerts").'
            )
