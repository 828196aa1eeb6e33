"""What `connect` returns: one object with every pattern."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from labkit.broker.pubsub import PubSubBroker
from labkit.broker.queue import QueueBroker
from labkit.broker.reply import ReplyBroker
from labkit.broker.stream import StreamBroker


@runtime_checkable
class Lab(PubSubBroker, QueueBroker, ReplyBroker, StreamBroker, Protocol):
    """A broker, as far as a lab is concerned.

    The patterns ask for the one protocol that they need. What a broker does not have it refuses
    with `NotSupported` and the sentence of its capability.
    """
