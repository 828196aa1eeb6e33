"""Kafka's errors, and what labkit sent, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import confluent_kafka as ck

from labkit.errors import BrokerRefused, BrokerUnavailable

if TYPE_CHECKING:
    from labkit.brokers.kafka.client import Part

_E = ck.KafkaError
_AWAY = {
    _E._TRANSPORT,
    _E._ALL_BROKERS_DOWN,
    _E._TIMED_OUT,
    _E._TIMED_OUT_QUEUE,
    _E._MSG_TIMED_OUT,
    _E._RESOLVE,
    _E.REQUEST_TIMED_OUT,
    _E.LEADER_NOT_AVAILABLE,
    _E.NOT_LEADER_FOR_PARTITION,
    _E.BROKER_NOT_AVAILABLE,
    _E.COORDINATOR_NOT_AVAILABLE,
    _E.COORDINATOR_LOAD_IN_PROGRESS,
    _E.NOT_COORDINATOR,
    _E.NOT_ENOUGH_REPLICAS,
    _E.NETWORK_EXCEPTION,
    _E._WAIT_COORD,
    _E._NOENT,  # no leaders found
}
_PASSING = {
    _E.FENCED_LEADER_EPOCH,
    _E.UNKNOWN_LEADER_EPOCH,
    _E._NOENT,
    _E.LEADER_NOT_AVAILABLE,
    _E.NOT_LEADER_FOR_PARTITION,
    _E.COORDINATOR_NOT_AVAILABLE,
    _E.COORDINATOR_LOAD_IN_PROGRESS,
    _E.NOT_COORDINATOR,
    _E.UNKNOWN_TOPIC_OR_PART,
}


def of(error: ck.KafkaError) -> str:
    """The error as a person reads it: without librdkafka's thread and timing."""
    text = str(error.str())
    text = text.partition(": ")[2] if text.startswith(("sasl_", "ssl_")) else text
    return f"{text.rstrip('.')} ({error.name()})"


def away(error: ck.KafkaError) -> bool:
    """Whether it says that nobody answered, or not now."""
    return error.code() in _AWAY


def refused(error: ck.KafkaError) -> bool:
    """Whether a server was there and would not have us: asking again does not help."""
    return error.code() in {_E._AUTHENTICATION, _E._SSL}


def passing(error: ck.KafkaError) -> bool:
    """Whether it will be over in a moment: a topic is new, or a leader is being chosen."""
    return error.code() in _PASSING


def outdated(error: ck.KafkaError) -> bool:
    """Whether the client holds on to what it knew of a leader before a restart."""
    return error.code() in {_E.FENCED_LEADER_EPOCH, _E.UNKNOWN_LEADER_EPOCH}


def error(
    url: str, error: ck.KafkaError, *, sent: bool = False
) -> BrokerUnavailable | BrokerRefused:
    """The error to raise."""
    if away(error):
        return BrokerUnavailable(unreachable(url, of(error), sent=sent), sent=sent)
    return BrokerRefused(f"Kafka at {url} refuses: {of(error)}.")


def unreachable(url: str, reason: str, *, sent: bool = False) -> str:
    """Nobody answers: what happened, and what to do next."""
    if "AUTHENTICATION" in reason:
        return (
            f"Kafka at {url} wants a user and a password that it knows ({reason}). "
            "Put them into the URL (kafka://user:password@host:port) or pass password=…."
        )
    if "SSL" in reason or "certificate" in reason.lower():
        return (
            f"No TLS connection to {url} ({reason}). Use kafkas:// only where the server speaks "
            "TLS, and name the authority that signed its certificate: tls_ca=…."
        )
    if sent:
        return (
            f"Kafka at {url} has not confirmed in time ({reason}). What was on its way may have "
            "arrived or not. The next call tries again."
        )
    return (
        f"No Kafka answers at {url} ({reason}). Start one with labkit.servers.start_kafka(), or "
        "use labkit.connect('kafka+embedded://') for the embedded one."
    )


def places(offsets: Mapping[Part, int]) -> str:
    """Partitions and offsets as one would type them: "news[0]=12, news[1]=7"."""
    shown = [f"{topic}[{partition}]={offset}" for (topic, partition), offset in offsets.items()]
    return ", ".join(shown[:8]) + (f", … {len(shown) - 8} more" if len(shown) > 8 else "")
