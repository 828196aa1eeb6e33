"""The words in a space-time picture: what happened, beside the place where it did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from labkit.plots._conversation import BROKER, Fate, Moment
from labkit.plots._deeds import deed_spots, name_spots
from labkit.plots._layout import Layout, Point
from labkit.plots._placement import Box, Room, around, neighbours
from labkit.plots.style import (
    GREY,
    INK,
    LOSS_INK,
    SMALL,
    Slant,
    line_height,
    text_width,
)

_SHORTEST_SILENCE = 40
"""Pixels of dotted lane that need no word: the mark at their end says it."""

_WORD = {
    Fate.LOST: "lost",
    Fate.DROPPED: "dropped",
    Fate.WAITING: "not handled yet",
    Fate.FAILED: "failed",
    Fate.DUPLICATE: "duplicate",
    Fate.UNREADABLE: "unreadable",
    Fate.LATE_REPLY: "late, thrown away",
    Fate.EXPIRED: "expired, dropped",
}
_MANY = {"nobody listening": "with nobody listening", "duplicate": "duplicates"}


@dataclass(frozen=True, slots=True)
class Word:
    """A word and where it stands."""

    text: str
    box: Box
    colour: str
    slant: Slant = "normal"


def place_words(layout: Layout, room: Room, shown: dict[int, str]) -> tuple[list[Word], set[str]]:
    """The words beside losses, gaps, comings and goings; and what there is no room to say."""
    words: list[Word] = []
    omitted: set[str] = set()
    for text, boxes in name_spots(layout, shown):
        if (box := room.place(boxes, tolerance=1)) is not None:
            words.append(Word(text, box, GREY))
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
    colours = {}
    for lane, word, colour, spot in deed_spots(layout):
        spots.setdefault((lane, word), []).append(spot)
        colours[word] = colour
    for (_, word), points in spots.items():
        usual = GREY if word in ("not handled yet", "duplicate") else LOSS_INK
        colour = colours.get(word, usual)
        for group in neighbours(points, text_width(word, SMALL) + 24):
            text = word if len(group) == 1 else f"{len(group)} {_MANY.get(word, word)}"
            yield text, word, colour, "normal", around(group, text)


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
        for group in neighbours(points, width + 8):
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
