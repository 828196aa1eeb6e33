"""Lua scripts: several commands as one step, so that nobody sees, or dies at, half of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import redis

from labkit.brokers.redis.client import Command, ExchangeBroken, RedisClient, Reply
from labkit.errors import BrokerUnavailable

Argument = str | bytes | int | float


class Script:
    """A script with a name that people see in `broker.commands()`."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    def command(self, keys: Sequence[str], *arguments: Argument) -> Command:
        """The script as a command that can go out with others."""
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)

    def shown(self, *arguments: Argument) -> Command:
        """The script as people see it."""
        return ("EVALSHA", f"<{self.name}>", *arguments)


def run_many(
    client: RedisClient,
    calls: Sequence[tuple[Script, Sequence[Argument]]],
    keys: Sequence[str],
    *,
    quiet: bool = False,
) -> list[Reply]:
    """Run scripts in one round trip; a reply may be a `ResponseError`.

    Quiet ones leave no line in `broker.commands()`.

    Raises:
        ExchangeBroken: the connection broke; it has the replies that came.
    """
    commands = [script.command(keys, *arguments) for script, arguments in calls]
    shown = [] if quiet else [script.shown(*arguments) for script, arguments in calls]
    replies = client.exchange(*commands, shown=shown)
    unknown = [i for i, reply in enumerate(replies) if isinstance(reply, _NoScript)]
    if not unknown:
        return replies
    sources = {calls[i][0].sha: calls[i][0].source for i in unknown}
    try:  # a server that was restarted; what it does not know it has not run
        client.exchange(*(("SCRIPT", "LOAD", source) for source in sources.values()), shown=[])
        again = client.exchange(*(commands[i] for i in unknown), shown=[])
    except ExchangeBroken as broken:
        raise ExchangeBroken(broken.cause, replies[: unknown[0]]) from None
    except BrokerUnavailable as error:
        if len(unknown) == len(calls):
            raise  # nothing has been done
        cause = BrokerUnavailable(str(error), sent=True)
        raise ExchangeBroken(cause, replies[: unknown[0]]) from None
    for i, reply in zip(unknown, again, strict=True):
        replies[i] = reply
    return replies


_NoScript = redis.exceptions.NoScriptError
