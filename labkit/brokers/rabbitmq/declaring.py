"""A topology on the broker: declare it, publish into it, take it away again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pika

from labkit.brokers.rabbitmq.confirms import Fate, Outgoing
from labkit.brokers.rabbitmq.core import Core
from labkit.brokers.rabbitmq.words import unroutable
from labkit.errors import BrokerRefused
from labkit.topology import Binding, HeaderValue, Topology


def declare(core: Core, topology: Topology) -> None:
    """Declare exchanges and queues, durable, and bind them. What is there already stays."""
    space = core.namespace
    for exchange in topology.exchanges:
        arguments = {}
        if exchange.alternate is not None:
            arguments["alternate-exchange"] = space + exchange.alternate
        core.log("exchange.declare", exchange=space + exchange.name, type=exchange.kind)
        core.call(
            "exchange_declare",
            space + exchange.name,
            exchange.kind,
            durable=True,
            arguments=arguments,
        )
    for queue in topology.queues:
        core.declare_queue(space + queue.name, dict(queue.arguments))
    for binding in topology.bindings:
        _bind(core, binding)


def remove(core: Core, topology: Topology) -> None:
    """Delete them, with what is in the queues."""
    for queue in topology.queues:
        name = core.namespace + queue.name
        core.log("queue.delete", queue=name)
        core.call("queue_delete", name)
    for exchange in topology.exchanges:
        name = core.namespace + exchange.name
        core.log("exchange.delete", exchange=name)
        core.call("exchange_delete", name)


def publish_to(
    core: Core,
    exchange: str,
    key: str,
    body: bytes,
    headers: Mapping[str, HeaderValue] | None,
    *,
    mandatory: bool,
) -> None:
    """Publish one persistent message, and wait for its confirm.

    Raises:
        BrokerRefused: it is mandatory and came back; or the broker refuses it.
        BrokerUnavailable: it may have arrived or not (`sent`).
    """
    name = core.namespace + exchange if exchange else exchange
    routing_key = key if exchange else core.namespace + key
    properties = pika.BasicProperties(delivery_mode=2, headers=dict(headers or {}) or None)
    batch = core.send([Outgoing(name, routing_key, body, properties, mandatory)], daring=True)
    if batch.broken:
        raise batch.failure(core.url)
    if batch.fates[0] is Fate.RETURNED:
        raise BrokerRefused(unroutable(name, routing_key))
    if batch.fates[0] is Fate.REFUSED:
        raise BrokerRefused("RabbitMQ refused the message (basic.nack): the queue is full.")


def _bind(core: Core, binding: Binding) -> None:
    space = core.namespace
    source, target = space + binding.source, space + binding.target
    arguments: dict[str, Any] = dict(binding.headers)
    if binding.headers or binding.match != "all":
        arguments["x-match"] = binding.match
    method = "queue.bind" if binding.to == "queue" else "exchange.bind"
    core.log(method, source=source, target=target, routing_key=binding.key, arguments=arguments)

    if binding.to == "queue":
        core.call("queue_bind", target, source, binding.key, arguments)
    else:
        core.call("exchange_bind", target, source, binding.key, arguments)
