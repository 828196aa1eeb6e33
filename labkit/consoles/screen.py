"""The only place of the consoles that writes, and the rule for what may reach a terminal."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import TextIO

from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.text import Text

ROOM = 1_000
"""Things waiting to be written. When it is full, whoever has more to say waits: a subscriber then
leaves its messages with the broker, as any slow subscriber does."""

PIPED_WIDTH = 100
"""Columns of a table that no terminal shows, unless COLUMNS says otherwise."""

_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def safe(text: str) -> str:
    r"""`text` with everything that could drive a terminal written as an escape, such as \x1b.

    Control characters, also the ones above 127; line breaks; and marks that turn the direction of
    writing, with which one text can be made to look like another.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def shorten(text: str, most: int) -> str:
    """`text`, or its first `most` characters and how many more there are."""
    left = len(text) - most
    return text if left <= 0 else f"{text[:most]}… ({left:,} characters more)"


def _escaped(character: str) -> str:
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class _Console(RichConsole):
    """Says that nobody reads any more, and leaves it to its caller what follows from that."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def rich_console(stream: TextIO | None = None) -> RichConsole:
    """A rich console that takes text as it is; of a sensible width where there is no terminal."""
    target = sys.stdout if stream is None else stream
    piped = not target.isatty() and "COLUMNS" not in os.environ
    return _Console(
        file=stream,
        width=PIPED_WIDTH if piped else None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def say(console: RichConsole, text: str, style: str = "") -> None:
    """Write a sentence: broken between words where a terminal ends, on one line elsewhere."""
    console.print(Text(text, style=style), soft_wrap=not console.is_terminal)


class Screen:
    """Writes what it is told, in the order in which it was told, from one thread of its own.

    So labkit's threads never write: they hand over, and go on. All may be called from any thread.

    Args:
        out: for answers and messages.
        error: for complaints; default where the rest goes.
    """

    def __init__(self, out: RichConsole, error: RichConsole | None = None) -> None:
        self._out = out
        self._error = error or out
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(ROOM)
        self._broken = False
        self._thread = threading.Thread(target=self._write, name="labkit screen", daemon=True)
        self._thread.start()

    def show(self, what: RenderableType) -> None:
        """Write a message on a line of its own, or a table."""
        one_line = isinstance(what, Text)
        self._waiting.put(lambda: self._out.print(what, soft_wrap=one_line))

    def say(self, text: str) -> None:
        """Write a sentence, broken between words where the terminal ends."""
        self._waiting.put(lambda: say(self._out, text))

    def complain(self, text: str) -> None:
        """Write what went wrong."""
        self._waiting.put(lambda: say(self._error, text, "red"))

    def flush(self) -> None:
        """Wait until all of it is written."""
        self._waiting.join()

    def close(self) -> None:
        """Write what is left, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    @property
    def broken(self) -> bool:
        """Whether nobody reads any more: the terminal was closed, or the program that we feed."""
        return self._broken

    def _write(self) -> None:
        while True:
            write = self._waiting.get()
            try:
                if write is None:
                    return
                if not self._broken:
                    write()
            except (OSError, ValueError):  # gone; whoever hands over must not wait for ever
                self._broken = True
            finally:
                self._waiting.task_done()
