"""The consoles: what one types, what they answer, and that they go on whatever is wrong."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console as RichConsole

import labkit
from labkit import Message, Publisher, Subscriber, servers
from labkit.broker import PubSubBroker
from labkit.consoles import Command, PublisherConsole, Repl, Screen, SubscriberConsole
from labkit.consoles.commands import CommandError
from labkit.consoles.content import parse_content
from labkit.consoles.history import history_file
from labkit.consoles.screen import safe, shorten
from labkit.consoles.show import LONGEST_CONTENT, message_line

ROOT = Path(__file__).parents[2]
DEADLINE_S = 20.0
CTRL_C = "^C"


class Script:
    """A reader that has its lines already; `CTRL_C` among them is that key."""

    where = ""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        self.prompts: list[str] = []

    def read(self, prompt: str, *, command: bool) -> str:  # noqa: ARG002
        self.prompts.append(prompt)
        if not self.lines:
            raise EOFError
        line = self.lines.pop(0)
        if line == CTRL_C:
            raise KeyboardInterrupt
        return line


class Session:
    """A console without a terminal."""

    def __init__(self, make: Callable[[Repl], PublisherConsole | SubscriberConsole]) -> None:
        self.output = io.StringIO()
        out = RichConsole(file=self.output, width=200, highlight=False, markup=False, emoji=False)
        self.repl = Repl(Screen(out))
        self.console = make(self.repl)
        self.reader = Script()
        self.repl.attach(self.console, self.reader)

    def type(self, *lines: str) -> str:
        """What is answered to these lines."""
        self.repl.screen.flush()
        before = len(self.output.getvalue())
        self.reader.lines = list(lines)
        self.ended = self.repl.run()
        self.repl.screen.flush()
        return self.output.getvalue()[before:]

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.output.getvalue():
            assert time.monotonic() < deadline, f"{text!r} is not in {self.output.getvalue()!r}"
            time.sleep(0.01)


@pytest.fixture
def lab() -> Iterator[PubSubBroker]:
    with labkit.connect("embedded://", trace=False) as lab:
        yield lab


@pytest.fixture
def publisher(lab: PubSubBroker) -> Iterator[Session]:
    with Publisher(lab, sender="tower") as tower:
        session = Session(lambda repl: PublisherConsole(tower, repl, "here"))
        yield session
        session.console.finish(wait=False)
        session.repl.screen.close()


@pytest.fixture
def subscriber(lab: PubSubBroker) -> Iterator[Session]:
    with Subscriber(lab, name="board") as board:
        session = Session(lambda repl: SubscriberConsole(board, repl, "here"))
        yield session
        session.console.finish(wait=False)
        session.repl.screen.close()


@pytest.fixture
def tower(lab: PubSubBroker) -> Iterator[Publisher]:
    with Publisher(lab, sender="tower") as tower:
        yield tower


@pytest.fixture
def board(lab: PubSubBroker) -> Iterator[Subscriber]:
    with Subscriber(lab, name="board") as board:
        board.psubscribe("*")
        yield board


# --- what a message may be -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "content"),
    [
        ("hello world", "hello world"),
        ('{"flight": "B6 739", "late": [1, 2]}', {"flight": "B6 739", "late": [1, 2]}),
        ("[1, 2]", [1, 2]),
        ('"42"', "42"),
        ("42", 42),
        ("-1.5e3", -1500.0),
        ("true", True),
        ("null", None),
        ("007", "007"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("1e400", "1e400"),
        ("B6 739", "B6 739"),
        ("True", "True"),
        ("it's {not} JSON", "it's {not} JSON"),
    ],
)
def test_a_message_is_json_where_it_is_meant_as_json_and_text_otherwise(
    typed: str, content: object
) -> None:
    parsed = parse_content(typed)
    assert parsed == content
    assert type(parsed) is type(content)


@pytest.mark.parametrize("typed", ['{"flight": }', "[INFO] started", '"unfinished', "{hello}"])
def test_broken_json_is_refused_with_the_place_and_the_way_to_send_it_as_text(typed: str) -> None:
    with pytest.raises(CommandError, match="begins like JSON") as caught:
        parse_content(typed)
    said = str(caught.value)
    assert "at character" in said
    assert parse_content(said.rpartition("in quotes: ")[2]) == typed


@given(st.text())
def test_whatever_is_typed_is_a_content_or_a_sentence(typed: str) -> None:
    try:
        content = parse_content(typed)
    except CommandError:
        return
    json.dumps(content)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("[NaN]", "NaN is not JSON"),
        ("[" * 100_000, "nested too deep"),
        (f"[{'9' * 9999}]", "digit"),
    ],
    ids=["NaN", "deep", "digits"],
)
def test_what_the_parser_cannot_take_is_refused(typed: str, said: str) -> None:
    with pytest.raises(CommandError, match=said) as caught:
        parse_content(typed)
    assert len(str(caught.value)) < 400


# --- what may reach a terminal -------------------------------------------------------------------


@given(st.text())
def test_nothing_that_drives_a_terminal_is_left_in_a_text(text: str) -> None:
    assert safe(text).isprintable()


def test_escapes_are_shown_and_the_rest_stays() -> None:
    assert safe("a\x1b[31mb\n\x9bé ✈") == "a\\x1b[31mb\\n\\x9bé ✈"
    assert safe("ab\u202ecd") == "ab\\u202ecd"


def test_a_long_text_is_cut_with_a_count() -> None:
    assert shorten("abcdef", 4) == "abcd… (2 characters more)"
    line = message_line("news", Message.new("message", "x" * 2_000_000, sender="tower")).plain
    assert f"({2_000_000 - LONGEST_CONTENT:,} characters more)" in line
    assert len(line) < LONGEST_CONTENT + 200


def test_no_part_of_a_message_can_drive_the_terminal() -> None:
    evil = "\x1b]0;mine\x07\x1b[2J\r\n"
    message = Message.new(f"a.{evil}", {evil: [evil]}, sender=evil)
    assert message_line(evil, message).plain.isprintable()


# --- commands ------------------------------------------------------------------------------------


def command(usage: str) -> Command:
    return Command(usage, "", lambda: None)


def test_the_usage_says_how_a_line_is_read() -> None:
    assert command("pub <channel> <message>").arguments(" news  two  words ") == [
        "news",
        "two  words",
    ]
    assert command("sub <channel…>").arguments("a b  c") == ["a", "b", "c"]
    periodic = command("periodic <channel> <interval> <count> [message]")
    assert periodic.arguments("news 1 2") == ["news", "1", "2"]
    assert periodic.arguments("news 1 2 still here") == ["news", "1", "2", "still here"]


@pytest.mark.parametrize(
    ("usage", "line", "said"),
    [
        ("pub <channel> <message>", "news", "pub needs a message"),
        ("pub <channel> <message>", "", "pub needs a channel"),
        ("sub <channel…>", " ", "sub needs a channel"),
        ("stats", "now", "'now' is too much"),
    ],
)
def test_a_wrong_number_of_arguments_shows_the_usage(usage: str, line: str, said: str) -> None:
    with pytest.raises(CommandError) as caught:
        command(usage).arguments(line)
    assert said in str(caught.value)
    assert f"Usage: {usage}" in str(caught.value)


def test_help_lists_every_command_with_its_usage(publisher: Session, subscriber: Session) -> None:
    for session, names in (
        (publisher, "pub batch periodic stop stats help exit"),
        (subscriber, "sub unsub listen stop inject stats help exit"),
    ):
        said = session.type("help")
        assert [line.split()[0] for line in said.splitlines()[:-1]] == names.split()
        for known in session.repl.commands:
            assert known.usage in said
            assert known.usage in session.type(f"help {known.name}")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("publsh news hi", "Did you mean 'pub <channel> <message>'?"),
        ("PUB news hi", "Did you mean 'pub <channel> <message>'?"),
        ("sub news", "'sub' is not for this console. Subscribers have it"),
        ("xyzzy", "There are: pub, batch, periodic, stop, stats, help, exit."),
        ("help nothing", "There is no command 'nothing'"),
        ("\x1b[2J", "\\x1b[2J"),
    ],
)
def test_a_wrong_command_says_what_is_right(publisher: Session, typed: str, said: str) -> None:
    answer = publisher.type(typed)
    assert said in answer
    assert "\x1b" not in answer
    assert publisher.repl.wrong == 1


def test_empty_lines_and_comments_do_nothing(publisher: Session) -> None:
    assert publisher.type("", "   ", "# a comment") == ""


def test_completion_offers_commands_and_then_channels(
    publisher: Session, subscriber: Session
) -> None:
    publisher.type("pub flights.JFK x", "pub flights.LGA x", "pub news x")
    suggest = publisher.repl.suggestions
    assert suggest("p") == ["pub", "periodic"]
    assert suggest("pub fl") == ["flights.JFK", "flights.LGA"]
    assert suggest("periodic n") == ["news"]
    assert suggest("pub news he") == []
    assert suggest("help ex") == ["exit"]
    assert suggest("nonsense x") == []
    subscriber.type("sub alerts.critical news")
    assert subscriber.repl.suggestions("unsub news al") == ["alerts.critical"]


# --- the publisher's -----------------------------------------------------------------------------


def test_pub_publishes_text_and_json_and_says_who_it_was_written_to(
    publisher: Session, board: Subscriber
) -> None:
    assert "written to 1 subscription." in publisher.type("pub news hello world")
    publisher.type('pub news {"n": 1}')
    assert [(i.channel, i.content) for i in board.drain()] == [
        ("news", "hello world"),
        ("news", {"n": 1}),
    ]


def test_pub_says_when_nobody_is_there(publisher: Session) -> None:
    assert "nobody is subscribed" in publisher.type("pub news hello")


def test_a_batch_goes_out_whole_and_in_order_without_its_wrong_lines(
    publisher: Session, board: Subscriber
) -> None:
    said = publisher.type(
        "batch", "news one", "alone", "logs {broken", 'logs {"n": 2}', "", "stats"
    )
    assert "'<channel> <message>', got 'alone'" in said
    assert "begins like JSON" in said
    assert "Published 2 messages in one batch." in said
    assert [(i.channel, i.content) for i in board.drain()] == [("news", "one"), ("logs", {"n": 2})]
    assert publisher.reader.prompts.count("batch> ") == 5


def test_the_end_of_the_input_ends_a_batch(publisher: Session, board: Subscriber) -> None:
    assert "Published 1 message in one batch." in publisher.type("batch", "news one")
    assert len(board.drain()) == 1


def test_ctrl_c_gives_a_batch_up(publisher: Session, board: Subscriber) -> None:
    said = publisher.type("batch", "news one", CTRL_C, "pub news two")
    assert "Given up." in said
    assert [i.content for i in board.drain()] == ["two"]


def test_an_empty_batch_publishes_nothing(publisher: Session) -> None:
    assert "nothing was published" in publisher.type("batch", "")


def test_periodic_runs_in_the_background_and_tells_when_it_is_over(
    publisher: Session, board: Subscriber
) -> None:
    assert "every 0.01 s, 3 times" in publisher.type("periodic news 0.01 3 still here")
    publisher.wait_for("Done: 3 of 3 published to news.")
    assert [i.content for i in board.drain()] == ["still here"] * 3


def test_periodic_asks_for_the_message_that_was_left_out(
    publisher: Session, board: Subscriber
) -> None:
    publisher.type("periodic news 0.01 1", '{"n": 1}')
    assert "message> " in publisher.reader.prompts
    publisher.wait_for("Done: 1 of 1")
    assert [i.content for i in board.drain()] == [{"n": 1}]


@pytest.mark.parametrize("end", ["stop", CTRL_C])
def test_a_periodic_publishing_is_stopped_and_another_can_follow(
    publisher: Session, end: str
) -> None:
    said = publisher.type("periodic news 60 1000 x", "periodic news 1 1 y", "stats", end)
    assert "A periodic publishing is going on" in said
    assert "Going on: periodic to news: 1 of 1,000." in said
    assert "Stopped: 1 of 1,000 published to news." in said
    publisher.type("periodic news 0.01 1 z")
    publisher.wait_for("Done: 1 of 1")


def test_a_periodic_publishing_that_starts_slowly_can_be_stopped(
    publisher: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Publisher.stop` before `publish_periodic` has begun would be forgotten."""
    begin = Publisher.publish_periodic

    def slowly(*arguments: object, **options: object) -> object:
        time.sleep(0.1)
        return begin(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Publisher, "publish_periodic", slowly)
    assert "Stopped: 1 of 3" in publisher.type("periodic news 5 3 x", "stop")


def test_stop_with_nothing_going_on_says_so(publisher: Session) -> None:
    assert "Nothing is going on" in publisher.type("stop")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("news soon 3 x", "The interval is a number above 0, such as 0.5, got 'soon'."),
        ("news 0 3 x", "The interval"),
        ("news nan 3 x", "The interval"),
        ("news inf 3 x", "The interval"),
        ("news 1 2.5 x", "The count is a number above 0, such as 10, got '2.5'."),
        ("news 1 -2 x", "The count"),
        ("news 1 2 {x", "begins like JSON"),
        ("news 1", "periodic needs a count. Usage: periodic <channel> <interval> <count>"),
    ],
)
def test_a_wrong_periodic_starts_nothing(publisher: Session, arguments: str, said: str) -> None:
    answer = publisher.type(f"periodic {arguments}", "stop")
    assert said in answer
    assert "Nothing is going on" in answer


def test_stats_count_per_channel(publisher: Session) -> None:
    said = publisher.type("pub news a", "pub news b", "pub logs c", "stats")
    rows = [line.split() for line in said.splitlines() if line.startswith("│")]
    assert [row[1:4:2] for row in rows] == [["logs", "1"], ["news", "2"], ["all", "3"]]


def test_an_error_of_labkit_is_said_and_the_console_goes_on(publisher: Session) -> None:
    lone = "\ud800"
    said = publisher.type(f"pub news {lone}", "pub news fine")
    assert "expected Unicode text" in said
    assert "Published to news" in said


def test_exit_leaves_and_the_end_of_the_input_is_told_apart(publisher: Session) -> None:
    assert publisher.type("exit", "pub news never") == ""
    assert publisher.ended is False


def test_ctrl_c_leaves_when_nothing_is_going_on(publisher: Session) -> None:
    assert publisher.type(CTRL_C, "pub news never") == ""
    assert publisher.ended is False


# --- the subscriber's ----------------------------------------------------------------------------


def test_sub_and_listen_show_what_arrives_on_channels_and_patterns(
    subscriber: Session, tower: Publisher
) -> None:
    said = subscriber.type("sub news flights.*", "listen")
    assert "Subscribed to news, flights.*. 'listen' shows what arrives." in said
    tower.publish("news", "hello")
    tower.publish("flights.JFK", {"flight": "B6 739"}, type="flight.departed")
    tower.publish("logs", "not for us")
    subscriber.wait_for('flights.JFK flight.departed  {"flight": "B6 739"}  (from tower)')
    subscriber.wait_for("news  hello  (from tower)")
    assert "not for us" not in subscriber.output.getvalue()


def test_what_arrives_before_listen_and_after_stop_waits(
    subscriber: Session, tower: Publisher
) -> None:
    subscriber.type("sub news")
    tower.publish("news", "before")
    assert "before" not in subscriber.output.getvalue()
    subscriber.type("listen")
    subscriber.wait_for("news  before")
    assert "Stopped listening." in subscriber.type("stop")
    tower.publish("news", "meanwhile")
    subscriber.type("listen")
    subscriber.wait_for("news  meanwhile")


def test_unsub_ends_it_for_names_and_patterns(subscriber: Session, tower: Publisher) -> None:
    said = subscriber.type("sub news logs flights.*", "unsub news flights.*", "listen")
    assert "No longer subscribed to news, flights.*." in said
    tower.publish("news", "gone")
    tower.publish("flights.JFK", "gone")
    tower.publish("logs", "here")
    subscriber.wait_for("logs  here")
    assert "gone" not in subscriber.output.getvalue()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["unsub news"], "Not subscribed to news, but to nothing."),
        (["sub logs", "unsub news"], "Not subscribed to news, but to logs."),
        (["listen"], "Subscribed to nothing yet: 'sub <channel…>' first."),
        (["stop"], "Not listening."),
        (["sub a", "listen", "listen"], "Listening already."),
        (["pub news hi"], "Publishers have it: type 'labkit publisher interactive'"),
    ],
)
def test_what_cannot_be_done_is_said(subscriber: Session, lines: list[str], said: str) -> None:
    assert said in subscriber.type(*lines)


def test_inject_handles_a_message_without_the_broker(subscriber: Session) -> None:
    assert 'news  {"n": 1}  (from inject)' in subscriber.type('inject news {"n": 1}')


def test_a_message_cannot_drive_the_terminal(subscriber: Session, tower: Publisher) -> None:
    subscriber.type("sub *", "listen")
    tower.publish("ne\x1bws", "\x1b[2J\x1b]0;mine\x07")
    subscriber.wait_for("ne\\x1bws  \\x1b[2J\\x1b]0;mine\\x07")
    assert "\x1b" not in subscriber.output.getvalue()


def test_ctrl_c_stops_listening_first_and_leaves_then(subscriber: Session) -> None:
    said = subscriber.type("sub news", "listen", CTRL_C, "stats", CTRL_C, "stats")
    assert "Stopped listening." in said
    assert said.count("Subscriber 'board'") == 1


def test_the_console_prints_from_its_own_thread_only(
    subscriber: Session, tower: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers: set[str] = set()
    write = subscriber.output.write

    def watched(text: str) -> int:
        writers.add(threading.current_thread().name)
        return write(text)

    monkeypatch.setattr(subscriber.output, "write", watched)
    subscriber.type("sub news", "listen")
    tower.publish("news", "hello")
    subscriber.wait_for("news  hello")
    assert writers == {"labkit screen"}


def test_finish_shows_everything_that_was_published_before(
    subscriber: Session, tower: Publisher
) -> None:
    subscriber.type("sub news", "listen")
    for number in range(50):
        tower.publish("news", f"message {number}")
    subscriber.console.finish(wait=True)
    subscriber.repl.screen.flush()
    assert subscriber.output.getvalue().count("(from tower)") == 50


def test_the_status_line_tells_who_where_and_what(publisher: Session, subscriber: Session) -> None:
    publisher.type("pub news x", "periodic news 60 5 x")
    assert publisher.console.status.startswith("tower · here · ")
    assert publisher.console.status.endswith("periodic to news: 1 of 5")
    assert subscriber.console.status == "board · here · subscribed to nothing · 0 shown"
    subscriber.type("sub news", "listen")
    assert "listening to news" in subscriber.console.status


# --- from a pipe ---------------------------------------------------------------------------------


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No broker, note or history of the developer's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def console(who: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "labkit", who, "interactive", *options]


def piped(command: list[str], typed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=typed, cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.usefixtures("private")
def test_piped_lines_are_carried_out_without_prompts_or_escape_codes() -> None:
    done = piped(
        console("subscriber", "--url", "embedded://", "--name", "board"),
        'sub news\ninject news {"n": 1}\nstats\nexit\nnever\n',
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "subscriber>" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == "Subscribed to news. 'listen' shows what arrives."
    assert lines[1].endswith('news  {"n": 1}  (from inject)')
    assert lines[2].startswith("Subscriber 'board': 1 message")


@pytest.mark.usefixtures("private")
def test_a_wrong_piped_line_is_named_and_makes_the_exit_status_1() -> None:
    done = piped(
        console("publisher", "--url", "embedded://"),
        "pub news a\npubl news b\npub news\npub news c",
    )
    assert done.returncode == 1
    assert done.stdout.count("Published to news") == 2
    first, second = done.stderr.splitlines()
    assert first.startswith("line 2: There is no command 'publ'.")
    assert second.startswith("line 3: pub needs a message.")


@pytest.mark.usefixtures("private")
def test_a_periodic_publishing_from_a_pipe_is_waited_for_at_the_end(
    redis_server: servers.RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_BROKER_URL", redis_server.url)
    monkeypatch.setenv("LABKIT_NAMESPACE", "periodic-from-a-pipe:")
    done = piped(console("publisher"), "periodic news 0.05 4 tick\n")
    assert done.returncode == 0, done.stderr
    assert "Done: 4 of 4 published to news." in done.stdout


@pytest.mark.usefixtures("private")
def test_a_piped_subscriber_that_listens_shows_what_was_published_until_the_input_ends(
    redis_server: servers.RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_BROKER_URL", redis_server.url)
    monkeypatch.setenv("LABKIT_NAMESPACE", "piped-subscriber:")
    with subprocess.Popen(
        console("subscriber"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("sub news\nlisten\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith("Subscribed to news.")
        with labkit.connect(redis_server.url) as lab, Publisher(lab, sender="tower") as tower:
            for number in range(20):
                tower.publish("news", f"message {number}")
        output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert output.count("(from tower)") == 20


# --- history -------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="modes of Unix")
def test_the_history_is_for_its_user_alone(private: Path) -> None:
    path = history_file("publisher")
    assert path == private / "state" / "labkit" / "publisher.history"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    history_file("publisher")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="links of Unix")
def test_no_history_where_there_is_a_link_or_no_room(private: Path) -> None:
    folder = private / "state" / "labkit"
    folder.mkdir(parents=True)
    (folder / "publisher.history").symlink_to(private / "elsewhere")
    assert history_file("publisher") is None
    assert not (private / "elsewhere").exists()
    (private / "state" / "labkit").rename(private / "aside")
    (private / "state" / "labkit").write_text("a file")
    assert history_file("subscriber") is None
