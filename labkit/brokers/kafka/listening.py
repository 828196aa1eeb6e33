"""What a subscription listens to: names and patterns of channels, and the topics that they mean."""

from __future__ import annotations

from dataclasses import dataclass, field

from labkit import channels as naming
from labkit.brokers.kafka.client import Part
from labkit.brokers.kafka.names import from_topic, to_topic


@dataclass(eq=False)
class Listening:
    """One name or pattern: from which offset on it listens, by partition; 0 for what came later."""

    name: str
    pattern: bool
    starts: dict[Part, int] = field(default_factory=dict)


class Listenings:
    """All names and patterns of one subscription, in the order in which they came."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._all: list[Listening] = []
        self._hears: dict[str, list[Listening]] = {}  # by topic

    def __bool__(self) -> bool:
        return bool(self._all)

    @property
    def has_patterns(self) -> bool:
        """Whether topics that are new may be meant."""
        return any(item.pattern for item in self._all)

    def new(self, names: tuple[str, ...], pattern: bool) -> list[Listening]:
        """Of these names those that are not there yet; they are not added."""
        known = {item.name for item in self.named(names, pattern)}
        return [Listening(name, pattern) for name in names if name not in known]

    def named(self, names: tuple[str, ...], pattern: bool) -> list[Listening]:
        """Those that are there and have one of these names."""
        return [item for item in self._all if item.pattern == pattern and item.name in names]

    def add(self, items: list[Listening]) -> None:
        """Listen to these, too."""
        self._all += items
        self._hears.clear()

    def remove(self, items: list[Listening]) -> None:
        """Listen to these no more."""
        self._all = [item for item in self._all if item not in items]
        self._hears.clear()

    def hear(self, topic: str) -> list[Listening]:
        """Those that mean the topic."""
        found = self._hears.get(topic)
        if found is None:
            found = self._hears[topic] = [i for i in self._all if self.matches(i, topic)]
        return found

    def matches(self, item: Listening, topic: str) -> bool:
        """Whether it means the topic."""
        if not item.pattern:
            return topic == to_topic(self._namespace, item.name)
        channel = from_topic(self._namespace, topic)
        return channel is not None and naming.matches(item.name, channel)
