"""How messages and statistics look in a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from labkit.consoles.screen import safe, shorten
from labkit.message import Message
from labkit.patterns.statistics import Statistics, SubscriberStatistics

LONGEST_CONTENT = 500
"""Characters of a content that are shown; labels get a tenth."""

ERRORS_SHOWN = 3

_PLAIN_TYPE = "message"


def message_line(channel: str, message: Message) -> Text:
    """One message on one line: when, where, what; who said it, and what kind of thing it is."""
    kind = "" if message.type == _PLAIN_TYPE else f" {_label(message.type)}"
    return Text.assemble(
        (f"{message.timestamp[11:19]}Z  ", "dim"),
        (_label(channel), "bold cyan"),
        (kind, "magenta"),
        "  ",
        content_text(message.content),
        (f"  (from {_label(message.sender)})", "dim"),
    )


def content_text(content: Any) -> str:
    """A content on one line: text as it is, anything else as JSON; shortened, and safe to show."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return safe(shorten(text, LONGEST_CONTENT))


def statistics(stats: Statistics) -> RenderableType:
    """Counts per channel as a table, then latency, gaps and the last errors in words."""
    parts: list[RenderableType] = [Text(safe(repr(stats)), style="bold")]
    if stats.channels:
        parts.append(_table(stats))
    parts += [Text(safe(note)) for note in _notes(stats)]
    return Group(*parts)


def _label(text: str) -> str:
    return safe(shorten(text, LONGEST_CONTENT // 10))


def _table(stats: Statistics) -> Table:
    columns = [n for n, count in stats.counts().items() if count or n in ("messages", "bytes")]
    table = Table(header_style="bold")
    table.add_column("channel", overflow="fold")
    for name in columns:
        table.add_column(name.replace("_", " "), justify="right")
    for channel, counts in stats.channels.items():
        table.add_row(_label(channel), *(f"{counts.get(name, 0):,}" for name in columns))
    if len(stats.channels) > 1:
        table.add_section()
        table.add_row("all", *(f"{getattr(stats, name):,}" for name in columns), style="bold")
    return table


def _notes(stats: Statistics) -> list[str]:
    notes = []
    if isinstance(stats, SubscriberStatistics):
        if stats.latency is not None:
            notes.append(
                f"From sending to handling: {stats.latency.p50_ms:.2f} ms in the middle, "
                f"{stats.latency.p99_ms:.2f} ms for the slowest hundredth."
            )
        for gap in stats.gap_records[-ERRORS_SHOWN:]:
            lasted = "until now" if gap.seconds is None else f"for {gap.seconds:.1f} s"
            notes.append(f"Without a connection {lasted} ({gap.reason}).")
        notes += _last_different(str(error) for error in stats.decode_errors)
    return notes + _last_different(f"{error.channel}: {error.error}" for error in stats.errors)


def _last_different(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))[-ERRORS_SHOWN:]
