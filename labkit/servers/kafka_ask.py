"""Asking a Kafka who it is."""

from __future__ import annotations

import logging

from labkit.errors import ServerError


def cluster_id(address: str, user: str, password: str | None, timeout: float) -> str | None:
    """The id of the cluster that answers there; None if none does, or not yet.

    Raises:
        ServerError: the client library is missing.
    """
    try:
        import confluent_kafka
        from confluent_kafka.admin import AdminClient
    except ImportError:
        raise ServerError(
            "Kafka needs the package confluent-kafka: pip install 'messaging-lab[kafka]'."
        ) from None
    silent = logging.getLogger("labkit.kafka.silent")
    silent.addHandler(logging.NullHandler())
    silent.propagate = False
    config: dict[str, object] = {
        "bootstrap.servers": address,
        "socket.timeout.ms": round(timeout * 1000),
        "logger": silent,
        "error_cb": lambda _: None,
    }
    if password is not None:
        config |= {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": user,
            "sasl.password": password,
        }
    try:
        found = AdminClient(config).list_topics(timeout=timeout)
    except confluent_kafka.KafkaException:
        return None
    return str(found.cluster_id) if found.brokers else None
