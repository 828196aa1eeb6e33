"""What people say beside what was measured: ranges and dots on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.errors import ConfigurationError
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._figures import number, times
from labkit.plots._frames import EMBEDDED_NOTE
from labkit.plots._placement import Box
from labkit.plots._scales import Axis, Scale, thinned
from labkit.plots._timeline import SAMPLE, draw_legend, flow
from labkit.plots._words import plural
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    COLOURS,
    GREY,
    GRID,
    INK,
    MARGIN,
    NORMAL,
    SMALL,
    TITLE,
    WIDTH,
    elide,
    in_style,
    legible,
    line_height,
    text_width,
)

_ROW = 34.0
_BAR = 14.0
_SAID = "#c9d8e6"
_CLAIM_WIDTH = 330.0
_OPEN = 26.0
"""Pixels that a range without an end goes on for."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A figure that people quote, and what was measured.

    Attributes:
        claim: what is said.
        low: the lower end of what is said; NaN for "up to".
        high: the upper end; NaN for "over".
        measured: NaN if it was not.
        unit: of all three; rows of one unit share an axis.
        embedded: whether it was measured on the embedded broker.
    """

    claim: str
    low: float
    high: float
    measured: float
    unit: str
    embedded: bool = False

    @property
    def known(self) -> bool:
        """Whether it was measured, and can stand on a logarithmic axis."""
        return math.isfinite(self.measured) and self.measured > 0

    @property
    def ratio(self) -> float:
        """1 within the range; else how many times over it (above 1) or under it (below 1)."""
        if math.isfinite(self.low) and self.measured < self.low:
            return self.measured / self.low
        if math.isfinite(self.high) and self.measured > self.high:
            return self.measured / self.high
        return 1.0

    @property
    def verdict(self) -> str:
        """`3.1: as said`, `12: 2.4 times more than said`."""
        if not math.isfinite(self.measured):
            return "not measured"
        figure = number(self.measured)
        if not self.known:
            return f"{figure}: not above 0"
        if self.ratio == 1:
            return f"{figure}: as said"
        return f"{figure}: {self.off}"

    @property
    def off(self) -> str:
        """`2.4 times more than said`, `12 times less than said`."""
        if self.ratio > 1:
            return f"{times(self.ratio)} more than said"
        return f"{times(1 / self.ratio)} less than said"

    @property
    def said(self) -> str:
        """`5 to 50 ms`, `over 50,000 messages/s`."""
        low, high = math.isfinite(self.low), math.isfinite(self.high)
        if low and high:
            ends = (
                number(self.low)
                if self.low == self.high
                else f"{number(self.low)} to {number(self.high)}"
            )
            return f"{ends} {self.unit}"
        return (
            f"over {number(self.low)} {self.unit}"
            if low
            else f"up to {number(self.high)} {self.unit}"
        )


@in_style
def quoted(rows: object, *, title: str | None = None) -> LabFigure:
    """Draw figures that people quote as ranges, and what was measured as dots.

    Args:
        rows: a DataFrame with the columns claim, low, high, measured, unit (and embedded), or
            tuples of these. NaN for an end that is open, or for what was not measured.
        title: None states the finding.

    Raises:
        ConfigurationError: no row, or one that has no range above 0.
    """
    claims = [_checked(claim) for claim in _read(rows)]
    if not claims:
        raise ConfigurationError(
            "Nothing to draw: pass rows of (claim, low, high, measured, unit)."
        )
    headline = legible(title) if title is not None else _finding(claims)
    alt = (
        "Ranges that people quote, and what was measured. "
        + "; ".join(f"{legible(c.claim)}: said {c.said}, measured {c.verdict}" for c in claims)
        + "."
    )
    return _draw(claims, headline, alt)


def _read(rows: Any) -> Iterable[Claim]:
    needed = ["claim", "low", "high", "measured", "unit"]
    if hasattr(rows, "columns"):
        if missing := [name for name in needed if name not in rows.columns]:
            raise ConfigurationError(
                f"The frame has no column {missing[0]!r}; quoted() needs {', '.join(needed)}."
            )
        columns = needed + [c for c in ("embedded",) if c in rows.columns]
        rows = rows[columns].itertuples(index=False)
    for row in rows:
        if isinstance(row, Claim):
            yield row
            continue
        claim, *ends, unit = row[:5]
        low, high, measured = (math.nan if end is None else float(end) for end in ends)
        yield Claim(str(claim), low, high, measured, str(unit), bool(row[5:] and row[5]))


def _checked(claim: Claim) -> Claim:
    ends = [end for end in (claim.low, claim.high) if math.isfinite(end)]
    if not ends or min(ends) <= 0 or ends != sorted(ends):
        raise ConfigurationError(
            f"{claim.claim}: what is said needs a lower or an upper end above 0, the lower one "
            f"first; got {claim.low:g} and {claim.high:g} {claim.unit}."
        )
    return claim


def _finding(claims: Sequence[Claim]) -> str:
    known = [claim for claim in claims if claim.known]
    if not known:
        return f"{plural(len(claims), 'figure')} that people quote, none measured yet"
    hold = sum(claim.ratio == 1 for claim in known)
    head = (
        f"{hold} of {plural(len(known), 'quoted figure')} {'holds' if hold == 1 else 'hold'} here"
    )
    if hold == len(known):
        return head
    far = max(known, key=lambda c: abs(math.log(c.ratio)))
    return f"{head}; farthest off: {legible(far.claim)}, {far.off}"


def _draw(claims: Sequence[Claim], headline: str, alt: str) -> LabFigure:
    units = list(dict.fromkeys(claim.unit for claim in claims))
    names = {id(c): elide(legible(c.claim), _CLAIM_WIDTH, NORMAL) for c in claims}
    left = MARGIN + max(text_width(name, NORMAL) for name in names.values()) + 16
    ends = {id(c): elide(legible(c.verdict), 250, SMALL) for c in claims}
    right = WIDTH - MARGIN - 14 - max(text_width(end, SMALL) for end in ends.values())
    top = 34.0 + len(title_lines(headline)) * line_height(TITLE)
    heights = [sum(c.unit == unit for c in claims) * _ROW + 62 for unit in units]
    legend, end = flow(
        [(_range_sample, "what people say"), (_dot_sample, "measured here")],
        left,
        top + sum(heights) + 2,
    )
    noted = any(claim.embedded for claim in claims)
    canvas = Canvas(end + (24 if noted else 6), headline=headline, alt_text=alt)
    for unit, height in zip(units, heights, strict=True):
        mine = [claim for claim in claims if claim.unit == unit]
        values = [
            v for c in mine for v in (c.low, c.high, c.measured) if math.isfinite(v) and v > 0
        ]
        scale = Axis(unit, log=True, words=number).scale(values, left + _OPEN, right - _OPEN)
        box = Box(left, top, right, top + len(mine) * _ROW)
        _draw_axis(canvas, box, scale, unit)
        for i, claim in enumerate(mine):
            y = top + (i + 0.5) * _ROW
            canvas.text(left - 12, y, names[id(claim)], size=NORMAL, align="right", gid="claim")
            canvas.text(
                right + 14, y, ends[id(claim)], colour=INK if claim.known else GREY, gid="verdict"
            )
            _draw_claim(canvas, claim, scale, box, y)
        top += height
    draw_legend(canvas, legend)
    if noted:
        canvas.text(left, end + 4, EMBEDDED_NOTE, colour=GREY, gid="note")
    return canvas.figure


def _draw_axis(canvas: Canvas, box: Box, scale: Scale, unit: str) -> None:
    for x, text in thinned(scale):
        canvas.line([(x, box.top), (x, box.bottom)], GRID, width=0.8, above=0.4, gid="grid")
        canvas.text(x, box.bottom + 13, text, colour=GREY, align="center", gid="tick")
    canvas.line([(box.left, box.bottom), (box.right, box.bottom)], GREY, width=0.8)
    name = elide(f"{legible(unit)}, log scale", box.right - box.left, SMALL)
    canvas.text(box.x, box.bottom + 31, name, align="center", gid="axis")


def _draw_claim(canvas: Canvas, claim: Claim, scale: Scale, box: Box, y: float) -> None:
    low = scale.at(claim.low) if math.isfinite(claim.low) else box.left
    high = scale.at(claim.high) if math.isfinite(claim.high) else box.right
    canvas.rectangle(Box(low - 1, y - _BAR / 2, high + 1, y + _BAR / 2), _SAID, gid="said")
    for x, value in ((low, claim.low), (high, claim.high)):
        if math.isfinite(value):
            canvas.line(
                [(x, y - _BAR / 2), (x, y + _BAR / 2)], COLOURS[0], width=2.0, gid="said end"
            )
        else:
            inward = 8 if x == low else -8
            canvas.line(
                [(x + inward, y - 6), (x, y), (x + inward, y + 6)],
                COLOURS[0],
                width=1.4,
                gid="open end",
            )
    if claim.known:
        canvas.marker(scale.at(claim.measured), y, "D", INK, size=8, gid="measured")


def _range_sample(canvas: Canvas, x: float, y: float) -> None:
    canvas.rectangle(Box(x, y - 6, x + SAMPLE, y + 6), _SAID, gid="sample")
    for at in (x, x + SAMPLE):
        canvas.line([(at, y - 6), (at, y + 6)], COLOURS[0], width=2.0, gid="sample")


def _dot_sample(canvas: Canvas, x: float, y: float) -> None:
    canvas.marker(x + SAMPLE - 8, y, "D", INK, size=8, gid="sample")
