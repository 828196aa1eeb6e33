"""Counting code: lines that say something, without blank ones, comments and docstrings."""

from __future__ import annotations

import ast
import io
import textwrap
import tokenize
from importlib.resources import files

_NO_CODE = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    | {tokenize.ENDMARKER}
)


def code_lines(source: str) -> int:
    """How many lines of this Python source hold code."""
    text = textwrap.dedent(source)
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in _NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def adapter_lines(package: str) -> int:
    """What labkit itself needs for a broker: the code in its package below `brokers`."""
    return sum(
        code_lines(one.read_text(encoding="utf-8"))
        for one in files("labkit").joinpath("brokers", package).iterdir()
        if one.name.endswith(".py")
    )
