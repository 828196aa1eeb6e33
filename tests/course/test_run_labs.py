"""`lab.py run`: every lab is run, and one page tells what happened."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import run_labs

ROOT = Path(__file__).resolve().parents[2]

FOLD = "<details><summary>What happened</summary>\n\n**It snowed.**\n\n</details>"
DIAGRAM = "```mermaid\ngraph LR; tower --> board\n```"
PICTURE = """\
import matplotlib.pyplot as plt
from IPython.display import display
figure, axes = plt.subplots()
axes.plot([1, 2])
display(figure, metadata={"image/png": {"alt": "a line that rises"}})
plt.close(figure)"""


def write(folder: Path, name: str, *cells: nbformat.NotebookNode) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / name)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three labs: one that passes, one that fails, one whose kernel dies."""
    root = tmp_path_factory.mktemp("course") / "My Lab"
    labs = root / "notebooks"
    write(
        labs,
        "00-start-here.ipynb",
        new_markdown_cell(f"# Start <here>\n\n{DIAGRAM}\n\n[next](01-describe.ipynb#there)"),
        new_markdown_cell(f"{FOLD}\n\n![a dot](a%20dot.png)"),
        new_code_cell("import labkit, os\nprint(os.path.basename(os.getcwd()))"),
        new_code_cell(PICTURE),
        new_code_cell("from IPython.display import HTML\nHTML('<script>1</script>' '<b>bold</b>')"),
        new_code_cell(""),
    )
    (labs / "a dot.png").write_bytes(b"a dot")
    stale = [new_output("stream", name="stdout", text="stored long ago")]
    write(
        labs,
        "01-describe.ipynb",
        new_markdown_cell("# Describe"),
        new_code_cell("1 / 0"),
        new_code_cell("print('after')", outputs=stale, execution_count=2),
    )
    write(labs, "02-publish.ipynb", new_code_cell("import os; os._exit(3)"))
    write(labs / "solutions", "00-start-here.ipynb", new_code_cell("print('solved')"))
    return root


def start(root: Path) -> subprocess.Popen[str]:
    """`lab.py run` for another course."""
    code = "import sys; from pathlib import Path; from tools.run_labs import run_from_terminal; "
    code += f"sys.exit(run_from_terminal([], Path({str(root)!r})))"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LABKIT_BROKER_URL": "embedded://"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def executed(course: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """What a terminal shows of a run of all labs, and the page."""
    process = start(course)
    printed, complaints = process.communicate(timeout=110)
    done = subprocess.CompletedProcess(process.args, process.returncode, printed, complaints)
    return done, (course / "report" / "index.html").read_text(encoding="utf-8")


def test_a_lab_that_fails_is_named_and_the_rest_still_run(
    executed: tuple[subprocess.CompletedProcess[str], str],
) -> None:
    done, _ = executed
    assert done.returncode == 1, done.stderr
    first, second, third, last = done.stdout.splitlines()
    assert re.fullmatch(r"00-start-here … 3 of 3 cells, [\d.]+ s: passed", first)
    assert second.endswith("FAILED at cell 2: ZeroDivisionError: division by zero")
    assert third.endswith("FAILED at cell 1: the kernel died")
    assert last.startswith("1 passed, 2 failed; the executed course is in ")
    assert done.stderr == ""


def test_the_page_begins_with_a_table_of_what_passed(
    executed: tuple[subprocess.CompletedProcess[str], str],
) -> None:
    _, page = executed
    table = page[page.index("<table>") : page.index("</table>")]
    rows = re.findall(r"<tr><td>(\d\d)</td>.*?>([^<]+)</a>.*?class=\"(passed|failed)\"", table)
    assert rows == [
        ("00", "Start &lt;here&gt;", "passed"),
        ("01", "Describe", "failed"),
        ("02", "02-publish", "failed"),
    ]
    assert "2 of 3 labs failed" in page


def test_the_page_holds_the_executed_labs(
    executed: tuple[subprocess.CompletedProcess[str], str],
) -> None:
    _, page = executed
    assert "notebooks\n" in page  # the lab ran in its own folder
    assert 'alt="a line that rises"' in page
    assert "data:image/png;base64," in page
    assert "graph LR; tower" in page
    assert "<b>bold</b>" in page
    assert 'href="#lab-01"' in page  # a link between labs leads within the page
    assert f'src="data:image/png;base64,{b64encode(b"a dot").decode()}"' in page
    fold = page[page.index("<details>") : page.index("</details>")]
    assert "<strong>It snowed.</strong>" in fold
    assert "ZeroDivisionError" in page
    assert "stored long ago" not in page


def test_the_page_fetches_nothing(
    executed: tuple[subprocess.CompletedProcess[str], str],
) -> None:
    _, page = executed
    assert "<script" not in page.lower()
    assert "<link" not in page.lower()
    assert not re.search(r"(?:src|url)\s*[=(]\s*[\"']?(?:https?:)?//", page)
    assert "@import" not in page


def test_the_run_writes_nothing_but_the_page(
    course: Path, executed: tuple[subprocess.CompletedProcess[str], str]
) -> None:
    assert executed
    stored = nbformat.read(course / "notebooks" / "01-describe.ipynb", as_version=4)
    assert stored.cells[2].outputs[0].text == "stored long ago"


@pytest.mark.parametrize("name", ["1", "01", "01-describe", "notebooks/01-describe.ipynb"])
def test_a_lab_is_named_by_number_name_or_file(course: Path, name: str) -> None:
    (found,) = run_labs.find(course / "notebooks", [name])
    assert found.name == "01-describe.ipynb"


def test_labs_come_in_order_and_once(course: Path) -> None:
    found = run_labs.find(course / "notebooks", ["02", "00", "2"])
    assert [lab.stem for lab in found] == ["00-start-here", "02-publish"]


def test_an_unknown_lab_is_told_which_there_are(course: Path) -> None:
    with pytest.raises(SystemExit, match="no lab '7'; there are: 00-start-here, 01-describe"):
        run_labs.find(course / "notebooks", ["7"])


def test_solved_labs_are_run_on_request(
    course: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "notebooks").symlink_to(course / "notebooks")
    assert run_labs.main(["--solutions"], tmp_path) == 0
    assert "1 passed, 0 failed" in capsys.readouterr().out
    assert "solved" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_no_password_of_the_broker_is_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_BROKER_URL", "redis://:secret@127.0.0.1:6379")
    assert run_labs.broker() == "redis://:***@127.0.0.1:6379"
    monkeypatch.delenv("LABKIT_BROKER_URL")
    assert run_labs.broker() == "the embedded broker"


@pytest.mark.skipif(os.name == "nt", reason="uses process groups")
@pytest.mark.parametrize("wanted", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_all_labs_without_a_traceback(tmp_path: Path, wanted: int) -> None:
    began = tmp_path / "began"
    first = f"from pathlib import Path; import time; Path({str(began)!r}).touch(); time.sleep(60)"
    write(tmp_path / "notebooks", "00-wait.ipynb", new_code_cell(first))
    write(tmp_path / "notebooks", "01-next.ipynb", new_code_cell("print('next')"))
    process = start(tmp_path)
    deadline = time.monotonic() + 40
    while not began.exists():
        assert time.monotonic() < deadline, "the first lab does not begin"
        time.sleep(0.05)
    os.killpg(process.pid, wanted)
    printed, complaints = process.communicate(timeout=30)
    assert process.returncode == 130
    assert printed.splitlines() == ["00-wait … ", "Stopped; no report was written."]
    assert complaints == ""
