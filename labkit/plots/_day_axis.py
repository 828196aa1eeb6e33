"""An axis of times of day, under a picture whose events carry dates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from labkit.plots._canvas import Canvas
from labkit.plots.style import GREY, GRID, SMALL, text_width

_STEPS = tuple(
    timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)
)
_MOST_TICKS = 10


@dataclass(frozen=True, slots=True)
class DayAxis:
    """From times of day to pixels.

    Attributes:
        left, right: pixels of `first` and `last`.
        zone: what the clock shows, for the axis' name.
    """

    left: float
    right: float
    first: datetime
    last: datetime
    zone: str

    def x(self, time: datetime) -> float:
        """Where a time stands."""
        if self.last <= self.first:
            return self.left
        share = (time - self.first) / (self.last - self.first)
        return self.left + share * (self.right - self.left)

    def ticks(self) -> Iterator[datetime]:
        """Whole minutes, hours or days."""
        whole = self.last - self.first
        days = -(-whole // (_MOST_TICKS * _STEPS[-1]))
        fitting = (step for step in _STEPS if whole / step <= _MOST_TICKS)
        step = next(fitting, max(1, days) * _STEPS[-1])
        midnight = self.first.replace(hour=0, minute=0, second=0, microsecond=0)
        moment = midnight + -((midnight - self.first) // step) * step
        while moment <= self.last:
            yield moment
            moment += step

    def draw(self, canvas: Canvas, y: float, top: float) -> None:
        """The axis at height `y`, with grid lines up to `top`; a new day is named."""
        canvas.line([(self.left, y), (self.right, y)], GREY, width=0.8)
        day, free = None, 0.0
        for moment in self.ticks():
            x = self.x(moment)
            canvas.line([(x, top), (x, y)], GRID, width=0.8, above=0.4, gid="grid")
            canvas.line([(x, y), (x, y + 4)], GREY, width=0.8)
            text = f"{moment:%H:%M}"
            half = text_width(text, SMALL) / 2
            if x - half < free:
                continue
            canvas.text(x, y + 14, text, colour=GREY, align="center", gid="tick")
            free = x + half + 8
            if moment.date() != day:
                day = moment.date()
                named = f"{day.day} {day:%B}"
                canvas.text(x, y + 29, named, colour=GREY, align="center", gid="day")
        name = f"time of day ({self.zone})" if self.last > self.first else "all at the same time"
        canvas.text((self.left + self.right) / 2, y + 46, name, align="center", gid="axis")
