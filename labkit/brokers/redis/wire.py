"""Commands into bytes and bytes into replies, many at a time, by hiredis where it is installed.

redis-py does the same, one at a time and through a dozen layers; where hiredis is missing it does
it all.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import redis

Command = tuple[str | bytes | int | float, ...]
Reply = Any
"""What RESP can hold: bytes, int, list of replies, None; or the ResponseError itself."""

REFUSALS = (redis.ResponseError, redis.AuthenticationError, redis.BusyLoadingError)
"""Answers that say no; for redis-py the last two are broken connections."""

_USUAL = frozenset({int, bytes, list, type(None)})
_TEXTS = frozenset({str, bytes})
_NUMBERS = frozenset({int, float})

pack_one: Callable[[Command], bytes] | None = None
_incomplete: object = None
with contextlib.suppress(ImportError, AttributeError):
    pack_one = importlib.import_module("hiredis").pack_command
    _incomplete = importlib.import_module("redis._parsers.hiredis").NOT_ENOUGH_DATA


def pack(connection: Any, commands: Sequence[Command]) -> Any:
    """Commands as `connection.send_packed_command` takes them.

    Raises:
        redis.DataError: an argument that no command can hold.
    """
    commands = [c if _TEXTS.issuperset(map(type, c)) else _in_text(c) for c in commands]
    if pack_one is not None:
        try:
            return [b"".join(map(pack_one, commands))]
        except TypeError:
            pass  # redis-py knows more types, and says which of them it does not know
    return connection.pack_commands(commands)


def _in_text(command: Command) -> Command:
    """With its numbers written out: where Ctrl+C meets hiredis at that, the interpreter crashes."""
    return tuple(repr(part) if type(part) in _NUMBERS else part for part in command)


def read_one(connection: Any) -> Reply:
    """The next reply; it may be one of `REFUSALS`.

    Whoever calls closes the connection at any other error: redis-py would close it at a refusal,
    too, and with it throw away the replies to what was sent in the same breath.
    """
    try:
        return connection.read_response(disconnect_on_error=False)
    except REFUSALS as error:
        return error


def read_many(connection: Any, count: int, into: list[Reply]) -> None:
    """Put the next `count` replies into a list, as they come."""
    wanted = len(into) + count
    while len(into) < wanted:
        into.append(read_one(connection))  # waits for the network
        more = received(connection, wanted - len(into))
        if _USUAL.issuperset(map(type, more)):
            into += more
            continue
        for reply in more:
            if isinstance(reply, redis.ConnectionError) and not isinstance(reply, REFUSALS):
                raise reply
            into.append(reply)


def received(connection: Any, most: int = sys.maxsize) -> list[Reply]:
    """Replies that are here already, at most so many: what came with the one that was read.

    An error that Redis sent is among them, and not raised.
    """
    if _incomplete is None or most <= 0 or getattr(connection, "_selector", None) is not None:
        return []  # no hiredis; or fakeredis, whose replies are no bytes
    reader = getattr(getattr(connection, "_parser", None), "_reader", None)
    if reader is None:
        return []
    return list(islice(iter(reader.gets, _incomplete), most))
