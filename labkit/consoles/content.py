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

_JSON_BEGINS = ("{", "[", '"')


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
        problem = f"{error.msg.lower()} at character {error.pos + 1}: {_near(text, error.pos)}"
    except RecursionError:
        problem = "nested too deep"
    except ValueError as error:  # NaN; a number of thousands of digits
        problem = str(error)
    else:
        return text if isinstance(value, float) and not math.isfinite(value) else value
    if text.startswith(_JSON_BEGINS):
        raise CommandError(
            f"This begins like JSON, but is not: {problem}. If it is meant as text, {_quoted(text)}"
        )
    return text


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _near(text: str, position: int) -> str:
    """What stands around the place where it goes wrong."""
    begin, end = max(0, position - 20), position + 20
    before, after = text[begin:position], text[position:end]
    return f"{'…' if begin else ''}{before}⟨here⟩{after}{'…' if end < len(text) else ''}"


def _quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return f"write it in quotes: {quoted}" if len(quoted) <= 80 else "put it in double quotes."
