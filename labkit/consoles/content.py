"""What a person typed, as the content of a message: JSON where it is meant as JSON, else text."""

from __future__ import annotations

import json
import math
from typing import Any

from labkit.consoles.commands import CommandError

RULE = (
    'A message is text (hello world) or JSON: {"flight": "B6 739"}, [1, 2], "text", 42, true, '
    "false, null."
)

_JSON_BEGINS = '{["'


def parse_content(text: str) -> Any:
    """The content that `text` stands for.

    What begins like an object, a list or a quoted text has to be JSON; a number, true, false and
    null are; everything else is text as it stands.

    Raises:
        CommandError: it begins like JSON and is not; says where, and how to send it as text.
    """
    text = text.strip()
    try:
        value = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        if text[:1] and text[0] in _JSON_BEGINS:
            raise CommandError(_explain(text, error)) from None
        return text
    except (ValueError, RecursionError):  # NaN, Infinity, thousands of digits or of brackets
        return text
    return text if isinstance(value, float) and not math.isfinite(value) else value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _explain(text: str, error: json.JSONDecodeError) -> str:
    begin, end = max(0, error.pos - 20), error.pos + 20
    near = f"{'…' if begin else ''}{text[begin : error.pos]}⟨here⟩{text[error.pos : end]}"
    near += "…" if end < len(text) else ""
    quoted = json.dumps(text, ensure_ascii=False)
    how = f"write it in quotes: {quoted}" if len(quoted) <= 80 else "put it in double quotes"
    return (
        f"This begins like JSON, but is not: {error.msg.lower()} at character {error.pos + 1}: "
        f"{near}. If it is meant as text, {how}"
    )
