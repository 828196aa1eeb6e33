"""One command, or one script, and its answer, with every way in which it can fail told apart."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.brokers.redis.client import REFUSALS, Command, ExchangeBroken, RedisClient, Reply
from labkit.brokers.redis.scripts import Argument, Script, run_many
from labkit.brokers.redis.words import refusal

_UNKNOWN = ("NOGROUP", "UNBLOCKED", "no such key", "requires the key to exist")
"""How Redis says that it does not know stream or group, or that the stream went while we waited."""


class Forgotten(Exception):
    """Redis does not know the stream, or the group, any more."""


def ask(client: RedisClient, command: Command, *, quiet: bool = True) -> Reply:
    """Send one command; a quiet one leaves no line in `broker.commands()`.

    Raises:
        BrokerUnavailable: the connection broke, or Redis has been restarted and reads its files.
        BrokerRefused: another error.
        Forgotten: there is no such stream or group.
    """
    try:
        [reply] = client.exchange(command, shown=[] if quiet else None)
    except ExchangeBroken as broken:
        raise broken.cause from None
    return answer(client, reply, str(command[0]))


def run_script(
    client: RedisClient,
    script: Script,
    keys: Sequence[str],
    arguments: Sequence[Argument],
    *,
    quiet: bool = True,
) -> Reply:
    """Run one script; errors as of `ask`."""
    try:
        [reply] = run_many(client, [(script, arguments)], keys, quiet=quiet)
    except ExchangeBroken as broken:
        raise broken.cause from None
    return answer(client, reply, script.name)


def answer(client: RedisClient, reply: Reply, what: str) -> Reply:
    """The reply, if it is none of the errors of `ask`."""
    if isinstance(reply, REFUSALS):
        if any(word in str(reply) for word in _UNKNOWN):
            raise Forgotten
        raise refusal(client.url, what, reply)
    return reply
