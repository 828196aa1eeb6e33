"""Counts in words."""

from __future__ import annotations


def plural(count: int, noun: str, many: str | None = None) -> str:
    """`1 message`, `2 messages`; `many` where that is not the noun with an s."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"
