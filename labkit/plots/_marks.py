"""The words in a space-time picture: what happened, beside the place where it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from labkit.plots._conversation import BROKER, Fate, Moment
from labkit.plots._layout import Layout, Point
from labkit.plots._placement import Anchor, Box, Room, place_labels
from labkit.plots.style import (
    GREY,
    INK,
    LOSS_INK,
    SMALL,
    Slant,
    elide,
    legible,
    line_height,
    text_width,
)

MOST_LABELS = 14
"""With more labels than this, messages are numbered, and a table below says what they are."""
MOST_NUMBERS = 40
"""With more messages than this, arrows stand alone."""
LABEL_WIDTH = 230
_LABEL_ROWS = 5
_SHORTEST_SILENCE = 40
"""Pixels of dotted lane that need no word: the mark at their end says it."""
_NUMBER_ROWS = 4

_WORD = {
    Fate.LOST: "lost",
    Fate.DROPPED: "dropped",
    Fate.WAITING: "not handled yet",
    Fate.FAILED: "failed",
    Fate.DUPLICATE: "duplicate",
    Fate.UNREADABLE: "unreadable",
}
_MANY = {"nobody listening": "with nobody listening", "duplicate": "duplicates"}


@dataclass(frozen=True, slots=True)
class Word:
    """A word and where it stands."""

    text: str
    box: Box
    colour: str
    slant: Slant = "normal"


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
    texts = {i: legible(s.label) for i, s in enumerate(talk.sendings) if s.label.strip()}
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


def place_words(layout: Layout, room: Room) -> tuple[list[Word], set[str]]:
    """The words beside losses, gaps, comings and goings; and what there is no room to say."""
    words: list[Word] = []
    omitted: set[str] = set()
    for text, meaning, colour, slant, candidates in _wanted(layout):
        box = room.place(candidates, tolerance=3)
        if box is None:
            omitted.add(meaning)
        else:
            words.append(Word(text, box, colour, slant))
    return words, omitted


_Wanted = tuple[str, str, str, Slant, list[Box]]


def _wanted(layout: Layout) -> Iterator[_Wanted]:
    yield from _gaps(layout)
    yield from _fates(layout)
    yield from _comings(layout)
    yield from _silences(layout)


def _fates(layout: Layout) -> Iterator[_Wanted]:
    spots: dict[tuple[str, str], list[Point]] = {}
    for stroke in layout.strokes:
        if stroke.fate in _WORD and stroke.arrival is not None:
            spots.setdefault((stroke.arrival.subscriber, _WORD[stroke.fate]), []).append(stroke.end)
        elif stroke.fate is None and stroke.broken:
            spots.setdefault((BROKER, "not sent"), []).append(stroke.end)
        elif stroke.fate is None and stroke.sending is not None and stroke.sending.unheard:
            end = (stroke.end[0], stroke.end[1] + 14)
            spots.setdefault((BROKER, "nobody listening"), []).append(end)
    for arrival in layout.talk.arrivals:
        if not arrival.arrow and arrival.fate in _WORD:
            spot = (layout.x(arrival.moment), layout.y[arrival.subscriber])
            spots.setdefault((arrival.subscriber, _WORD[arrival.fate]), []).append(spot)
    for (_, word), points in spots.items():
        colour = GREY if word in ("not handled yet", "duplicate") else LOSS_INK
        for group in _neighbours(points, text_width(word, SMALL) + 24):
            text = word if len(group) == 1 else f"{len(group)} {_MANY.get(word, word)}"
            yield text, word, colour, "normal", _around(group, text)


def _neighbours(points: Iterable[Point], reach: float) -> Iterator[list[Point]]:
    """Points in groups whose members are too close for a word each."""
    group: list[Point] = []
    for point in sorted(points):
        if group and point[0] - group[-1][0] > reach:
            yield group
            group = []
        group.append(point)
    if group:
        yield group


def _around(group: Sequence[Point], text: str) -> list[Box]:
    """Where a word can stand beside its marks, best first."""
    width, height = text_width(text, SMALL) + 4, line_height(SMALL)
    (first, y), (last, y2) = group[0], group[-1]
    middle = (first + last) / 2
    right, left = last + 10 + width / 2, first - 10 - width / 2
    spots = [(right, y2), (left, y)]
    rises = [sign * rise for rise in (13, 17, 22, 28, 34) for sign in (-1, 1)]
    for rise in rises:
        spots += [(right - 6, y2 + rise), (left + 6, y + rise), (middle, y + rise)]
    further = [(step, rise) for step in range(8, 57, 8) for rise in (0, *rises)]
    for step, rise in sorted(further, key=lambda s: s[0] + 1.5 * abs(s[1])):
        spots += [(right + step, y2 + rise), (left - step, y + rise)]
    return [Box.around(x, up, width, height) for x, up in spots]


def _gaps(layout: Layout) -> Iterator[_Wanted]:
    for name, box in gap_boxes(layout):
        width, lane = text_width("gap", SMALL) + 4, layout.y[name]
        xs = [box.x, *_slide(box.left, box.right, width)]
        ys = (lane + 13, lane - 27, lane + 15, lane - 13, lane + 26)
        candidates = [Box.around(x, y, width, line_height(SMALL)) for y in ys for x in xs]
        yield "gap", "gap", LOSS_INK, "normal", candidates


def gap_boxes(layout: Layout) -> list[tuple[str, Box]]:
    """The shaded spans: whose connection was gone, and where that stands."""
    boxes = []
    for name, presence in layout.talk.presences.items():
        lane = layout.y[name]
        for start, end in presence.gaps:
            left = layout.x(start)
            right = layout.right if end is None else layout.x(end)
            boxes.append((name, Box(left, lane - 46, max(right, left + 6), lane + 24)))
    return boxes


def ticks(layout: Layout) -> list[tuple[str, float, str]]:
    """Where somebody came or went: name, x, word."""
    found = []
    ends = [s.at_broker for s in layout.talk.sendings]
    for name, presence in layout.talk.presences.items():
        found += [(name, layout.x(moment), "subscribe") for moment, _ in presence.joined]
        for moment, what in presence.left:
            if what is not None:
                found.append((name, layout.x(moment), "unsubscribe"))
            elif any(end > moment for end in ends):
                found.append((name, layout.x(moment), "disconnect"))
    return found


def _comings(layout: Layout) -> Iterator[_Wanted]:
    by_lane: dict[tuple[str, str], list[Point]] = {}
    for name, x, word in ticks(layout):
        by_lane.setdefault((name, word), []).append((x, layout.y[name]))
    for (_, word), points in by_lane.items():
        width = text_width(word, SMALL) + 4
        for group in _neighbours(points, width + 8):
            (first, y), (last, _) = group[0], group[-1]
            xs = (first - width / 2, last + width / 2 + 4, (first + last) / 2)
            ys = (y - 15, y + 15, y - 21, y + 21, y - 27)
            spots = [(x, up) for up in ys for x in xs]
            boxes = [Box.around(x, up, width, line_height(SMALL)) for x, up in spots]
            yield word, f"tick: {word}", GREY if word == "disconnect" else INK, "normal", boxes


def _silences(layout: Layout) -> Iterator[_Wanted]:
    for name in layout.talk.subscribers:
        missed = layout.talk.tally(name)[Fate.LATE]
        for start, end in layout.talk.presences[name].silences():
            left, right = silence_span(layout, start, end)
            words = ["not subscribed"]
            if start is None and end is not None:
                words = ["not yet subscribed"]
                if missed:
                    words = [f"not yet subscribed: {missed} missed", f"{missed} missed", *words]
            fitting = [w for w in words if text_width(w, SMALL) + 8 <= right - left]
            text = fitting[0] if fitting else words[-1]
            width, lane = text_width(text, SMALL) + 4, layout.y[name]
            boxes = [
                Box.around(x, lane + rise, width, line_height(SMALL))
                for rise in (13, -13, 17, -17, 22, -22)
                for x in _slide(left + 4, right - 4, width)
            ]
            if fitting or (right - left >= _SHORTEST_SILENCE and _passed(layout, start, end)):
                yield text, "dotted lane: not subscribed", GREY, "italic", boxes


def _passed(layout: Layout, start: Moment | None, end: Moment | None) -> bool:
    """Whether any message passed between two moments."""
    times = [s.at_broker for s in layout.talk.sendings]
    return any((start is None or start < t) and (end is None or t < end) for t in times)


def silence_span(layout: Layout, start: Moment | None, end: Moment | None) -> tuple[float, float]:
    """From where to where a lane is dotted."""
    left = layout.left if start is None else layout.x(start)
    right = layout.right if end is None else layout.x(end)
    return left, right


def _slide(left: float, right: float, width: float, step: float = 8.0) -> list[float]:
    """Middles of all places for a word of this width between two edges, the middle first."""
    slack = right - left - width
    if slack < 0:
        return []
    middle = (left + right) / 2
    count = int(slack / 2 / step)
    return [middle, *(middle + sign * i * step for i in range(1, count + 1) for sign in (-1, 1))]
