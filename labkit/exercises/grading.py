"""For tests: whether an exercise takes right answers, and tells the wrong ones apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from labkit.exercises.framework import Exercise

MIN_WRONG_ANSWERS = 3


def assert_grades(
    exercise: Exercise,
    *,
    solution: Any,
    stub: Any,
    wrong: Iterable[tuple[Any, str]],
    also_right: Iterable[Any] = (),
) -> None:
    """Grade answers whose result is known.

    Args:
        exercise: the exercise under test.
        solution: the answer of the solved notebook.
        stub: the untouched stub of the student's notebook.
        wrong: at least three typical wrong answers, each with a part of what must be said to it;
            pairs, or a mapping's items().
        also_right: other answers that must pass.

    Raises:
        AssertionError: says which answer got which text.
    """
    for answer in (solution, *also_right):
        result = exercise(answer)
        assert result.passed, f"A right answer was refused: {answer!r}\n{result}"
    untouched = exercise(stub)
    assert not untouched.attempted, f"The stub counts as an answer: {untouched}"
    assert "\n" not in untouched.text, f"The stub gets more than one line: {untouched}"
    told: dict[str, Any] = {}
    hinted: dict[str, Any] = {}
    for answer, fragment in wrong:
        first, second = exercise(answer), exercise(answer, hint=2)
        assert first.attempted, f"A wrong answer counts as the stub: {answer!r}"
        assert not first.passed, f"A wrong answer passed: {answer!r}"
        assert fragment in first.text, f"{answer!r} was not told {fragment!r}:\n{first}"
        for text, seen in ((first.text, told), (second.text, hinted)):
            assert text not in seen, f"{answer!r} and {seen[text]!r} are told the same:\n{text}"
            seen[text] = answer
    assert len(told) >= MIN_WRONG_ANSWERS, (
        f"Test {MIN_WRONG_ANSWERS} typical wrong answers, not {len(told)}."
    )
