#!/usr/bin/env python3
"""Execute labs without a browser and write one page of what happened: report/index.html.

    python3 lab.py run                 all labs
    python3 lab.py run 00 02           two of them
    python3 lab.py run --solutions     the solved ones

A lab that fails is reported and the rest still run; the exit status is then 1. The labs use the
embedded broker, or the one that LABKIT_BROKER_URL names. Nothing is written but the report.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

import nbformat  # noqa: E402
from nbclient import NotebookClient  # noqa: E402
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError  # noqa: E402

from tools.course_page import Row, page  # noqa: E402
from tools.notebooks.needs import must_be_there, skipped  # noqa: E402

CELL_TIMEOUT_S = 120
INTERRUPTED = 130  # what shells report after Ctrl+C
REPORT = Path("report", "index.html")


def find(folder: Path, wanted: list[str]) -> list[Path]:
    """The notebooks of a folder, in order: all, or those that are named.

    A lab may be named by its number (2, 02), its name (02-publish-and-subscribe) or its file.

    Raises:
        SystemExit: there are none, or not one of that name; the sentence lists those there are.
    """
    labs = sorted(folder.glob("[0-9][0-9]-*.ipynb"))
    if not labs:
        sys.exit(f"lab.py run: there are no labs in {folder}.")
    found = []
    for name in wanted:
        stem = Path(name).name.removesuffix(".ipynb")
        number = stem.zfill(2) if stem.isdigit() else None
        matching = [lab for lab in labs if lab.stem == stem or lab.stem[:2] == number]
        if not matching:
            known = ", ".join(lab.stem for lab in labs)
            sys.exit(f"lab.py run: there is no lab {name!r}; there are: {known}.")
        found += matching
    return sorted(set(found)) if wanted else labs


async def execute(notebook: nbformat.NotebookNode, folder: Path) -> str | None:
    """Run all cells, in that folder, into the notebook; says what stopped it, or None."""
    running = 0
    interrupted = False
    loop, this = asyncio.get_running_loop(), asyncio.current_task()

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        this.cancel()

    def stop_all_on_ctrl_c(**_: object) -> None:  # nbclient would end one kernel and go on
        for wanted in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # on Windows asyncio.run does it
                loop.add_signal_handler(wanted, interrupt)

    def note(cell_index: int, **_: object) -> None:
        nonlocal running
        running = cell_index + 1

    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        on_cell_execute=note,
        on_notebook_start=stop_all_on_ctrl_c,
    )
    try:
        # Not on this terminal: a kernel that is interrupted complains at length.
        await client.async_execute(stderr=subprocess.DEVNULL)
    except CellTimeoutError:
        return f"cell {running}: not done after {CELL_TIMEOUT_S} s"
    except DeadKernelError:
        if interrupted:  # nbclient takes it for a death
            raise asyncio.CancelledError from None
        return f"cell {running}: the kernel died"
    except CellExecutionError as error:
        return f"cell {running}: {error.ename}: {error.evalue}"[:300]
    return None


def run(path: Path) -> Row:
    """One lab, executed: what the table and the page need."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":  # stored outputs must not pass for new ones
            cell.outputs, cell.execution_count = [], None
    started = time.monotonic()
    try:
        failure = asyncio.run(execute(notebook, path.parent))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    seconds = time.monotonic() - started
    missing = skipped(notebook)
    if missing and must_be_there():
        failure = failure or missing
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    done = sum(cell.execution_count is not None for cell in code)
    return Row(path, notebook, len(code), done, seconds, failure, missing)


def broker() -> str:
    """The broker of this run, for people to see: no password."""
    from labkit.connection import BROKER_URL_VARIABLE, redact

    url = os.environ.get(BROKER_URL_VARIABLE)
    return redact(url) if url else "the embedded broker"


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the labs that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="lab.py run", description="Executes the labs and writes report/index.html."
    )
    parser.add_argument("labs", nargs="*", metavar="LAB", help="such as 00 or 02; default all")
    parser.add_argument("--solutions", action="store_true", help="run the solved labs")
    options = parser.parse_args(arguments)
    folder = root / "notebooks" / ("solutions" if options.solutions else "")
    rows = []
    for path in find(folder, options.labs):
        print(f"{path.stem} … ", end="", flush=True)
        row = run(path)
        print(f"{row.done} of {row.cells} cells, {row.seconds:.1f} s: {row.result}", flush=True)
        rows.append(row)
    report = root / REPORT
    report.parent.mkdir(exist_ok=True)
    report.write_text(page(rows, broker()), encoding="utf-8")
    failed = sum(row.failure is not None for row in rows)
    missing = sum(row.failure is None and row.skipped is not None for row in rows)
    skips = f"{missing} skipped, " if missing else ""
    passed = len(rows) - failed - missing
    print(f"{passed} passed, {skips}{failed} failed; the executed course is in {report}")
    return int(failed > 0)


def run_from_terminal(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """As `main`; Ctrl+C leaves with a word instead of a traceback."""
    try:
        return main(arguments, root)
    except KeyboardInterrupt:
        print("\nStopped; no report was written.")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(run_from_terminal())
