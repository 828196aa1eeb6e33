"""kafkas:// with a password: all patterns over SASL_SSL, on a node of these tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from conftest import missing
from cryptography.hazmat.primitives import serialization
from helpers import free_port

import labkit
from labkit import (
    EventStream,
    NewEvent,
    NewTask,
    Publisher,
    Requester,
    Responder,
    Subscriber,
    Worker,
    WorkQueue,
)
from labkit.errors import BrokerUnavailable
from labkit.servers import KafkaServer, find_kafka

PASSWORD = "se.cret 1"
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The node's kafkas:// address, and the authority to trust."""
    home = find_kafka()
    if home is None:
        missing("Kafka (python tools/fetch_kafka.py, and Java 17)")
    assert home is not None
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    ca, store = folder / "ca.pem", folder / "store.pem"
    authority.cert_pem.write_to_path(ca)
    store.write_bytes(_store(authority.issue_cert("127.0.0.1", "localhost")))
    port, controller_port, tls_port = free_port(), free_port(), free_port()
    listeners = f"CLIENT://127.0.0.1:{port},TLS://127.0.0.1:{tls_port}"
    settings = {  # not by start_kafka, which opens no other port
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": (
            "CLIENT:SASL_PLAINTEXT,TLS:SASL_SSL,CONTROLLER:SASL_PLAINTEXT"
        ),
        "listener.name.tls.plain.sasl.jaas.config": f'{PLAIN} required user_ada="{PASSWORD}";',
        "listener.name.tls.ssl.keystore.type": "PEM",
        "listener.name.tls.ssl.keystore.location": str(store),
    }
    server = KafkaServer(home, port=port, password=PASSWORD, config=settings, timeout=100.0)
    server._controller_port = controller_port
    with server:
        yield f"kafkas://ada:{quote(PASSWORD)}@127.0.0.1:{tls_port}", ca


def _store(certificate: trustme.LeafCert) -> bytes:
    """Key and certificate in one file, the key in the one form that Kafka reads."""
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + b"".join(pem.bytes() for pem in certificate.cert_chain_pems)


def test_every_pattern_over_tls_with_a_password(tls: tuple[str, Path]) -> None:
    url, ca = tls
    with labkit.connect(url, tls_ca=ca, timeout=20, connect_timeout=20) as lab:
        assert PASSWORD not in f"{lab!r} {lab.url} {lab.commands()} {lab.handover()!r}"
        assert lab.url.startswith("kafkas://ada:***@")
        with Subscriber(lab, name="board") as board, Publisher(lab, sender="tower") as tower:
            board.subscribe("news")
            tower.publish_multiple([("news", n) for n in range(1_000)])
            assert [incoming.content for incoming in board.drain()] == list(range(1_000))
        queue = WorkQueue(lab, "rebooking")
        queue.put_many([NewTask("x" * 1_000) for _ in range(200)])
        done: list[str] = []
        with Worker(queue, lambda task: done.append(task.content), name="ada") as ada:
            assert ada.run() == len(done) == 200
        with (
            Responder(lab, "seats", lambda request: request.content * 2) as desk,
            Requester(lab) as gate,
        ):
            desk.start()
            assert [gate.request("seats", n, timeout=20).content for n in range(20)] == [
                2 * n for n in range(20)
            ]
        stream = EventStream(lab, "flights")
        stream.append_many([NewEvent(n, key="JFK") for n in range(1_000)])
        assert [event.content for event in stream.read()] == list(range(1_000))


@pytest.mark.timeout(30)  # a refusal is no reason to wait for a better answer
def test_a_stranger_s_certificate_is_refused(tls: tuple[str, Path]) -> None:
    url, _ = tls
    with pytest.raises(BrokerUnavailable, match="tls_ca") as caught:
        labkit.connect(url, connect_timeout=60)
    assert quote(PASSWORD) not in str(caught.value)


@pytest.mark.timeout(30)  # a refusal is no reason to wait for a better answer
def test_over_tls_the_password_is_asked_for(tls: tuple[str, Path]) -> None:
    url, ca = tls
    with pytest.raises(BrokerUnavailable, match="user and a password") as caught:
        labkit.connect(url.replace("se.cret", "other"), tls_ca=ca, connect_timeout=60)
    assert "other" not in str(caught.value)


def test_plain_text_is_refused_where_the_server_speaks_tls(tls: tuple[str, Path]) -> None:
    url, _ = tls
    with pytest.raises(BrokerUnavailable) as caught:
        labkit.connect(url.replace("kafkas://", "kafka://"), connect_timeout=2)
    assert PASSWORD not in str(caught.value)
