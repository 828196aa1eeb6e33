"""The partitions of a topic: how much is in each, and which keys put it there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from labkit.errors import ConfigurationError
from labkit.patterns.event_stream import EventStream
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._figures import percent
from labkit.plots._placement import Box
from labkit.plots._words import listing, plural
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    COLOURS,
    GREY,
    INK,
    MARGIN,
    NORMAL,
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
)

_BAR, _ROW, _HEAD = 22.0, 28.0, 34.0
_NAMES = 110.0
_SIDE = 118.0
"""Right of the bars: how many events, and which share."""
_SHARE_OF_ITS_OWN = 0.05
"""A key with so much of its topic is drawn by itself; smaller ones are drawn together."""
_OTHERS = lighter(GREY, 0.55)
_MERGED = "grey: keys with less than a twentieth of the events, together"
_ALIKE = 1.35
"""So much above its fair share a partition may have before the title speaks of skew."""


@dataclass(frozen=True, slots=True)
class _Topic:
    """One topic as it is drawn: a counter of keys for each partition."""

    name: str
    parts: Mapping[int, Counter[str]]

    @property
    def total(self) -> int:
        return sum(self.in_part(number) for number in self.parts)

    def in_part(self, number: int) -> int:
        return sum(self.parts[number].values())

    @property
    def keys(self) -> Counter[str]:
        return sum(self.parts.values(), Counter())

    @property
    def busiest(self) -> int:
        return max(self.parts, key=self.in_part)

    def segments(self, number: int) -> Iterator[tuple[str, int, bool]]:
        """Of one partition: name, count, and whether it is one key alone; largest first."""
        least = self.total * _SHARE_OF_ITS_OWN
        rest: list[int] = []
        for key, count in sorted(self.parts[number].items(), key=lambda row: (-row[1], row[0])):
            if count >= least:
                yield key, count, True
            else:
                rest.append(count)
        if rest:
            noun = "key" if len(rest) == len(self.parts[number]) else "more key"
            yield plural(len(rest), noun), sum(rest), False


@in_style
def partitions(
    streams: EventStream | Iterable[EventStream], *, title: str | None = None
) -> LabFigure:
    """Draw how the events of one stream or of several lie in their partitions.

    A bar is a partition, as long as it has events; its pieces are keys. Keys with less than a
    twentieth of the events are drawn together.

    Args:
        streams: are read as they are now; nothing is taken from them.
        title: None states the finding.

    Raises:
        ConfigurationError: nothing was ever appended.
    """
    chosen = [streams] if isinstance(streams, EventStream) else list(streams)
    topics = [topic for topic in map(_read, chosen) if topic.parts and topic.total]
    if not topics:
        raise ConfigurationError("Nothing to draw: no event in any partition. Append first.")
    headline = legible(title if title is not None else _capital("; ".join(map(_finding, topics))))
    top = 40.0 + len(title_lines(headline)) * line_height(TITLE)
    heights = [_HEAD + _ROW * len(topic.parts) + 12 for topic in topics]
    merged = any(not own for t in topics for n in t.parts for _, _, own in t.segments(n))
    canvas = Canvas(
        top + sum(heights) + (18 if merged else -4),
        headline=headline,
        alt_text=legible(" ".join(map(_alt, topics))),
    )
    for topic, height in zip(topics, heights, strict=True):
        _draw(canvas, topic, top)
        top += height
    if merged:
        canvas.text(MARGIN, top, _MERGED, colour=GREY, gid="note")
    return canvas.figure


def _read(stream: EventStream) -> _Topic:
    parts: dict[int, Counter[str]] = {e.partition: Counter() for e in stream.log.extents()}
    for event in stream.read():
        key = "no key" if event.key is None else event.key
        parts.setdefault(event.position.partition, Counter())[key] += 1
    return _Topic(stream.name, dict(sorted(parts.items())))


def _draw(canvas: Canvas, topic: _Topic, top: float) -> None:
    told = f"{plural(topic.total, 'event')}, {plural(len(topic.keys), 'key')}"
    told += f", {plural(len(topic.parts), 'partition')}"
    name = elide(legible(topic.name), WIDTH / 2, NORMAL, weight="bold")
    canvas.text(MARGIN, top, name, size=NORMAL, weight="bold", gid="topic")
    x = MARGIN + text_width(name, NORMAL, "bold") + 14
    canvas.text(x, top, told, colour=GREY, gid="told")
    left, right = MARGIN + _NAMES, WIDTH - MARGIN - _SIDE
    scale = (right - left) / topic.in_part(topic.busiest)
    colours = _colours(topic)
    for row, number in enumerate(topic.parts):
        y = top + _HEAD - 8 + row * _ROW
        count = topic.in_part(number)
        canvas.text(MARGIN, y + _BAR / 2, f"partition {number}", colour=INK, gid="partition")
        canvas.line([(left, y - 2), (left, y + _BAR + 2)], GREY, width=0.8)
        x = left
        for key, events, own in topic.segments(number):
            box = Box(x, y, x + events * scale, y + _BAR)
            _piece(canvas, box, key, colours[key] if own else _OTHERS)
            x = box.right
        share = f"{count:,} ({_share(count, topic)})" if count else "empty"
        ink = INK if count else GREY
        canvas.text(x + 10, y + _BAR / 2, share, colour=ink, gid="count")


def _colours(topic: _Topic) -> dict[str, str]:
    """Of each key that is drawn alone: never that of its neighbour, and the one used least."""
    found: dict[str, str] = {}
    used: Counter[str] = Counter()
    rows: dict[int, list[str]] = {number: [] for number in topic.parts}  # largest key first
    for key, count in sorted(topic.keys.items(), key=lambda row: (-row[1], row[0])):
        if count < topic.total * _SHARE_OF_ITS_OWN:
            break
        mine = [row for number, row in rows.items() if key in topic.parts[number]]
        last = {row[-1] for row in mine if row}
        inside = Counter(colour for row in mine for colour in row)
        best = min(COLOURS[:-1], key=lambda c: (c in last, inside[c], used[c]))
        found[key] = best
        used[best] += 1
        for row in mine:
            row.append(best)
    return found


def _piece(canvas: Canvas, box: Box, key: str, colour: str) -> None:
    canvas.rectangle(box, colour, edge=PAPER, gid="piece")
    name, room = legible(key), box.right - box.left - 6
    if text_width(name, SMALL) > room:  # a number that is cut off says something else
        name = "" if colour == _OTHERS else elide(name, room, SMALL)
    if name.strip("…"):
        canvas.text(box.x, box.y, name, colour=ink_on(colour), align="center", gid="key")


def _share(count: int, topic: _Topic) -> str:
    """Whole percents where there are some."""
    share = count / topic.total
    return percent(round(share, 2 if share >= 0.01 else 4))


def _finding(topic: _Topic) -> str:
    count, most = len(topic.parts), topic.in_part(topic.busiest)
    if count == 1:
        return f"{topic.name}: all {topic.total:,} events in one partition"
    share = _share(most, topic)
    empty = sum(not topic.in_part(number) for number in topic.parts)
    told = [f"{empty:,} of {count:,} are empty"] if empty else []
    if most <= topic.total / count * _ALIKE:
        head = f"{count:,} partitions have about as much as one another, at most {share}"
        return f"{topic.name}: {head}"
    return f"{topic.name}: {listing([f'one of {count:,} partitions has {share}', *told])}"


def _alt(topic: _Topic) -> str:
    told = [
        f"The topic {topic.name!r} as bars, one a partition, {plural(topic.total, 'event')} in all."
    ]
    for number in topic.parts:
        pieces = [f"{key} {events:,}" for key, events, _ in topic.segments(number)]
        count = topic.in_part(number)
        told.append(f"Partition {number}: {count:,}{f' ({listing(pieces)})' if pieces else ''}.")
    return " ".join(told)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
