"""A timeline: what each key (a flight) went through in its day, told by its events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, timedelta, tzinfo
from itertools import pairwise

from labkit._words import plural
from labkit.errors import ConfigurationError
from labkit.patterns.event_stream import Event
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._day_axis import DayAxis
from labkit.plots._key_lives import Life, Lives, Stretch, lives_alt, lives_finding, read_lives
from labkit.plots._placement import Box, Room
from labkit.plots._timeline import SAMPLE, Sample, draw_legend, flow
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    COLOURS,
    GREY,
    INK,
    LOSS_INK,
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

MOST_ROWS = 12
_NAME_WIDTH = 190
_FATE_WIDTH = 170
_BAND = 20.0
_ROW = 54.0
_HATCHES = (None, "////", "....", "\\\\\\\\", "xxxx")


@in_style
def timeline(
    events: Iterable[Event],
    keys: Sequence[str] | None = None,
    *,
    zone: tzinfo = UTC,
    ends: Collection[str] = ("arrived",),
    losses: Collection[str] = ("cancelled",),
    title: str | None = None,
) -> LabFigure:
    """Draw each key's states as bars along the time of day, with the events between them.

    The state is the last word of an event's type: `flight.departed` begins "departed".

    Args:
        events: as `stream.read()` returns them.
        keys: which keys, in this order. None takes at most 12, those with the most events; the
            picture says how many it leaves out.
        zone: whose time of day the axis shows.
        ends: states after which nothing is expected: a tick.
        losses: states that end it badly: a cross.
        title: None states the finding.

    Raises:
        ConfigurationError: there is no event with a key, or `keys` names one that has none.
    """
    read = read_lives(events, zone, {*ends, *losses})
    shown = _choose(read, keys)
    headline = legible(lives_finding(read, shown) if title is None else title)
    return _Picture(read, shown, frozenset(losses), headline, _caption(read, shown)).draw()


def _choose(read: Lives, keys: Sequence[str] | None) -> list[Life]:
    if not read.lives:
        raise ConfigurationError(
            "No event with a key to draw: append with key=…, and pass what stream.read() returns."
        )
    if keys is None:
        ranked = sorted(read.lives, key=lambda life: -len(life.stretches))[:MOST_ROWS]
        return [life for life in read.lives if life in ranked]
    known = {life.key: life for life in read.lives}
    if unknown := [key for key in keys if key not in known]:
        some = ", ".join(list(known)[:8]) + (", …" if len(known) > 8 else "")
        raise ConfigurationError(f"No event of {unknown[0]!r}; there are events of {some}.")
    if not keys:
        raise ConfigurationError("Nothing to draw: keys is empty; None draws what there is.")
    return [known[key] for key in keys]


def _caption(read: Lives, shown: Sequence[Life]) -> str:
    parts = []
    if out := len(read.lives) - len(shown):
        parts.append(f"{len(shown)} of {plural(len(read.lives), read.noun)} shown, {out:,} not.")
    if read.keyless:
        parts.append(f"{plural(read.keyless, 'event')} without a key left out.")
    return " ".join(parts)


@dataclass(slots=True)
class _Picture:
    read: Lives
    shown: Sequence[Life]
    losses: frozenset[str]
    headline: str
    caption: str
    _canvas: Canvas = field(init=False)
    _axis: DayAxis = field(init=False)
    _states: list[str] = field(init=False)

    def draw(self) -> LabFigure:
        every = [stretch for life in self.shown for stretch in life.stretches]
        self._states = self.read.states
        names = [elide(legible(life.key), _NAME_WIDTH, NORMAL) for life in self.shown]
        fates = [elide(legible(_fate(life)), _FATE_WIDTH, SMALL) for life in self.shown]
        left = MARGIN + max(text_width(name, NORMAL) for name in names) + 16
        right = WIDTH - MARGIN - max(text_width(fate, SMALL) for fate in fates) - 22
        first, last = min(s.start for s in every), max(s.start for s in every)
        last += (last - first) * 0.04 if any(map(self._open, self.shown)) else timedelta()
        self._axis = DayAxis(left, right, first, last, legible(str(first.tzname())))
        top = 30 + len(title_lines(self.headline)) * line_height(TITLE)
        bottom = top + _ROW * len(self.shown) + 4
        legend, end = flow(self._legend(), left, bottom + 74)
        height = end + (24 if self.caption else 4)
        alt = lives_alt(self.read, self.shown, self.caption)
        self._canvas = Canvas(height, headline=self.headline, alt_text=alt)
        self._axis.draw(self._canvas, bottom, top)
        for i, (life, name, fate) in enumerate(zip(self.shown, names, fates, strict=True)):
            y = top + i * _ROW
            middle = y + _ROW - _BAND / 2 - 4
            self._canvas.text(left - 14, middle, name, size=NORMAL, align="right", gid="name")
            colour = LOSS_INK if life.state in self.losses else GREY
            self._canvas.text(right + 18, middle, fate, colour=colour, gid="fate")
            self._draw_bars(life, middle)
            self._draw_marks(life, middle, Box(left - 10, y, right + 14, middle - _BAND / 2))
        draw_legend(self._canvas, legend)
        if self.caption:
            self._canvas.text(MARGIN, end + 4, self.caption, colour=GREY, gid="caption")
        return self._canvas.figure

    def _open(self, life: Life) -> bool:
        return not self.read.over(life)

    def _draw_bars(self, life: Life, middle: float) -> None:
        for state, xs in self._runs(life):
            right = max(xs[-1], xs[0] + 1.5)
            self._bar(
                self._canvas, state, Box(xs[0], middle - _BAND / 2, right, middle + _BAND / 2)
            )
            text = legible(state)
            start, end = max(pairwise(xs), key=lambda gap: gap[1] - gap[0])
            if text_width(text, SMALL) + 12 <= end - start:  # between two events, not across one
                x, colour = (start + end) / 2, ink_on(self._colour(state))
                paper = self._colour(state) if self._hatch(state) else None
                self._canvas.text(
                    x, middle, text, colour=colour, align="center", paper=paper, gid="state"
                )

    def _runs(self, life: Life) -> list[tuple[str, list[float]]]:
        """States with the pixels of their events; events that leave a state as it is join it."""
        runs: list[tuple[str, list[float]]] = []
        for stretch in life.stretches:
            if stretch.end is None and self.read.over(life):
                break
            left = self._axis.x(stretch.start)
            right = self._axis.right if stretch.end is None else self._axis.x(stretch.end)
            if runs and runs[-1][0] == stretch.state:
                runs[-1][1].append(right)
            else:
                runs.append((stretch.state, [left, right]))
        return runs

    def _draw_marks(self, life: Life, middle: float, strip: Box) -> None:
        """A mark at every event, and over it when and what, where there is room."""
        room = Room(Box(strip.left, strip.top, strip.right, strip.bottom + 1))
        y = strip.bottom - 4 - line_height(SMALL) / 2
        last = life.stretches[-1]
        for stretch in sorted(life.stretches, key=lambda s: s is not last):
            x = self._axis.x(stretch.start)
            self._draw_mark(stretch, x, middle, final=stretch is last and self.read.over(life))
            when = f"{stretch.start:%H:%M}"
            for text in (f"{when} {legible(stretch.state)}", when):
                width = text_width(text, SMALL) + 2
                xs = [x + shift * width for shift in (0, 0.4, -0.4)]
                xs = [min(max(at, strip.left + width / 2), strip.right - width / 2) for at in xs]
                boxes = [Box.around(at, y, width, line_height(SMALL)) for at in xs]
                if (box := room.place(boxes)) is not None:
                    colour = LOSS_INK if stretch.state in self.losses else INK
                    self._canvas.text(box.x, y, text, colour=colour, align="center", gid="event")
                    break

    def _draw_mark(self, stretch: Stretch, x: float, middle: float, *, final: bool) -> None:
        if final and stretch.state in self.losses:
            self._canvas.cross(x, middle)
        elif final:
            self._canvas.tick(x + 7, middle)
        else:
            over = middle - _BAND / 2
            self._canvas.line([(x, over - 4), (x, over + _BAND)], INK, width=1.4, gid="event")

    def _colour(self, state: str) -> str:
        """Pale for the first state, which is waiting; then the colours in turn."""
        number = self._number(state)
        return COLOURS[(number - 1) % len(COLOURS)] if number else lighter(GREY, 0.65)

    def _hatch(self, state: str) -> str | None:
        return _HATCHES[max(0, self._number(state) - 1) % len(_HATCHES)]

    def _number(self, state: str) -> int:
        """An end that something followed after all comes behind the others."""
        return self._states.index(state) if state in self._states else len(self._states)

    def _bar(self, canvas: Canvas, state: str, box: Box) -> None:
        hatch = self._hatch(state)
        edge = PAPER if hatch else "none"
        canvas.rectangle(box, self._colour(state), hatch=hatch, edge=edge, gid="bar")

    def _legend(self) -> list[tuple[Sample, str]]:
        drawn = {state for life in self.shown for state, _ in self._runs(life)}
        entries = [(self._swatch(s), legible(s)) for s in self._states if s in drawn]
        entries.append((_event, "an event"))
        final = {life.state for life in self.shown if self.read.over(life)}
        if good := sorted(final - self.losses):
            entries.append((lambda c, x, y: c.tick(x + 24, y, gid="sample"), ", ".join(good)))
        if bad := sorted(final & self.losses):
            entries.append((lambda c, x, y: c.cross(x + 24, y, gid="sample"), ", ".join(bad)))
        return [(sample, elide(legible(text), 260, SMALL)) for sample, text in entries]

    def _swatch(self, state: str) -> Sample:
        return lambda canvas, x, y: self._bar(canvas, state, Box(x, y - 8, x + SAMPLE, y + 8))


def _event(canvas: Canvas, x: float, y: float) -> None:
    canvas.line([(x + 26, y - 8), (x + 26, y + 8)], INK, width=1.4, gid="sample")


def _fate(life: Life) -> str:
    return f"{life.state}, {plural(len(life.stretches), 'event')}"
