"""What stands under a space-time picture: the time axis, the legend, the key, the caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from labkit.plots._canvas import Canvas
from labkit.plots._layout import Layout
from labkit.plots._timeline import SAMPLE, Sample, draw_legend, flow
from labkit.plots.style import (
    GREY,
    INK,
    MARGIN,
    SMALL,
    WIDTH,
    elide,
    legible,
    look_of,
    text_width,
    wrap,
)

_ROW = 20.0
_MOST_CHANNELS = 18


@dataclass(slots=True)
class Foot:
    """Lays out what stands under the lanes; `height` is known before anything is drawn."""

    layout: Layout
    marks: Sequence[tuple[Sample, str]]
    key: Sequence[tuple[int, int, str]]
    caption: str
    _legend: list[tuple[float, float, Sample, str]] = field(init=False, default_factory=list)
    _axis_y: float = field(init=False)
    _key_y: float = field(init=False)
    _caption_y: float = field(init=False)
    height: float = field(init=False)

    def __post_init__(self) -> None:
        self._axis_y = self.layout.bottom + 34
        under = self._axis_y + (62 if self.layout.by_time else 46)
        entries = [*self._channels(), *self.marks]
        self._legend, y = flow(entries, self.layout.left, under)
        self._key_y = y + 4
        rows = -(-len(self.key) // self._columns)
        y += rows * _ROW + (8 if rows else 0)
        self._caption_y = y
        y += len(self._caption_lines) * 16 + (4 if self.caption else 0)
        self.height = y

    @property
    def _columns(self) -> int:
        widest = max((text_width(text, SMALL) for _, _, text in self.key), default=0)
        return max(1, min(4, int((WIDTH - 2 * MARGIN) / (widest + 64))))

    @property
    def _caption_lines(self) -> list[str]:
        return wrap(self.caption, WIDTH - 2 * MARGIN, SMALL)

    def _channels(self) -> list[tuple[Sample, str]]:
        names = self.layout.talk.channels
        entries = [(_channel(n), elide(legible(n), 300, SMALL)) for n in names[:_MOST_CHANNELS]]
        if len(names) > _MOST_CHANNELS:
            entries.append((_nothing, f"… and {len(names) - _MOST_CHANNELS} more channels"))
        return entries

    def draw(self, canvas: Canvas) -> None:
        """Draw all of it."""
        self._draw_axis(canvas)
        draw_legend(canvas, self._legend)
        self._draw_key(canvas)
        for i, line in enumerate(self._caption_lines):
            canvas.text(MARGIN, self._caption_y + 2 + 16 * i, line, colour=GREY, gid="caption")

    def _draw_axis(self, canvas: Canvas) -> None:
        layout, y = self.layout, self._axis_y
        if layout.by_time:
            layout.scale.draw(canvas, y, top=min(layout.y.values()) - 12, grid=False)
            return
        canvas.line([(layout.left, y), (layout.right, y)], GREY, width=0.8)
        middle = (layout.left + layout.right) / 2
        name = "order of events (not to scale)"
        if layout.last <= layout.first:
            name = "order of events (all at the same time)"
        canvas.text(middle, y + 18, name, align="center", gid="axis")

    def _draw_key(self, canvas: Canvas) -> None:
        columns = self._columns
        rows = -(-len(self.key) // columns)
        width = (WIDTH - 2 * MARGIN) / columns
        for place, (number, index, text) in enumerate(self.key):
            x = MARGIN + place // max(1, rows) * width
            y = self._key_y + place % max(1, rows) * _ROW
            look = look_of(self.layout.talk.sendings[index].channel)
            canvas.text(x + 22, y, str(number), align="right", weight="bold", gid="key")
            canvas.marker(x + 33, y, look.marker, look.colour)
            canvas.text(x + 44, y, elide(text, width - 56, SMALL), colour=INK, gid="key")


def _channel(name: str) -> Sample:
    def draw(canvas: Canvas, x: float, y: float) -> None:
        look = look_of(name)
        canvas.line([(x, y), (x + SAMPLE, y)], look.colour, width=1.5, dashes=look.dashes)
        canvas.marker(x + SAMPLE / 2, y, look.marker, look.colour)

    return draw


def _nothing(canvas: Canvas, x: float, y: float) -> None:
    del canvas, x, y
