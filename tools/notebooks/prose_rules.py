"""Rules about headings, words, pictures and links in the text."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from urllib.parse import unquote

from tools.notebooks.page import Finding, Page, prose, without_fences

_WORDS = re.compile(r"\b(simply|just|obviously|easy|easily)\b", re.IGNORECASE)
_PICTURE = re.compile(r"!\[([^\]]*)\]\(")
_IMG = re.compile(r"<img\b(?![^>]*\balt\s*=\s*[\"']\s*\S)[^>]*>", re.IGNORECASE)
_LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)|\b(?:href|src)\s*=\s*["']([^"']+)""")
_OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_MERMAID = re.compile(r"^```+\s*mermaid\b.*?^```+\s*$", re.MULTILINE | re.DOTALL)
_NOT_PROSE = re.compile(r"\s*(#{1,6}\s|```|!\[|<(?!(details|p)\b)|\||$)")


def headings(page: Page) -> Iterator[Finding]:
    """One H1, at the top; no level left out."""
    tops = [n for n, level, _ in page.headings if level == 1]
    if not tops:
        yield Finding(0, "one-h1", "the notebook has no H1; begin with one, '# …'.")
    for n in tops[1:]:
        yield Finding(n, "one-h1", "is a second H1; use '##' for a section.")
    before = 0
    for n, level, text in page.headings:
        if level > before + 1:
            yield Finding(
                n,
                "heading-level",
                f"{text!r} has level {level} after level {before}; use level {before + 1}.",
            )
        before = level


def cell_count(page: Page) -> Iterator[Finding]:
    """A lab is neither a page nor a book."""
    count, limits = len(page.cells), page.limits
    if not limits.min_cells <= count <= limits.max_cells:
        yield Finding(
            max(0, count - 1),
            "cell-count",
            f"the notebook has {count} cells; keep to {limits.min_cells} to {limits.max_cells}.",
        )


def words(page: Page) -> Iterator[Finding]:
    """No word that tells a reader who is stuck that it is not hard."""
    for n, cell in enumerate(page.cells):
        text = prose(cell.source) if cell.cell_type == "markdown" else _comments(cell.source)
        for word in sorted({match[0].lower() for match in _WORDS.finditer(text)}):
            yield Finding(n, "word", f"says {word!r}; leave it out.")


def _comments(source: str) -> str:
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                found.append(token.string)
    except (tokenize.TokenError, SyntaxError):
        pass  # a magic: what came before it has been read
    return "\n".join(found)


def pictures(page: Page) -> Iterator[Finding]:
    """Every picture in the text has alt text."""
    for n, cell in page.markdown():
        text = prose(cell.source)
        if any(not match[1].strip() for match in _PICTURE.finditer(text)) or _IMG.search(text):
            yield Finding(
                n, "alt-text", "has a picture without alt text; write ![what it shows](…)."
            )


def diagrams(page: Page) -> Iterator[Finding]:
    """The same flow in words after every mermaid diagram."""
    for n, cell in page.markdown():
        after = n + 1
        for match in _MERMAID.finditer(cell.source):
            rest = cell.source[match.end() :].strip()
            if not rest and after < len(page.cells) and page.cells[after].cell_type == "markdown":
                rest = page.cells[after].source.strip()
            if _NOT_PROSE.match(rest):
                yield Finding(
                    n, "diagram-in-words", "no words follow the diagram; tell the flow below it."
                )


def links(page: Page) -> Iterator[Finding]:
    """Links within the course lead somewhere."""
    anchors = {text.replace(" ", "-") for _, _, text in page.headings}
    for n, cell in page.markdown():
        for match in _LINK.finditer(without_fences(cell.source)):
            target = unquote(match[1] or match[2])
            if _OUTSIDE.match(target) or target.startswith("//"):
                continue
            path, _, anchor = target.partition("#")
            if not path and anchor not in anchors:
                yield Finding(
                    n, "link", f"'#{anchor}' is no heading here; copy the heading, '-' for spaces."
                )
            elif path and not (page.path.parent / path).exists():
                yield Finding(n, "link", f"{path!r} does not exist; correct the link.")


RULES = (headings, cell_count, words, pictures, diagrams, links)
