"""Publishing to channels: the topic exchange of a namespace, with confirms and returns."""

from __future__ import annotations

from collections.abc import Sequence

import pika

from labkit.broker import Receipt
from labkit.brokers.rabbitmq.confirms import Batch, Fate, Outgoing
from labkit.brokers.rabbitmq.core import Core
from labkit.brokers.rabbitmq.names import check_short
from labkit.errors import BatchError, BrokerRefused, BrokerUnavailable

_TRANSIENT = pika.BasicProperties(delivery_mode=1)


def exchange_of(core: Core) -> str:
    """The topic exchange that all channels of a namespace share."""
    return f"{core.namespace}labkit.channels"


def publish(core: Core, channel: str, body: bytes) -> Receipt:
    """Publish one body, and wait for the broker's confirm."""
    batch = _send(core, [(channel, body)])
    if batch.broken:
        raise batch.failure(core.url)
    return _receipt(channel, batch.fates[0])


def publish_many(core: Core, items: Sequence[tuple[str, bytes]]) -> list[Receipt]:
    """Publish many, with one wait for all confirms."""
    if not items:
        return []
    try:
        batch = _send(core, items)
    except (BrokerUnavailable, BrokerRefused) as error:
        raise BatchError(str(error), unsent=range(len(items))) from None
    if batch.broken:
        returned = batch.having(Fate.RETURNED)
        raise BatchError(
            str(batch.failure(core.url)),
            sent=sorted(batch.having(Fate.CONFIRMED) + returned),
            unknown=batch.having(Fate.UNKNOWN),
            unsent=batch.having(Fate.UNSENT),
            returned=returned,
        )
    return [_receipt(item[0], fate) for item, fate in zip(items, batch.fates, strict=True)]


def _send(core: Core, items: Sequence[tuple[str, bytes]]) -> Batch:
    exchange = exchange_of(core)
    core.declare_exchange(exchange, "topic")
    return core.send(
        [
            Outgoing(exchange, check_short(channel, "channel"), body, _TRANSIENT)
            for channel, body in items
        ]
    )


def _receipt(channel: str, fate: Fate) -> Receipt:
    """A message that came back was written to nobody; how many others got it nobody says."""
    return Receipt(channel, 0 if fate is Fate.RETURNED else None)
