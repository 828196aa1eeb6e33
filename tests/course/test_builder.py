"""One source gives two executed notebooks, the same ones every time."""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from PIL import Image, ImageOps

from tools.build_notebooks import main
from tools.notebooks.compare import differences, keep_what_may_vary, read_patterns, sanitize
from tools.notebooks.source import (
    Lab,
    SourceError,
    find_labs,
    links_from_solutions,
    read_lab,
    split_exercise,
)

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = Path(__file__).parent / "data" / "02_sample.py"
PATTERNS = read_patterns()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample's source and its two built notebooks. Not to be changed."""
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "source").mkdir()
    shutil.copy(SAMPLE, folder / "source")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_BROKER_URL", "redis://127.0.0.1:1")  # must not reach the kernels
        assert main(["--notebooks", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A copy of the built sample, to be changed."""
    return Path(shutil.copytree(built, tmp_path / "notebooks"))


def read(folder: Path, name: str = "02-sample.ipynb") -> NotebookNode:
    return nbformat.read(folder / name, as_version=4)


def cell(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(cell for cell in notebook.cells if cell.id == f"lab02-{name}")


def build(folder: Path, *options: str) -> int:
    return main(["--notebooks", str(folder), *options])


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8", newline="\n")


def source(tmp_path: Path, text: str, name: str = "07_try.py") -> Path:
    folder = tmp_path / "notebooks"
    (folder / "source").mkdir(parents=True)
    (folder / "source" / name).write_text(text, encoding="utf-8")
    return folder


# What is built.


def test_the_student_gets_the_stub_and_the_solved_notebook_the_solution(built: Path):
    student = cell(read(built), "double").source
    solved = cell(read(built, "solutions/02-sample.ipynb"), "double").source
    assert student == (
        'def double(number):\n    """Twice the number."""\n'
        "    # Write your answer here.\n    return ..."
    )
    assert solved == 'def double(number):\n    """Twice the number."""\n    return 2 * number'


def test_links_of_the_solved_notebook_are_adapted(built: Path):
    assert "(source/02_sample.py)" in cell(read(built), "title").source
    solved = cell(read(built, "solutions/02-sample.ipynb"), "title").source
    assert "(../source/02_sample.py)" in solved


def test_checks_are_executed_in_both(built: Path):
    told = [
        cell(read(built, name), "double-check").outputs[0].data["text/plain"]
        for name in ("02-sample.ipynb", "solutions/02-sample.ipynb")
    ]
    assert told[0].startswith("Exercise 2.1: not attempted yet.")
    assert told[1].startswith("Exercise 2.1: correct.")


def test_kernels_use_the_embedded_broker_whatever_the_author_uses(built: Path):
    assert "Broker: embedded" in cell(read(built), "setup").outputs[0].text


def test_nothing_is_stored_but_what_is_needed(built: Path):
    for name in ("02-sample.ipynb", "solutions/02-sample.ipynb"):
        raw = (built / name).read_bytes()
        assert raw.endswith(b"}\n")
        assert b"\r" not in raw
        notebook = read(built, name)
        assert set(notebook.metadata) == {"kernelspec", "language_info"}
        assert notebook.metadata.language_info == {"name": "python"}
        assert notebook.metadata.kernelspec.name == "python3"
        assert {key for cell in notebook.cells for key in cell.metadata} == {"tags"}


def test_a_traceback_that_is_the_lesson_holds_no_path_of_this_machine(built: Path):
    output = cell(read(built), "failing").outputs[0]
    assert output.ename == "ConfigurationError"
    assert "connection.py" not in "\n".join(output.traceback)
    assert "names no broker that labkit knows" in output.traceback[-1]


def test_ids_come_from_names_and_else_from_positions(built: Path):
    ids = [cell.id for cell in read(built).cells]
    assert ids[:2] == ["lab02-title", "lab02-setup"]
    assert ids[-1] == f"lab02-{len(ids):02}"


def test_a_second_build_changes_nothing(copy: Path, capsys: pytest.CaptureFixture[str]):
    before = {path: path.read_bytes() for path in copy.rglob("*.ipynb")}
    assert build(copy) == 0
    assert {path: path.read_bytes() for path in copy.rglob("*") if path in before} == before
    assert capsys.readouterr().out.count("(unchanged)") == 2


def test_kernels_leave_nothing_behind(built: Path):
    left = {path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()}
    assert left == {"source/02_sample.py", "02-sample.ipynb", "solutions/02-sample.ipynb"}


def test_nbval_finds_both_notebooks_true(built: Path):
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=120"]
    options += [f"--nbval-sanitize-with={ROOT / 'tools' / 'nbval_sanitize.cfg'}"]
    options += ["-q", "-p", "no:cacheprovider", "-c", os.devnull]
    notebooks = [str(built / "02-sample.ipynb"), str(built / "solutions")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *notebooks],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "16 passed" in run.stdout


# What --check finds.


def test_check_is_content_with_what_was_built(built: Path, capsys: pytest.CaptureFixture[str]):
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*.ipynb")}
    assert build(built, "--check") == 0
    assert "no problem" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*.ipynb")} == before


def test_check_says_which_cell_changed_and_how(copy: Path, capsys: pytest.CaptureFixture[str]):
    replace(copy / "source" / "02_sample.py", 'print("Done.")', 'print("Over.")')
    assert build(copy, "--check", "--no-execute") == 1
    told = capsys.readouterr().out
    assert "02-sample.ipynb: cell 12 (lab02-12): the text differs" in told
    assert '-print("Done.")' in told
    assert '+print("Over.")' in told


def test_check_sees_an_output_that_the_code_no_longer_gives(
    copy: Path, capsys: pytest.CaptureFixture[str]
):
    replace(copy / "02-sample.ipynb", "No time runs backwards.\\n", "Time stands still.\\n")
    assert build(copy, "--check") == 1
    told = capsys.readouterr().out
    assert "cell 7 (lab02-timing-check): the output differs" in told
    assert "-Time stands still." in told
    assert "+No time runs backwards." in told


def test_check_misses_notebooks_and_finds_those_without_a_source(
    copy: Path, capsys: pytest.CaptureFixture[str]
):
    (copy / "solutions" / "02-sample.ipynb").rename(copy / "03-orphan.ipynb")
    assert build(copy, "--check", "--no-execute") == 1
    told = capsys.readouterr().out
    assert "02-sample.ipynb: is missing" in told
    assert "03-orphan.ipynb: has no source" in told


def test_added_and_removed_cells_are_named(built: Path):
    stored, new = read(built), read(built)
    del stored.cells[3]
    del new.cells[5]
    told = list(differences(stored, new, PATTERNS))
    assert any("(lab02-picture): is in the source only" in what for what in told)
    assert any("lab02-timing: is in the built notebook only" in what for what in told)


def test_moved_cells_and_metadata_are_named(built: Path):
    stored, new = read(built), read(built)
    new.cells.insert(2, new.cells.pop(4))
    new.metadata["kernelspec"]["name"] = "other"
    told = "\n".join(differences(stored, new, PATTERNS))
    assert "another order" in told
    assert "metadata" in told


def test_a_picture_may_differ_in_its_bytes_but_not_in_what_it_shows(built: Path):
    stored, new = read(built), read(built)
    data = cell(new, "picture").outputs[0].data
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")

    def put(image: Image.Image, level: int) -> None:
        file = io.BytesIO()
        image.save(file, "png", compress_level=level)
        data["image/png"] = base64.b64encode(file.getvalue()).decode()

    put(picture, 1)
    assert list(differences(stored, new, PATTERNS)) == []
    put(ImageOps.invert(picture), 6)
    assert "the picture differs" in next(differences(stored, new, PATTERNS))
    put(picture.resize((50, 50)), 6)
    assert "the picture differs" in next(differences(stored, new, PATTERNS))


def test_alt_text_is_compared(built: Path):
    stored, new = read(built), read(built)
    cell(new, "picture").outputs[0].metadata["image/png"]["alt"] = "A line that falls."
    assert "rises" in next(differences(stored, new, PATTERNS))


# What is kept of a former build.


def test_a_new_picture_is_stored_even_where_its_alt_text_stays(built: Path):
    stored, new = read(built), read(built)
    cell(new, "picture").outputs[0].data["image/png"] = "bmV3"
    keep_what_may_vary(stored, new, PATTERNS)
    assert cell(new, "picture").outputs[0].data["image/png"] == "bmV3"


def test_an_ignored_output_is_kept_until_its_cell_or_its_kind_changes(built: Path):
    stored, new = read(built), read(built)
    cell(new, "timing").outputs[0].text = "took 1 ns\n"
    keep_what_may_vary(stored, new, PATTERNS)
    assert cell(new, "timing").outputs == cell(stored, "timing").outputs
    cell(new, "timing").outputs[0].text = "took 1 ns\n"
    cell(new, "timing").source += "\n"
    keep_what_may_vary(stored, new, PATTERNS)
    assert cell(new, "timing").outputs[0].text == "took 1 ns\n"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("one\nBroker: Redis 7.0.15 at redis://x\nB", "one\nBroker: BROKER\nB"),
        ("pid 123, Process ID: 4", "pid PID, Process ID: PID"),
        ("at 127.0.0.1:6379", "at 127.0.0.1:PORT"),
        ("6379 flights, 3 process steps", "6379 flights, 3 process steps"),
    ],
)
def test_only_what_legitimately_varies_is_sanitised(text: str, clean: str):
    assert sanitize(text, PATTERNS) == clean


# What stops a build.


def test_a_cell_that_raises_is_told_with_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = source(
        tmp_path,
        '# %% [markdown]\n# # Fail\n\n# %% name="bad"\nflights = {}\nflights["JFK"]\n\n'
        '# %%\nprint("never")\n',
    )
    assert build(folder) == 1
    told = capsys.readouterr().out
    assert "07-try (student): cell 2 (lab07-bad): KeyError: 'JFK'" in told
    assert '2 | flights["JFK"]' in told
    assert "\x1b" not in told
    assert "1 lab built, 2 problems." in told
    assert not list(folder.rglob("*.ipynb"))


def test_a_cell_that_hangs_or_does_not_raise_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = source(tmp_path, '# %% name="slow"\nimport time\n\ntime.sleep(60)\n')
    tame = folder / "source" / "08_tame.py"
    tame.write_text('# %% tags=["raises-exception"]\n1 + 1\n', encoding="utf-8")
    assert build(folder, "--timeout", "1", "-j", "4") == 1
    told = capsys.readouterr().out
    assert "cell 1 (lab07-slow) did not finish within 1 s" in told
    assert "cell 1 (lab08-01) is tagged raises-exception and did not raise" in told


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("### BEGIN SOLUTION\n1\n### END SOLUTION", "add the STUB"),
        ("### BEGIN STUB\n# 1\n### END STUB", "add the SOLUTION"),
        ("### BEGIN SOLUTION\n1", "has no '### END SOLUTION'"),
        ("### END STUB", "outside of any block"),
        ("### BEGIN SOLUTION\n### BEGIN STUB", "inside a SOLUTION"),
        ("### BEGIN STUB\nanswer = ...\n### END STUB", "a stub's lines are comments"),
        ("# BEGIN SOLUTION", "alone on its line"),
    ],
)
def test_an_exercise_without_the_form_is_refused(text: str, complaint: str):
    with pytest.raises(SourceError, match=complaint) as caught:
        split_exercise(text, "02_x.py: cell 3")
    assert str(caught.value).startswith("02_x.py: cell 3: ")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('# %% name="a"\n1\n\n# %% name="a"\n2\n', "called 'a' too"),
        ('# %% name="Fan out"\n1\n', "small letters"),
        ('# %% tag=["nbval-skip"]\n1\n', r"unknown metadata \['tag'\]"),
        ("# %% [raw]\n# x\n", "a raw cell"),
    ],
)
def test_a_cell_without_the_form_is_refused(tmp_path: Path, text: str, complaint: str):
    folder = source(tmp_path, text)
    with pytest.raises(SourceError, match=complaint):
        read_lab(Lab(folder / "source" / "07_try.py", folder))


def test_a_cell_may_be_for_one_notebook_only(tmp_path: Path):
    folder = source(
        tmp_path,
        '# %% [markdown] tags=["solution-only"]\n# Solved.\n\n# %% tags=["student-only"]\n1\n',
    )
    notebooks = read_lab(Lab(folder / "source" / "07_try.py", folder))
    assert [cell.source for cell in notebooks["student"].cells] == ["1"]
    assert [cell.source for cell in notebooks["solved"].cells] == ["Solved."]
    assert "tags" not in notebooks["student"].cells[0].metadata


@pytest.mark.parametrize(
    ("link", "solved"),
    [
        ("[a](01-describe-a-message.ipynb#Top)", "[a](01-describe-a-message.ipynb#Top)"),
        ("[a](../README.md)", "[a](../../README.md)"),
        ("![a](pictures/a.png)", "![a](../pictures/a.png)"),
        ("[a](https://redis.io/x) [b](#Part)", "[a](https://redis.io/x) [b](#Part)"),
        ("[a](solutions/02-x.ipynb)", "[a](02-x.ipynb)"),
    ],
)
def test_links_lead_to_the_same_place_from_the_solved_notebook(link: str, solved: str):
    assert links_from_solutions(link) == solved


# The command line.


@pytest.mark.parametrize("name", ["02", "2", "02_sample", "02-sample", "source/02_sample.py"])
def test_a_lab_has_many_names(built: Path, name: str):
    assert [lab.name for lab in find_labs(built, [name])] == ["02-sample"]


def test_a_lab_that_is_not_there_is_told(built: Path, capsys: pytest.CaptureFixture[str]):
    assert build(built, "09") == 2
    assert "No source is called '09'. There are: 02_sample." in capsys.readouterr().out


def test_the_tools_run_as_scripts():
    for tool in ("build_notebooks", "check_notebooks"):
        run = subprocess.run(
            [sys.executable, str(ROOT / "tools" / f"{tool}.py"), "--help"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert f"python tools/{tool}.py" in run.stdout
