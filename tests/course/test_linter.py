"""Each rule of the linter finds what it is for, and is silent about a good notebook."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.check_notebooks import main

STUB_LINE = "Exercise 2.1: not attempted yet. Write your answer above, then run this cell again."
PNG = "iVBORw0KGgo="


def code(source: str, *outputs: NotebookNode, tags: tuple[str, ...] = ()) -> NotebookNode:
    metadata = {"tags": list(tags)} if tags else {}
    return new_code_cell(source, outputs=list(outputs), metadata=metadata)


def stream(text: str, name: str = "stdout") -> NotebookNode:
    return new_output("stream", name=name, text=text)


def shown(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> NotebookNode:
    return new_output("display_data", data=data, metadata=metadata or {})


def error() -> NotebookNode:
    return new_output("error", ename="KeyError", evalue="'x'", traceback=["KeyError: 'x'"])


def good_cells() -> list[NotebookNode]:
    picture = shown({"image/png": PNG, "text/plain": "<Figure>"}, {"image/png": {"alt": "A line."}})
    return [
        new_markdown_cell("# Publish\n\nYou publish. See [the next lab](other.ipynb#Part)."),
        code("import labkit\n\nlab = labkit.connect()\nprint('Broker:', lab.name)", stream("B\n")),
        new_markdown_cell("## Look\n\n```mermaid\nflowchart LR\n```\nA sends to B. [Up](#Publish)"),
        code("show()", picture),
        new_markdown_cell("### Closer\n\n![A board](board.png)\n\n```python\n# just code\n```"),
        code("measure()", stream("took 5 ms\n"), tags=("nbval-ignore-output",)),
        code("assert True\nprint('It holds.')", stream("It holds.\n")),
        code("{}['x']", error(), tags=("raises-exception",)),
        new_markdown_cell("## Exercise"),
        code("def double(n):\n    return ...", tags=("exercise",)),
        code(
            "lab02.check_double(double)",
            new_output("execute_result", data={"text/plain": STUB_LINE}, execution_count=7),
        ),
        *(code(f"print({n})", stream(f"{n}\n")) for n in range(10)),
    ]


@pytest.fixture
def lint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[tuple[str, str, str]]]:
    """Lints cells; gives place, rule and sentence of each finding."""
    (tmp_path / "other.ipynb").touch()
    (tmp_path / "board.png").touch()

    def run(cells: list[NotebookNode], *options: str, folder: str = ".") -> list[Any]:
        number = 0
        for position, cell in enumerate(cells):
            cell["id"] = f"cell-{position}"
            if cell.cell_type == "code" and cell.source and "execution_count" not in cell:
                cell["execution_count"] = None
            if cell.cell_type == "code" and cell.get("execution_count", 0) is None:
                number += 1
                cell["execution_count"] = number
        path = tmp_path / folder / "02-test.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(new_notebook(cells=cells), path)
        exit_code = main([str(path), *options])
        *lines, last = capsys.readouterr().out.splitlines()
        assert exit_code == (1 if lines else 0)
        assert re.match(r"1 notebook, \d+ findings?; \d+ of \d+ cells? with output compared", last)
        return [_read(line) for line in lines]

    return run


def _read(line: str) -> tuple[str, str, str]:
    match = re.fullmatch(r".*02-test\.ipynb: (cell \d+ \(cell-\d+\)): ([a-z0-9-]+): (.*)", line)
    assert match is not None, line
    return match[1], match[2], match[3]


def test_a_good_notebook_has_no_finding(lint):
    assert lint(good_cells()) == []


MARKDOWN = [
    ("one-h1", "# A second title"),
    ("heading-level", "#### Too deep"),
    ("word", "This is Simply so."),
    ("word", "It is easy."),
    ("alt-text", "![](board.png)"),
    ("alt-text", '<img src="board.png">'),
    ("link", "[lost](missing.ipynb)"),
    ("link", '<a href="missing.html">lost</a>'),
    ("link", "[lost](#Nowhere)"),
    ("diagram-in-words", "```mermaid\nflowchart LR\n```"),
    ("mark", "### BEGIN SOLUTION"),
]


@pytest.mark.parametrize(("rule", "text"), MARKDOWN)
def test_text_is_checked(lint, rule, text):
    found = lint([*good_cells(), new_markdown_cell(text)])
    assert ("cell 22 (cell-21)", rule) in [(place, name) for place, name, _ in found]


@pytest.mark.parametrize(
    "text",
    [
        "`just` in code, adjust, an unjust judge",
        "[out](https://example.com/x) and [mail](mailto:a@example.com)",
        "```python\n[not](a-link.md)\n```",
    ],
)
def test_text_that_is_fine_is_left_alone(lint, text):
    assert lint([*good_cells(), new_markdown_cell(text)]) == []


def test_words_may_follow_a_diagram_in_the_next_cell(lint):
    diagram = new_markdown_cell("```mermaid\nflowchart LR\n```")
    assert lint([*good_cells(), diagram, new_markdown_cell("A sends to B.")]) == []
    found = lint([*good_cells(), diagram, new_markdown_cell("### A heading")])
    assert [rule for _, rule, _ in found] == ["diagram-in-words"]


def test_a_notebook_without_a_title_is_found(lint):
    assert ("one-h1") in [rule for _, rule, _ in lint(good_cells()[1:])]


@pytest.mark.parametrize("count", [19, 46])
def test_too_few_and_too_many_cells_are_found(lint, count):
    cells = (good_cells() + [new_markdown_cell("More.") for _ in range(30)])[:count]
    assert [rule for _, rule, _ in lint(cells)] == ["cell-count"]


LONG = "\n".join(f"a{n} = {n}" for n in range(13))
THREAD = "def work():\n    print('x')\n\n"

CODE = [
    ("stderr", code("warn()", stream("Warning: x\n", "stderr"))),
    ("traceback", code("{}['x']", error())),
    ("alt-text", code("show()", shown({"image/png": PNG, "text/plain": "x"}))),
    ("alt-text", code("show()", shown({"image/svg+xml": "<svg/>"}, {"image/svg+xml": {}}))),
    ("alt-text", code("show()", shown({"text/html": "<img src='x'>", "text/plain": "x"}))),
    ("credentials", code("print(url)", stream("redis://ann:secret@127.0.0.1:6379\n"))),
    ("credentials", code("url", shown({"text/plain": "'redis://:secret@localhost'"}))),
    ("absolute-path", code("print(path)", stream("in /home/ann/lab/x.py\n"))),
    ("absolute-path", code("print(path)", stream("in C:\\Users\\ann\\x.py\n"))),
    ("semicolon", code("show();")),
    ("semicolon", code("show();  # quiet")),
    ("semicolon", code("one();\ntwo()")),
    ("cell-length", code(LONG)),
    ("cell-length", code("%time\n" + LONG)),
    ("word", code("# just so\nx = 1")),
    ("mark", code("### BEGIN SOLUTION\nx = 1")),
    ("check-after-exercise", code("x = ...", tags=("exercise",))),
    ("assert-after-ignored", code("measure()", tags=("nbval-ignore-output",))),
    ("assert-after-ignored", code("# NBVAL_IGNORE_OUTPUT\nmeasure()")),
    ("print-in-thread", code(THREAD + "threading.Thread(target=work).start()")),
    ("print-in-thread", code(THREAD + "Thread(None, work).start()")),
    ("print-in-thread", code("Thread(target=lambda: print(1)).start()")),
    ("print-in-thread", code("Timer(1, print, ['x']).start()")),
    ("print-in-thread", code(THREAD + "pool.submit(work)")),
    ("print-in-thread", code("class T(Thread):\n    def run(self):\n        print(1)")),
    ("print-in-thread", code(THREAD + "board.set_message_callback(work)\nboard.listen()")),
]


@pytest.mark.parametrize(("rule", "cell"), CODE, ids=[rule for rule, _ in CODE])
def test_code_and_its_outputs_are_checked(lint, rule, cell):
    found = lint([*good_cells(), cell])
    assert [(place, name) for place, name, _ in found] == [("cell 22 (cell-21)", rule)]


@pytest.mark.parametrize(
    "cell",
    [
        code("warn()", stream("Warning\n", "stderr"), tags=("shows-stderr",)),
        code("print('a;')  # ;"),
        code("a = 1; b = 2"),
        code('def f():\n    """One.\n\n    Two.\n    """\n    # three\n\n' + "    x = 1\n" * 11),
        code("print(url)", stream("redis://ann:***@127.0.0.1:6379, see https://a.org/usr/bin\n")),
        code(THREAD + "work()\nlist(map(work, []))"),
        code("def work():\n    seen.append(1)\n\nThread(target=work).start()\nprint(seen)"),
        code(THREAD + "board.set_message_callback(work)\nboard.drain()"),
    ],
)
def test_code_that_is_fine_is_left_alone(lint, cell):
    assert lint([*good_cells(), cell]) == []


def test_a_function_of_an_earlier_cell_is_known_to_print(lint):
    cells = [*good_cells(), code(THREAD), code("Thread(target=work).start()")]
    assert [(place, rule) for place, rule, _ in lint(cells)] == [
        ("cell 23 (cell-22)", "print-in-thread")
    ]


def test_cells_that_were_not_run_or_not_in_order_are_found(lint):
    cells = good_cells()
    for number, cell in enumerate((c for c in cells if c.cell_type == "code"), start=1):
        cell["execution_count"] = number
    cells[-1]["execution_count"] = 40
    found = lint(cells)
    assert [(place, rule) for place, rule, _ in found] == [("cell 21 (cell-20)", "execution-count")]


def test_a_cell_without_an_execution_count_is_found(tmp_path, capsys):
    cells = good_cells()
    path = tmp_path / "02-test.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    assert main([str(path)]) == 1
    assert capsys.readouterr().out.count("execution-count: was not executed") == 17


def test_too_small_a_share_of_compared_cells_is_found(lint):
    cells = good_cells()
    for cell in cells[-3:]:
        cell["metadata"] = {"tags": ["nbval-ignore-output"]}
        cell["source"] = "assert x"
    found = lint([*cells, code("assert x")])
    assert "compared-share" in [rule for _, rule, _ in found]
    assert "of 16 cells with output only 12 are compared, 75%" in str(found)


def test_a_lab_that_measures_may_compare_less(lint):
    cells = good_cells()
    for cell in cells[-3:]:
        cell["metadata"] = {"tags": ["nbval-ignore-output"]}
        cell["source"] = "assert x"
    cells[0]["metadata"] = {"tags": ["measures"]}
    found = lint([*cells, code("assert x")])
    assert "compared-share" not in [rule for _, rule, _ in found]


def test_an_untouched_check_in_the_solved_notebook_is_found(lint):
    cells = [cell for cell in good_cells() if "other.ipynb" not in cell.source]
    cells = [
        new_markdown_cell("# Publish\n\nSolved."),
        *(c for c in cells if "board.png" not in c.source),
        new_markdown_cell("More."),
    ]
    found = lint(cells, folder="solutions")
    assert [rule for _, rule, _ in found] == ["check-result"]
    assert "must say 'correct.'" in found[0][2]


def test_a_passed_check_in_the_students_notebook_is_found(lint):
    cells = good_cells()
    cells[10].outputs[0].data["text/plain"] = "Exercise 2.1: correct. Yes."
    assert [rule for _, rule, _ in lint(cells)] == ["check-result"]


def test_limits_can_be_set(lint):
    cells = [*good_cells(), code(LONG)]
    assert lint(cells, "--max-code-lines", "13") == []
    assert [rule for _, rule, _ in lint(good_cells(), "--min-cells", "30")] == ["cell-count"]


def test_the_last_line_counts_what_is_compared(tmp_path, lint, capsys):
    lint(good_cells())
    main([str(tmp_path / "02-test.ipynb")])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "1 notebook, 0 findings; 15 of 16 cells with output compared (93 %)."


def test_a_file_that_is_no_notebook_is_found(tmp_path, capsys):
    path = tmp_path / "02-test.ipynb"
    path.write_text("{}", encoding="utf-8")
    assert main([str(path)]) == 1
    assert "cell 0 (none): unreadable: " in capsys.readouterr().out
