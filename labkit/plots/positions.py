"""The log with the cursor of each group: what is committed, what is pending, what is unread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from labkit.errors import ConfigurationError
from labkit.patterns.event_stream import EventStream
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._log_reading import Log, Row, Standing, read_logs
from labkit.plots._placement import Box
from labkit.plots._timeline import SAMPLE, Sample, draw_legend, flow
from labkit.plots._words import listing, plural
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    GREY,
    INK,
    MARGIN,
    PAPER,
    SMALL,
    TITLE,
    WIDTH,
    elide,
    in_style,
    ink_on,
    legible,
    lighter,
    line_height,
    text_width,
    worker_colour,
)

_CELL = (8.0, 34.0)
"""Narrowest and widest event, pixels."""
_HEIGHT, _ROW = 26.0, 54.0
_NAMES = 240.0
_GONE = 96.0
"""Left of the log, where what was destroyed is told."""
_DONE = lighter("#009E73", 0.6)


@in_style
def positions(stream: EventStream, *, title: str | None = None) -> LabFigure:
    """Draw the log, oldest event left, and how each group stands to each event.

    Under the log is a row for each group: events behind it (committed, or skipped when it began),
    pending ones (with the member that was given them), unread ones, and the cursor behind the last
    event that any member was given. What was trimmed while it was pending has the sign of loss.

    Args:
        stream: is read as it is now; nothing is taken from it.
        title: None states the finding.

    Raises:
        ConfigurationError: nothing was ever appended.
    """
    logs = [log for log in read_logs(stream) if log.length or log.removed]
    if not logs:
        raise ConfigurationError(f"Nothing to draw: stream {stream.name!r} is empty. Append first.")
    headline = legible(title) if title is not None else legible(_finding(logs))
    top = 40.0 + len(title_lines(headline)) * line_height(TITLE)
    heights = [_ROW * (1 + len(log.rows)) + 22 for log in logs]
    legend, end = flow(list(_legend(logs)), MARGIN, top + sum(heights) + 6)
    canvas = Canvas(end + 4, headline=headline, alt_text=legible(_alt(stream.name, logs)))
    for log, height in zip(logs, heights, strict=True):
        _draw_log(canvas, log, top, stream.name, several=len(logs) > 1)
        top += height
    draw_legend(canvas, legend)
    return canvas.figure


def _draw_log(canvas: Canvas, log: Log, top: float, name: str, *, several: bool) -> None:
    left = MARGIN + _NAMES + _GONE
    room = WIDTH - MARGIN - 10 - left
    width = max(_CELL[0], min(_CELL[1], room / max(1, len(log.places))))
    head = f"{name}, partition {log.partition}" if several else name
    _names(canvas, top, legible(head), f"log, {plural(log.length, 'event')}")
    if log.removed or log.earlier:
        told = [f"{log.removed:,} trimmed"] if log.removed else []
        told += [f"{log.earlier:,} not drawn"] if log.earlier else []
        for i, text in enumerate(told):
            y = top + _HEIGHT / 2 + (i - (len(told) - 1) / 2) * 15
            canvas.text(left - 10, y, text, colour=GREY, align="right", gid="earlier")
    before = log.removed + log.earlier
    numbered = width >= text_width(f"{before + len(log.places):,}", SMALL) + 4
    for i, _ in enumerate(log.places):
        box = Box(left + i * width, top, left + (i + 1) * width, top + _HEIGHT)
        canvas.rectangle(box, "#f1f2f4", edge=GREY, gid="event")
        if numbered or i in (0, len(log.places) - 1):
            y = box.y if numbered else top - 9
            canvas.text(box.x, y, f"{before + i + 1:,}", align="center", gid="number")
    for i, row in enumerate(log.rows):
        _draw_row(canvas, row, left, top + _ROW * (i + 1), width)


def _draw_row(canvas: Canvas, row: Row, left: float, top: float, width: float) -> None:
    lag = row.unread + row.pending
    told = f"lag {lag:,}: {row.unread:,} unread, {row.pending:,} pending"
    _names(canvas, top, legible(row.group), told if lag else "lag 0: nothing to do")
    if row.destroyed:
        text = f"{row.destroyed:,} destroyed"
        x = left - 22 - text_width(text, SMALL)
        canvas.cross(x, top + _HEIGHT / 2, gid="destroyed")
        canvas.text(left - 10, top + _HEIGHT / 2, text, align="right", gid="destroyed word")
    for (standing, member), start, end in _runs(row):
        box = Box(left + start * width, top, left + end * width, top + _HEIGHT)
        if standing is Standing.PENDING:
            colour = worker_colour(member) if member else GREY
            canvas.rectangle(box, colour, edge=PAPER, gid="pending")
            name = elide(legible(member), box.right - box.left - 4, SMALL)
            if name.strip("…"):
                ink = ink_on(colour)
                canvas.text(box.x, box.y, name, colour=ink, align="center", gid="member")
            continue
        for i in range(start, end):
            cell = Box(left + i * width, top, left + (i + 1) * width, top + _HEIGHT)
            if standing is Standing.DONE:
                canvas.rectangle(cell, _DONE, edge=PAPER, gid="committed")
                if width >= 14:
                    canvas.tick(cell.x, cell.y, gid="done")
            else:
                canvas.rectangle(cell, PAPER, edge=GREY, gid="unread")
    _cursor(canvas, left + row.given * width, top)


def _cursor(canvas: Canvas, x: float, top: float, height: float = _HEIGHT) -> None:
    canvas.line([(x, top - 7), (x, top + height + 5)], INK, width=2.4, above=4.4, gid="cursor")
    canvas.marker(x, top - 8, "v", INK, size=8, above=4.5, gid="cursor head")


def _names(canvas: Canvas, top: float, name: str, told: str) -> None:
    width = _NAMES - 8
    canvas.text(MARGIN, top + 5, elide(name, width, SMALL, weight="bold"), weight="bold", gid="row")
    canvas.text(MARGIN, top + 21, elide(told, width, SMALL), colour=GREY, gid="told")


def _runs(row: Row) -> Iterator[tuple[tuple[Standing, str], int, int]]:
    """Neighbours that look alike: what they are and who holds them, from where to where."""
    looks = [(standing, row.holders.get(i, "")) for i, standing in enumerate(row.standings)]
    at = 0
    for look, run in groupby(looks):
        length = len(list(run))
        yield look, at, at + length
        at += length


def _legend(logs: Sequence[Log]) -> Iterator[tuple[Sample, str]]:
    rows = [row for log in logs for row in log.rows]
    seen = {standing for row in rows for standing in row.standings}
    if rows:
        yield lambda canvas, x, y: _cursor(canvas, x + SAMPLE / 2, y, 0.0), "cursor"
    if Standing.DONE in seen:
        yield _patch(_DONE, PAPER), "committed, or skipped at the start"
    if Standing.PENDING in seen:
        yield _patch(GREY, PAPER), "pending, with the member's name"
    if Standing.UNREAD in seen:
        yield _patch(PAPER, GREY), "unread"
    if any(row.destroyed for row in rows):
        told = "trimmed before it was committed"
        yield lambda canvas, x, y: canvas.cross(x + SAMPLE / 2, y, gid="legend cross"), told


def _patch(colour: str, edge: str) -> Sample:
    def draw(canvas: Canvas, x: float, y: float) -> None:
        canvas.rectangle(Box(x + 6, y - 7, x + SAMPLE, y + 7), colour, edge=edge, gid="sample")

    return draw


def _finding(logs: Sequence[Log]) -> str:
    total = sum(log.length for log in logs)
    told = []
    for name in dict.fromkeys(row.group for log in logs for row in log.rows):
        rows = [row for log in logs for row in log.rows if row.group == name]
        unread, pending = sum(r.unread for r in rows), sum(r.pending for r in rows)
        destroyed = sum(r.destroyed for r in rows)
        if not unread + pending:
            told.append(f"{name} has nothing to do")
            continue
        parts = [f"{unread:,} unread"] if unread else []
        lost = f" ({destroyed:,} destroyed)" if destroyed else ""
        parts += [f"{pending:,} pending{lost}"] if pending else []
        told.append(f"{name} has {listing(parts)}")
    head = f"{plural(total, 'event')} in the log"
    return f"{head}: {'; '.join(told)}" if told else f"{head}, and no group reads it"


def _alt(name: str, logs: Sequence[Log]) -> str:
    told = [f"The log {name!r} as a row of events, oldest left, a row for each group under it."]
    for log in logs:
        where = f"Partition {log.partition}: " if len(logs) > 1 else ""
        gone = f", {log.removed:,} trimmed before them" if log.removed else ""
        told.append(f"{where}{plural(log.length, 'event')}{gone}.")
        for row in log.rows:
            runs = [_words(look, start, end, log) for look, start, end in _runs(row)]
            lost = f"; {row.destroyed:,} pending ones destroyed" if row.destroyed else ""
            told.append(f"{row.group}: {', '.join(runs) or 'nothing'}{lost}.")
    return " ".join(told)


def _words(look: tuple[Standing, str], start: int, end: int, log: Log) -> str:
    standing, member = look
    before = log.removed + log.earlier
    first, last = before + start + 1, before + end
    span = f"{first:,}" if first == last else f"{first:,} to {last:,}"
    return f"{span} {standing.value}{f' with {member}' if member else ''}"
