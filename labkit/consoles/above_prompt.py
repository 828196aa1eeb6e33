"""Writing above a prompt that is being typed at, without ever writing into it.

prompt_toolkit's `patch_stdout` writes from a thread of its own that nobody can wait for: what a
command answers may come when the next prompt is half drawn, and land in it. Here what is written
between two prompts is there before the next one begins.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum

from prompt_toolkit.application import Application, run_in_terminal
from prompt_toolkit.output import Output

BUNDLE_S = 0.03
"""How long texts are collected while somebody types: the prompt is drawn anew after each bundle."""

ROOM = 1_000
"""Texts that wait while somebody types; then whoever writes waits too."""

_LOOK_S = 1.0


class _Now(Enum):
    NO_PROMPT = 0
    STARTING = 1
    TYPING = 2


class AbovePrompt:
    """A stream to write to from one thread, while another one prompts."""

    encoding = "utf-8"

    def __init__(self, output: Output) -> None:
        self._output = output
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[str] = deque()
        self._now = _Now.NO_PROMPT
        self._scheduled = False
        self._app: Application[str] | None = None
        self._broken: OSError | None = None

    def isatty(self) -> bool:
        """Yes: colours are welcome."""
        return True

    def write(self, text: str) -> int:
        """Show the text now, or above the prompt in a moment.

        Raises:
            OSError: the terminal is gone.
        """
        with self._changed:
            if self._broken is not None:
                raise self._broken
            self._waiting.append(text)
            if self._now is _Now.NO_PROMPT:
                self._show()
                return len(text)
            self._schedule()
            while len(self._waiting) >= ROOM and self._broken is None:
                self._changed.wait(_LOOK_S)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    @contextmanager
    def prompting(self, app: Application[str]) -> Iterator[None]:
        """While this block runs, `app` asks for a line; `typing` is to be called when it runs."""
        with self._changed:
            self._app, self._now = app, _Now.STARTING
        try:
            yield
        finally:
            with self._changed:
                self._app, self._now, self._scheduled = None, _Now.NO_PROMPT, False
                self._show()

    def typing(self) -> None:
        """The prompt is drawn and its event loop runs."""
        with self._changed:
            self._now = _Now.TYPING
            self._schedule()

    def _schedule(self) -> None:
        loop = None if self._app is None else self._app.loop
        if self._scheduled or self._now is not _Now.TYPING or loop is None or not self._waiting:
            return
        with suppress(RuntimeError):  # the loop has just ended: `prompting` shows the rest
            loop.call_soon_threadsafe(loop.call_later, BUNDLE_S, self._show_above)
            self._scheduled = True

    def _show_above(self) -> None:
        """Runs in the prompt's event loop."""
        with self._changed:
            self._scheduled = False
            app = self._app
        if app is not None and app.is_running:
            run_in_terminal(self._show)

    def _show(self) -> None:
        with self._changed:
            text = "".join(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
            if not text or self._broken is not None:
                return
            try:
                self._output.enable_autowrap()
                self._output.write_raw(text)
                self._output.flush()
            except OSError as error:
                self._broken = error
