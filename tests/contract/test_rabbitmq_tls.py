"""amqps://: all patterns over TLS, on a node of these tests' own with a certificate made here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from conftest import missing
from helpers import free_port

import labkit
from labkit import NewTask, Publisher, Requester, Responder, Subscriber, Worker, WorkQueue
from labkit.errors import BrokerUnavailable, ConfigurationError
from labkit.servers import RabbitServer, find_rabbitmq

pytest.importorskip("pika", reason="pika is not installed")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RabbitServer, str, Path]]:
    """The node, its amqps:// address, and the authority to trust."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    ca, cert, key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)
    certificate.cert_chain_pems[0].write_to_path(cert)
    certificate.private_key_pem.write_to_path(key)
    binary = find_rabbitmq()
    if binary is None:
        missing("rabbitmq-server")
    assert binary is not None
    port = free_port()
    settings = {  # not by start_rabbitmq, which opens no other port
        "listeners.ssl.1": f"127.0.0.1:{port}",
        "ssl_options.cacertfile": str(ca),
        "ssl_options.certfile": str(cert),
        "ssl_options.keyfile": str(key),
        "ssl_options.verify": "verify_none",
    }
    with RabbitServer(binary, None, False, settings, 100.0) as server:
        url = server.url.replace("amqp://", "amqps://").replace(f":{server.port}/", f":{port}/")
        yield server, url, ca


def test_every_pattern_over_tls(tls: tuple[RabbitServer, str, Path]) -> None:
    server, url, ca = tls
    with (
        labkit.connect(url, tls_ca=ca, namespace="tls:", timeout=20, connect_timeout=20) as lab,
        Subscriber(lab, name="board") as board,
        Publisher(lab, sender="tower") as tower,
    ):
        assert server.password not in repr(lab)
        board.subscribe("news")
        tower.publish_multiple([("news", n) for n in range(1_000)])
        assert [incoming.content for incoming in board.drain()] == list(range(1_000))
        queue = WorkQueue(lab, "rebooking")
        queue.put_many([NewTask("x" * 1_000) for _ in range(1_000)])
        with Worker(queue, lambda _: None, name="ada", prefetch=100) as ada:
            assert ada.run() == 1_000
        with (
            Responder(lab, "seats", lambda request: request.content * 2) as desk,
            Requester(lab) as gate,
        ):
            desk.start()
            assert [gate.request("seats", n, timeout=20).content for n in range(50)] == [
                2 * n for n in range(50)
            ]


def test_a_stranger_s_certificate_is_refused(tls: tuple[RabbitServer, str, Path]) -> None:
    server, url, _ = tls
    with pytest.raises(BrokerUnavailable, match="tls_ca") as caught:
        labkit.connect(url, connect_timeout=20)
    assert server.password not in str(caught.value)


def test_no_plain_text_where_tls_was_meant(tls: tuple[RabbitServer, str, Path]) -> None:
    _, url, ca = tls
    with pytest.raises(ConfigurationError, match="amqps://"):
        labkit.connect(url.replace("amqps://", "amqp://"), tls_ca=ca)
