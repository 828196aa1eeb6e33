#!/usr/bin/env python3
"""Lint built notebooks: what a student opens must be run, readable and true.

    python tools/check_notebooks.py                     all of notebooks/ and notebooks/solutions/
    python tools/check_notebooks.py notebooks/02-*.ipynb

One finding a line, `file: cell N (id): rule: what, and what to do`; then a line that counts. Exits
with 1 if anything was found. N counts all cells from 1.

Rules on what is stored: execution-count, stderr, traceback, alt-text, credentials, absolute-path,
compared-share, assert-after-ignored, check-after-exercise, check-result. On the text: one-h1,
heading-level, cell-count, word, alt-text, diagram-in-words, link. On the code: cell-length,
semicolon, mark, print-in-thread. On the file: unreadable.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

import nbformat  # noqa: E402

from tools.notebooks import code_rules, output_rules, prose_rules  # noqa: E402
from tools.notebooks.page import Finding, Limits, Page  # noqa: E402

RULES = (*output_rules.RULES, *prose_rules.RULES, *code_rules.RULES)


def check(page: Page) -> list[Finding]:
    """All findings in one notebook, from its first cell to its last."""
    found = [finding for rule in RULES for finding in rule(page)]
    return sorted(found, key=lambda finding: (finding.cell, finding.rule))


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    limits = Limits(
        options.max_code_lines, options.min_cells, options.max_cells, options.min_compared / 100
    )
    files = options.files or _all_built()
    if not files:
        print("No notebooks to check. Build them with 'python tools/build_notebooks.py'.")
        return 2
    findings = shown = compared = 0
    for path in files:
        try:
            page = Page(path, limits)
            nbformat.validate(page.notebook)
        except Exception as error:  # nbformat raises many kinds
            print(
                f"{_short(path)}: cell 0 (none): unreadable: {_first_line(error)}; build it again."
            )
            findings += 1
            continue
        found = check(page)
        findings += len(found)
        for finding in found:
            print(_line(path, page, finding))
        with_output, same = output_rules.counted(page)
        shown, compared = shown + with_output, compared + same
    share = f"{100 * compared // shown} %" if shown else "none"
    print(
        f"{_count(len(files), 'notebook')}, {_count(findings, 'finding')}; {compared} of "
        f"{_count(shown, 'cell')} with output compared ({share})."
    )
    return 1 if findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tools/check_notebooks.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    limits = Limits()
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="built notebooks")
    for option, value, text in (
        ("--max-code-lines", limits.code_lines, "code lines in a cell"),
        ("--min-cells", limits.min_cells, "cells in a notebook, at least"),
        ("--max-cells", limits.max_cells, "cells in a notebook, at most"),
        ("--min-compared", round(100 * limits.min_compared), "%% of cells with output compared"),
    ):
        parser.add_argument(option, type=int, default=value, help=f"{text} (default {value})")
    return parser


def _all_built() -> list[Path]:
    folder = ROOT / "notebooks"
    return [*sorted(folder.glob("*.ipynb")), *sorted((folder / "solutions").glob("*.ipynb"))]


def _line(path: Path, page: Page, finding: Finding) -> str:
    cell_id = page.cells[finding.cell].get("id", "no id") if page.cells else "none"
    what = finding.what.replace("\n", " ")
    return f"{_short(path)}: cell {finding.cell + 1} ({cell_id}): {finding.rule}: {what}"


def _short(path: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
