"""The configuration of a small Kafka: one node, on loopback, quick to join."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from labkit.errors import ConfigurationError

USER = "labkit"
_KEY = re.compile(r"[a-z][a-z0-9._-]*")
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"

_SMALL = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "CLIENT",
    # one node holds the only copy of everything
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # few partitions of Kafka's own, a small cleaner, few threads
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "1",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "num.network.threads": "2",
    "num.io.threads": "4",
    # a lesson waits for nothing that it does not want to see
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "broker.session.timeout.ms": "1500",  # so long is a killed one not let in again
    "broker.heartbeat.interval.ms": "300",
    "log.retention.check.interval.ms": "1000",
    "log.initial.task.delay.ms": "1000",
}

LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""


def render(
    more: Mapping[str, str | int | bool],
    *,
    host: str,
    port: int,
    controller_port: int,
    password: str | None,
    folder: Path,
) -> bytes:
    """The text of `server.properties`.

    Raises:
        ConfigurationError: a setting that cannot be written.
    """
    protocol = "PLAINTEXT" if password is None else "SASL_PLAINTEXT"
    lines = _SMALL | {
        "listeners": f"CLIENT://{host}:{port},CONTROLLER://{host}:{controller_port}",
        "advertised.listeners": f"CLIENT://{host}:{port}",
        "listener.security.protocol.map": f"CLIENT:{protocol},CONTROLLER:{protocol}",
        "controller.quorum.voters": f"1@{host}:{controller_port}",
        "log.dirs": str(folder),
    }
    if password is not None:
        if not password or not password.isprintable() or set(password) & set('"\\;'):
            raise ConfigurationError('A password for Kafka is printable text without ", \\ and ;.')
        login = (
            f'{_PLAIN} required username="{USER}" password="{password}" user_{USER}="{password}";'
        )
        lines |= {
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.client.plain.sasl.jaas.config": login,
            "listener.name.controller.plain.sasl.jaas.config": login,
        }
    for key, value in more.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if not _KEY.fullmatch(key) or not text.isprintable():
            raise ConfigurationError(f"{key!r} is no setting of Kafka, or {value!r} no value.")
        lines[key] = text
    return "".join(f"{key}={_escaped(value)}\n" for key, value in lines.items()).encode()


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\")
