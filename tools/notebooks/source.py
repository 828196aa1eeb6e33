"""From one text file a lab to two notebooks: the student's and the solved one.

The form of a source is told in `tools/build_notebooks.py`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

STUDENT = "student"
SOLVED = "solved"

EXERCISE_TAG = "exercise"
ONLY_IN = {"student-only": STUDENT, "solution-only": SOLVED}
KEPT_METADATA = ("tags", "jupyter", "editable", "deletable", "slideshow")
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

_MARK = re.compile(r"^\s*### (BEGIN|END) (SOLUTION|STUB)\s*$")
_ANY_MARK = re.compile(r"#+\s*(BEGIN|END)\s+(SOLUTION|STUB)", re.IGNORECASE)
_STUB_LINE = re.compile(r"^(\s*)# ?(.*)$")
_SOURCE_NAME = re.compile(r"(\d\d)_([a-z0-9_]+)\.py")
_CELL_NAME = re.compile(r"[a-z][a-z0-9-]{0,50}")
_LINK = re.compile(r"(\]\()([^)\s]+)(?=[)\s])")
_LAB = re.compile(r"\d\d-[a-z0-9-]+\.ipynb")


class SourceError(Exception):
    """A source that cannot be built: which cell, what is wrong, what to do."""


@dataclass(frozen=True)
class Lab:
    """One source and the two notebooks that come from it.

    Attributes:
        source: `…/source/02_publish.py`.
        folder: where the student's notebook lies; the solved one lies in `solutions/` below it.
    """

    source: Path
    folder: Path

    @property
    def number(self) -> str:
        """The lab's two digits: "02"."""
        return self.source.name[:2]

    @property
    def name(self) -> str:
        """As the notebook is called: "02-publish"."""
        return self.source.stem.replace("_", "-")

    def target(self, version: str) -> Path:
        """Where the student's or the solved notebook lies."""
        place = self.folder if version == STUDENT else self.folder / "solutions"
        return place / f"{self.name}.ipynb"


def find_labs(folder: Path, wanted: list[str]) -> list[Lab]:
    """The labs in `folder/source` that are named by "02", "2", "02_publish" or a path; all if none.

    Raises:
        SourceError: a name that fits no source, or a source whose name has not the form.
    """
    paths = sorted((folder / "source").glob("*.py"))
    for path in paths:
        if not _SOURCE_NAME.fullmatch(path.name):
            raise SourceError(f"{path}: a source is called NN_name.py, as in 02_publish.py.")
    labs = [Lab(path, folder) for path in paths]
    if not wanted:
        return labs
    return [lab for name in wanted for lab in _named(name, labs)]


def _named(name: str, labs: list[Lab]) -> list[Lab]:
    stem = Path(name).stem.replace("-", "_")
    number = stem.zfill(2) if stem.isdigit() else None
    found = [lab for lab in labs if lab.number == number or lab.source.stem == stem]
    if not found:
        known = ", ".join(lab.source.stem for lab in labs) or "none"
        raise SourceError(f"No source is called {name!r}. There are: {known}.")
    return found


def read_lab(lab: Lab) -> dict[str, NotebookNode]:
    """The student's and the solved notebook, not executed yet.

    Raises:
        SourceError: says in which cell the source has not the form.
    """
    cells = jupytext.reads(lab.source.read_text(encoding="utf-8"), fmt="py:percent").cells
    named = list(_identified(lab, cells))
    return {version: _notebook(named, version) for version in (STUDENT, SOLVED)}


@dataclass(frozen=True)
class _Cell:
    id: str
    kind: str
    metadata: dict[str, object]
    only_in: str | None
    text: dict[str, str]


def _identified(lab: Lab, cells: list[NotebookNode]) -> Iterator[_Cell]:
    seen: set[str] = set()
    for position, cell in enumerate(cells, start=1):
        where = f"{lab.source}: cell {position}"
        name = cell.metadata.get("name")
        if name is not None and not _CELL_NAME.fullmatch(name):
            raise SourceError(f"{where}: the name {name!r} must be small letters, digits and '-'.")
        cell_id = f"lab{lab.number}-{name or f'{position:02}'}"
        if cell_id in seen:
            raise SourceError(f"{where}: another cell is called {name!r} too. Rename one.")
        seen.add(cell_id)
        yield _cell(where, cell_id, cell)


def _cell(where: str, cell_id: str, cell: NotebookNode) -> _Cell:
    if cell.cell_type not in ("code", "markdown"):
        raise SourceError(f"{where}: a {cell.cell_type} cell; use code or markdown.")
    unknown = set(cell.metadata) - {*KEPT_METADATA, "name", "lines_to_next_cell"}
    if unknown:
        raise SourceError(
            f"{where}: unknown metadata {sorted(unknown)}; known: name, {', '.join(KEPT_METADATA)}."
        )
    tags = list(cell.metadata.get("tags", []))
    only_in = next((ONLY_IN[tag] for tag in tags if tag in ONLY_IN), None)
    tags = [tag for tag in tags if tag not in ONLY_IN]
    text = dict.fromkeys((STUDENT, SOLVED), cell.source)
    if cell.cell_type == "markdown":
        text[SOLVED] = links_from_solutions(cell.source)
    elif _ANY_MARK.search(cell.source):
        text = split_exercise(cell.source, where)
        tags = [*tags, EXERCISE_TAG] if EXERCISE_TAG not in tags else tags
    metadata = {key: cell.metadata[key] for key in KEPT_METADATA if key in cell.metadata}
    metadata.pop("tags", None)
    return _Cell(
        cell_id, cell.cell_type, {**metadata, **({"tags": tags} if tags else {})}, only_in, text
    )


def _notebook(cells: list[_Cell], version: str) -> NotebookNode:
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    chosen = [cell for cell in cells if cell.only_in in (None, version)]
    notebook = nbformat.v4.new_notebook(
        cells=[
            make[c.kind](source=c.text[version], metadata=dict(c.metadata), id=c.id) for c in chosen
        ],
        metadata={"kernelspec": dict(KERNELSPEC), "language_info": {"name": "python"}},
    )
    notebook.nbformat_minor = 5
    return notebook


def split_exercise(source: str, where: str) -> dict[str, str]:
    """The student's and the solved form of an exercise cell.

    Raises:
        SourceError: marks that do not pair, a solution without a stub, a stub that is no comment.
    """
    lines: dict[str, list[str]] = {STUDENT: [], SOLVED: []}
    inside: str | None = None
    met: set[str] = set()
    for line in source.splitlines():
        mark = _MARK.match(line)
        if mark is not None:
            inside = _step(mark[1], mark[2], inside, where)
            met.add(mark[2])
        elif _ANY_MARK.search(line):
            raise SourceError(f"{where}: write the mark alone on its line, not {line.strip()!r}.")
        elif inside == "STUB":
            lines[STUDENT].append(_uncomment(line, where))
        else:
            lines[SOLVED].append(line)
            if inside is None:
                lines[STUDENT].append(line)
    if inside is not None:
        raise SourceError(f"{where}: '### BEGIN {inside}' has no '### END {inside}'.")
    if met != {"SOLUTION", "STUB"}:
        missing = ({"SOLUTION", "STUB"} - met).pop()
        raise SourceError(f"{where}: an exercise needs a solution and a stub; add the {missing}.")
    return {version: "\n".join(text).strip("\n") for version, text in lines.items()}


def _step(mark: str, kind: str, inside: str | None, where: str) -> str | None:
    if mark == "BEGIN" and inside is None:
        return kind
    if mark == "END" and inside == kind:
        return None
    state = f"inside a {inside}" if inside else "outside of any block"
    raise SourceError(f"{where}: '### {mark} {kind}' stands {state}.")


def _uncomment(line: str, where: str) -> str:
    if not line.strip():
        return ""
    match = _STUB_LINE.match(line)
    if match is None:
        raise SourceError(f"{where}: a stub's lines are comments, not {line.strip()!r}.")
    return (match[1] + match[2]).rstrip()


def links_from_solutions(text: str) -> str:
    """The markdown with its relative links as they read from `solutions/`.

    A link to another lab stays: from a solved lab it leads to the solved one.
    """
    return _LINK.sub(lambda match: match[1] + _relinked(match[2]), text)


def _relinked(target: str) -> str:
    if re.match(r"[a-z][a-z0-9+.-]*:|#|/", target, re.IGNORECASE):
        return target
    path, sharp, anchor = target.partition("#")
    if _LAB.fullmatch(posixpath.normpath(path)):
        return target
    return posixpath.relpath(path, "solutions") + sharp + anchor
