"""RabbitMQ's parts that need no RabbitMQ: words, names, configuration, finding the server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import labkit
from labkit import channels, servers
from labkit.broker import Priority, QueueItem, QueueOptions
from labkit.errors import BrokerUnavailable, ConfigurationError, ServerError
from labkit.servers import rabbitmq_binaries
from labkit.servers.rabbitmq_config import Login, Ports, check_settings, write_files
from labkit.topology import Binding, Exchange, Queue, Topology

pytest.importorskip("pika", reason="pika is not installed")

from helpers import free_port

from labkit.brokers.rabbitmq import words
from labkit.brokers.rabbitmq.layout import DELAYS_MS, Layout
from labkit.brokers.rabbitmq.names import binding_key
from labkit.brokers.rabbitmq.task_message import TaskMessage

# --- globs and topic keys -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "key"),
    [
        ("flights.*", "flights.#"),
        ("flights.J*", "flights.#"),
        ("*.late", "#.late"),
        ("a.*.*.b", "a.#.b"),
        ("a[.]b", "#"),
        ("plain.name", "plain.name"),
        (r"a\*", "#"),
    ],
)
def test_a_glob_becomes_the_nearest_topic_key(glob: str, key: str) -> None:
    assert binding_key(glob) == key


parts = st.text(alphabet="ab.*?[]^-\\#", min_size=1, max_size=8)


@given(glob=parts, channel=st.text(alphabet="ab.#*-", min_size=1, max_size=8))
def test_whatever_a_glob_matches_its_topic_key_lets_through(glob: str, channel: str) -> None:
    bound = Topology(
        (Exchange("x", "topic"),), (Queue("q"),), (Binding("x", "q", binding_key(glob)),)
    )
    if channels.matches(glob, channel):
        assert bound.route("x", channel).queues == ("q",)


# --- words ----------------------------------------------------------------------------------------


def test_another_argument_is_named_with_both_values() -> None:
    text = (
        "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'work' in vhost '/': "
        "received the value '5' of type 'signedint' but current is none"
    )
    told = words.closed_channel(406, text)
    assert "406 PRECONDITION_FAILED" in told
    assert "The queue 'work' is there already, and its 'x-max-length' is not set, not 5" in told


def test_a_code_says_what_it_means() -> None:
    told = words.closed_channel(403, "ACCESS_REFUSED - access to queue 'a' refused for user 'b'")
    assert "403 ACCESS_REFUSED: this user may not do that" in told
    assert "access to queue 'a' refused" in told


def test_where_nobody_answers_it_says_what_to_do() -> None:
    url = f"amqp://ada:secret@127.0.0.1:{free_port()}/%2F"
    with pytest.raises(BrokerUnavailable, match="start_rabbitmq") as caught:
        labkit.connect(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"url": "amqp://h:port/"}, "no address of a RabbitMQ"),
        ({"url": "amqp://h", "database": 1}, "virtual hosts"),
        ({"url": "amqp://h", "tls_ca": "ca.pem"}, "speaks TLS"),
    ],
)
def test_a_wrong_address_says_what_is_right(arguments: dict, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        labkit.connect(**arguments)


# --- tasks ----------------------------------------------------------------------------------------


@given(delay=st.floats(min_value=0.010, max_value=1e6))
def test_a_delay_is_never_shorter_and_at_most_a_quarter_longer(delay: float) -> None:
    level = Layout("", "work", QueueOptions()).level(delay)
    assert level in DELAYS_MS
    assert int(delay * 1000) <= level <= 1.26 * delay * 1000 + 1


def test_a_delay_that_is_too_long_is_refused_and_not_cut_short() -> None:
    with pytest.raises(ConfigurationError, match="45 days at most"):
        Layout("", "work", QueueOptions()).level(5e6)


def test_a_delivery_limit_is_always_set() -> None:
    """RabbitMQ 4 has 20 where none is set: forgetting it would be another promise there."""
    for most, limit in ((20, 19), (None, 1_000_000_000)):
        arguments = Layout("", "work", QueueOptions(max_deliveries=most)).arguments
        assert arguments["x-delivery-limit"] == limit


def test_headers_stay_small_however_long_the_errors_are() -> None:
    task = TaskMessage("t", b"", errors=tuple("x" * 1_000_000 for _ in range(100)), attempts=100)
    headers = task.properties().headers
    assert len(str(headers)) < 60_000
    assert "80 more attempts" in str(headers)


def test_an_ordinary_task_has_no_headers() -> None:
    properties = TaskMessage.new(QueueItem("t", b"")).properties()
    assert properties.headers is None
    assert properties.delivery_mode == 2
    assert properties.priority == int(Priority.NORMAL)


# --- the server -----------------------------------------------------------------------------------


def test_none_installed_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq_binaries, "_FOLDERS", ())
    monkeypatch.setattr(rabbitmq_binaries, "_ERLANG_FOLDERS", ())
    monkeypatch.delenv("RABBITMQ_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    assert servers.find_rabbitmq() is None
    with pytest.raises(ServerError, match=r"apt install.*brew install.*conda.*Windows.*Docker"):
        servers.start_rabbitmq()


def test_a_script_that_switches_user_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = tmp_path / "rabbitmq-script-wrapper"
    for path in (wrapper, tmp_path / "epmd"):
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    (tmp_path / "rabbitmq-server").symlink_to(wrapper)
    monkeypatch.setattr(rabbitmq_binaries, "_FOLDERS", ())
    monkeypatch.delenv("RABBITMQ_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert servers.find_rabbitmq() is None


def test_secrets_are_in_files_of_this_user_only(tmp_path: Path) -> None:
    login = Login.random()
    write_files(tmp_path, Ports(1, 2, 3, 4), login, {"heartbeat": 10}, "COOKIE")
    for name in ("rabbitmq.conf", ".erlang.cookie", "enabled_plugins"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    text = (tmp_path / "rabbitmq.conf").read_text()
    assert "listeners.tcp.1 = 127.0.0.1:1\n" in text
    assert "management.tcp.ip = 127.0.0.1\n" in text
    assert login.password in text
    assert login.password not in repr(login)


@pytest.mark.parametrize(
    "settings", [{"listeners.tcp.2": "0.0.0.0:1"}, {"heartbeat": "1\nloopback_users = none"}]
)
def test_what_would_open_the_node_is_refused(settings: dict) -> None:
    with pytest.raises(ConfigurationError):
        check_settings(settings)


def test_labkit_loads_no_pika() -> None:
    code = "import labkit, labkit.topology, sys; sys.exit('pika' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
