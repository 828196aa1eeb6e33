"""The anatomy of a message: its JSON, and what each of the five fields is for."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from labkit.message import FIELDS, Message
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._words import listing, plural
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    COLOURS,
    GREY,
    INK,
    MARGIN,
    NORMAL,
    SMALL,
    TITLE,
    WIDTH,
    elide,
    in_style,
    legible,
    line_height,
    text_width,
    wrap,
)

_MEANING = {
    "type": "What happened or is asked, as noun.verb. It tells a reader how to read the content.",
    "content": "The facts themselves: any JSON value, most often an object. Whoever knows "
    "the type can read it.",
    "timestamp": "When the sender says it happened: ISO-8601, in UTC (the Z), with milliseconds.",
    "sender": "Who says so: the name of a service or program.",
    "metadata": "Facts about the message rather than in it: priority, version, message id, "
    "sequence number. Whoever passes it on reads this, and leaves the content alone.",
}
_JSON_WIDTH = 550
_BRACKET = MARGIN + _JSON_WIDTH + 20
_NOTES = _BRACKET + 24
_NOTES_WIDTH = WIDTH - MARGIN - _NOTES
_MOST_LINES = 12
"""Lines of JSON shown of one field; the rest is counted."""
_JSON_SIZE = 9.5
_LINE = 17.0
_PAD = 14.0


@dataclass(frozen=True, slots=True)
class _Block:
    """One field: its lines of JSON, how many more there are, its size, and what it is for."""

    field: str
    lines: list[str]
    left_out: int
    size: int
    notes: list[str]

    @property
    def shown(self) -> int:
        return len(self.lines) + (self.left_out > 0)

    @property
    def height(self) -> float:
        notes = line_height(NORMAL) + 2 + len(self.notes) * line_height(SMALL)
        return max(self.shown * _LINE, notes)


@in_style
def message_anatomy(message: Message, *, title: str | None = None) -> LabFigure:
    """Draw one message: the JSON on the left, what each field is for on the right.

    A line that is too long ends in "…"; of a field with many lines the first are shown, and the
    rest is counted.

    Args:
        message: any message.
        title: None says how large it is.
    """
    body = message.encode(max_bytes=2**62)
    headline = legible(title) if title is not None else _finding(len(body))
    blocks = [_block(message, field) for field in FIELDS]
    top = 34 + len(title_lines(headline)) * line_height(TITLE)
    height = top + 2 * _LINE + sum(b.height + _PAD for b in blocks) + MARGIN
    canvas = Canvas(height, headline=headline, alt_text=_alt(message, blocks, len(body)))
    _json_line(canvas, top, "{")
    y = top + _LINE + 4
    for i, block in enumerate(blocks):
        _draw_block(canvas, y, block, COLOURS[i])
        y += block.height + _PAD
    _json_line(canvas, y - 2, "}")
    return canvas.figure


def _finding(size: int) -> str:
    return f"A message is five fields: here {plural(size, 'byte')} of JSON"


def _block(message: Message, field: str) -> _Block:
    value = getattr(message, field)
    encoded = msgspec.json.encode(value)
    text = msgspec.json.format(encoded, indent=2).decode()
    text = f'"{field}": {text}' + ("" if field == FIELDS[-1] else ",")
    lines = ["  " + _drawable(line) for line in text.split("\n")]
    left_out = len(lines) - _MOST_LINES if len(lines) > _MOST_LINES + 1 else 0
    if left_out:
        lines = lines[:_MOST_LINES]
    notes = wrap(_MEANING[field], _NOTES_WIDTH, SMALL)
    return _Block(field, lines, left_out, len(encoded), notes)


def _drawable(line: str) -> str:
    """A line of JSON, cut where it is too long, without control characters."""
    line = legible(line)
    if text_width(line, _JSON_SIZE, mono=True) <= _JSON_WIDTH:
        return line
    room = _JSON_WIDTH - text_width(
        f" {plural(len(line), 'more character')}", _JSON_SIZE, mono=True
    )
    kept = elide(line, room, _JSON_SIZE, mono=True)
    return f"{kept} {plural(len(line) - len(kept) + 1, 'more character')}"


def _json_line(canvas: Canvas, y: float, text: str) -> None:
    canvas.text(MARGIN, y, text, size=_JSON_SIZE, mono=True, gid="json")


def _draw_block(canvas: Canvas, y: float, block: _Block, colour: str) -> None:
    for i, text in enumerate(block.lines):
        _json_line(canvas, y + (i + 0.5) * _LINE, text)
    if block.left_out:
        text = f"… {plural(block.left_out, 'more line')}"
        indent = text_width("    ", _JSON_SIZE, mono=True)
        last = y + (block.shown - 0.5) * _LINE
        canvas.text(MARGIN + indent, last, text, colour=GREY, slant="italic", gid="more")
    _draw_bracket(canvas, y, block, colour)
    name = f"{block.field}  "
    first = y + line_height(NORMAL) / 2
    canvas.text(_NOTES, first, name, size=NORMAL, weight="bold", gid="field")
    size = text_width(name, NORMAL, "bold")
    canvas.text(_NOTES + size, first, plural(block.size, "byte"), colour=GREY, gid="size")
    for i, note in enumerate(block.notes):
        down = first + 2 + (i + 1) * line_height(SMALL)
        canvas.text(_NOTES, down, note, colour=INK, gid="note")


def _draw_bracket(canvas: Canvas, y: float, block: _Block, colour: str) -> None:
    top, bottom = y + 1, y + block.height - 1
    left, right = _BRACKET, _BRACKET + 8
    canvas.line(
        [(left, top), (right, top), (right, bottom), (left, bottom)],
        colour,
        width=2.2,
        gid="bracket",
    )
    start = y + _LINE / 2
    end = MARGIN + text_width(block.lines[0], _JSON_SIZE, mono=True) + 8
    if end < left - 8:  # a thin line leads the eye from a short field to its bracket
        canvas.line([(end, start), (left, start)], colour, width=0.8, dashes=(1.0, 3.0), gid="lead")


def _alt(message: Message, blocks: list[_Block], size: int) -> str:
    return (
        f"The JSON of one message, {plural(size, 'byte')}, with each of its five fields bracketed "
        f"and explained. type is {message.type}, timestamp is {message.timestamp}, sender is "
        f"{message.sender}; content holds {_holds(message.content)} and metadata holds "
        f"{_holds(message.metadata)}."
        + (" Long fields are cut short." if any(b.left_out for b in blocks) else "")
    )


def _holds(value: object) -> str:
    if isinstance(value, dict):
        names = list(value)
        shown = names if len(names) <= 8 else [*names[:7], f"{len(names) - 7} more"]
        return listing(shown) or "nothing"
    if isinstance(value, list):
        return f"a list of {plural(len(value), 'value')}"
    if isinstance(value, str):
        return f"a text of {plural(len(value), 'character')}"
    return "a number or truth value" if value is not None else "null"
