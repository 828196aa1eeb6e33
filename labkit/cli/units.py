"""Numbers with units, as people write them on a command line: `10k`, `1mb`, `2ms`; and lists.

For `argparse`: each function raises `ArgumentTypeError` with the sentence to show.
"""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from typing import TypeVar

Value = TypeVar("Value")

_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Zµμ]*)")
_BYTES = {
    **{"": 1, "b": 1},
    **{"k": 1000, "kb": 1000, "m": 1000**2, "mb": 1000**2},
    **{"kib": 1024, "mib": 1024**2},
}
_SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "min": 60.0}
_TIMES = {"": 1.0, "k": 1e3, "m": 1e6}

_SIZE = "a size of 1 byte or more, such as 64, 1k, 10kb, 4kib or 1mb"
_TIME = "a time such as 2ms, 0.5s, 5 (seconds) or 1min"
_RATE = "a rate above 0 a second, such as 500 or 2k"
_COUNT = "a whole number from 1"


def size(text: str) -> int:
    """Bytes: `64`, `1k` and `1kb` are thousands, `1kib` is 1,024."""
    octets = _scaled(text, _BYTES, _SIZE)
    if octets < 1 or octets != round(octets):
        raise _wrong(text, _SIZE)
    return round(octets)


def rate(text: str) -> float:
    """So many a second: `500`, `2k`."""
    value = _scaled(text, _TIMES, _RATE)
    if value <= 0:
        raise _wrong(text, _RATE)
    return value


def count(text: str) -> int:
    """How many: 1 or more."""
    value = _scaled(text, _TIMES, _COUNT)
    if value < 1 or value != round(value):
        raise _wrong(text, _COUNT)
    return round(value)


def duration(text: str) -> float:
    """Seconds, 0 or more: `2ms`, `5s`, `5`, `1min`."""
    return _scaled(text, _SECONDS, _TIME)


def some_time(text: str) -> float:
    """Seconds, above 0."""
    value = duration(text)
    if value <= 0:
        raise _wrong(text, f"{_TIME}, above 0")
    return value


def several(one: Callable[[str], Value]) -> Callable[[str], list[Value]]:
    """A list with commas; what is there twice counts once."""

    def read(text: str) -> list[Value]:
        parts = [part.strip() for part in text.split(",")]
        return list(dict.fromkeys(one(part) for part in parts))

    return read


def _scaled(text: str, units: Mapping[str, float], what: str) -> float:
    found = _NUMBER.fullmatch(text.strip())
    if found is None or found[2].lower() not in units:
        raise _wrong(text, what)
    value = round(float(found[1]) * units[found[2].lower()], 9)
    if not math.isfinite(value):
        raise _wrong(text, what)
    return value


def _wrong(text: str, what: str) -> ArgumentTypeError:
    return ArgumentTypeError(f"{text!r} is not {what}")
