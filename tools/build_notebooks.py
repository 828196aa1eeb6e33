#!/usr/bin/env python3
"""Build the student's and the solved notebook of each lab from its one source.

    python tools/build_notebooks.py                 build all labs
    python tools/build_notebooks.py 02 03           build two of them
    python tools/build_notebooks.py --check         build nothing; say what no longer matches
    python tools/build_notebooks.py --check --no-execute    the same for the text alone, in a second

THE FORM OF A SOURCE. `notebooks/source/NN_name.py` is in jupytext's percent format: it opens as a
notebook in JupyterLab (with jupytext), and ruff reads it.

    # %% [markdown]
    # # Publish and subscribe
    #
    # Prose, in comments.

    # %% name="setup"
    import labkit

    # %% name="rates" tags=["nbval-ignore-output"]
    measure()

    # %% name="fan-out"
    def publish_all(lab, channels):
        '''Publish "hello" on every channel.'''
        ### BEGIN SOLUTION
        with Publisher(lab, sender="tower") as publisher:
            return [publisher.publish(channel, "hello") for channel in channels]
        ### END SOLUTION
        ### BEGIN STUB
        # # Write your answer here.
        # return ...
        ### END STUB

    # %% name="fan-out-check"
    lab02.check_fan_out(publish_all)

* An exercise holds the solution between nbgrader's own marks, and beside it, before or after, the
  stub: comments, from which one `# ` is taken away. The student's notebook gets the stub, the
  solved one the solution; neither gets a mark. A cell may hold several of both; both
  notebooks show what is outside of them. The cell is tagged `exercise`.
* `name="…"` makes the cell's id (`lab02-fan-out`), which then survives moving; a cell without a
  name is called by its position (`lab02-07`).
* Tags that nbval and nbclient know stay: `nbval-ignore-output` (followed by a cell that asserts),
  `raises-exception` (must then raise). `shows-stderr` tells the linter that stderr is the lesson,
  `measures` that timing is: fewer outputs of such a lab can repeat.
  `needs-rabbitmq`, on the set-up cell: without that server the lab is skipped, not built.
  `student-only` and `solution-only` choose the notebook that a cell is for.
* Links are written as they read from `notebooks/`; in solved notebooks they are adapted.

WHAT IS STORED. Both notebooks run with this very Python, on the embedded broker, in the folder in
which they lie. Stored outputs are kept where the cell is the same and the new output differs only
in what may vary: all of it where the output is ignored, else what `nbval_sanitize.cfg` names. So a
second build changes nothing. `--refresh` takes all outputs anew.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

import nbformat  # noqa: E402
from nbformat import NotebookNode  # noqa: E402

from tools.notebooks.compare import (  # noqa: E402
    Patterns,
    differences,
    keep_what_may_vary,
    read_patterns,
)
from tools.notebooks.execute import ExecutionError, execute, scratch_folder  # noqa: E402
from tools.notebooks.needs import must_be_there, skipped  # noqa: E402
from tools.notebooks.source import SOLVED, STUDENT, Lab, SourceError, find_labs, read_lab  # noqa: E402

CELL_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Settings:
    """What the command line asks for."""

    check: bool
    run: bool
    refresh: bool
    timeout_s: float
    patterns: Patterns


@dataclass
class Outcome:
    """What became of one lab."""

    lab: Lab
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if not options.run and not options.check:
        print("--no-execute goes with --check: a notebook is stored with its outputs.")
        return 2
    folder = options.notebooks.resolve()
    try:
        labs = find_labs(folder, options.labs)
    except SourceError as error:
        print(error)
        return 2
    if not labs:
        print(f"No source in {folder / 'source'}. Write one: see --help.")
        return 2
    settings = Settings(
        options.check, options.run, options.refresh, options.timeout, read_patterns()
    )
    try:
        outcomes = asyncio.run(_all(labs, settings, options.jobs))
    except KeyboardInterrupt:
        print("Stopped; the notebooks that were not done stay as they were.")
        return 130
    problems = sum(len(outcome.problems) for outcome in outcomes)
    if settings.check and not options.labs:
        problems += _report_orphans(folder, labs)
    verb = "checked" if settings.check else "built"
    print(f"{len(labs)} {'lab' if len(labs) == 1 else 'labs'} {verb}, {_counted(problems)}.")
    if settings.check and problems:
        print("Build again with 'python tools/build_notebooks.py', look at the diff, commit it.")
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tools/build_notebooks.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("labs", nargs="*", metavar="LAB", help='"02", "02_publish" or a path')
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a notebook does not match"
    )
    parser.add_argument(
        "--no-execute",
        dest="run",
        action="store_false",
        help="with --check: compare the text, not the outputs",
    )
    parser.add_argument("--refresh", action="store_true", help="keep no stored output")
    parser.add_argument(
        "-j", "--jobs", type=int, default=2, help="notebooks run at the same time (default 2)"
    )
    parser.add_argument(
        "--timeout", type=float, default=CELL_TIMEOUT_S, help="seconds for one cell (default 120)"
    )
    parser.add_argument(
        "--notebooks",
        type=Path,
        default=ROOT / "notebooks",
        metavar="DIR",
        help="the folder of the notebooks, with source/ in it",
    )
    return parser


async def _all(labs: list[Lab], settings: Settings, jobs: int) -> list[Outcome]:
    slots = asyncio.Semaphore(max(1, jobs))
    with scratch_folder() as scratch:
        return await asyncio.gather(*(_one(lab, settings, slots, scratch) for lab in labs))


async def _one(lab: Lab, settings: Settings, slots: asyncio.Semaphore, scratch: Path) -> Outcome:
    outcome = Outcome(lab)
    try:
        notebooks = read_lab(lab)
    except SourceError as error:
        outcome.problems.append(str(error))
    else:
        await asyncio.gather(
            *(
                _version(outcome, version, notebooks[version], settings, slots, scratch)
                for version in (STUDENT, SOLVED)
            )
        )
    print(f"{lab.name}: {', '.join(sorted(outcome.notes, reverse=True)) or 'not built'}")
    for problem in outcome.problems:
        print(problem)
    sys.stdout.flush()
    return outcome


async def _version(
    outcome: Outcome,
    version: str,
    notebook: NotebookNode,
    settings: Settings,
    slots: asyncio.Semaphore,
    scratch: Path,
) -> None:
    target = outcome.lab.target(version)
    try:
        stored = nbformat.read(target, as_version=4) if target.exists() else None
    except Exception as error:  # nbformat raises many kinds
        stored = None
        outcome.problems += [f"{target}: unreadable ({error})."] if settings.check else []
    if settings.check and stored is None:
        outcome.problems.append(f"{target}: is missing; its source has not been built.")
        return
    began = time.perf_counter()
    if settings.run:
        async with slots:
            began = time.perf_counter()
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                await execute(notebook, target.parent, scratch, settings.timeout_s)
            except ExecutionError as error:
                outcome.problems.append(f"{outcome.lab.name} ({version}): {error}")
                return
    missing = skipped(notebook)
    if missing and (must_be_there() or not settings.check):
        outcome.problems.append(f"{target}: left as it is. {missing}")
        return
    took = f"{version} {time.perf_counter() - began:.1f} s"
    if not settings.check:
        if stored is not None and not settings.refresh:
            keep_what_may_vary(stored, notebook, settings.patterns)
        changed = _write(notebook, target)
        outcome.notes.append(f"{took} ({'written' if changed else 'unchanged'})")
        return
    assert stored is not None
    ran = settings.run and not missing
    found = list(differences(stored, notebook, settings.patterns if ran else None))
    if not found and ran and not _is_clean(target):
        found = ["is not stored as the builder stores it (keys, order, line ends)"]
    outcome.problems += [f"{target}: {what}" for what in found]
    said = "differs" if found else "matches" if not missing else "skipped, its text matches"
    outcome.notes.append(f"{took} ({said})")


def _text(notebook: NotebookNode) -> str:
    nbformat.validate(notebook)
    return nbformat.writes(notebook, version=4).rstrip("\n") + "\n"


def _write(notebook: NotebookNode, target: Path) -> bool:
    """Write the notebook; return whether that changed the file."""
    data = _text(notebook).encode()
    if target.exists() and target.read_bytes() == data:
        return False
    target.write_bytes(data)
    return True


def _is_clean(target: Path) -> bool:
    data = target.read_bytes().replace(b"\r\n", b"\n")  # git may check out with CRLF
    return _text(nbformat.read(target, as_version=4)).encode() == data


def _report_orphans(folder: Path, labs: list[Lab]) -> int:
    built = {lab.target(version) for lab in labs for version in (STUDENT, SOLVED)}
    there = [*folder.glob("[0-9][0-9]-*.ipynb"), *(folder / "solutions").glob("*.ipynb")]
    orphans = sorted(set(there) - built)
    for path in orphans:
        print(f"{path}: has no source in {folder / 'source'}; write one, or remove it.")
    return len(orphans)


def _counted(problems: int) -> str:
    if not problems:
        return "no problem"
    return "1 problem" if problems == 1 else f"{problems} problems"


if __name__ == "__main__":
    sys.exit(main())
