"""Which Kafka a URL means, and what librdkafka must be told to reach it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from labkit.brokers.kafka.mock import DEFAULT_BROKERS
from labkit.errors import ConfigurationError
from labkit.options import Options, redact

DEFAULT_PORT = 9092
DEFAULT_PARTITIONS = 4
MOST_PARTITIONS = 1_000
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_EMBEDDED = "kafka+embedded"


@dataclass(frozen=True)
class Place:
    """Where Kafka is.

    Attributes:
        embedded: a mock cluster in this process.
        name: by which this process shares the mock cluster; "" for one of its own.
        mock: what answers is a mock cluster, perhaps another process's.
        brokers: how many brokers the mock cluster gets.
        partitions: how many partitions a topic gets that labkit creates.
        shown: the URL without its password.
        config: what librdkafka must be told, passwords included.
    """

    embedded: bool
    name: str
    mock: bool
    brokers: int
    partitions: int
    shown: str
    config: dict[str, str] = field(repr=False)
    url: str = field(repr=False, default="")

    def again(self, address: str) -> str:
        """The URL with which another process reaches the same brokers, passwords included."""
        if self.embedded:
            return f"kafka://{address}?partitions={self.partitions}&mock=1"
        return self.url


def parse(url: str, options: Options) -> Place:
    """What the URL and the options say.

    Raises:
        ConfigurationError: something that cannot work.
    """
    if options.database is not None:
        raise ConfigurationError("Kafka has no numbered databases; use namespace=….")
    parts = urlsplit(url)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    unknown = set(query) - {"brokers", "partitions", "sasl", "mock"}
    if unknown:
        raise ConfigurationError(
            f"{redact(url)!r} may have ?partitions=, brokers=, sasl=; not {sorted(unknown)[0]!r}."
        )
    embedded = parts.scheme == _EMBEDDED
    hosts = parts.netloc.rpartition("@")[2]
    return Place(
        embedded=embedded,
        name=hosts if embedded else "",
        mock=embedded or query.get("mock") == "1",
        brokers=_number(query, "brokers", DEFAULT_BROKERS, 9),
        partitions=_number(query, "partitions", DEFAULT_PARTITIONS, MOST_PARTITIONS),
        shown=redact(url),
        config={} if embedded else _config(url, query.get("sasl"), hosts, options),
        url=url,
    )


def _number(query: dict[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise ConfigurationError(f"{name} is a number from 1 to {most}, got {text!r}.")
    return int(text)


def _config(url: str, sasl: str | None, hosts: str, options: Options) -> dict[str, str]:
    parts = urlsplit(url)
    addresses = [
        host if ":" in host.rpartition("]")[2] else f"{host}:{DEFAULT_PORT}"
        for host in hosts.split(",")
        if host
    ]
    if not addresses:
        raise ConfigurationError("A Kafka URL names a host: kafka://127.0.0.1:9092.")
    login = parts.netloc.rpartition("@")[0]
    in_url_user, _, in_url_password = login.partition(":")
    user = options.username if options.username is not None else unquote(in_url_user)
    password = options.password if options.password is not None else unquote(in_url_password)
    tls = parts.scheme == "kafkas"
    config = {"bootstrap.servers": ",".join(addresses)}
    protocol = "SASL_" if user or password else ""
    config["security.protocol"] = protocol + ("SSL" if tls else "PLAINTEXT")
    if options.tls_ca is not None:
        config["ssl.ca.location"] = options.tls_ca
    if protocol:
        mechanism = sasl or "PLAIN"
        if mechanism not in _MECHANISMS:
            raise ConfigurationError(f"sasl is one of {', '.join(_MECHANISMS)}, got {mechanism!r}.")
        config |= {"sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": password}
    return config
