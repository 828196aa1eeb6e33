"""The labels of messages in a space-time picture: in full, as numbers with a key, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from labkit.plots._layout import Layout
from labkit.plots._placement import Anchor, Box, Room, place_labels
from labkit.plots.style import SMALL, elide, legible, text_width

MOST_LABELS = 14
"""With more labels than this, messages are numbered, and a table below says what they are."""
MOST_NUMBERS = 40
"""With more messages than this, arrows stand alone."""
LABEL_WIDTH = 230
_LABEL_ROWS = 5
_NUMBER_ROWS = 4


@dataclass(slots=True)
class Labels:
    """The labels of the messages: text, number, or nothing but the reason why.

    `placed` holds the index of the message, its anchor, the box and the text.
    """

    placed: list[tuple[int, Anchor, Box, str]] = field(default_factory=list)
    key: list[tuple[int, int, str]] = field(default_factory=list)
    why_not: str = ""


def label_messages(
    build: Callable[[dict[str, int]], Layout], senders: Sequence[str]
) -> tuple[Layout, Room, Labels]:
    """Find a layout in which every message can say what it is.

    Full labels first, in as many rows as they need; then numbers with a key; then none, and why.
    """
    talk = build({}).talk
    texts = {
        i: legible(s.label)
        for i, s in enumerate(talk.sendings)
        if s.label.strip() and s.sender in senders
    }
    if len(talk.sendings) > MOST_NUMBERS:
        layout = build({})
        reason = f"{len(talk.sendings):,} messages are too many to name: arrows only."
        return layout, layout.room(), Labels(why_not=reason if texts else "")
    numbers = {i: str(n) for n, i in enumerate(texts, 1)}
    shown = {i: elide(text, LABEL_WIDTH, SMALL) for i, text in texts.items()}
    tries: list[tuple[dict[int, str], int, bool]] = [(numbers, _NUMBER_ROWS, False)]
    tries.append((numbers, _NUMBER_ROWS, True))
    if len(texts) <= MOST_LABELS:
        tries.insert(0, (shown, _LABEL_ROWS, False))
    for words, most, over_lines in tries:
        found = _try(build, senders, words, most, over_lines)
        if found is None:
            continue
        layout, room, placed = found
        key = [(n, i, texts[i]) for n, i in enumerate(texts, 1)] if words is numbers else []
        return layout, room, Labels(placed, key)
    layout = build({})
    return layout, layout.room(), Labels(why_not="Messages are too close together to name.")


def _try(
    build: Callable[[dict[str, int]], Layout],
    senders: Sequence[str],
    words: dict[int, str],
    most: int,
    over_lines: bool,
) -> tuple[Layout, Room, list[tuple[int, Anchor, Box, str]]] | None:
    rows = dict.fromkeys(senders, 0)
    while True:
        layout = build(rows)
        room = layout.room()
        placed: list[tuple[int, Anchor, Box, str]] = []
        for sender in senders:
            mine = [i for i in words if layout.talk.sendings[i].sender == sender]
            anchors = [_anchor(layout, i, words[i]) for i in mine]
            boxes = place_labels(anchors, room, rows[sender], over_lines=over_lines)
            if boxes is None:
                break
            placed += [(i, a, b, words[i]) for i, a, b in zip(mine, anchors, boxes, strict=True)]
        else:
            return layout, room, placed
        rows[sender] += 1
        if rows[sender] > most:
            return None


def _anchor(layout: Layout, index: int, text: str) -> Anchor:
    sending = layout.talk.sendings[index]
    lane = layout.y[sending.sender]
    return Anchor(layout.x(sending.sent), lane, text_width(text, SMALL) + 4)
