"""Old forms of an event, made into the newest while reading: what is written stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from labkit.errors import ConfigurationError
from labkit.message import Message
from labkit.patterns.event_stream.event import Event

Upcaster = Callable[[Any], Any]
"""Makes a content of one version into one of the next; it leaves what it is given as it is."""


class Upcasters:
    """Steps from each version of a type to the next; called, it takes all that there are."""

    def __init__(self, steps: Mapping[tuple[str, int], Upcaster]) -> None:
        for key, step in steps.items():
            good = isinstance(key, tuple) and len(key) == 2 and callable(step)
            if not (good and isinstance(key[0], str) and isinstance(key[1], int)):
                raise ConfigurationError(
                    "upcasters go from (type, version) to a function of the content: "
                    f'{{("flight.departed", 1): add_gate}}, got {key!r}.'
                )
        self._steps = dict(steps)
        self._types = {kind for kind, _ in steps}
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._steps)

    def __call__(self, event: Event) -> Event:
        """The event in its newest form."""
        message = event.message
        if message.type not in self._types or (message.type, event.version) not in self._steps:
            return event
        version, content = event.version, message.content
        while (step := self._steps.get((message.type, version))) is not None:
            content = step(content)
            version += 1
        self._count += 1
        newer = Message(
            message.type,
            content,
            message.timestamp,
            message.sender,
            {**message.metadata, "version": version},
        )
        return msgspec.structs.replace(event, message=newer)

    def take_count(self) -> int:
        """How many events were made newer since the last question."""
        count, self._count = self._count, 0
        return count
