"""Whether two executions of a notebook say the same, and where they do not."""

from __future__ import annotations

import base64
import copy
import difflib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

IGNORED_TAGS = frozenset({"nbval-ignore-output", "nbval-skip"})
SANITIZE_FILE = Path(__file__).resolve().parents[1] / "nbval_sanitize.cfg"

PICTURE_TOLERANCE = 0.03
"""Mean difference of two pictures' pixels (0 to 1) that another font or version may make."""

_IGNORE_MARK = re.compile(r"(?m)^\s*#+\s*(PYTEST_VALIDATE|NBVAL)_(IGNORE_OUTPUT|SKIP)\s*$")
_SANITIZE_PAIR = re.compile(r"^regex: (.*)$\n^replace: (.*)$", re.MULTILINE)

Patterns = list[tuple[re.Pattern[str], str]]


def read_patterns(path: Path = SANITIZE_FILE) -> Patterns:
    """What legitimately varies from run to run, as nbval reads it."""
    pairs = _SANITIZE_PAIR.findall(path.read_text(encoding="utf-8"))
    return [(re.compile(regex), replacement) for regex, replacement in pairs]


def sanitize(text: str, patterns: Patterns) -> str:
    """The text with everything that may vary replaced."""
    for pattern, replacement in patterns:
        text = pattern.sub(replacement, text)
    return text


def ignores_output(cell: NotebookNode) -> bool:
    """Whether nbval does not compare this cell."""
    if IGNORED_TAGS & set(cell.metadata.get("tags", [])):
        return True
    return _IGNORE_MARK.search(cell.source) is not None


def keep_what_may_vary(old: NotebookNode, new: NotebookNode, patterns: Patterns) -> None:
    """Give `new` the stored outputs of `old` where they differ only in what may vary."""
    before = {cell.id: cell for cell in old.cells if cell.cell_type == "code"}
    for cell in new.cells:
        stored = before.get(cell.id)
        if stored is None or cell.cell_type != "code" or stored.source != cell.source:
            continue
        if ignores_output(cell):
            same = _shape(stored.outputs) == _shape(cell.outputs)
        else:
            same = _lines(stored.outputs, patterns) == _lines(cell.outputs, patterns)
            same = same and _pictures(stored.outputs) == _pictures(cell.outputs)
        if same:
            cell.outputs = _renumbered(stored.outputs, cell.execution_count)


def differences(old: NotebookNode, new: NotebookNode, patterns: Patterns | None) -> Iterator[str]:
    """Where the stored notebook `old` is not what its source gives; `None`: compare no outputs."""
    if patterns is not None and old.metadata != new.metadata:
        yield f"the notebook's metadata is {dict(old.metadata)}, not {dict(new.metadata)}"
    before = {cell.get("id"): cell for cell in old.cells}
    for position, cell in enumerate(new.cells, start=1):
        head = f"cell {position} ({cell.id})"
        stored = before.pop(cell.id, None)
        if stored is None:
            yield f"{head}: is in the source only"
            continue
        for what in _cell_differences(stored, cell, patterns):
            yield f"{head}: {what}"
    for cell_id in before:
        yield f"cell {cell_id}: is in the built notebook only"
    ids = {cell.id for cell in new.cells}
    order = [cell.get("id") for cell in old.cells if cell.get("id") in ids]
    if not before and order != [cell.id for cell in new.cells if cell.id in order]:
        yield "the cells stand in another order"


def _cell_differences(
    stored: NotebookNode, cell: NotebookNode, patterns: Patterns | None
) -> Iterator[str]:
    if stored.cell_type != cell.cell_type:
        yield f"is {stored.cell_type} in the built notebook, {cell.cell_type} in the source"
        return
    if stored.source != cell.source:
        yield "the text differs" + _diff(stored.source.splitlines(), cell.source.splitlines())
        return
    if dict(stored.metadata) != dict(cell.metadata):
        yield f"the metadata is {dict(stored.metadata)}, not {dict(cell.metadata)}"
    if patterns is None or cell.cell_type != "code":
        return
    if stored.execution_count != cell.execution_count:
        yield f"the execution count is {stored.execution_count}, not {cell.execution_count}"
    if ignores_output(cell):
        return
    was, now = _lines(stored.outputs, patterns), _lines(cell.outputs, patterns)
    if was != now:
        yield "the output differs" + _diff(was, now)
        return
    pairs = zip(_pictures(stored.outputs), _pictures(cell.outputs), strict=True)
    if any(not _alike(one, other) for one, other in pairs):
        yield "the picture differs"


def _diff(stored: list[str], built: list[str]) -> str:
    lines = difflib.unified_diff(stored, built, "stored", "from the source", n=1, lineterm="")
    return ":\n" + "\n".join(f"    {line}" for line in lines)


def _lines(outputs: list[NotebookNode], patterns: Patterns) -> list[str]:
    """The outputs as lines of text, pictures by their alt text, what may vary replaced."""
    lines: list[str] = []
    for output in outputs:
        if output.output_type == "stream":
            lines += [f"[{output.name}]", *sanitize(output.text, patterns).splitlines()]
        elif output.output_type == "error":
            lines.append(f"[error] {output.ename}: {sanitize(output.evalue, patterns)}")
        else:
            lines.append(f"[{output.output_type}]")
            for mime, value in sorted(output.data.items()):
                facts = output.metadata.get(mime)
                lines.append(f"[{mime}]" + (f" {json.dumps(facts)}" if facts else ""))
                if not _is_picture(mime):
                    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
                    lines += sanitize(text, patterns).splitlines()
    return lines


def _shape(outputs: list[NotebookNode]) -> list[tuple[str, ...]]:
    return [
        (output.output_type, output.get("name", ""), *sorted(output.get("data", {})))
        for output in outputs
    ]


def _is_picture(mime: str) -> bool:
    return mime in ("image/png", "image/jpeg")


def _pictures(outputs: list[NotebookNode]) -> list[str]:
    return [
        value.strip()
        for output in outputs
        for mime, value in sorted(output.get("data", {}).items())
        if _is_picture(mime)
    ]


def _alike(one: str, other: str) -> bool:
    """Whether two pictures differ by no more than fonts and versions do."""
    if one == other:
        return True
    import numpy as np
    from PIL import Image

    first, second = (
        Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB") for picture in (one, other)
    )
    for length, other_length in zip(first.size, second.size, strict=True):
        if abs(length - other_length) > 0.05 * length:
            return False
    second = second.resize(first.size)
    apart = np.abs(np.asarray(first, dtype=float) - np.asarray(second, dtype=float)) / 255
    return float(apart.mean()) <= PICTURE_TOLERANCE


def _renumbered(outputs: list[NotebookNode], count: int) -> list[NotebookNode]:
    kept = copy.deepcopy(outputs)
    for output in kept:
        if output.output_type == "execute_result":
            output["execution_count"] = count
    return kept
