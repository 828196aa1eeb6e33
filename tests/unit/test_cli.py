"""The command line: what is printed, where it goes, and the exit status."""

from __future__ import annotations

import importlib.metadata
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import labkit
from labkit import Publisher, Subscriber, servers
from labkit.cli import doctor, main, where
from labkit.data import stormy_day
from labkit.servers.process import free_port

ROOT = Path(__file__).parents[2]
DEADLINE_S = 20.0
SECRET = "not-to-be-seen"


@pytest.fixture(autouse=True)
def _private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker, note or history of the developer's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """What we start takes SIGINT, although a shell starts its background jobs without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> str:
    """Nobody at Redis' usual place."""
    url = f"redis://127.0.0.1:{free_port()}"
    monkeypatch.setattr(where, "DEFAULT_REDIS_URL", url)
    monkeypatch.setattr(doctor, "DEFAULT_REDIS_URL", url)
    return url


@pytest.fixture
def broker(
    redis_server: servers.RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> str:
    """The shared Redis, as LABKIT_BROKER_URL, in a namespace of the test's own."""
    monkeypatch.setenv("LABKIT_BROKER_URL", redis_server.url)
    monkeypatch.setenv("LABKIT_NAMESPACE", f"{request.node.nodeid}:".replace(" ", "_"))
    return redis_server.url


def eventually(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.01)


class Running:
    """`python -m labkit …`, watched line by line."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "labkit", *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str) -> str:
        """The first line with this text."""
        eventually(lambda: any(text in line for line in self.lines), f"{text!r} in {self.lines}")
        return next(line for line in self.lines if text in line)

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        """Exit status, output and errors after this signal."""
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> tuple[int, str, str]:
        status = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        assert self.process.stderr is not None
        return status, "".join(self.lines), self.process.stderr.read()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)


@contextmanager
def running(*arguments: str) -> Iterator[Running]:
    started = Running(*arguments)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()
        for stream in (started.process.stdout, started.process.stderr):
            assert stream is not None
            stream.close()


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), protocol=2, socket_timeout=5)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- help ----------------------------------------------------------------------------------------


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"labkit {labkit.__version__}\n"
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert "first steps" in said
    for command in ("doctor", "up", "publisher", "subscriber", "demo"):
        assert f"\n    {command} " in said
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0


def test_no_command_shows_the_help_and_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "first steps" in capsys.readouterr().out


def test_help_needs_no_package_beside_python() -> None:
    """It is what one has when the installation is broken."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys("
        "['redis', 'fakeredis', 'msgspec', 'rich', 'prompt_toolkit'])); "
        "from labkit.cli import main; sys.exit(main(sys.argv[1:]))"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True
        )

    assert "first steps" in run("--help").stdout
    broken = run("doctor")
    assert broken.returncode == 1
    assert re.fullmatch(
        r"labkit: The package '\w+' is missing\. .* pip install messaging-lab\n", broken.stderr
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["up", "--port", "0"],
        ["up", "--port", "x"],
        ["publisher", "--every", "0"],
        ["publisher", "--count", "-1"],
        ["demo", "--seconds", "inf"],
        ["sing"],
    ],
)
def test_wrong_options_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


# --- doctor --------------------------------------------------------------------------------------


def test_doctor_wants_what_the_package_wants() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]["notebooks"]

    def versions(lines: list[str]) -> dict[str, str]:
        return dict(re.sub(r"\[.*\]", "", line).split(">=") for line in lines)

    wanted = versions([*project["dependencies"], *optional])
    assert any(line.startswith("fakeredis[lua]") for line in project["dependencies"])
    conda = (ROOT / "environment.yml").read_text("utf-8")
    wanted |= versions(re.findall(r"(?m)^ *- (lupa>=[\d.]+)", conda))  # by its name
    assert {name: wanted[name] for name in doctor.PACKAGES} == doctor.PACKAGES
    assert set(doctor.PACKAGES) >= set(versions(project["dependencies"]))
    assert project["requires-python"] == ">=" + ".".join(map(str, doctor.OLDEST_PYTHON))


@pytest.mark.usefixtures("no_redis")
def test_doctor_without_a_broker_says_that_the_course_can_run_and_how_to_get_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for name in doctor.PACKAGES:
        assert re.search(rf"{name} +│ ok +│ {re.escape(importlib.metadata.version(name))}", said)
    assert re.search(r"embedded .*a message takes \d+\.\d\d ms", said)
    assert "Run 'labkit up' in another terminal" in said
    assert said.endswith("Ready: the course can run.\n")


def test_doctor_with_a_broker_tells_its_version_and_round_trip_and_no_password(
    broker: str, redis_server: servers.RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert redis_server.password is not None
    with servers.announce(broker):
        assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    name = re.escape(redis_server.binary.name)
    for what in ("LABKIT_BROKER_URL", "of 'labkit up'"):
        assert re.search(rf"{what} +│ ok +│ {name} at .*; a message takes \d+\.\d\d ms", said)
    assert redis_server.password not in said
    assert "LABKIT_NAMESPACE" in said


@pytest.mark.usefixtures("no_redis")
@pytest.mark.parametrize("port", ["1", "no-port"])
def test_doctor_says_what_to_do_about_a_broker_that_was_named_and_is_not_there(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABKIT_BROKER_URL", f"redis://:{SECRET}@127.0.0.1:{port}/0")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "Start that broker, correct LABKIT_BROKER_URL, or unset it." in said
    assert "Not ready for the course yet: LABKIT_BROKER_URL." in said
    assert SECRET not in said


@pytest.mark.usefixtures("no_redis")
def test_doctor_says_how_to_install_what_is_missing_or_too_old(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "pandas":
            raise importlib.metadata.PackageNotFoundError(name)
        return "7.4.0rc1" if name == "redis" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"pandas +│ problem +│ missing +│ pip install 'pandas>=2\.3'", said)
    assert re.search(
        r"redis +│ problem +│ 7\.4\.0rc1 is too old +│ pip install 'redis>=8\.0'", said
    )
    assert "Not ready for the course yet: redis, pandas." in said


@pytest.mark.usefixtures("no_redis")
def test_doctor_says_that_the_embedded_broker_needs_lupa(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "lupa":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"lupa +│ problem +│ missing +│ pip install 'lupa>=2\.6'", said)
    assert "Not ready for the course yet: lupa." in said


@pytest.mark.usefixtures("no_redis")
def test_doctor_without_a_server_says_how_to_install_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(servers, "find_all_redis", lambda: [], raising=False)
    assert main(["doctor"]) == 0
    assert "apt install redis-server" in capsys.readouterr().out


# --- which broker --------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_redis")
@pytest.mark.parametrize("who", ["publisher", "subscriber"])
def test_without_a_broker_it_is_said_how_to_get_one(
    who: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([who, "news"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("labkit: No broker found. Run 'labkit up' in another terminal")
    assert said.count("\n") == 1


@pytest.mark.usefixtures("no_redis")
def test_a_named_broker_that_is_not_there_is_an_error_without_its_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["publisher", "--url", f"redis://:{SECRET}@127.0.0.1:1", "news", "x"]) == 1
    said = capsys.readouterr().err
    assert "No broker answers at redis://:***@127.0.0.1:1" in said
    assert SECRET not in said


@pytest.mark.usefixtures("no_redis")
def test_the_announced_broker_is_found(
    redis_server: servers.RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with servers.announce(redis_server.url):
        assert main(["publisher", "test_cli.announced", "hello"]) == 0
    assert f"{redis_server.binary.name} at redis://:***@127.0.0.1" in capsys.readouterr().out


# --- publisher and subscriber --------------------------------------------------------------------


@pytest.fixture
def board(broker: str) -> Iterator[Subscriber]:
    with labkit.connect(broker) as lab, Subscriber(lab, name="board") as board:
        board.psubscribe("*")
        yield board


def test_given_messages_are_published_once_each(
    board: Subscriber, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publisher", "--sender", "me", "news", "hello world", '{"n": 1}']) == 0
    assert [(i.channel, i.content, i.message.sender) for i in board.drain()] == [
        ("news", "hello world", "me"),
        ("news", {"n": 1}, "me"),
    ]
    assert "Publisher 'me': 2 messages" in capsys.readouterr().out


def test_messages_are_repeated_where_an_interval_or_a_count_is_given(board: Subscriber) -> None:
    assert main(["publisher", "news", "a", "b", "--every", "0.01", "--count", "3"]) == 0
    assert [i.content for i in board.drain()] == ["a", "b", "a"]


def test_without_a_message_they_are_numbered(board: Subscriber) -> None:
    assert main(["publisher", "--every", "0.01", "--count", "2"]) == 0
    assert [(i.channel, i.content["number"]) for i in board.drain()] == [("news", 1), ("news", 2)]


@pytest.mark.usefixtures("broker")
def test_a_broken_message_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publisher", "news", "{broken"]) == 1
    assert "labkit: This begins like JSON, but is not" in capsys.readouterr().err


def test_lines_of_the_standard_input_are_published(board: Subscriber) -> None:
    def publish(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "labkit", "publisher", *options, "logs", "-"],
            input='one\n\n[INFO] two\n{"n": 3}\n',
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

    wrong = publish()
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("line 3: This begins like JSON, but is not")
    assert [i.content for i in board.drain()] == ["one", {"n": 3}]
    assert publish("--text").returncode == 0
    assert [i.content for i in board.drain()] == ["one", "[INFO] two", '{"n": 3}']


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_publisher_that_is_ended_shows_its_statistics(
    board: Subscriber, number: signal.Signals
) -> None:
    with running("publisher", "--sender", "me", "--every", "0.05") as publisher:
        eventually(lambda: board.drain(timeout=0.1), "a message")
        status, output, errors = publisher.end(number)
    assert (status, errors) == (0, "")
    assert "Publisher 'me': " in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_subscriber_shows_what_it_hears_and_then_its_statistics(
    broker: str, number: signal.Signals
) -> None:
    with (
        running("subscriber", "news", "flights.*") as subscriber,
        labkit.connect(broker) as lab,
        Publisher(lab, sender="tower") as tower,
    ):
        subscriber.wait_for("Listening to news, flights.*")
        tower.publish("news", "hello \x1b[2J")
        tower.publish("flights.JFK", {"n": 1})
        tower.publish("logs", "not for us")
        subscriber.wait_for("news  hello \\x1b[2J  (from tower)")
        subscriber.wait_for('flights.JFK  {"n": 1}')
        status, output, errors = subscriber.end(number)
    assert (status, errors) == (0, "")
    assert "not for us" not in output
    assert "2 handled" in output


def test_a_subscriber_leaves_after_its_count(broker: str) -> None:
    with (
        running("subscriber", "--count", "2") as subscriber,
        labkit.connect(broker) as lab,
        Publisher(lab, sender="tower") as tower,
    ):
        subscriber.wait_for("Listening to *")
        for number in range(5):
            tower.publish("news", number)
        status, output, _ = subscriber.finish()
    assert status == 0
    assert output.count("(from tower)") == 2


@pytest.mark.usefixtures("broker")
def test_a_reader_that_goes_away_is_no_error() -> None:
    publisher = subprocess.Popen(
        [sys.executable, "-m", "labkit", "publisher", "--every", "0.01"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert publisher.stdout is not None
    assert publisher.stderr is not None
    publisher.stdout.readline()
    publisher.stdout.close()
    assert publisher.wait(DEADLINE_S) == 0
    assert publisher.stderr.read() == ""
    publisher.stderr.close()


# --- demo ----------------------------------------------------------------------------------------


def test_the_demo_ends_with_the_whole_day_counted(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert main(["demo", "--url", "embedded://", "--seconds", "2"]) == 0
    assert time.monotonic() - began >= 2
    said = capsys.readouterr().out
    rows = {line.split()[1]: line.split()[3::2] for line in said.splitlines() if "│" in line}
    assert rows["EWR"] == ["354", "266", "186", "88", "266"]
    assert "│ all     │       979 │      799 │     552 │       180 │     798 │" in said
    assert "B6 22 to SYR is 180 minutes late" in said
    assert "Publisher 'tower': 3,832 messages" in said
    assert "Subscriber 'board': 3,832 messages" in said
    assert "\x1b" not in said


def test_a_slower_demo_shows_a_part_of_the_day(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--url", "embedded://", "--seconds", "0.5", "--speed", "7200"]) == 0
    published = re.search(r"Publisher 'tower': (\d+) messages", capsys.readouterr().out)
    assert published is not None
    assert int(published[1]) == len(stormy_day(end="04:01"))  # it begins at 03:00


# --- up ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("fake", [False, True])
def test_up_serves_until_it_is_ended_and_leaves_nothing_running(
    number: signal.Signals, fake: bool
) -> None:
    if not fake and servers.find_redis() is None:
        pytest.skip("no server on this machine")
    with running("up", *(["--fake"] if fake else [])) as up:
        up.wait_for("Ctrl+C stops it.")
        url = up.wait_for("  export LABKIT_BROKER_URL=").partition("=")[2].strip()
        assert servers.announced_url() == url
        server = client(url)
        assert server.ping()
        port = server.connection_pool.connection_kwargs["port"]
        server.close()
        told = up.wait_for("only this machine can reach it")
        assert f"127.0.0.1:{port}" in told
        assert (":***@" in told) != fake
        status, output, errors = up.end(number)
    assert (status, errors) == (0, "")
    assert "nothing is left running" in output
    assert not answers(port)
    assert servers.announced_url() is None


def test_up_takes_the_port_that_it_is_given_and_says_when_it_is_taken() -> None:
    port = free_port()
    with running("up", "--fake", "--port", str(port)) as up:
        up.wait_for(f"127.0.0.1:{port}")
        for options in (["--fake"], []):
            with running("up", "--port", str(port), *options) as second:
                status, output, errors = second.finish()
            assert status == 1
            assert f"Port {port} of 127.0.0.1" in errors
            assert output == ""


def test_up_says_that_it_takes_the_place_of_another() -> None:
    with running("up", "--fake") as first:
        first.wait_for("Ctrl+C stops it.")
        url = servers.announced_url()
        with running("up", "--fake") as second:
            second.wait_for(f"(no longer the one at {url})")
            assert second.end(signal.SIGINT)[0] == 0
        assert servers.announced_url() == url


def test_up_with_append_only_finds_its_data_again() -> None:
    if servers.find_redis() is None:
        pytest.skip("no server on this machine")
    for round_number in (0, 1):
        with running("up", "--append-only") as up:
            up.wait_for("Ctrl+C stops it.")
            url = up.wait_for("  export LABKIT_BROKER_URL=").partition("=")[2].strip()
            server = client(url)
            assert server.incr("rounds") == round_number + 1
            server.close()
            assert up.end(signal.SIGINT)[0] == 0


def test_up_says_that_a_stand_in_keeps_nothing() -> None:
    with running("up", "--fake", "--append-only") as up:
        status, _, errors = up.finish()
    assert status == 1
    assert "--append-only needs a real server" in errors


def test_up_says_when_its_server_ended_by_itself() -> None:
    if servers.find_redis() is None:
        pytest.skip("no server on this machine")
    with running("up") as up:
        up.wait_for("Ctrl+C stops it.")
        url = up.wait_for("  export LABKIT_BROKER_URL=").partition("=")[2].strip()
        client(url).shutdown(nosave=True)
        status, _, errors = up.finish()
    assert status == 1
    assert "ended by itself" in errors
    assert servers.announced_url() is None
