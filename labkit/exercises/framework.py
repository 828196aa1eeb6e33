"""What an exercise is: a check with graded hints that never stops a notebook.

A student calls it with the answer, and calls it again with `hint=2` to be told how to go on:

    from labkit.exercises import lab02
    lab02.check_fan_out(publish_all)
    lab02.check_fan_out(publish_all, hint=2)

An author writes it in `labkit/exercises/lab02.py`. The function gets the answer and a fresh
embedded broker on a `StepClock`, and raises `Wrong` (what is wrong, then how to go on) at the first
thing that is wrong; if it returns, the answer is right:

    @exercise(
        "2.1", "Fan out", expects="function",
        correct="One publish reached both boards: the publisher knows neither.",
    )
    def check_fan_out(publish_all, lab):
        board = Subscriber(lab, name="board").connect()
        board.subscribe("flights.JFK")
        publish_all(lab)
        if not board.drain():
            raise Wrong("The board got nothing.", "Publish on flights.JFK, after connect().")

* Each typical wrong answer gets a sentence of its own, and a hint of its own. Ask for the cause
  before the consequence: the first `Wrong` is the only one that a student reads.
* `expects` refuses another kind of answer with a hint that fits: "function", or a type.
* A stub is an answer that is `None`, `...` or `NotImplemented`, that contains a `...`, a function
  that does nothing, or one that returns `...` when it is called; it is told in one fixed line.
* An exception in the student's code, and code that does not end in `timeout` seconds, are explained
  in a sentence. Where the student's function is called back by labkit, which survives its
  exceptions, the sentence follows what the check found. `may_raise=True` leaves it out, for
  exercises in which raising is part of the answer.
* What the student's code prints is shown (the first 20,000 characters).
* A check that needs no broker calls its second argument `_lab`.
* Test each with `labkit.exercises.grading.assert_grades`: solution, untouched stub, at least three
  wrong answers.
"""

from __future__ import annotations

import dis
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from labkit.broker import Lab
from labkit.clock import StepClock
from labkit.connection import EMBEDDED_URL, connect
from labkit.errors import LabkitError
from labkit.exercises.running import (
    NotAttempted,
    OutOfTime,
    Watched,
    explain,
    last_of_the_students,
    run_bounded,
)

DEFAULT_TIMEOUT_S = 10.0
"""How long an answer may run: long for what a lab asks, short for someone who waits."""

Check = Callable[[Any, Lab], None]

_DOES_NOTHING = frozenset(
    {"RESUME", "NOP", "COPY_FREE_VARS", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "LOAD_GLOBAL"}
    | {"RAISE_VARARGS", "MAKE_CELL", "LOAD_COMMON_CONSTANT", "NOT_TAKEN"}
)


class Wrong(Exception):
    """Raised by a check: what is wrong with the answer, and then, step by step, how to go on.

    Args:
        what: a sentence that the first call shows, about what was seen: "The board got nothing."
        hints: what `hint=2`, `hint=3` … show instead; at least one.
    """

    def __init__(self, what: str, *hints: str) -> None:
        if not hints:
            raise TypeError("A Wrong says how to go on: Wrong(what, hint).")
        self.what = what
        self.hints = hints
        super().__init__(what)


@dataclass(frozen=True)
class Result:
    """What a check found; shown as its text.

    Attributes:
        attempted: False for an untouched stub.
        passed: True for a right answer.
        text: what the student reads.
    """

    attempted: bool
    passed: bool
    text: str

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Exercise:
    """One exercise: call it with an answer. See the module's docstring.

    Attributes:
        number: lab and exercise: "2.1".
        title: a few words.
        check: raises `Wrong` unless the answer is right.
        correct: a sentence, for a right answer, on what it shows.
        expects: "function", a type, or None for anything.
        timeout: seconds that the answer may take.
        may_raise: the answer's own exceptions are part of it.
    """

    number: str
    title: str
    check: Check
    correct: str
    expects: str | type | None = None
    timeout: float = DEFAULT_TIMEOUT_S
    may_raise: bool = False

    def __call__(self, answer: Any, *, hint: int = 1) -> Result:
        """Check `answer`, on a broker of its own. `hint=2` says how to go on."""
        if is_stub(answer):
            return self._not_attempted()
        watched = Watched(answer) if callable(answer) and not isinstance(answer, type) else None
        try:
            self._refuse_other_kinds(answer)
            run_bounded(lambda: self._run(answer if watched is None else watched), self.timeout)
        except NotAttempted:
            return self._not_attempted()
        except Wrong as wrong:
            if watched is not None and watched.unwritten:
                return self._not_attempted()
            return self._wrong(wrong, hint, answer, watched)
        except OutOfTime:
            return self._wrong(_too_long(self.timeout), hint, answer)
        except Exception as error:
            return self._wrong(_raised(error), hint, answer)
        return Result(True, True, f"{self._name}: correct. {self.correct}")

    def __repr__(self) -> str:
        return f"{self._name}, {self.title}. Call it with your answer."

    @property
    def _name(self) -> str:
        return f"Exercise {self.number}"

    def _run(self, answer: Any) -> None:
        with fresh_lab() as lab:
            self.check(answer, lab)

    def _refuse_other_kinds(self, answer: Any) -> None:
        got = f"{type(answer).__name__} {_short(answer)}"
        if self.expects == "function" and not callable(answer):
            raise Wrong(
                f"The check takes a function, and got {got}.",
                "Hand over the function's name without brackets: the check calls it.",
            )
        if isinstance(self.expects, type) and not isinstance(answer, self.expects):
            wanted = self.expects.__name__
            raise Wrong(
                f"The answer must be a {wanted}, and is {got}.",
                f"Build a {wanted} and hand it over. type(answer) says what you have.",
            )

    def _not_attempted(self) -> Result:
        line = "not attempted yet. Write your answer above, then run this cell again."
        return Result(False, False, f"{self._name}: {line}")

    def _wrong(
        self, wrong: Wrong, hint: int, answer: Any, watched: Watched | None = None
    ) -> Result:
        asked = hint if isinstance(hint, int) else 1  # hint="2" must not stop Run All
        level = max(1, min(asked, len(wrong.hints) + 1))
        if level > 1:
            lines = [f"{self._name}, hint {level}: {wrong.hints[level - 2]}"]
        else:
            lines = [f"{self._name}: not yet. {wrong.what}"]
            if watched is not None and watched.error is not None and not self.may_raise:
                lines.append(f"On the way your code raised {explain(watched.error)}.")
        if level <= len(wrong.hints):
            lines.append(f"For how to go on: {self._call(answer)}, hint={level + 1})")
        return Result(True, False, "\n".join(lines))

    def _call(self, answer: Any) -> str:
        """This call as the student wrote it, up to the answer: "lab02.check_it(answer"."""
        check = getattr(self.check, "__name__", "check")
        module = getattr(self.check, "__module__", "").rpartition(".")[2]
        name = getattr(answer, "__name__", "")
        given = name if name.isidentifier() else "your_answer"
        return f"{module}.{check}({given}" if module.startswith("lab") else f"{check}({given}"


def exercise(
    number: str,
    title: str,
    *,
    correct: str,
    expects: str | type | None = None,
    timeout: float = DEFAULT_TIMEOUT_S,
    may_raise: bool = False,
) -> Callable[[Check], Exercise]:
    """Make an `Exercise` of the function below; the arguments are its attributes."""
    if expects is not None and expects != "function" and not isinstance(expects, type):
        raise TypeError(f'expects is "function", a type or None, not {expects!r}.')

    def make(check: Check) -> Exercise:
        return Exercise(number, title, check, correct, expects, timeout, may_raise)

    return make


def fresh_lab() -> Lab:
    """An empty embedded broker on a `StepClock`, whatever broker the notebook uses."""
    return connect(EMBEDDED_URL, namespace="", clock=StepClock())


def is_stub(answer: Any) -> bool:
    """Whether nothing has been written yet."""
    if answer is None or answer is ... or answer is NotImplemented:
        return True
    if isinstance(answer, dict):
        return any(is_blank(value) for value in answer.values())
    if isinstance(answer, list | tuple | set):
        return any(is_blank(value) for value in answer)
    return isinstance(answer, FunctionType) and _does_nothing(answer)


def is_blank(value: Any) -> bool:
    """Whether a value is a `...`, or holds one."""
    return value is ... or (isinstance(value, dict | list | tuple) and is_stub(value))


def _does_nothing(function: FunctionType) -> bool:
    """Whether the body is no more than a docstring and `pass`, `...` or `return ...`."""
    for step in dis.get_instructions(function):
        if step.opname not in _DOES_NOTHING:
            return False
        constant = step.opname in ("LOAD_CONST", "RETURN_CONST")
        if constant and step.argval is not None and step.argval is not ...:
            return False
        if step.opname == "LOAD_GLOBAL" and not str(step.argval).startswith("NotImplemented"):
            return False
    return True


def _too_long(seconds: float) -> Wrong:
    return Wrong(
        f"Your code was still running after {seconds:g} s, and was left behind.",
        "Look for a loop that nothing ends, or a wait for a message that nobody sends. "
        "Give every wait a timeout.",
    )


def _raised(error: Exception) -> Wrong:
    if last_of_the_students(error) is None:
        return Wrong(
            f"The check could not use your answer. It raised {explain(error)}.",
            "Compare your answer with the task: its arguments, what it returns, and its type.",
        )
    return Wrong(
        f"Your code raised {explain(error)}.",
        _advice(error),
    )


def _advice(error: Exception) -> str:
    """How to go on after an exception of the student's code."""
    if isinstance(error, LabkitError):
        return "The error itself says what to do: read its last sentence, and the line named above."
    if isinstance(error, AttributeError) and "'Inbox'" in str(error):
        return "drain() returns a list of messages: loop over it, or take the first with [0]."
    return "Read the line named above, and call your code in a cell of its own to watch it."


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:39] + "…"
