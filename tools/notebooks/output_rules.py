"""Rules about what is stored: counts, errors, pictures, what is compared."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from nbformat import NotebookNode

from tools.notebooks.compare import ignores_output
from tools.notebooks.page import Finding, Page, parse, tags, texts

_IMG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_ALT = re.compile(r"""\balt\s*=\s*(["'])\s*\S""", re.IGNORECASE)
_CREDENTIALS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@]*:(?!\*+@)[^\s@/]+@", re.IGNORECASE)
_PATH = re.compile(
    r"(?<![\w/.:~-])/(?:home|Users|root|tmp|var|private|opt|usr|mnt|srv|work|workspace|app)/[^\s'\"<]+"
    r"|\b[A-Za-z]:\\\\?\w[^\s'\"<]*"
)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def execution_counts(page: Page) -> Iterator[Finding]:
    """Every code cell has been run, from the first to the last."""
    for expected, (n, cell) in enumerate(page.code(), start=1):
        if cell.execution_count is None:
            yield Finding(n, "execution-count", "was not executed; build the notebook again.")
        elif cell.execution_count != expected:
            yield Finding(
                n,
                "execution-count",
                f"is number {cell.execution_count} and should be {expected}: cells were run in "
                "another order; build the notebook again.",
            )


def errors(page: Page) -> Iterator[Finding]:
    """No stderr and no traceback, unless they are the lesson."""
    for n, cell in page.code():
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                if "shows-stderr" not in tags(cell):
                    first = output.text.strip().splitlines()[:1]
                    yield Finding(
                        n,
                        "stderr",
                        f"stores stderr ({''.join(first)[:60]!r}); prevent it, or tag the cell "
                        "shows-stderr if it is the lesson.",
                    )
            elif output.output_type == "error" and "raises-exception" not in tags(cell):
                yield Finding(
                    n,
                    "traceback",
                    f"stores a traceback ({output.ename}); mend the cell, or tag it "
                    "raises-exception if it is the lesson.",
                )


def alt_texts(page: Page) -> Iterator[Finding]:
    """Every stored picture has alt text."""
    for n, cell in page.code():
        for output in cell.outputs:
            data, metadata = output.get("data", {}), output.get("metadata", {})
            for mime in data:
                if mime.startswith("image/") and not _has_alt(metadata.get(mime)):
                    yield Finding(
                        n,
                        "alt-text",
                        f'stores a picture ({mime}) without alt text; show it with metadata={{"'
                        f'{mime}": {{"alt": "…"}}}}.',
                    )
            images = _IMG.findall(str(data.get("text/html", "")))
            if any(not _ALT.search(image) for image in images):
                yield Finding(n, "alt-text", "shows an <img> without alt text; add alt=….")


def _has_alt(facts: object) -> bool:
    return isinstance(facts, dict) and bool(str(facts.get("alt", "")).strip())


def secrets_and_paths(page: Page) -> Iterator[Finding]:
    """No password and no path of the author's machine in an output."""
    for n, cell in page.code():
        text = _ANSI.sub("", "\n".join(part for o in cell.outputs for part in texts(o)))
        if _CREDENTIALS.search(text):
            yield Finding(n, "credentials", "stores a URL with a password; show it redacted.")
        path = _PATH.search(text)
        if path is not None:
            yield Finding(
                n,
                "absolute-path",
                f"stores a path of one machine ({path[0]}); show a relative one or its name.",
            )


def counted(page: Page) -> tuple[int, int]:
    """How many cells have output, and how many of them are compared."""
    shown = [cell for _, cell in page.code() if cell.outputs]
    return len(shown), sum(not ignores_output(cell) for cell in shown)


def compared_share(page: Page) -> Iterator[Finding]:
    """Enough cells are compared, and the others are followed by one that asserts."""
    shown, compared = counted(page)
    ignored = [n for n, cell in page.code() if ignores_output(cell)]
    if shown and compared / shown < page.least_compared:
        yield Finding(
            ignored[0],
            "compared-share",
            f"of {shown} cells with output only {compared} are compared, "
            f"{compared / shown:.0%}; at least {page.least_compared:.0%}. Make outputs "
            "repeatable (StepClock), or show less of what varies.",
        )
    for n in ignored:
        following = page.next_code(n)
        if following is None or not (_asserts(following) and not ignores_output(following)):
            yield Finding(
                n,
                "assert-after-ignored",
                "ignores its output and no asserting cell follows; add one that asserts what must "
                "hold and prints a fixed line.",
            )


def _asserts(cell: NotebookNode) -> bool:
    tree = parse(cell.source)
    return tree is not None and any(isinstance(node, ast.Assert) for node in ast.walk(tree))


def checks(page: Page) -> Iterator[Finding]:
    """Every exercise is followed by its check, which says what it must say."""
    for n, cell in page.code():
        if "exercise" not in tags(cell):
            continue
        following = page.next_code(n)
        if following is None or not _calls_check(following):
            yield Finding(
                n,
                "check-after-exercise",
                "no check follows; let the next code cell call check_…().",
            )
            continue
        said = "\n".join(part for output in following.outputs for part in texts(output))
        expected = ": correct." if page.solved else ": not attempted yet."
        if expected not in said:
            kind = "solved" if page.solved else "student's"
            yield Finding(
                page.cells.index(following),
                "check-result",
                f"in the {kind} notebook the check must say {expected[2:]!r}, not {said[:80]!r}.",
            )


def _calls_check(cell: NotebookNode) -> bool:
    tree = parse(cell.source)
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)] if tree else []
    names = [getattr(call, "attr", getattr(call, "id", "")) for call in calls]
    return any(name.startswith("check") for name in names)


RULES = (execution_counts, errors, alt_texts, secrets_and_paths, compared_share, checks)
