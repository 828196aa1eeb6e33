"""`connect(url)`: which broker it is, what is said without one, and no password in any of it."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import labkit
from labkit import Backoff, Publisher, StepClock, Subscriber, Trace, connection, servers
from labkit.broker import PubSubBroker
from labkit.errors import BrokerUnavailable, ConfigurationError, LabkitError
from labkit.options import redact

SECRET = "s3cr3t"
WITHIN_S = 1.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def refusal(url: str, **options: Any) -> LabkitError:
    """The error that connecting ends in; it holds no password, wherever one looks."""
    with pytest.raises(LabkitError) as refused:
        labkit.connect(url, **options)
    error = refused.value
    shown = [str(error), repr(error), repr(error.args), repr(error.__cause__)]
    assert not [text for text in shown if SECRET in text]
    assert error.__suppress_context__ or error.__context__ is None, "no traceback underneath"
    return error


# --- passwords ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379",
        "redis://127.0.0.1:6379/3",
        "redis://ada@localhost",
        "rediss://[::1]:6379/0",
        "unix:///run/redis.sock",
        "embedded://",
        "embedded://shop",
        "auto",
    ],
)
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert redact(url) == url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://:{SECRET}@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        (f"redis://ada:{SECRET}@localhost:6379", "redis://ada:***@localhost:6379"),
        (f"rediss://ada:{SECRET}@[::1]:7000/2", "rediss://ada:***@[::1]:7000/2"),
        (f"unix://ada:{SECRET}@/run/redis.sock", "unix://ada:***@/run/redis.sock"),
    ],
)
def test_the_place_is_still_shown_when_the_password_is_not(url: str, shown: str) -> None:
    assert redact(url) == shown


# What people write: percent-encoded as it should be, or pasted as it came from a web page.
PASSWORDS = st.text("ab%/?#@:[]&=+ é", max_size=4).map(lambda rest: f"{SECRET}{rest}")
USERS = st.sampled_from(["", "ada"])
PLACES = st.sampled_from(["127.0.0.1", "localhost:6379", "[::1]:6379", "localhost:port", ""])
QUERY_KEYS = st.sampled_from(["password", "PASSWORD", "p%61ssword", "ssl_password", "passwd"])
SCHEMES = st.sampled_from(["redis://", "rediss://", "unix://", "redis:/", "redis//", "amqp://", ""])
URLS = st.one_of(
    st.builds(
        lambda scheme, user, password, place, path: f"{scheme}{user}:{password}@{place}{path}",
        SCHEMES,
        USERS,
        PASSWORDS | PASSWORDS.map(lambda password: quote(password, safe="")),
        PLACES,
        st.sampled_from(["", "/0", "/zero", "/0?db=1", "?db=x"]),
    ),
    st.builds(
        lambda scheme, place, mark, key, password: f"{scheme}{place}/0{mark}{key}={password}",
        SCHEMES,
        PLACES,
        st.sampled_from(["?", "?db=1&", "#"]),
        QUERY_KEYS,
        PASSWORDS | PASSWORDS.map(lambda password: quote(password, safe="")),
    ),
)


@given(URLS)
@example(f"redis://:{SECRET}/x@127.0.0.1:6379")
@example(f"redis://:{SECRET}#x@127.0.0.1:6379")
@example(f"redis://:{SECRET}?x@127.0.0.1:6379")
@example(f"redis://:[{SECRET}@127.0.0.1")
@example(f"redis://:x@{SECRET}@127.0.0.1")
@example(f"redis://:{SECRET}://x@127.0.0.1")
@example(f"redis://127.0.0.1?password={SECRET}")
@example(f"redis://127.0.0.1?password=x@{SECRET}")
@example(f"redis://127.0.0.1?p%61ssword={SECRET}")
@example(f"redis://127.0.0.1/0#password={SECRET}")
@example(f"unix:///run/redis.sock?password={SECRET}")
@example(f"ada:{SECRET}@127.0.0.1:6379")
@example(f":{SECRET}@127.0.0.1")
@example(f"redis:/:{SECRET}@127.0.0.1")
@example(f"redis:/:{SECRET}://@127.0.0.1")
def test_a_password_is_never_shown(url: str) -> None:
    assert SECRET not in redact(url)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/x@127.0.0.1:1",
        f"redis://:{SECRET}#x@127.0.0.1:1",
        f"redis://:{SECRET}?x@127.0.0.1:1",
        f"redis://:[{SECRET}@127.0.0.1:1",
        f"redis://:{SECRET}@127.0.0.1:999999",
        f"redis://:{SECRET}@127.0.0.1:port",
        f"redis://:{SECRET}@127.0.0.1:1/0?db=one",
        f"redis://:{SECRET}@127.0.0.1:1/0?colour=red",
        f"redis://127.0.0.1:1/0?PASSWORD={SECRET}",
        f"redis://127.0.0.1:1/0?password={SECRET}",
        f"redis://127.0.0.1:1/0#password={SECRET}",
        f"unix:///nowhere/redis.sock?password={SECRET}",
        f"ada:{SECRET}@127.0.0.1:1",
        f"amqp://ada:{SECRET}@127.0.0.1:1",
        f"http://ada:{SECRET}@127.0.0.1:1",
    ],
)
def test_no_error_shows_the_password(url: str) -> None:
    """`refusal` looks."""
    refusal(url, connect_timeout=0.2)


def test_a_pasted_password_that_breaks_the_url_is_explained() -> None:
    error = refusal(f"redis://:{SECRET}/x@127.0.0.1:6379")

    assert isinstance(error, ConfigurationError)
    assert "percent" in str(error) or "password=" in str(error), "what to do about it"


def test_an_open_broker_shows_its_password_nowhere(
    start_server: Callable[..., servers.RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(password=SECRET)
    caplog.set_level(logging.DEBUG)

    with labkit.connect(server.url) as lab, Publisher(lab, sender="tower") as tower:
        with Subscriber(lab, name="board") as board:
            board.subscribe("news")
            tower.publish("news", "hello")
            board.drain()
            shown = [repr(thing) for thing in (lab, tower, board, lab.commands(), lab.trace)]
            shown += [lab.url, lab.name, repr(lab.native), repr(lab.capabilities), str(server)]
        server.kill()
        with pytest.raises(BrokerUnavailable) as gone:
            tower.publish("news", "hello")

    assert not [text for text in [*shown, str(gone.value), caplog.text] if SECRET in text]
    assert lab.url == f"redis://:***@127.0.0.1:{server.port}/0"


def test_options_show_no_credentials() -> None:
    options = connection.Options(
        namespace="ada",
        username="ada",
        password=SECRET,
        database=0,
        timeout=1,
        connect_timeout=1,
        tls_ca=None,
        reconnect=Backoff(),
        clock=StepClock(),
        trace=Trace(),
    )

    assert SECRET not in repr(options)
    assert SECRET not in str(options)
    assert "namespace='ada'" in repr(options)


# --- addresses and options that cannot work -------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["", "redis", "localhost:6379", "http://localhost", "redis:localhost", "://x", "Auto"]
)
def test_a_url_that_names_no_broker_is_refused_with_those_that_do(url: str) -> None:
    error = refusal(url)

    assert isinstance(error, ConfigurationError)
    for known in ("embedded://", "redis://", "rediss://", "unix://", '"auto"'):
        assert known in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:port",
        "redis://localhost:99999",
        "redis://[::1",
        "redis://127.0.0.1:1/0?db=one",
        "redis://127.0.0.1:1/0?colour=red",
    ],
)
def test_a_url_that_cannot_be_used_is_a_matter_of_configuration(url: str) -> None:
    assert isinstance(refusal(url), ConfigurationError)


@pytest.mark.parametrize("option", ["timeout", "connect_timeout"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_time_out_that_is_none_is_refused_by_name(option: str, seconds: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"\b{option} is in seconds"):
        labkit.connect("embedded://", **{option: seconds})


# --- the embedded broker --------------------------------------------------------------------------


@pytest.mark.parametrize("url", [None, "embedded", "embedded://"])
def test_without_more_it_is_the_embedded_broker_and_says_so(url: str | None) -> None:
    with labkit.connect(url) as lab:
        assert lab.embedded
        assert lab.name.startswith("embedded (fakeredis ")
        assert lab.url == "embedded://"
        assert "embedded" in repr(lab)


def heard_between(first: PubSubBroker, second: PubSubBroker) -> int:
    with Subscriber(first) as board, Publisher(second, sender="tower") as tower:
        board.subscribe("news")
        tower.publish("news", "hello")
        return len(board.drain())


def test_an_embedded_broker_is_shared_by_its_name_only() -> None:
    with (
        labkit.connect("embedded://shop") as shop,
        labkit.connect("embedded://shop") as same,
        labkit.connect("embedded://other") as other,
        labkit.connect() as nameless,
        labkit.connect() as nameless_too,
    ):
        assert heard_between(shop, same) == 1
        assert heard_between(shop, other) == 0
        assert heard_between(nameless, nameless_too) == 0


def test_clock_and_trace_are_those_that_were_given() -> None:
    clock, trace = StepClock(), Trace()

    with labkit.connect(clock=clock, trace=trace) as lab:
        assert lab.clock is clock
        assert lab.trace is trace
    with labkit.connect(trace=False) as lab, Publisher(lab, sender="tower") as tower:
        tower.publish("news", "hello")
        assert len(lab.trace) == 0


# --- what the environment says --------------------------------------------------------------------


def test_the_environments_broker_is_taken(
    redis_server: servers.RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_BROKER_URL", redis_server.url)

    for url in (None, "auto"):
        with labkit.connect(url) as lab:
            assert not lab.embedded
            assert lab.name == redis_server.binary.name
            assert lab.url.endswith(f":{redis_server.port}/0")
    with labkit.connect("embedded://") as lab:
        assert lab.embedded, "what is asked for by name wins"


@pytest.mark.parametrize("url", [None, "auto"])
def test_an_environments_broker_that_is_gone_is_not_silently_replaced(
    url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("LABKIT_BROKER_URL", f"redis://:{SECRET}@127.0.0.1:{port}")

    with pytest.raises(BrokerUnavailable, match=f":{port}") as refused:
        labkit.connect(url)

    assert SECRET not in str(refused.value)


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_BROKER_URL", "")
    monkeypatch.setenv("LABKIT_NAMESPACE", "")

    with labkit.connect() as lab:
        assert lab.embedded
        assert lab.namespace == ""


def test_a_namespace_comes_from_the_environment_unless_one_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LABKIT_NAMESPACE", "ada:")

    with labkit.connect() as lab, labkit.connect(namespace="bob:") as other:
        assert lab.namespace == "ada:"
        assert "ada:" in repr(lab)
        assert other.namespace == "bob:"
    with labkit.connect(namespace="") as lab:
        assert lab.namespace == ""


def test_namespaces_on_one_server_do_not_meet(redis_server: servers.RedisServer) -> None:
    with (
        labkit.connect(redis_server.url, namespace="ada:") as ada,
        labkit.connect(redis_server.url, namespace="ada:") as same,
        labkit.connect(redis_server.url, namespace="bob:") as bob,
    ):
        assert heard_between(ada, same) == 1
        assert heard_between(ada, bob) == 0


@pytest.mark.parametrize("space", ["two words", "a\n", " "])
def test_a_namespace_with_spaces_is_refused(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(repr(space))):
        labkit.connect(namespace=space)
    monkeypatch.setenv("LABKIT_NAMESPACE", space)
    with pytest.raises(ConfigurationError, match="namespace"):
        labkit.connect()


# --- a real server --------------------------------------------------------------------------------


def test_credentials_may_be_given_beside_the_url(
    start_server: Callable[..., servers.RedisServer],
) -> None:
    server = start_server(password=SECRET)
    place = f"redis://127.0.0.1:{server.port}"

    with labkit.connect(place, password=SECRET) as lab:
        assert lab.name == server.binary.name
        assert lab.url == place
    with labkit.connect(f"redis://:wrong@127.0.0.1:{server.port}/1", password=SECRET) as lab:
        lab.ping()
    with labkit.connect(place, username="default", password=SECRET, database=3) as lab:
        assert lab.native.client_info()["db"] == 3  # type: ignore[attr-defined]


def test_a_unix_socket_is_an_address(
    start_server: Callable[..., servers.RedisServer], tmp_path: Path
) -> None:
    path = tmp_path / "redis.sock"
    server = start_server(config={"unixsocket": str(path), "unixsocketperm": "700"})

    with labkit.connect(f"unix://{path}", password=server.password) as lab:
        assert lab.name == server.binary.name
        assert heard_between(lab, lab) == 1
        assert str(path) in lab.url


# --- a broker that does not answer ----------------------------------------------------------------


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], None] | None) -> Iterator[int]:
    """A port where somebody listens: without `answer` nobody even says hello."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def serve() -> None:
            with contextlib.ExitStack() as held:
                while not ended.is_set():
                    with contextlib.suppress(OSError):
                        caller = held.enter_context(server.accept()[0])
                        if answer is not None:
                            answer(caller)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join(5)


def speak_http(caller: socket.socket) -> None:
    caller.recv(4096)
    caller.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def speak_noise(caller: socket.socket) -> None:
    caller.sendall(bytes(range(256)) * 4)


def hang_up(caller: socket.socket) -> None:
    caller.close()


def refused_in_time(url: str, **options: Any) -> BrokerUnavailable:
    """The error, which came within a second (and a little for a busy machine)."""
    began = time.monotonic()
    error = refusal(url, **options)
    assert time.monotonic() - began < WITHIN_S + 0.25
    assert isinstance(error, BrokerUnavailable)
    assert isinstance(error, ConnectionError), "also for those who know Python's own"
    assert not error.sent
    return error


@pytest.mark.parametrize("login", ["", f":{SECRET}@", f"ada:{SECRET}@"])
def test_at_a_closed_port_nobody_answers(login: str) -> None:
    port = free_port()

    error = refused_in_time(f"redis://{login}127.0.0.1:{port}/0")

    assert "No broker answers at redis://" in str(error)
    assert f"127.0.0.1:{port}" in str(error)
    assert "labkit up" in str(error)
    assert "labkit.connect()" in str(error)


@pytest.mark.parametrize(
    "answer", [None, speak_http, speak_noise, hang_up], ids=["silence", "http", "noise", "hang-up"]
)
@pytest.mark.parametrize("login", ["", f":{SECRET}@"])
def test_what_listens_but_is_no_broker_is_given_up_within_a_second(
    answer: Callable[[socket.socket], None] | None, login: str
) -> None:
    with listening(answer) as port:
        error = refused_in_time(f"redis://{login}127.0.0.1:{port}/0")

    assert f"127.0.0.1:{port}" in str(error)
    assert "labkit up" in str(error) or "is not a Redis" in str(error)


def test_the_wait_for_an_answer_is_settable() -> None:
    with listening(None) as port:
        began = time.monotonic()
        refusal(f"redis://127.0.0.1:{port}", connect_timeout=0.1)
        assert time.monotonic() - began < 0.6


@pytest.mark.parametrize(
    ("login", "options"),
    [
        ("", {}),
        (f":wrong-{SECRET}@", {}),
        (f"ada:{SECRET}@", {}),
        ("", {"password": f"wrong-{SECRET}"}),
    ],
    ids=["none", "wrong", "unknown user", "wrong beside"],
)
def test_a_server_that_wants_another_password_is_told_from_none(
    redis_server: servers.RedisServer, login: str, options: dict[str, Any]
) -> None:
    url = f"redis://{login}127.0.0.1:{redis_server.port}/0"

    error = refused_in_time(url, **options)

    assert f"127.0.0.1:{redis_server.port}" in str(error)
    assert "wants a user and a password" in str(error)
    assert "redis://user:password@host:port" in str(error)
    assert "labkit up" not in str(error), "there is one: another would not help"


def test_a_database_that_the_server_does_not_have_is_refused_as_such(
    redis_server: servers.RedisServer,
) -> None:
    error = refused_in_time(redis_server.url.replace("/0", "/9999"))

    assert "refuses" in str(error)
    assert "labkit up" not in str(error)


def test_a_socket_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    error = refused_in_time(f"unix://ada:{SECRET}@{tmp_path}/redis.sock")

    assert f"{tmp_path}/redis.sock" in str(error)
    assert "labkit up" in str(error)


def test_a_paused_server_is_given_up_within_a_second(
    start_server: Callable[..., servers.RedisServer],
) -> None:
    server = start_server(password=None)
    server.pause()
    try:
        refused_in_time(server.url)
    finally:
        server.resume()


# --- "auto" ---------------------------------------------------------------------------------------


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which no broker is announced, none runs, and none can be started."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(connection, "DEFAULT_REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    monkeypatch.setattr("labkit.servers.redis.find_redis", lambda: None)


@pytest.fixture
def can_start(
    nobody: None,  # noqa: ARG001
    start_server: Callable[..., servers.RedisServer],
    monkeypatch: pytest.MonkeyPatch,
) -> list[servers.RedisServer]:
    """A machine on which none runs but one can be started; holds those that were."""
    started: list[servers.RedisServer] = []
    really_start = servers.start_redis

    def start() -> servers.RedisServer:
        monkeypatch.setattr(servers, "start_redis", really_start)
        started.append(start_server())
        return started[-1]

    monkeypatch.setattr(servers, "start_redis", start, raising=False)
    return started


@pytest.mark.usefixtures("nobody")
def test_auto_without_anything_is_the_embedded_broker() -> None:
    with labkit.connect("auto") as lab:
        assert lab.embedded
        assert "embedded" in lab.name


@pytest.mark.usefixtures("nobody")
def test_auto_may_be_said_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_BROKER_URL", "auto")

    for url in (None, "auto"):
        with labkit.connect(url) as lab:
            assert lab.embedded


@pytest.mark.usefixtures("nobody")
def test_auto_takes_the_announced_broker_first(
    start_server: Callable[..., servers.RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, announced = start_server(password=None), start_server()
    monkeypatch.setattr(connection, "DEFAULT_REDIS_URL", running.url)

    with servers.announce(announced.url), labkit.connect("auto", namespace="ada:") as lab:
        assert lab.url.endswith(f":{announced.port}/0")
        assert lab.name == announced.binary.name
        assert lab.namespace == "ada:"
        assert announced.password is not None
        assert announced.password not in repr(lab)
    assert announced.running, "what we did not start, we do not stop"
    with labkit.connect("auto") as lab:
        assert lab.url.endswith(f":{running.port}/0"), "after it, what runs at the usual place"
    assert running.running


@pytest.mark.usefixtures("nobody")
def test_auto_goes_on_when_the_announced_broker_is_gone_or_is_none_of_ours(
    start_server: Callable[..., servers.RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = start_server(password=SECRET)
    monkeypatch.setattr(connection, "DEFAULT_REDIS_URL", f"redis://127.0.0.1:{locked.port}")

    with servers.announce(f"redis://127.0.0.1:{free_port()}"), labkit.connect("auto") as lab:
        assert lab.embedded


def test_auto_starts_a_server_and_ends_it_when_it_is_closed(
    can_start: list[servers.RedisServer],
) -> None:
    with labkit.connect("auto") as lab:
        [server] = can_start
        assert not lab.embedded
        assert lab.url.endswith(f":{server.port}/0")
        assert heard_between(lab, lab) == 1
        assert server.running

    assert not server.running


def test_auto_ends_the_server_that_it_started_but_could_not_use(
    can_start: list[servers.RedisServer],
) -> None:
    with pytest.raises(BrokerUnavailable, match="refuses"):
        labkit.connect("auto", database=9999)

    assert [server.running for server in can_start] == [False]
