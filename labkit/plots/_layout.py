"""Where everything in a space-time picture stands, before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from labkit.plots._conversation import BROKER, Arrival, Conversation, Deed, Fate, Moment, Sending
from labkit.plots._placement import CLEARANCE, ROW, Box, Room, Segment
from labkit.plots._timeline import TimeScale, quiet_span
from labkit.plots.style import MARGIN, NORMAL, SMALL, WIDTH, elide, legible, text_width, wrap

Axis = Literal["auto", "time", "order"]
Point = tuple[float, float]

NAME_WIDTH = 190
RIGHT_COLUMN = 92
STOP_SHORT = 20
"""How far before a lane a broken arrow ends."""

_IN_HAND = (Fate.DELIVERED, Fate.REDELIVERED)
_SENDER_STEP = 64
_BROKER_STEP = 70
_STEPS = ((4, 76), (7, 66), (99_999, 58))
"""Distance between subscribers' lanes, for up to so many of them."""
_SLANT = 24
"""Pixels to the right for an arrow whose end the trace does not know."""
_CROWDED = 5
"""With a quarter of the messages closer than this many pixels, time cannot be read: order can."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """One arrow. `fate` is None from a sender to the broker."""

    start: Point
    end: Point
    channel: str
    fate: Fate | None
    arrival: Arrival | None = None
    sending: Sending | None = None

    @property
    def segment(self) -> Segment:
        """The line alone."""
        return Segment(*self.start, *self.end)

    @property
    def broken(self) -> bool:
        """Whether it ends in a cross."""
        if self.fate is None:
            return self.sending is not None and self.sending.refused is not None
        return self.fate in (Fate.LOST, Fate.DROPPED)


@dataclass(slots=True)
class Layout:
    """Positions in pixels. The lanes begin at `top`; `rows` are rows of labels, by sender.

    `first` and `last` are the times at the edges.
    """

    talk: Conversation
    top: float
    rows: Mapping[str, int]
    axis: Axis = "auto"
    broker: str = BROKER
    left: float = field(init=False)
    right: float = field(init=False, default=WIDTH - RIGHT_COLUMN)
    y: dict[str, float] = field(init=False, default_factory=dict)
    first: float = field(init=False)
    last: float = field(init=False)
    by_time: bool = field(init=False, default=True)
    _places: dict[int, int] = field(init=False)
    _cut: tuple[float, float] | None = field(init=False, default=None)
    strokes: list[Stroke] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        names = [
            legible(name) for name in (*self.talk.senders, self.broker, *self.talk.subscribers)
        ]
        longest = max(
            max(text_width(elide(n, NAME_WIDTH, NORMAL), NORMAL) for n in names),
            *(text_width(line, SMALL) for n in self.lanes for line in self.role(n)),
        )
        self.left = MARGIN + longest + 14
        times = [moment.time for moment in self.talk.moments]
        self.first, self.last = min(times), max(times)
        self._cut = quiet_span(times) if self.talk.pulled and self.axis == "auto" else None
        orders = sorted({moment.order for moment in self.talk.moments})
        self._places = {order: place for place, order in enumerate(orders)}
        self._stack()
        self.by_time = self._choose_axis()
        self._draw_strokes()

    @property
    def lanes(self) -> list[str]:
        """All actors, from the top."""
        return [*self.talk.senders, BROKER, *self.talk.subscribers]

    @property
    def bottom(self) -> float:
        """The lowest lane."""
        return max(self.y.values())

    def role(self, name: str) -> list[str]:
        """The lines under a lane's name, two at most: what it hears, or what it is."""
        if name == BROKER:
            return [] if self.broker == BROKER else [BROKER]
        if part := self._part(name):
            return [part]
        presence = self.talk.presences.get(name)
        heard = presence.names if presence is not None else ()
        if not heard:
            return ["publisher" if name in self.talk.senders else "subscriber"]
        for shown in range(len(heard), 0, -1):
            rest = f" + {len(heard) - shown} more" if shown < len(heard) else ""
            text = "hears " + legible(", ".join(heard[:shown])) + rest
            lines = wrap(text, NAME_WIDTH, SMALL)
            if len(lines) <= 2:
                break
        return lines[:2]

    def _part(self, name: str) -> str:
        """What somebody is at queues and services."""
        talk = self.talk
        asks = any(s.sender == name and s.channel in talk.services for s in talk.sendings)
        serves = any(a.subscriber == name and a.channel in talk.services for a in talk.arrivals)
        puts = any(s.sender == name and s.channel in talk.queues for s in talk.sendings)
        works = any(a.subscriber == name and a.channel in talk.queues for a in talk.arrivals)
        parts = {"requester": asks, "responder": serves, "producer": puts, "worker": works}
        return ", ".join([part for part, is_so in parts.items() if is_so][:2])

    def _stack(self) -> None:
        y = self.top + (0 if any(self.rows.values()) else 14)
        for i, name in enumerate(self.talk.senders):
            band = self.rows.get(name, 0) * ROW + CLEARANCE
            y += band if i == 0 else max(_SENDER_STEP, band + 30)
            self.y[name] = y
        y += _BROKER_STEP if self.talk.senders else 24
        self.y[BROKER] = y
        step = next(s for most, s in _STEPS if len(self.talk.subscribers) <= most)
        for i, name in enumerate(self.talk.subscribers):
            y += step + (6 if i == 0 else 0)
            self.y[name] = y

    def _choose_axis(self) -> bool:
        if self.last <= self.first or self.axis != "auto":
            return self.last > self.first and self.axis != "order"
        self.by_time = True
        xs = sorted(self.x(s.sent) for s in self.talk.sendings)
        steps = sorted(b - a for a, b in pairwise(xs))
        return len(steps) < 2 or steps[len(steps) // 4] >= _CROWDED

    def x(self, moment: Moment) -> float:
        """Where a moment stands."""
        scale = self.scale
        if self.by_time:
            return scale.x(moment.time)
        steps = max(1, len(self._places) - 1)
        return scale.left + (scale.right - scale.left) * self._places[moment.order] / steps

    @property
    def scale(self) -> TimeScale:
        """From times to pixels."""
        left, right = self.left + 24, self.right - 18
        return TimeScale(left, right, self.first, self.last, before=24, after=18, cut=self._cut)

    def _draw_strokes(self) -> None:
        broker = self.y[BROKER]
        for sending in self.talk.sendings:
            start = (self.x(sending.sent), self.y[sending.sender])
            if sending.refused is not None:
                side = 1 if start[1] < broker else -1
                end = (self._later(start[0], 1), broker - side * STOP_SHORT)
            elif sending.accepted is not None:
                end = (self.x(sending.accepted), broker)
            else:
                end = (self._at_broker(sending), broker)
            self.strokes.append(Stroke(start, end, sending.channel, None, sending=sending))
        for arrival in self.talk.arrivals:
            if arrival.arrow:
                self.strokes.append(self._to_subscriber(arrival))

    def _at_broker(self, sending: Sending) -> float:
        if sending.accepted is not None:
            return self.x(sending.accepted)
        ends = [self.x(a.moment) for a in self.talk.arrivals if a.sending is sending]
        start = self.x(sending.sent)
        known = [x for x in ends if x > start]
        return min([self._later(start, 1), *((start + x) / 2 for x in known)])

    def _to_subscriber(self, arrival: Arrival) -> Stroke:
        broker, lane = self.y[BROKER], self.y[arrival.subscriber]
        side = 1 if lane > broker else -1
        now = self.x(arrival.moment)
        depth = abs(self.lanes.index(arrival.subscriber) - self.lanes.index(BROKER))
        if arrival.sending is None:
            start = max(self.left + 2, now - _SLANT * (1 + depth / 3))
        else:
            start = self._at_broker(arrival.sending)
        if self.talk.pulling(arrival):  # it stayed with the broker until then
            start = max(start, now - _SLANT * (1 + depth / 3))
        # A loss is noticed later than it happens: it stands where the message was on its way.
        guessed = arrival.fate in (Fate.LOST, Fate.WAITING) and arrival.sending is not None
        end = self._later(start, 1 + depth / 3) if guessed else max(now, start)
        stop = STOP_SHORT if arrival.fate in (Fate.LOST, Fate.DROPPED, Fate.WAITING) else 1
        return Stroke(
            (start, broker),
            (end, lane - side * stop),
            arrival.channel,
            arrival.fate,
            arrival,
            arrival.sending,
        )

    def _later(self, x: float, steps: float) -> float:
        return min(x + _SLANT * steps, self.right - 8)

    def bands(self) -> Iterator[tuple[Arrival, float, float]]:
        """From where to where somebody had a message in hand that it had taken."""
        for arrival in self.talk.arrivals:
            if not self.talk.pulling(arrival) or arrival.fate not in _IN_HAND:
                continue
            if arrival.subscriber in self.talk.senders:
                continue  # a reply is only read
            ends = [
                d.moment
                for d in self.talk.deeds
                if d.moment > arrival.moment
                and (d.sending is arrival.sending or d.deed is Deed.CRASHED)
                and d.actor == arrival.subscriber
            ]
            ends += [
                s.sent
                for s in self.talk.sendings
                if s.sender == arrival.subscriber and s.sent > arrival.moment
            ]
            if ends:
                yield arrival, self.x(arrival.moment), self.x(min(ends))

    def room(self) -> Room:
        """The room for words: arrows and lanes are in it, marks too."""
        room = Room(Box(MARGIN, self.top - 4, WIDTH - 4, self.bottom + 30))
        for y in self.y.values():
            # Twice: a word that breaks a lane is worse than one that breaks an arrow.
            room.lines += [Segment(self.left, y, self.right, y)] * 2
            room.boxes.append(Box(MARGIN, y - 22, self.left - 2, y + 26))
            room.boxes.append(Box(self.right + 3, y - 14, WIDTH, y + 14))
        for stroke in self.strokes:
            room.lines.append(stroke.segment)
            if stroke.broken or stroke.fate is Fate.WAITING:
                room.boxes.append(Box.around(*stroke.end, 13, 13))
            if stroke.fate is None:
                room.boxes.append(Box.around(*stroke.start, 9, 9))
        for arrival, left, right in self.bands():
            y = self.y[arrival.subscriber]
            room.boxes.append(Box(left, y - 5, right + 6, y + 6))
        return room
