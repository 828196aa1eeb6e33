"""What JSON can hold: anything else is refused with its place and what was expected there."""

from __future__ import annotations

import math
import sys
from typing import Any

from labkit.errors import ValidationError

MAX_DEPTH = 100
"""Deepest nesting of lists and objects in a message."""

_SCALARS = frozenset({str, int, bool, type(None)})


def describe(value: object) -> str:
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 40 else shown[:39] + '…'}"


def check_json(path: str, value: Any, depth: int = 0) -> None:
    """Refuse what would not come back from JSON as it went in."""
    kind = type(value)
    if kind in _SCALARS:
        return
    if depth >= MAX_DEPTH and kind in (dict, list):
        field = path.replace("[", ".").partition(".")[0]
        raise ValidationError(field, f"nesting of at most {MAX_DEPTH} levels")
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise ValidationError(
                    path, "str keys, because JSON turns every key into one", f"key {key!r}"
                )
            if type(item) not in _SCALARS:
                check_json(f"{path}.{key}", item, depth + 1)
    elif kind is list:
        for index, item in enumerate(value):
            if type(item) not in _SCALARS:
                check_json(f"{path}[{index}]", item, depth + 1)
    elif kind is float:
        if not math.isfinite(value):
            raise ValidationError(
                path, "a finite number (JSON has no NaN or infinity)", repr(value)
            )
    elif kind is tuple:
        raise ValidationError(path, "a list, because JSON has no tuples", describe(value))
    else:
        expected = "None, bool, int, float, str, list or dict (what JSON can hold)"
        raise ValidationError(path, expected, describe(value))


def find_unencodable(path: str, value: Any) -> None:
    """Raise for text or a number that cannot be written down; looked for when encoding fails."""
    if isinstance(value, dict):
        for key, item in value.items():
            find_unencodable(path, key)
            find_unencodable(f"{path}.{key}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            find_unencodable(f"{path}[{index}]", item)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValidationError(
                path, "Unicode text (a lone surrogate is half a character)", describe(value)
            ) from None
    elif isinstance(value, int):
        try:
            str(value)
        except ValueError:
            digits = sys.get_int_max_str_digits()
            size = f"one of {value.bit_length():,} bits"
            raise ValidationError(path, f"a number of at most {digits:,} digits", size) from None
