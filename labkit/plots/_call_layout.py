"""Where everything in a request/reply picture stands, before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from labkit.plots._calls import Call, Calls
from labkit.plots._placement import Anchor, Box, Room, Segment, around, place_labels
from labkit.plots._timeline import TimeScale
from labkit.plots.style import (
    COLOURS,
    DASHES,
    GREY,
    LOSS_INK,
    MARGIN,
    NORMAL,
    SMALL,
    WIDTH,
    Look,
    elide,
    legible,
    text_width,
)

NAME_WIDTH = 190
SPAN = 7.0
"""Height of the span of a wait that timed out."""
NUMBER = 22.0
"""Width of a number in its disc."""

_LABELLED = 8
"""Up to so many requests are named in the picture; more are numbered, with a key."""
_ROWS = 8
_STEP = 78.0

Point = tuple[float, float]


def call_look(index: int) -> Look:
    """The look of a pair."""
    turn = index // len(COLOURS)
    return Look(COLOURS[index % len(COLOURS)], DASHES[(index + turn) % len(DASHES)], "o")


@dataclass(slots=True)
class CallLayout:
    """Positions in pixels; `labels` are in the order of `shown`."""

    found: Calls
    shown: Sequence[Call]
    top: float
    left: float = field(init=False)
    right: float = field(init=False, default=WIDTH - MARGIN - 88)
    scale: TimeScale = field(init=False)
    room: Room = field(init=False)
    y: dict[str, float] = field(init=False, default_factory=dict)
    labels: list[tuple[Anchor, Box, str]] = field(init=False)
    named: bool = field(init=False)

    def __post_init__(self) -> None:
        names = [elide(legible(name), NAME_WIDTH, NORMAL) for name in self.lanes]
        widest = max(text_width("requester", SMALL), *(text_width(name, NORMAL) for name in names))
        self.left = MARGIN + widest + 14
        left, right = self.left + 22, self.right - 16
        self.scale = TimeScale(left, right, self.found.first, self.found.last, 22, 16)
        self.named = len(self.shown) <= _LABELLED
        self._place()

    @property
    def requesters(self) -> list[str]:
        """The upper lanes."""
        return list(dict.fromkeys(call.requester for call in self.shown))

    @property
    def responders(self) -> list[str]:
        """The lower lanes."""
        names = {call.responder for call in self.shown} - {""}
        return sorted(names - set(self.requesters))

    @property
    def lanes(self) -> list[str]:
        """All of them, from the top."""
        return self.requesters + self.responders

    @property
    def bottom(self) -> float:
        """The lowest lane."""
        return max(self.y.values())

    def death(self, name: str) -> float | None:
        """When a responder died, if it did not come back."""
        mine = [call for call in self.found.calls if call.responder == name]
        latest = max((c.taken or c.expired or 0.0 for c in mine), default=0.0)
        crashes = self.found.crashes.get(name, [])
        return min((time for time in crashes if time >= latest), default=None)

    def arrows(self, call: Call) -> list[tuple[Point, Point]]:
        """There, and back."""
        top, found = self.y[call.requester], []
        there = call.taken if call.taken is not None else call.expired
        if there is not None:
            start = (self.scale.x(call.sent), top)
            found.append((start, (self.scale.x(there), self.y[call.responder])))
        back = call.answered if call.answered is not None else call.late
        if back is not None and call.replied is not None:
            start = (self.scale.x(call.replied), self.y[call.responder])
            found.append((start, (self.scale.x(back), top)))
        return found

    def nowhere(self, call: Call) -> Point:
        """Where the line of a request ends that reached nobody, as far as the trace knows."""
        x = self.scale.x(call.sent)
        return min(x + 16, self.right - 8), self.y[call.requester] + 46

    def work(self, call: Call) -> Box:
        """From taking a request to its reply, on the responder's lane."""
        y, left = self.y[call.responder], self.scale.x(call.taken or 0.0)
        ends = [time for time in (call.replied, call.crashed) if time is not None]
        right = self.scale.x(min(ends, default=self.found.last))
        return Box(left, y - 5, max(left + 3, right), y + 5)

    def waits(self) -> Iterator[tuple[int, Box]]:
        """Spans under a requester's lane, for the requests that timed out: number, place."""
        taken: dict[str, list[float]] = {}
        for index, call in enumerate(self.shown):
            if call.timed_out is None:
                continue
            left, right = self.scale.x(call.sent), self.scale.x(call.timed_out)
            free = taken.setdefault(call.requester, [])
            row = next((i for i, end in enumerate(free) if end < left), len(free))
            free[row : row + 1] = [right]
            y = self.y[call.requester] + 3 + min(row, 5) * (SPAN + 1)
            yield index, Box(left, y, right, y + SPAN)

    def numbers(self) -> Iterator[tuple[int, Box]]:
        """The numbers at the responders."""
        for index, call in enumerate(self.shown):
            if call.taken is None and call.expired is None:
                continue
            x, y = self.scale.x(call.expired or 0.0), self.y[call.responder]
            if call.taken is not None:
                x = self.work(call).x
            spots = [(dx, dy) for dy in (17, -17) for dx in (0, 12, -12)]
            boxes = [Box.around(x + dx, y + dy, NUMBER, 18) for dx, dy in spots]
            if (box := self.room.place(boxes, tolerance=9)) is not None:
                yield index, box

    def words(self) -> Iterator[tuple[str, str, Box]]:
        """What no number says: text, colour, place."""
        for (text, colour), points in self._spots().items():
            for point in points:
                box = self.room.place(around([point], text), tolerance=2)
                if box is not None:
                    yield text, colour, box

    def _spots(self) -> dict[tuple[str, str], list[Point]]:
        spots: dict[tuple[str, str], list[Point]] = {}

        def add(text: str, x: float, y: float, colour: str = LOSS_INK) -> None:
            spots.setdefault((text, colour), []).append((x, y))

        for index, box in self.waits():
            del index
            add("timed out", box.right, box.y)
        for call in self.shown:
            if call.late is not None:
                add("late, thrown away", self.scale.x(call.late), self.y[call.requester])
            if call.expired is not None:
                add("expired, dropped", self.scale.x(call.expired), self.y[call.responder])
            if call.refused is not None:
                nobody = call.why.startswith("NoResponder")
                add("no responder" if nobody else "not sent", *self.nowhere(call))
            elif not self.arrows(call):
                add("not taken", *self.nowhere(call), GREY)
            if call.failed and call.taken is not None:
                add("error", self.work(call).right, self.y[call.responder])
            if call.undelivered:
                add("nobody waits for it", self.work(call).right, self.y[call.responder])
        for name in self.responders:
            if (died := self.death(name)) is not None:
                add("crashed", self.scale.x(died), self.y[name])
        return spots

    def _place(self) -> None:
        """Lanes and labels: as many rows of labels over each requester as they need."""
        rows = dict.fromkeys(self.requesters, 1)
        while True:
            self._stack(rows)
            self.room = self._room()
            placed: dict[int, tuple[Anchor, Box, str]] = {}
            short = next((name for name in rows if not self._label(name, rows, placed)), None)
            if short is None:
                self.labels = [placed[i] for i in range(len(self.shown))]
                return
            rows[short] += 1
            if rows[short] > 2 * _ROWS and self.named:
                self.named, rows = False, dict.fromkeys(self.requesters, 1)

    def _label(
        self, name: str, rows: dict[str, int], placed: dict[int, tuple[Anchor, Box, str]]
    ) -> bool:
        mine = [i for i, call in enumerate(self.shown) if call.requester == name]
        texts = [self._text(i) for i in mine]
        anchors = [
            Anchor(self.scale.x(self.shown[i].sent), self.y[name], NUMBER + 4 + width)
            for i, width in zip(mine, (text_width(text, SMALL) for text in texts), strict=True)
        ]
        over = rows[name] > _ROWS // 2
        boxes = place_labels(anchors, self.room, rows[name], over_lines=over)
        for i, anchor, box, text in zip(mine, anchors, boxes or [], texts, strict=False):
            placed[i] = (anchor, box, text)
        return boxes is not None

    def _text(self, index: int) -> str:
        return elide(legible(self.shown[index].label), 200, SMALL) if self.named else ""

    def _stack(self, rows: dict[str, int]) -> None:
        y = self.top - 6
        for i, name in enumerate(rows):
            y += rows[name] * 21.0 + 12 + (40 if i else 0)
            self.y[name] = y
        y += 124
        for name in self.responders:
            self.y[name] = y
            y += _STEP

    def _room(self) -> Room:
        room = Room(Box(MARGIN, self.top - 8, WIDTH - 4, self.bottom + 46))
        for y in self.y.values():
            room.lines += [Segment(self.left, y, self.right, y)] * 2
            room.boxes.append(Box(MARGIN, y - 16, self.left - 2, y + 16))
            room.boxes.append(Box(self.right + 3, y - 16, WIDTH, y + 16))
        for call in self.shown:
            room.boxes.append(Box.around(self.scale.x(call.sent), self.y[call.requester], 12, 10))
            room.lines += [Segment(*start, *end) for start, end in self.arrows(call)]
            if call.taken is not None:
                room.boxes.append(self.work(call))
            if call.late is not None:
                x = self.scale.x(call.late)
                room.boxes.append(Box.around(x, self.y[call.requester], 10, 10))
        room.boxes += [box for _, box in self.waits()]
        return room
