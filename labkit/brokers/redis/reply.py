"""Request/reply on Redis, which has none: lists for requests and replies, keys that say who lives.

A service is the list `…:requests`, which several responders take from, and the sorted set
`…:responders` of their names, each with the time at which it counts as dead. An inbox is the list
`…:replies` and the key `…:open`, without which a reply is known to reach nobody. Every key expires,
so that nothing is left of programs that died.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from labkit.broker import Sent
from labkit.brokers.redis.client import Command, RedisClient
from labkit.brokers.redis.life import Life
from labkit.brokers.redis.line import Line
from labkit.brokers.redis.scripts import Argument, Script
from labkit.brokers.redis.taker import Taker
from labkit.errors import BrokerRefused, BrokerUnavailable

BATCH_SIZE = 500
"""Requests in one round trip."""

SURE_FOR_S = 1.0
"""How long after it was renewed an inbox is taken to be there; before a request, it must be."""

_NOW_MS = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

SERVE = Script(
    "serve",
    _NOW_MS
    + """
local responders, name, presence = KEYS[1], ARGV[1], tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', responders, '-inf', now)
redis.call('ZADD', responders, now + presence, name)
if redis.call('PTTL', responders) < presence then
  redis.call('PEXPIRE', responders, presence)
end
return 1
""",
)

REQUEST = Script(
    "request",
    _NOW_MS
    + """
local requests, responders, keep = KEYS[1], KEYS[2], tonumber(ARGV[1])
local present = redis.call('ZCOUNT', responders, now, '+inf')
if present == 0 then return 0 end
local length = redis.call('RPUSH', requests, unpack(ARGV, 2))
if length == #ARGV - 1 or redis.call('PTTL', requests) < keep then
  redis.call('PEXPIRE', requests, keep)
end
return present
""",
)

REPLY = Script(
    "reply",
    """
local open, replies = KEYS[1], KEYS[2]
local life = redis.call('GET', open)
if not life then return 0 end
redis.call('RPUSH', replies, ARGV[1])
redis.call('PEXPIRE', replies, life)
return 1
""",
)


class RedisInbox:
    """One asker's inbox; the contract is `labkit.broker.ReplyInbox`."""

    def __init__(self, client: RedisClient, life: float) -> None:
        self.address = secrets.token_hex(8)
        self._client = client
        opened, replies = _inbox_keys(client, self.address)
        life_ms = _ms(life)
        renew: list[Command] = [
            ("SET", opened, life_ms, "PX", life_ms),
            ("PEXPIRE", replies, life_ms),
        ]
        self._life = Life(client, renew=renew, end=("DEL", opened, replies), seconds=life)
        self._taker = _taker(client, replies, self._life)
        self._line = Line(client, greeting=renew)  # a server that was restarted has forgotten us

    @property
    def connected(self) -> bool:
        """Whether Redis could be heard at the last look."""
        return self._taker.connected

    def send(self, service: str, bodies: Sequence[bytes], keep: float) -> list[Sent]:
        """One script for up to `BATCH_SIZE` requests: is somebody there? Then RPUSH."""
        outcomes: list[Sent] = []
        for start in range(0, len(bodies), BATCH_SIZE):
            chunk = bodies[start : start + BATCH_SIZE]
            outcome = self._send_chunk(service, chunk, keep)
            outcomes += [outcome] * len(chunk)
            if isinstance(outcome, BrokerUnavailable):
                unsent = BrokerUnavailable(str(outcome))
                outcomes += [unsent] * (len(bodies) - len(outcomes))
                break
        return outcomes

    def poll(self, count: int, timeout: float) -> list[bytes]:
        """BLPOP, with LPOP for more than one."""
        return self._taker.take(count, timeout)

    def close(self) -> None:
        """DEL of the inbox."""
        self._taker.close()
        self._line.close()
        self._life.end()

    def _send_chunk(self, service: str, bodies: Sequence[bytes], keep: float) -> Sent:
        keys = _service_keys(self._client, service)
        arguments: list[Argument] = [_ms(keep), *bodies]
        try:
            if self._life.age > SURE_FOR_S:  # somebody may have deleted it
                self._life.renew()
        except BrokerUnavailable as error:
            return BrokerUnavailable(str(error))  # the inbox may be renewed; no request has left
        except BrokerRefused as error:
            return error
        try:
            return int(self._line.run(REQUEST, keys, *arguments))
        except (BrokerUnavailable, BrokerRefused) as error:
            return error


class RedisService:
    """One responder's end of a service; the contract is `labkit.broker.Service`."""

    def __init__(self, client: RedisClient, name: str, responder: str, presence: float) -> None:
        requests, responders = _service_keys(client, name)
        unique = f"{responder}/{secrets.token_hex(4)}"
        # the whole script each time: a server that was restarted would not know its name
        renew: Command = ("EVAL", SERVE.source, 1, responders, unique, _ms(presence))
        self._life = Life(client, renew=[renew], end=("ZREM", responders, unique), seconds=presence)
        self._taker = _taker(client, requests, self._life)

    @property
    def connected(self) -> bool:
        """Whether Redis could be heard at the last look."""
        return self._taker.connected

    def poll(self, count: int, timeout: float) -> list[bytes]:
        """BLPOP, with LPOP for more than one."""
        return self._taker.take(count, timeout)

    def close(self) -> None:
        """ZREM from the responders."""
        self._taker.close()
        self._life.end()

    def abandon(self) -> None:
        """Only the connection goes."""
        self._taker.close()
        self._life.abandon()


class ReplyLine:
    """Sends replies to inboxes."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._line = Line(client)

    def send(self, address: str, body: bytes) -> bool:
        """RPUSH to an inbox, if it is still there; one script."""
        return bool(self._line.run(REPLY, _inbox_keys(self._client, address), body) == 1)


def _taker(client: RedisClient, key: str, life: Life) -> Taker:
    try:
        return Taker(client, key, life.renew)
    except BaseException:
        life.end()
        raise


def _service_keys(client: RedisClient, name: str) -> list[str]:
    """Braces keep both keys on one node of a cluster."""
    prefix = f"{client.options.namespace}labkit:{{service:{name}}}:"
    return [prefix + "requests", prefix + "responders"]


def _inbox_keys(client: RedisClient, address: str) -> list[str]:
    prefix = f"{client.options.namespace}labkit:{{inbox:{address}}}:"
    return [prefix + "open", prefix + "replies"]


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
