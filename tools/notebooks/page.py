"""What a linter's rule reads: one notebook; and what it says: findings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
from nbformat import NotebookNode

_FENCE = re.compile(r"^(```+|~~~+)[^\n]*\n.*?^\1\s*$", re.MULTILINE | re.DOTALL)
_CODE_SPAN = re.compile(r"`[^`\n]*`")
MEASURES_TAG = "measures"
_MAGIC = re.compile(r"^\s*[%!]", re.MULTILINE)


@dataclass(frozen=True)
class Limits:
    """What a lab may be at most, and must be at least.

    A lab whose subject is timing has fewer outputs that can repeat; its tag `measures` says so.
    """

    code_lines: int = 12
    min_cells: int = 20
    max_cells: int = 45
    min_compared: float = 0.85
    min_compared_measuring: float = 0.6


@dataclass(frozen=True)
class Finding:
    """One thing to put right.

    Attributes:
        cell: position of the cell, from 0.
        rule: the rule's name.
        what: what is wrong, and what to do.
    """

    cell: int
    rule: str
    what: str


class Page:
    """One built notebook."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self.limits = limits
        self.notebook = nbformat.read(path, as_version=4)
        self.cells: list[NotebookNode] = self.notebook.cells

    @property
    def least_compared(self) -> float:
        """The share of cells with output that must be compared."""
        measures = any(MEASURES_TAG in tags(cell) for cell in self.cells)
        return self.limits.min_compared_measuring if measures else self.limits.min_compared

    @property
    def solved(self) -> bool:
        """Whether it is a solved notebook: they lie in a folder of that name."""
        return self.path.resolve().parent.name == "solutions"

    def code(self) -> Iterator[tuple[int, NotebookNode]]:
        """The code cells with something in them, with their positions."""
        return (
            (n, cell)
            for n, cell in enumerate(self.cells)
            if cell.cell_type == "code" and cell.source.strip()
        )

    def markdown(self) -> Iterator[tuple[int, NotebookNode]]:
        """The markdown cells, with their positions."""
        return ((n, cell) for n, cell in enumerate(self.cells) if cell.cell_type == "markdown")

    def next_code(self, position: int) -> NotebookNode | None:
        """The next code cell after a position."""
        return next((cell for n, cell in self.code() if n > position), None)

    @cached_property
    def headings(self) -> list[tuple[int, int, str]]:
        """Cell, level and text of every heading."""
        found = []
        for n, cell in self.markdown():
            for match in re.finditer(r"(?m)^(#{1,6})\s+(.+?)\s*#*$", without_fences(cell.source)):
                found.append((n, len(match[1]), match[2]))
        return found

    @cached_property
    def trees(self) -> list[tuple[int, ast.Module]]:
        """The code cells as syntax trees; a cell with magics in it is left out."""
        parsed = ((n, parse(cell.source)) for n, cell in self.code())
        return [(n, tree) for n, tree in parsed if tree is not None]


def tags(cell: NotebookNode) -> set[str]:
    """The cell's tags."""
    return set(cell.metadata.get("tags", []))


def parse(source: str) -> ast.Module | None:
    """The syntax tree, or None for what is not plain Python."""
    if _MAGIC.search(source):
        return None
    try:
        return ast.parse(source)
    except SyntaxError:
        return None


def without_fences(markdown: str) -> str:
    """The markdown without its fenced blocks."""
    return _FENCE.sub("", markdown)


def prose(markdown: str) -> str:
    """The markdown without code."""
    return _CODE_SPAN.sub("", without_fences(markdown))


def texts(output: NotebookNode) -> Iterator[str]:
    """All the text of an output, with a traceback's."""
    yield output.get("text", "")
    yield output.get("evalue", "")
    yield from output.get("traceback", [])
    for mime, value in output.get("data", {}).items():
        if isinstance(value, str) and not mime.startswith("image/"):
            yield value
