"""Which handlers get a message: filters first, then routes, then the callback for the rest."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labkit import channels
from labkit.broker import Gap
from labkit.errors import ConfigurationError
from labkit.message import Message
from labkit.patterns.pubsub.incoming import Incoming

Handler = Callable[[str, Message], object]
"""Called with the channel and the message."""

Predicate = Callable[[Message], object]
"""Says whether a message is wanted."""


GapHandler = Callable[[Gap], object]
"""Called with a gap: `ended` is None when it begins, and set when it is over."""


@dataclass(frozen=True, slots=True)
class _Route:
    handler: Handler
    channel: str | None
    type: str | None

    def takes(self, incoming: Incoming) -> bool:
        return (self.channel is None or channels.matches(self.channel, incoming.channel)) and (
            self.type is None or channels.matches(self.type, incoming.message.type)
        )


class Dispatch:
    """The handlers of one subscriber."""

    def __init__(self) -> None:
        self.callback: Handler | None = None
        self.gap_callback: GapHandler | None = None
        self.predicates: list[Predicate] = []
        self._routes: list[_Route] = []

    def add_filter(self, predicate: Predicate) -> None:
        """Keep only messages for which every predicate is true."""
        _check_callable(predicate, "A filter", "message")
        self.predicates.append(predicate)

    def add_route(self, channel: str | None, type: str | None, handler: Handler) -> None:
        """Hand messages on channels and of types that match to `handler`."""
        _check_callable(handler, "A handler", "channel, message")
        if channel is None and type is None:
            raise ConfigurationError(
                'A route needs a channel pattern or a type: route("alerts.*", handler) or '
                'route(type="flight.cancelled", handler=handler).'
            )
        for what, pattern in (("channel pattern", channel), ("type", type)):
            if pattern is not None and not isinstance(pattern, str):
                raise ConfigurationError(
                    f"A {what} is a str, got {pattern!r}. Add one route for each."
                )
        self._routes.append(_Route(handler, channel, type))

    def set_gap_callback(self, callback: GapHandler | None) -> None:
        """Who hears that the connection is gone, and that it is back."""
        if callback is not None:
            _check_callable(callback, "A gap callback", "gap")
        self.gap_callback = callback

    def set_callback(self, callback: Handler | None) -> None:
        """The handler of messages that no route takes."""
        if callback is not None:
            _check_callable(callback, "A callback", "channel, message")
        self.callback = callback

    def wants(self, message: Message) -> bool:
        """Whether every filter lets it through."""
        return all(predicate(message) for predicate in self.predicates)

    def handlers(self, incoming: Incoming) -> Sequence[Handler]:
        """Every route that takes it; the callback if none does."""
        if not self._routes:
            return () if self.callback is None else (self.callback,)
        routed = [route.handler for route in self._routes if route.takes(incoming)]
        if routed or self.callback is None:
            return routed
        return [self.callback]


def _check_callable(given: object, what: str, arguments: str) -> None:
    if not callable(given):
        raise ConfigurationError(f"{what} is a function of ({arguments}), got {given!r}.")
    if inspect.iscoroutinefunction(given):
        raise ConfigurationError(f"{what} is called, not awaited: use def, not async def.")
