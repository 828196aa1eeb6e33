"""A set of words on the broker, made of bindings.

A direct exchange and one queue behind it that keeps nothing. To add a word is to bind it, to take
it out is to unbind it, and to ask is to publish a `mandatory` message with it as the routing key:
what comes back is not in the set. Many are asked in one round trip, and the set outlives us.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import pika

from labkit.brokers.rabbitmq.confirms import Fate, Outgoing
from labkit.brokers.rabbitmq.core import Core

_NOTHING = pika.BasicProperties(delivery_mode=1, expiration="0")
_KEPT_NONE = {"x-message-ttl": 0}


class Known:
    """The set behind the exchange `name`."""

    def __init__(self, core: Core, name: str) -> None:
        self._core = core
        self._name = name

    def which(self, words: Sequence[str]) -> list[bool]:
        """Of each word, whether it is in the set."""
        if not words:
            return []
        self._core.once(f"known {self._name}", self._declare)
        items = [Outgoing(self._name, _key(word), b"", _NOTHING) for word in words]
        batch = self._core.confirms.send(items)
        if batch.broken:
            raise batch.failure(self._core.url)
        return [fate is not Fate.RETURNED for fate in batch.fates]

    def add(self, words: Sequence[str]) -> None:
        """Bind them, with one wait for all."""
        if not words:
            return
        self._core.once(f"known {self._name}", self._declare)
        self._core.log("queue.bind", queue=self._name, exchange=self._name, routing_key=words[0])

        def bind(channel: Any, done: Callable[..., None]) -> None:
            for word in words[:-1]:
                channel.queue_bind(self._name, self._name, _key(word))  # nowait
            channel.queue_bind(self._name, self._name, _key(words[-1]), callback=done)

        self._core.ask(bind)

    def remove(self, words: Sequence[str]) -> None:
        """Unbind them; nothing for what is not there."""
        if not words:
            return
        self._core.log("queue.unbind", queue=self._name, routing_key=words[0])

        def unbind(channel: Any, done: Callable[..., None]) -> None:
            for word in words[:-1]:
                channel.queue_unbind(self._name, self._name, _key(word))
            channel.queue_unbind(self._name, self._name, _key(words[-1]), callback=done)

        self._core.ask(unbind)

    def clear(self) -> None:
        """Forget all words: the bindings go with the queue."""
        self._core.ask(lambda channel, done: channel.queue_delete(self._name, callback=done))
        self._core.forget(f"known {self._name}")

    def _declare(self) -> None:
        self._core.declare_exchange(self._name, "direct")
        self._core.declare_queue(self._name, _KEPT_NONE)


def _key(word: str) -> str:
    """A routing key has at most 255 bytes."""
    if len(word.encode("utf-8", "surrogatepass")) <= 200 and word.isprintable():
        return word
    return "#" + blake2b(word.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
