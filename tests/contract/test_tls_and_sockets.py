"""The ways in that need a server of their own: TLS, and a Unix socket."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from conftest import find_server
from helpers import eventually, free_port

import labkit
from labkit import Publisher, Subscriber
from labkit.errors import BrokerUnavailable, ConfigurationError
from labkit.servers import RedisServer

PASSWORD = "only-for-this-test"


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A Redis that speaks nothing but TLS: its URL, and the authority to trust."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    ca, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    authority.cert_pem.write_to_path(ca)
    certificate.private_key_and_cert_chain_pem.write_to_path(key)
    port = free_port()
    command = [
        *(find_server("Redis").path, "--port", "0", "--bind", "127.0.0.1", "--save", ""),
        *("--tls-port", str(port), "--tls-cert-file", key, "--tls-key-file", key),
        *("--tls-ca-cert-file", ca, "--tls-auth-clients", "no", "--requirepass", PASSWORD),
    ]
    environment = {**os.environ, "LC_ALL": "C"}
    with subprocess.Popen(
        list(map(str, command)), cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
    ) as server:
        try:
            url = f"rediss://:{PASSWORD}@127.0.0.1:{port}/0"
            eventually(lambda: _answers(url, ca))
            yield url, ca
        finally:
            server.terminate()


def _answers(url: str, ca: Path) -> bool:
    try:
        labkit.connect(url, tls_ca=ca).close()
    except BrokerUnavailable:
        return False
    return True


def converse(url: str, **options: object) -> None:
    with (
        labkit.connect(url, **options) as lab,
        Subscriber(lab, name="board") as board,
        Publisher(lab, sender="tower") as tower,
    ):
        board.subscribe("news")
        tower.publish_multiple([("news", n) for n in range(1_000)])
        assert [incoming.content for incoming in board.drain()] == list(range(1_000))
        assert PASSWORD not in repr(lab)


def test_over_tls(tls: tuple[str, Path]) -> None:
    url, ca = tls
    converse(url, tls_ca=ca)


def test_a_stranger_s_certificate_is_refused(tls: tuple[str, Path]) -> None:
    url, _ = tls
    with pytest.raises(BrokerUnavailable, match="tls_ca") as caught:
        labkit.connect(url)
    assert PASSWORD not in str(caught.value)


def test_no_plain_text_where_tls_was_meant(tls: tuple[str, Path]) -> None:
    url, ca = tls
    with pytest.raises(ConfigurationError, match="rediss://"):
        labkit.connect(url.replace("rediss://", "redis://"), tls_ca=ca)
    with pytest.raises(ConfigurationError, match="not a file"):
        labkit.connect(url, tls_ca=ca.with_name("nowhere.pem"))


def test_over_a_unix_socket(start_server: Callable[..., RedisServer], tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    start_server(password=PASSWORD, config={"unixsocket": str(socket)})
    converse(f"unix://:{PASSWORD}@{socket}")


def test_user_password_and_database_may_be_given_apart(
    start_server: Callable[..., RedisServer],
) -> None:
    server = start_server(password=PASSWORD)
    url = f"redis://127.0.0.1:{server.port}"
    with labkit.connect(url, password=PASSWORD, database=3) as lab:
        lab.native.set("here", "yes")
    with labkit.connect(f"{url}/3", username="default", password=PASSWORD) as lab:
        assert lab.native.get("here") == b"yes"
    with labkit.connect(url, password=PASSWORD) as lab:
        assert lab.native.get("here") is None
