"""Rules about the code that a student reads."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import TypeGuard

from tools.notebooks.page import Finding, Page, parse

_MARK = re.compile(r"###\s*(BEGIN|END)\s+(SOLUTION|STUB)")
_NO_CODE = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    | {tokenize.ENDMARKER}
)
_THREAD_STARTERS = {"Thread": 1, "Timer": 1, "submit": 0, "map": 0, "start_new_thread": 0}
"""Where the function stands among the arguments; for Thread and Timer it may have a name too."""

_CALLBACK_SETTERS = ("set_message_callback", "route", "filter")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tokens(source: str) -> list[tokenize.TokenInfo]:
    """The tokens of the source, as far as they can be read."""
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            found.append(token)
    except (tokenize.TokenError, SyntaxError):
        pass  # a magic; what came before it counts
    return found


def length(page: Page) -> Iterator[Finding]:
    """A cell is read at one glance."""
    for n, cell in page.code():
        count = code_lines(cell.source)
        if count > page.limits.code_lines:
            yield Finding(
                n,
                "cell-length",
                f"has {count} code lines, the limit is {page.limits.code_lines}; split the cell, "
                "or move helpers into labkit.",
            )


def code_lines(source: str) -> int:
    """Lines with code: not blank, no comment, no docstring."""
    tree = parse(source)
    if tree is None:
        return sum(bool(re.match(r"\s*[^#\s]", line)) for line in source.splitlines())
    lines = {
        line
        for token in tokens(source)
        if token.type not in _NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(tree):
        if _is_docstring(node):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def _is_docstring(node: ast.AST) -> TypeGuard[ast.Expr]:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def semicolons(page: Page) -> Iterator[Finding]:
    """A `;` at the end hides nothing under nbval."""
    for n, cell in page.code():
        found = [token for token in tokens(cell.source) if token.type not in _NO_CODE]
        by_line = {token.end[0]: token for token in found}
        if any(token.string == ";" for token in by_line.values()):
            yield Finding(n, "semicolon", "a line ends in ';'; to hide a value write '_ = …'.")


def marks(page: Page) -> Iterator[Finding]:
    """No author's mark is left."""
    for n, cell in enumerate(page.cells):
        if _MARK.search(cell.source):
            yield Finding(n, "mark", "shows an author's mark; build the notebook from its source.")


def printing_threads(page: Page) -> Iterator[Finding]:
    """No function that runs in a thread prints: lines tear and tails vanish."""
    printing: set[str] = set()
    callbacks: dict[str, set[str]] = {}
    for n, tree in page.trees:
        printing |= _printing_functions(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and _is_printing_thread(node):
                yield _printing_finding(n, f"{node.name}.run")
            if not isinstance(node, ast.Call):
                continue
            _note_callbacks(node, callbacks)
            for name in sorted(_run_in_threads(node, callbacks) & (printing | {"print", _LAMBDA})):
                yield _printing_finding(n, name)


_LAMBDA = "a lambda"


def _printing_finding(cell: int, name: str) -> Finding:
    return Finding(
        cell,
        "print-in-thread",
        f"{name} prints in a thread; append to a list there, and show it after the join or stop.",
    )


def _printing_functions(tree: ast.Module) -> set[str]:
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    return {function.name for function in functions if _prints(function)}


def _prints(node: ast.AST) -> bool:
    return any(
        isinstance(part, ast.Call) and _called(part) in ("print", "display")
        for part in ast.walk(node)
    )


def _called(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def _is_printing_thread(node: ast.ClassDef) -> bool:
    bases = [getattr(base, "attr", getattr(base, "id", "")) for base in node.bases]
    runs = [part for part in node.body if isinstance(part, Function) and part.name == "run"]
    return "Thread" in bases and any(_prints(run) for run in runs)


def _names(node: ast.expr | None) -> set[str]:
    if isinstance(node, ast.Lambda):
        return {_LAMBDA} if _prints(node) else set()
    name = getattr(node, "attr", getattr(node, "id", None))
    return {str(name)} if name is not None else set()


def _note_callbacks(call: ast.Call, callbacks: dict[str, set[str]]) -> None:
    """Remember which functions a subscriber calls."""
    if _called(call) not in _CALLBACK_SETTERS or not isinstance(call.func, ast.Attribute):
        return
    owner = ast.unparse(call.func.value)
    for value in [*call.args, *(keyword.value for keyword in call.keywords)]:
        callbacks.setdefault(owner, set()).update(_names(value))


def _run_in_threads(call: ast.Call, callbacks: dict[str, set[str]]) -> set[str]:
    """The functions that this call lets run in a thread."""
    name = _called(call)
    if name == "listen" and isinstance(call.func, ast.Attribute):
        return callbacks.get(ast.unparse(call.func.value), set())
    if name not in _THREAD_STARTERS:
        return set()
    if name in ("submit", "map") and not isinstance(call.func, ast.Attribute):
        return set()  # the built-in map runs in no thread
    position = _THREAD_STARTERS[name]
    named = [word.value for word in call.keywords if word.arg in ("target", "function")]
    given = [*named, *call.args[position : position + 1]]
    return set().union(*map(_names, given))


RULES = (length, semicolons, marks, printing_threads)
