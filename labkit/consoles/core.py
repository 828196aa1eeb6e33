"""What both consoles share: a line comes in, a command is carried out, whatever is wrong is said.

There is no terminal in here: a `Reader` gives the lines and a `Screen` shows the answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Protocol

from rich.table import Table
from rich.text import Text

from labkit.consoles.commands import Command, CommandError
from labkit.consoles.screen import Screen, safe
from labkit.errors import LabkitError


class Leave(BaseException):
    """Somebody wants the console to end, now: the terminal was closed, or a signal came."""


class Reader(Protocol):
    """Where lines come from."""

    @property
    def where(self) -> str:
        """Put before a complaint about the last line: "line 3: ", or nothing."""

    def read(self, prompt: str, *, command: bool) -> str:
        """The next line. `command` says whether it is one, or the answer to a question.

        Raises:
            EOFError: there are no more.
            KeyboardInterrupt: the person does not want to answer.
            Leave: it is over.
        """


class Console(Protocol):
    """What a console of its own kind adds: its commands, and what they act on."""

    @property
    def name(self) -> str:
        """ "publisher" or "subscriber": the prompt."""

    @property
    def commands(self) -> Sequence[Command]:
        """Its commands, in the order in which help lists them."""

    @property
    def elsewhere(self) -> Mapping[str, str]:
        """Commands that one may expect here but that another console has: where to find them."""

    @property
    def status(self) -> str:
        """One line about how things stand."""

    def channels(self) -> Iterable[str]:
        """Names to offer where a channel is wanted."""

    def interrupt(self) -> bool:
        """End what is going on in the background; False if nothing is."""

    def finish(self, *, wait: bool) -> None:
        """Come to an end. `wait` for what is going on (input from a pipe ended), or end it."""


class Repl:
    """Reads, carries out, answers, until `exit` or the end of the input."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.wrong = 0
        self._done = False
        self._console: Console | None = None
        self._reader: Reader | None = None
        self._commands: dict[str, Command] = {}

    # --- what a console's commands use ----------------------------------------------------------

    def say(self, text: str) -> None:
        """Tell what was done."""
        self.screen.say(text)

    def ask(self, prompt: str) -> str | None:
        """One more line; None at the end of the input."""
        self.screen.flush()
        try:
            return self.reader.read(prompt, command=False)
        except EOFError:
            return None

    def complain(self, text: str, *, about_line: bool = True) -> None:
        """Tell what was wrong, and remember that something was."""
        self.wrong += 1
        self.screen.complain(f"{self.reader.where if about_line else ''}{safe(text)}")

    # --- the loop -------------------------------------------------------------------------------

    def attach(self, console: Console, reader: Reader) -> None:
        """Take on a console's commands, beside `help` and `exit`, and read from `reader`."""
        self._console = console
        self._reader = reader
        for command in (*console.commands, *self._own_commands()):
            for name in (command.name, *command.aliases):
                self._commands[name] = command

    @property
    def console(self) -> Console:
        """The console whose commands these are."""
        assert self._console is not None, "attach() comes first"
        return self._console

    @property
    def reader(self) -> Reader:
        """Where the lines come from."""
        assert self._reader is not None, "attach() comes first"
        return self._reader

    @property
    def commands(self) -> list[Command]:
        """All commands, each once."""
        return list(dict.fromkeys(self._commands.values()))

    def run(self) -> bool:
        """Carry out lines; True if there are no more, False if somebody wanted to leave."""
        while not self._done and not self.screen.broken:
            try:
                self.screen.flush()
                self.execute(self.reader.read(f"{self.console.name}> ", command=True))
            except EOFError:
                return True
            except KeyboardInterrupt:
                if not self.console.interrupt():
                    return False
        return False

    def execute(self, line: str) -> None:
        """Carry out one line. Errors are said, not raised."""
        line = line.strip()
        if not line or line.startswith("#"):
            return
        name, _, rest = line.partition(" ")
        try:
            command = self._find(name)
            command.run(*command.arguments(rest))
        except LabkitError as error:
            self.complain(str(error))
        except KeyboardInterrupt:
            self.say("Given up.")

    def suggestions(self, line: str) -> list[str]:
        """What the last word of an unfinished line may become."""
        *words, begun = line.split(" ") if line else [""]
        words = [word for word in words if word]
        if not words:
            return [c.name for c in self.commands if c.name.startswith(begun)]
        command = self._commands.get(words[0])
        wanted = command.parameter_at(len(words) - 1) if command else None
        if wanted == "command":
            return [c.name for c in self.commands if c.name.startswith(begun)]
        if wanted == "channel":
            return sorted(c for c in set(self.console.channels()) if c.startswith(begun))
        return []

    def _own_commands(self) -> tuple[Command, Command]:
        return (
            Command(
                "help [command]", "Explain a command, or list them all.", self._help, "", ("?",)
            ),
            Command("exit", "Leave. Ctrl+D does the same.", self._exit, "", ("quit",)),
        )

    def _find(self, name: str) -> Command:
        if name in self._commands:
            return self._commands[name]
        if name in self.console.elsewhere:
            raise CommandError(f"{name!r} is not for this console. {self.console.elsewhere[name]}")
        names = [command.name for command in self.commands]
        close = get_close_matches(name.lower(), names, n=1)
        close = close or [known for known in names if name.lower().startswith(known)]
        if close:
            raise CommandError(
                f"There is no command {name!r}. Did you mean '{self._commands[close[0]].usage}'?"
            )
        raise CommandError(f"There is no command {name!r}. There are: {', '.join(names)}.")

    def _help(self, name: str | None = None) -> None:
        if name is not None:
            command = self._find(name)
            self.say("\n".join(filter(None, (command.usage, command.summary, command.details))))
            return
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, style="bold cyan")
        table.add_column()
        for command in self.commands:
            table.add_row(Text(command.usage), command.summary)
        self.screen.show(table)
        self.say("'help <command>' tells more about one.")

    def _exit(self) -> None:
        self._done = True
