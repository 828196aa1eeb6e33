"""Run a student's code within a deadline, and say in a sentence what it raised."""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import functools
import io
import linecache
import sysconfig
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import labkit

MAX_PRINTED = 20_000
"""Characters that a student's code may print in one check: a loop would fill the memory."""

MAX_EXPLAINED = 200
"""Characters of an exception's own text that are shown."""

_THREAD_NAME = "labkit-check"

_NOT_THE_STUDENTS = tuple(
    str(path)
    for path in (
        Path(labkit.__path__[0]),
        *(sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
        "<frozen",
    )
)


class NotAttempted(BaseException):
    """The answer, when called, says that nothing has been written yet."""


class OutOfTime(Exception):
    """The answer was still running at its deadline."""


class _Abandoned(BaseException):
    """Raised in code that ran past its deadline; no `except Exception` stops it."""


class Watched:
    """A student's function that notices what it raises, even where its caller goes on.

    Attributes:
        error: the first exception that it raised, or None.
        unwritten: it returned `...` or `NotImplemented`: nothing has been written yet.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self.error: Exception | None = None
        self.unwritten = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function.

        Raises:
            NotAttempted: it is unwritten, and this is the thread of the check; a thread of labkit
                would die of it, and say so on stderr.
        """
        try:
            answer = self._function(*args, **kwargs)
        except Exception as error:
            self.error = self.error or error
            raise
        if answer is ... or answer is NotImplemented:
            self.unwritten = True
            if threading.current_thread().name == _THREAD_NAME:
                raise NotAttempted
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)

    def __repr__(self) -> str:
        return repr(self._function)


class _Printed(io.StringIO):
    """Keeps the first `MAX_PRINTED` characters."""

    def write(self, text: str) -> int:
        super().write(text[: MAX_PRINTED - self.tell()])
        return len(text)


def run_bounded(work: Callable[[], None], timeout: float) -> None:
    """Run `work` in a thread, for at most `timeout` seconds, then show what it printed.

    A kernel cannot interrupt itself, hence the thread. Python code that runs on after the deadline
    is stopped at its next step; a call that blocks outside of Python is left behind.

    Raises:
        OutOfTime: it did not end in time.
        Exception: whatever `work` raised; what would end the kernel becomes a RuntimeError.
        NotAttempted: from `Watched`.
    """
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    printed = _Printed()
    context = contextvars.copy_context()  # display() then belongs to the cell that checks
    thread = threading.Thread(target=context.run, args=(guarded,), daemon=True, name=_THREAD_NAME)
    with contextlib.redirect_stdout(printed):
        thread.start()
        thread.join(timeout)
    late = thread.is_alive()
    if late:
        _abandon(thread)
    if printed.tell():
        _show(printed)
    if late:
        raise OutOfTime(f"Still running after {timeout:g} s.")
    if raised:
        error = raised[0]
        if not isinstance(error, Exception | NotAttempted):
            raise RuntimeError(f"{type(error).__name__}, which ends programs") from error
        raise error


def _show(printed: _Printed) -> None:
    text = printed.getvalue()
    print(text, end="" if text.endswith("\n") else "\n")
    if len(text) >= MAX_PRINTED:
        print("… (more was printed, and is left out)")


def _abandon(thread: threading.Thread) -> None:
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(_Abandoned)
        )
        thread.join(0.5)


def explain(error: BaseException) -> str:
    """The error in words, and the line of the student's code that it came from, if it was there."""
    text = _first_line(error)
    what = type(error).__name__ + (f": {text}" if text else "")
    frame = last_of_the_students(error)
    if frame is None:
        return what
    code = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{what} (line {frame.lineno} of the cell" + (f": {code})" if code else ")")


def _first_line(error: BaseException) -> str:
    try:
        lines = str(error).splitlines()
    except Exception:
        return ""  # an exception class of the student's own, with a broken __str__
    text = lines[0] if lines else ""
    return (text if len(text) <= MAX_EXPLAINED else text[:MAX_EXPLAINED] + "…").rstrip(".")


def last_of_the_students(error: BaseException) -> traceback.FrameSummary | None:
    """Where in the student's own code the error came from, if it came from there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_STUDENTS)]
    return own[-1] if own else None
