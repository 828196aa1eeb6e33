"""The consoles as a person meets them: in terminals, with a keyboard, and terminals that close."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from labkit import servers

pexpect = pytest.importorskip("pexpect", reason="pseudo-terminals of Unix")

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0
CTRL_C, CTRL_D = "\x03", "\x04"

Terminals = Callable[..., "Terminal"]


class Terminal:
    """One terminal with one `python -m labkit …` in it."""

    def __init__(self, *arguments: str, kind: str = "xterm", columns: int = 200) -> None:
        # NO_CPR: there is nobody here who answers where the cursor is.
        environment = {**os.environ, "TERM": kind, "PROMPT_TOOLKIT_NO_CPR": "1"}
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "labkit", *arguments],
            cwd=str(ROOT),
            env=environment,
            encoding="utf-8",
            timeout=DEADLINE_S,
            dimensions=(24, columns),
        )

    def expect(self, text: str) -> str:
        """Wait for a text; returns what was before it."""
        self.child.expect_exact(text)
        return str(self.child.before)

    def type(self, line: str) -> None:
        self.child.send(line + "\r")

    def press(self, key: str) -> None:
        self.child.send(key)

    def status(self) -> int | None:
        """The exit status, once it has ended; None if a signal ended it."""
        self.child.expect(pexpect.EOF)
        self.child.close()
        status: int | None = self.child.exitstatus
        return status


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """What we start takes SIGINT, although a shell starts its background jobs without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminals]:
    """Opens terminals that know nothing of the developer's own brokers and files."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    opened: list[Terminal] = []

    def open_terminal(*arguments: str, kind: str = "xterm", columns: int = 200) -> Terminal:
        opened.append(Terminal(*arguments, kind=kind, columns=columns))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.child.close(force=True)


def up(terminal: Terminals, *options: str) -> tuple[Terminal, str]:
    """`labkit up` in a terminal of its own, and its URL."""
    broker = terminal("up", *options)
    broker.expect("Ctrl+C stops it.")
    url = servers.announced_url()
    assert url is not None
    return broker, url


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.02)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def server_process(url: str) -> tuple[int, int]:
    """Process id and port of the server there."""
    client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), protocol=2)
    try:
        port = client.connection_pool.connection_kwargs["port"]
        return int(client.info("server")["process_id"]), int(port)
    finally:
        client.close()


@pytest.mark.parametrize("options", [[], ["--fake"]], ids=["real", "fake"])
def test_two_consoles_in_two_terminals_talk_over_labkit_up(
    terminal: Terminals, options: list[str]
) -> None:
    broker, _ = up(terminal, *options)
    board = terminal("subscriber", "interactive", "--name", "board")
    board.expect("subscriber>")
    board.type("sub news flights.*")
    board.expect("Subscribed to news, flights.*.")
    board.type("listen")
    board.expect("Listening to news, flights.*.")

    tower = terminal("publisher", "interactive", "--sender", "tower")
    tower.expect("publisher>")
    tower.type("pub news hello world")
    tower.expect("Published to news: written to 1 subscription.")
    board.expect("hello world")
    tower.type('pub flights.JFK {"flight": "B6 739"}')
    board.expect('{"flight": "B6 739"}')
    tower.type("batch")
    tower.expect("batch>")
    tower.type("news one of two")
    tower.type("news two of two")
    tower.type("")
    tower.expect("Published 2 messages in one batch.")
    board.expect("one of two")
    board.expect("two of two")
    tower.type("periodic news 0.1 3 tick")
    tower.expect("Done: 3 of 3 published to news.")
    for _ in range(3):
        board.expect("tick")

    board.type("exit")
    assert board.status() == 0
    tower.press(CTRL_D)
    assert tower.status() == 0
    broker.press(CTRL_C)
    broker.expect("nothing is left running")
    assert broker.status() == 0


def test_what_arrives_appears_above_the_line_that_is_being_typed(terminal: Terminals) -> None:
    up(terminal)
    board = terminal("subscriber", "interactive")
    board.type("sub news")
    board.type("listen")
    board.expect("Listening to news.")
    board.press("inject news unfin")
    tower = terminal("publisher", "interactive")
    tower.type("pub news from afar")
    board.expect("from afar")
    board.expect("inject news unfin")  # drawn anew below the message
    board.type("ished")
    assert "unfinished" in board.expect("(from inject)")


def test_ctrl_c_clears_the_line_then_stops_then_leaves(terminal: Terminals) -> None:
    up(terminal)
    board = terminal("subscriber", "interactive")
    board.expect("subscriber>")
    board.type("sub news")
    board.type("listen")
    board.expect("Listening to news.")
    board.expect("subscriber>")
    board.press("exi")
    board.press(CTRL_C)
    board.type("inject news still here")
    board.expect("(from inject)")
    board.press(CTRL_C)
    board.expect("Stopped listening.")
    board.press(CTRL_C)
    output = board.child.read()
    assert "Traceback" not in output
    assert board.status() == 0


def test_ctrl_d_while_a_periodic_publishing_runs_ends_it_and_leaves(terminal: Terminals) -> None:
    up(terminal)
    tower = terminal("publisher", "interactive")
    tower.type("periodic news 60 100 x")
    tower.expect("'stop' ends it.")
    tower.press(CTRL_D)
    tower.expect("Stopped: 1 of 100 published to news.")
    assert tower.status() == 0


@pytest.mark.parametrize("who", ["publisher", "subscriber"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_console_that_is_ended_gives_the_terminal_back(
    terminal: Terminals, who: str, number: signal.Signals
) -> None:
    up(terminal)
    console = terminal(who, "interactive")
    console.expect(f"{who}>")
    console.child.kill(number)
    output = console.child.read()
    assert console.status() == 0
    assert "Traceback" not in output
    assert output.rfind("\x1b[?2004l") > output.rfind("\x1b[?2004h"), "bracketed paste is still on"


def test_tab_completes_commands_and_channels_and_arrow_up_brings_the_last_line_back(
    terminal: Terminals,
) -> None:
    up(terminal)
    tower = terminal("publisher", "interactive")
    tower.expect("publisher>")
    tower.type("pub flights.JFK one")
    tower.expect("Published to flights.JFK")
    tower.press("pub fl\t")
    tower.expect("flights.JFK")
    tower.type(" two")
    tower.expect("Published to flights.JFK")
    tower.press("\x1b[A\x1b[A")
    tower.expect("one")
    tower.press("\r")
    tower.expect("Published to flights.JFK")
    tower.type("exit")
    assert tower.status() == 0
    again = terminal("publisher", "interactive")
    again.expect("publisher>")
    again.press("\x1b[A")
    again.expect("exit")


def test_a_broker_that_goes_away_is_told_and_the_consoles_go_on(terminal: Terminals) -> None:
    broker, _ = up(terminal)
    tower, board = terminal("publisher", "interactive"), terminal("subscriber", "interactive")
    board.type("sub news")
    board.type("listen")
    board.expect("Listening to news.")
    tower.expect("publisher>")
    broker.press(CTRL_C)
    assert broker.status() == 0
    tower.type("pub news anybody?")
    tower.expect("No broker answers at redis://:***@127.0.0.1")
    tower.type("help pub")
    tower.expect("Publish one message.")
    board.type("stats")
    board.expect("Now without a connection, trying to come back.")
    for console in (tower, board):
        console.press(CTRL_D)
        assert console.status() == 0


@pytest.mark.parametrize("end", ["SIGINT", "SIGTERM", "the terminal closes", "SIGKILL"])
def test_labkit_up_leaves_no_server_behind_whatever_ends_it(terminal: Terminals, end: str) -> None:
    if servers.find_redis() is None:
        pytest.skip("no server on this machine")
    broker, url = up(terminal)
    pid, port = server_process(url)
    if end == "the terminal closes":
        broker.child.close(force=False)  # the kernel sends SIGHUP
    else:
        broker.child.kill(getattr(signal, end))
        assert broker.status() == (None if end == "SIGKILL" else 0)
    eventually(lambda: not alive(pid), "the server is gone")
    assert not answers(port)
    assert servers.announced_url() is None


def test_a_terminal_that_cannot_move_its_cursor_is_spared_escape_codes(
    terminal: Terminals,
) -> None:
    up(terminal)
    board = terminal("subscriber", "interactive", kind="dumb")
    board.type("sub news")
    board.type("inject news hello")
    assert "\x1b" not in board.expect("(from inject)")
    board.press(CTRL_C)
    assert board.status() == 0


def test_the_demo_shows_a_live_table_in_a_terminal(terminal: Terminals) -> None:
    demo = terminal("demo", "--url", "embedded://", "--seconds", "2")
    output = demo.child.read()
    assert demo.status() == 0
    assert len(re.findall("New York, ", output)) > 5, "the table was not redrawn"
    assert "3,832 messages" in output


def test_a_long_complaint_breaks_between_words_in_a_narrow_terminal(terminal: Terminals) -> None:
    narrow = terminal("subscriber", "--url", "redis://127.0.0.1:1", "news", columns=40)
    lines = narrow.child.read().split("\r\n")
    assert narrow.status() == 1
    assert len(lines) > 3
    assert all(len(line) <= 40 for line in lines), lines
    assert "redis://127.0.0.1:1" in "\n".join(lines)
