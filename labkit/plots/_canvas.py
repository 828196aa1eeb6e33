"""A picture drawn in pixels: what is measured is what is drawn.

x runs to the right and y down, both from the top left corner, in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.patches import Polygon, Rectangle
from matplotlib.text import Text

from labkit.plots._placement import Box
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    DPI,
    INK,
    LOSS,
    MARGIN,
    PAPER,
    SMALL,
    TITLE,
    WIDTH,
    Slant,
    font,
    line_height,
    text_width,
    wrap,
)

Align = Literal["left", "center", "right"]

_POINTS = 72 / DPI
_HEAD = (10.0, 3.8)
"""Length and half width of an arrowhead."""


def title_lines(title: str) -> list[str]:
    """A title in lines that fit, as few as can be and about as long as one another."""
    width = WIDTH - 2 * MARGIN
    lines = wrap(title, width, TITLE, weight="bold")
    while len(lines) > 1:
        width -= 20
        narrower = wrap(title, width, TITLE, weight="bold")
        if len(narrower) > len(lines) or any("…" in line for line in narrower):
            break
        lines = narrower
    return lines


class Canvas:
    """A `LabFigure` with one axes over all of it, in pixels."""

    def __init__(self, height: float, *, headline: str, alt_text: str) -> None:
        """A blank picture with its title."""
        self.figure = LabFigure(height, headline=headline, alt_text=alt_text)
        self._axes = self.figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._axes.set_xlim(0, WIDTH)
        self._axes.set_ylim(round(height), 0)
        for i, line in enumerate(title_lines(headline)):
            y = MARGIN + 8 + i * line_height(TITLE)
            self.text(MARGIN, y, line, size=TITLE, weight="bold", gid="title")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = SMALL,
        colour: str = INK,
        align: Align = "left",
        weight: str = "normal",
        slant: Slant = "normal",
        mono: bool = False,
        paper: str | None = None,
        gid: str = "text",
        above: float = 5.0,
    ) -> Text:
        """One line of text whose middle is at height `y`; `paper` is a background."""
        artist = Text(
            x,
            y + size / _POINTS * 0.36,
            text,
            color=colour,
            fontproperties=font(size, weight=weight, slant=slant, mono=mono),
            horizontalalignment=align,
            verticalalignment="baseline",
            parse_math=False,
            gid=gid,
            zorder=above + 1,
        )
        if paper is not None:
            width = text_width(text, size, weight, mono)
            left = x - {"left": 0.0, "center": 0.5, "right": 1.0}[align] * width
            half = line_height(size) / 2
            self.rectangle(Box(left - 2, y - half, left + width + 2, y + half), paper, above=above)
        self._axes.add_artist(artist)
        return artist

    def rectangle(
        self,
        box: Box,
        colour: str,
        *,
        edge: str = "none",
        hatch: str | None = None,
        above: float = 1.0,
        gid: str = "box",
    ) -> None:
        """A filled rectangle."""
        self._axes.add_patch(
            Rectangle(
                (box.left, box.top),
                box.right - box.left,
                box.bottom - box.top,
                facecolor=colour,
                edgecolor=edge,
                hatch=hatch,
                linewidth=0.8 if edge != "none" else 0,
                zorder=above,
                gid=gid,
            )
        )

    def line(
        self,
        points: Sequence[tuple[float, float]],
        colour: str = INK,
        *,
        width: float = 1.0,
        dashes: tuple[float, ...] | None = None,
        above: float = 2.0,
        gid: str = "line",
    ) -> None:
        """A line through points; `width` in points."""
        self._axes.add_line(
            Line2D(
                [x for x, _ in points],
                [y for _, y in points],
                color=colour,
                linewidth=width,
                linestyle="solid" if dashes is None else (0, dashes),
                solid_capstyle="butt",
                dash_capstyle="butt",
                zorder=above,
                gid=gid,
            )
        )

    def marker(
        self,
        x: float,
        y: float,
        marker: str,
        colour: str,
        *,
        size: float = 6.0,
        hollow: bool = False,
        above: float = 4.0,
        gid: str = "marker",
    ) -> None:
        """A marker; `size` in points."""
        self._axes.add_line(
            Line2D(
                [x],
                [y],
                linestyle="none",
                marker=MarkerStyle(marker),
                markersize=size,
                markerfacecolor=PAPER if hollow else colour,
                markeredgecolor=colour if hollow else PAPER,
                markeredgewidth=1.4 if hollow else 0.8,
                zorder=above,
                gid=gid,
            )
        )

    def arrow(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        colour: str,
        *,
        dashes: tuple[float, ...] | None = None,
        width: float = 1.5,
        open_head: bool = False,
        gid: str = "arrow",
    ) -> None:
        """A line with a head at its end; an open head is only an outline."""
        length = math.dist(start, end)
        if length < 1:
            return
        ux, uy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
        head, half = min(_HEAD[0], length), _HEAD[1]
        neck = (end[0] - ux * head, end[1] - uy * head)
        self.line([start, neck], colour, width=width, dashes=dashes, above=3, gid=gid)
        corners = [
            end,
            (neck[0] - uy * half, neck[1] + ux * half),
            (neck[0] + uy * half, neck[1] - ux * half),
        ]
        self._axes.add_patch(
            Polygon(
                corners,
                closed=True,
                facecolor=PAPER if open_head else colour,
                edgecolor=colour,
                linewidth=1.2 if open_head else 0.4,
                zorder=3.5,
                gid="head",
            )
        )

    def cross(self, x: float, y: float, *, gid: str = "cross") -> None:
        """The sign of loss: the same in every picture."""
        for slope in (-1, 1):
            ends = [(x - 5, y - 5 * slope), (x + 5, y + 5 * slope)]
            self.line(ends, PAPER, width=4.6, above=4.0, gid="halo")
        for slope in (-1, 1):
            ends = [(x - 5, y - 5 * slope), (x + 5, y + 5 * slope)]
            self.line(ends, LOSS, width=2.2, above=4.1, gid=gid)

    def tick(self, x: float, y: float, colour: str = INK, *, gid: str = "done") -> None:
        """The sign of work that is done: the same in every picture."""
        points = [(x - 5, y), (x - 1.5, y + 4), (x + 5.5, y - 5)]
        self.line(points, PAPER, width=4.6, above=4.0, gid="halo")
        self.line(points, colour, width=2.0, above=4.1, gid=gid)
