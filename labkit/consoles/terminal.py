"""The consoles on a terminal, with history and completion, and on a pipe, with neither."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO, cast

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.output import create_output
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import is_dumb_terminal

from labkit.consoles.above_prompt import AbovePrompt
from labkit.consoles.core import Console, Leave, Repl
from labkit.consoles.history import history_file
from labkit.consoles.screen import Screen, rich_console
from labkit.consoles.signals import END_SIGNALS, on_signals
from labkit.errors import LabkitError

STATUS_EVERY_S = 0.5

_STYLE = Style.from_dict({"bottom-toolbar": "noreverse fg:ansibrightblack", "prompt": "bold"})


def run(make: Callable[[Repl], Console], *, greeting: str) -> int:
    """Run a console until its person leaves it or its input ends; returns the exit status.

    On a terminal that is 0. From a pipe (and with TERM=dumb) there are no prompts and no escape
    codes, what is wrong goes to standard error, the lines after it are carried out all the same,
    and the status is then 1.

    Raises:
        BrokenPipeError: nobody reads the output any more.
    """
    if sys.stdin.isatty() and sys.stdout.isatty() and not is_dumb_terminal():
        return _run_on_terminal(make, greeting)
    repl = Repl(Screen(rich_console(), rich_console(sys.stderr)))
    _run_to_the_end(repl, make(repl), PipeReader(sys.stdin), wait=True)
    return int(repl.wrong > 0)


def _run_on_terminal(make: Callable[[Repl], Console], greeting: str) -> int:
    above = AbovePrompt(create_output())
    repl = Repl(Screen(rich_console(cast(TextIO, above))))
    console = make(repl)
    file = history_file(console.name)
    kept = f"What you type is remembered in {file}." if file else "What you type is forgotten."
    repl.say(f"{greeting}\n'help' lists the commands, Tab completes, Ctrl+D leaves. {kept}")
    history = FileHistory(str(file)) if file else InMemoryHistory()
    _run_to_the_end(repl, console, PromptReader(repl, history, above), wait=False)
    return 0


def _run_to_the_end(
    repl: Repl, console: Console, reader: PipeReader | PromptReader, *, wait: bool
) -> None:
    """Run, then end what goes on in the background: `wait` for it, if nobody asked to leave."""
    repl.attach(console, reader)
    with _leave_on_signals(reader):
        try:
            ended = repl.run()
            console.finish(wait=wait and ended)
        except (Leave, KeyboardInterrupt):
            pass
        except LabkitError as error:
            repl.complain(str(error), about_line=False)
    try:
        console.finish(wait=False)
    except LabkitError as error:
        repl.complain(str(error), about_line=False)
    repl.screen.close()
    if repl.screen.broken:
        raise BrokenPipeError


class PipeReader:
    """Lines from a file or a pipe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines = 0

    @property
    def where(self) -> str:
        """Which line it was."""
        return f"line {self._lines}: "

    def read(self, prompt: str, *, command: bool) -> str:  # noqa: ARG002 - a pipe is not asked
        """The next line."""
        try:
            line = self._stream.readline()
        except KeyboardInterrupt:
            raise Leave from None
        if not line:
            raise EOFError
        self._lines += 1
        return line.rstrip("\r\n")

    def leave(self) -> None:
        """A signal wants the console to end."""
        raise Leave


class PromptReader:
    """Lines from a person: history, completion, a status line."""

    where = ""

    def __init__(self, repl: Repl, history: History, above: AbovePrompt) -> None:
        self._above = above
        self._commands: PromptSession[str] = PromptSession(
            history=history,
            completer=_Suggestions(repl),
            complete_while_typing=False,
            bottom_toolbar=lambda: f" {repl.console.status}",
            refresh_interval=STATUS_EVERY_S,
            style=_STYLE,
        )
        self._answers: PromptSession[str] = PromptSession(history=InMemoryHistory(), style=_STYLE)
        self._asking = self._commands

    def read(self, prompt: str, *, command: bool) -> str:
        """The next line. Ctrl+C clears one that was begun, and is passed on otherwise."""
        self._asking = self._commands if command else self._answers
        while True:
            try:
                with self._above.prompting(self._asking.app):
                    return self._asking.prompt(
                        [("class:prompt", prompt)], pre_run=self._above.typing
                    )
            except KeyboardInterrupt:
                if not command or not self._asking.default_buffer.text:
                    raise
            except OSError:
                raise Leave from None  # the terminal is gone

    def leave(self) -> None:
        """A signal wants the console to end: give the terminal back first."""
        app = self._asking.app
        if not app.is_running or app.loop is None:
            raise Leave
        app.loop.call_soon_threadsafe(_end, app)


class _Suggestions(Completer):
    """Completes what the table of commands says can stand there."""

    def __init__(self, repl: Repl) -> None:
        self._repl = repl

    def get_completions(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002
    ) -> Iterable[Completion]:
        """Suggestions for the last word."""
        line = document.text_before_cursor
        begun = line.rpartition(" ")[2]
        for suggestion in self._repl.suggestions(line):
            yield Completion(suggestion, start_position=-len(begun))


@contextmanager
def _leave_on_signals(reader: PipeReader | PromptReader) -> Iterator[None]:
    """Leave in order when the terminal is closed or somebody ends the process."""

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        reader.leave()

    with on_signals(END_SIGNALS, leave):
        yield


def _end(app: Application[str]) -> None:
    if app.is_running and not app.is_done:
        app.exit(exception=Leave())
