"""Checks tell a student what is wrong, and never stop a notebook."""

from __future__ import annotations

import threading
import time

import pytest

from labkit.broker import PubSubBroker
from labkit.exercises import Exercise, Result, Wrong, exercise
from labkit.exercises.framework import fresh_lab
from labkit.exercises.grading import assert_grades
from labkit.exercises.running import MAX_PRINTED

STUB_LINE = "Exercise 2.1: not attempted yet. Write your answer above, then run this cell again."


@exercise("2.1", "Double", correct="Twice 4 is 8.", expects="function", timeout=5.0)
def check_double(double, _lab):
    if double(4) == 4:
        raise Wrong("double(4) is 4.", "Multiply it.", "Write 2 * number.")
    if double(4) == 16:
        raise Wrong("double(4) is 16: that is the square.", "Add it to itself.")
    if double(-1) != -2:
        raise Wrong("double(-1) is not -2.", "Think of numbers below zero.")


@exercise("2.2", "Describe", correct="A priority is metadata.", expects=dict)
def check_describe(answer, _lab):
    if answer.get("priority") != "high":
        raise Wrong("There is no priority.", "Add 'priority'.")


def right(number):
    return 2 * number


def stub_with_docstring(_number):
    """Twice the number."""
    # Write your answer here.
    return ...


def stub_with_scaffolding(number):
    result = number
    assert result
    return ...


def stub_pass(_number):
    pass


def stub_that_raises(_number):
    raise NotImplementedError


@pytest.mark.parametrize(
    "stub",
    [
        None,
        ...,
        NotImplemented,
        stub_with_docstring,
        stub_with_scaffolding,
        stub_pass,
        stub_that_raises,
        lambda _number: ...,
    ],
)
def test_an_untouched_stub_gets_one_fixed_line(stub):
    result = check_double(stub)
    assert repr(result) == STUB_LINE
    assert (result.attempted, result.passed) == (False, False)


@pytest.mark.parametrize(
    "stub", [{"priority": ...}, {"type": "a", "metadata": {"priority": ...}}, {"a": [1, ...]}]
)
def test_a_value_with_blanks_is_a_stub(stub):
    assert not check_describe(stub).attempted


@pytest.mark.parametrize("answer", [lambda _number: True, lambda _number: 0, lambda number: number])
def test_a_short_answer_is_no_stub(answer):
    assert check_double(answer).attempted


def test_a_right_answer_is_told_what_it_shows():
    result = check_double(right)
    assert repr(result) == "Exercise 2.1: correct. Twice 4 is 8."
    assert result.passed
    assert result


def test_hints_lead_on_step_by_step():
    same = lambda number: number  # noqa: E731
    more = "For how to go on: check_double(your_answer"
    first = f"Exercise 2.1: not yet. double(4) is 4.\n{more}, hint=2)"
    assert check_double(same).text == first
    second = f"Exercise 2.1, hint 2: Multiply it.\n{more}, hint=3)"
    assert check_double(same, hint=2).text == second
    last = "Exercise 2.1, hint 3: Write 2 * number."
    assert check_double(same, hint=3).text == last
    assert check_double(same, hint=99).text == last
    assert not check_double(same, hint="2").passed


def test_an_exception_is_explained_with_the_students_line():
    def answer(number):
        return number["four"]

    text = check_double(answer).text
    assert "not yet. Your code raised TypeError: 'int' object is not subscriptable (line " in text
    assert 'return number["four"]' in text
    assert "Traceback" not in text


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_code_that_ends_programs_does_not_end_the_notebook(end):
    def answer(_number):
        raise end

    assert f"{end.__name__}, which ends programs" in check_double(answer).text


def test_a_wrong_signature_is_explained():
    assert "takes 0 positional arguments but 1 was given" in check_double(lambda: 8).text


def test_an_exception_that_cannot_be_shown_is_explained():
    class Broken(Exception):
        def __str__(self):
            raise ValueError

    def answer(_number):
        raise Broken

    assert "Your code raised Broken (line " in check_double(answer).text


def test_the_wrong_kind_of_answer_gets_a_hint_that_fits():
    assert "takes a function, and got int 8" in check_double(8).text
    assert "without brackets" in check_double(8, hint=2).text
    assert "must be a dict, and is str 'high'" in check_describe("high").text


def hang(_answer, _lab):
    while True:
        pass


def wait_for_ever(_answer, _lab):
    threading.Event().wait()


@pytest.mark.parametrize("check", [hang, wait_for_ever])
def test_an_answer_that_never_ends_is_left_behind(check):
    endless = Exercise("2.3", "Endless", check, "Never.", timeout=0.2)
    began = time.monotonic()
    result = endless(1)
    assert time.monotonic() - began < 5
    assert "still running after 0.2 s" in result.text
    assert "timeout" in endless(1, hint=2).text


def test_an_endless_loop_is_stopped_and_costs_nothing_afterwards():
    Exercise("2.3", "Endless", hang, "Never.", timeout=0.2)(1)
    deadline = time.monotonic() + 5
    while any(thread.name == "labkit-check" and thread.is_alive() for thread in _loops()):
        assert time.monotonic() < deadline, "the loop goes on"
        time.sleep(0.01)


def _loops():
    """The checks' threads, without those that an earlier test left in a wait."""
    import sys

    frames = sys._current_frames()
    threads = [thread for thread in threading.enumerate() if thread.ident in frames]
    return [thread for thread in threads if frames[thread.ident].f_code.co_name == "hang"]


def test_what_the_students_code_prints_is_shown(capsys):
    def answer(number):
        print("got", number)
        return 2 * number

    assert check_double(answer).passed
    assert capsys.readouterr().out == "got 4\n" * 2 + "got -1\n"


def test_an_endless_print_does_not_fill_the_memory(capsys):
    def answer(number):
        for _ in range(1000):
            print("x" * 100)
        return 2 * number

    assert check_double(answer).passed
    printed = capsys.readouterr().out
    assert len(printed) < MAX_PRINTED + 100
    assert "more was printed" in printed


def swallow(answer, _lab):
    try:
        answer(1)
    except KeyError:
        raise Wrong("Nothing arrived.", "Look at the handler.") from None


def test_an_exception_that_labkit_survives_is_told_beside_what_the_check_found():
    def answer(_number):
        return {}["flight"]

    text = Exercise("2.4", "Handle", swallow, "…")(answer).text
    assert "not yet. Nothing arrived.\nOn the way your code raised KeyError: 'flight'" in text
    assert "On the way" not in Exercise("2.4", "Handle", swallow, "…", may_raise=True)(answer).text


def test_a_stub_that_runs_in_another_thread_is_still_a_stub(capsys):
    def check(answer, _lab):
        thread = threading.Thread(target=answer, args=(1,))
        thread.start()
        thread.join()
        raise Wrong("Nothing happened.", "Do something.")

    assert not Exercise("2.5", "Thread", check, "…")(stub_with_scaffolding).attempted
    assert capsys.readouterr().err == ""


def test_every_check_has_an_empty_broker_of_its_own(monkeypatch):
    monkeypatch.setenv("LABKIT_BROKER_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("LABKIT_NAMESPACE", "class:")
    labs: list[PubSubBroker] = []
    keep = Exercise("2.6", "Keep", lambda _answer, lab: labs.append(lab), "…")
    assert keep(1).passed
    assert keep(1).passed
    first, second = labs
    assert first is not second
    assert first.embedded
    assert first.namespace == ""
    with fresh_lab() as lab:
        assert lab.publish("news", b"1").subscriptions == 0


def test_a_wrong_without_a_hint_is_refused():
    with pytest.raises(TypeError, match="how to go on"):
        Wrong("It is wrong.")


def test_a_misspelt_expectation_is_refused():
    with pytest.raises(TypeError, match="expects"):
        exercise("2.1", "Double", correct="…", expects="funktion")


def test_an_exercise_and_its_result_show_themselves():
    assert repr(check_double) == "Exercise 2.1, Double. Call it with your answer."
    assert repr(Result(True, True, "yes")) == "yes"


WRONG = [
    (lambda number: number, "is 4"),
    (lambda number: number**2, "square"),
    (lambda number: abs(2 * number), "double(-1)"),
]


def test_assert_grades_accepts_an_exercise_that_tells_answers_apart():
    assert_grades(check_double, solution=right, stub=stub_with_docstring, wrong=WRONG)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"solution": lambda number: number}, "right answer was refused"),
        ({"also_right": [lambda _number: 0]}, "right answer was refused"),
        ({"stub": right}, "stub counts as an answer"),
        ({"wrong": WRONG[:2]}, "3 typical"),
        ({"wrong": [*WRONG, (right, "")]}, "wrong answer passed"),
        ({"wrong": [*WRONG, (stub_pass, "")]}, "counts as the stub"),
        ({"wrong": [*WRONG, (lambda number: number + 0, "is 4")]}, "told the same"),
        ({"wrong": [(WRONG[0][0], "square"), *WRONG[1:]]}, "was not told 'square'"),
    ],
)
def test_assert_grades_refuses_an_exercise_that_does_not(changed, complaint):
    graded = {"solution": right, "stub": stub_with_docstring, "wrong": WRONG, **changed}
    with pytest.raises(AssertionError, match=complaint):
        assert_grades(check_double, **graded)
