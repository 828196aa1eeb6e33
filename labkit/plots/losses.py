"""Who got what: one bar a subscriber, from what was delivered to what was lost, and how."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from labkit.errors import ConfigurationError
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._conversation import Fate
from labkit.plots._placement import Box
from labkit.plots._reading import read
from labkit.plots._words import listing, plural
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    GREY,
    GRID,
    INK,
    LOSS,
    MARGIN,
    NORMAL,
    PAPER,
    SMALL,
    TITLE,
    WIDTH,
    elide,
    in_style,
    legible,
    line_height,
    text_width,
)
from labkit.trace import Trace

_NAME_WIDTH = 190
_ROW = 56.0
_BAR = 26.0


@dataclass(frozen=True, slots=True)
class LossRow:
    """One subscriber's account.

    Attributes:
        name: the subscriber.
        sent: messages sent on the channels it was interested in.
        delivered: handled by it.
        missed_late: sent before it subscribed.
        dropped: pushed out of its full buffer.
        lost: never arrived: lost in a gap, or cut off by the broker.
    """

    name: str
    sent: int
    delivered: int
    missed_late: int = 0
    dropped: int = 0
    lost: int = 0

    @property
    def unaccounted(self) -> int:
        """Sent, and not in any of the four: still on its way, filtered out, or not counted."""
        return max(0, self.sent - self.delivered - self.missed)

    @property
    def missed(self) -> int:
        """What it did not get, for the three reasons together."""
        return self.missed_late + self.dropped + self.lost

    def __post_init__(self) -> None:
        for what in ("sent", "delivered", "missed_late", "dropped", "lost"):
            if getattr(self, what) < 0:
                raise ConfigurationError(
                    f"{self.name}: {what} counts messages, so it is 0 or more, "
                    f"not {getattr(self, what)}."
                )


@dataclass(frozen=True, slots=True)
class _Part:
    field: str
    words: str
    colour: str
    hatch: str | None
    ink: str = INK


_PARTS = (
    _Part("delivered", "delivered", "#0072B2", None, PAPER),
    _Part("missed_late", "missed by coming late", "#E69F00", "////"),
    _Part("dropped", "dropped (buffer full)", "#CC79A7", "...."),
    _Part("lost", "lost", LOSS, "xxxx"),
    _Part("unaccounted", "not accounted for", PAPER, None),
)


@in_style
def losses(
    rows: Trace | Iterable[LossRow | tuple[str, int, int, int, int, int]],
    *,
    title: str | None = None,
) -> LabFigure:
    """Draw how many messages each subscriber got, and how it lost the others.

    Args:
        rows: `LossRow`s, or tuples `(name, sent, delivered, missed_late, dropped, lost)`, or a
            trace, from which they are counted.
        title: None states the finding.

    Raises:
        ConfigurationError: no rows, no message, or a negative count.
    """
    if isinstance(rows, Trace):
        found = loss_rows(rows)
    else:
        found = [row if isinstance(row, LossRow) else LossRow(*row) for row in rows]
    if not found:
        raise ConfigurationError(
            "No subscriber to draw: pass one LossRow(name, sent, delivered, …) for each, or a "
            "trace in which somebody subscribed."
        )
    headline = legible(title) if title is not None else _finding(found)
    return _draw(found, headline)


def loss_rows(trace: Trace) -> list[LossRow]:
    """One row a subscriber, counted from a trace.

    `sent` counts the messages that the subscriber got or should have got; what it filtered out
    counts as delivered, because it arrived.
    """
    talk = read(trace)
    rows = []
    for name in talk.presences:
        tally = talk.tally(name)
        # A failed handler got its message; most such messages are counted as delivered already.
        only_failed = sum(
            a.fate is Fate.FAILED and a.arrow for a in talk.arrivals if a.subscriber == name
        )
        got = tally[Fate.DELIVERED] + tally[Fate.FILTERED] + only_failed
        late, dropped, lost = tally[Fate.LATE], tally[Fate.DROPPED], tally[Fate.LOST]
        sent = got + late + dropped + lost + tally[Fate.WAITING]
        rows.append(LossRow(name, sent, got, late, dropped, lost))
    return rows


def _finding(rows: Sequence[LossRow]) -> str:
    losers = [row for row in rows if row.missed]
    most = max(row.sent for row in rows)
    if not losers:
        if any(row.unaccounted for row in rows):
            return f"{plural(most, 'message')} sent: none known to be lost, not all delivered yet"
        return f"{plural(most, 'message')} sent: nobody missed any"
    if len(losers) > 3:
        total = sum(row.missed for row in losers)
        return (
            f"{len(losers)} of {plural(len(rows), 'subscriber')} missed messages: {total:,} in all"
        )
    told = [f"{legible(row.name)} missed {row.missed:,} of {row.sent:,}" for row in losers]
    return listing(told) + ("" if len(losers) == len(rows) else ", the others none")


def _alt(rows: Sequence[LossRow]) -> str:
    told = []
    for row in rows:
        parts = [
            f"{getattr(row, part.field):,} {part.words}"
            for part in _PARTS
            if getattr(row, part.field) or part.field == "delivered"
        ]
        told.append(f"{row.name}, of {row.sent:,} sent: {listing(parts)}")
    return "Bars of what became of the messages, one a subscriber. " + "; ".join(told) + "."


def _draw(rows: Sequence[LossRow], headline: str) -> LabFigure:
    top = 38 + len(title_lines(headline)) * line_height(TITLE)
    bars = top + 26
    bottom = bars + len(rows) * _ROW + 6
    canvas = Canvas(bottom + 52, headline=headline, alt_text=_alt(rows))
    names = [elide(legible(row.name), _NAME_WIDTH, NORMAL) for row in rows]
    left = MARGIN + max(text_width(name, NORMAL) for name in names) + 14
    most = max(1, *(max(row.sent, row.delivered + row.missed) for row in rows))
    right = WIDTH - MARGIN - 8 - max(text_width(_total(row), SMALL) for row in rows)
    scale = (right - left) / most
    _draw_legend(canvas, rows, left, top)
    _draw_axis(canvas, Box(left, bars, right, bottom), most)
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        y = bars + (i + 0.5) * _ROW
        canvas.text(left - 12, y, name, size=NORMAL, align="right", gid="name")
        end = _draw_bar(canvas, row, left, y, scale)
        canvas.text(end + 8, y, _total(row), colour=GREY, paper=PAPER, gid="total")
    return canvas.figure


def _draw_legend(canvas: Canvas, rows: Sequence[LossRow], left: float, y: float) -> None:
    x = left
    for part in _PARTS:
        if not any(getattr(row, part.field) for row in rows):
            continue
        _fill(canvas, Box(x, y - 7, x + 22, y + 7), part)
        canvas.text(x + 29, y, part.words, gid="legend")
        x += 29 + text_width(part.words, SMALL) + 24


def _total(row: LossRow) -> str:
    return f"{row.delivered:,} of {row.sent:,} delivered"


def _draw_axis(canvas: Canvas, bars: Box, most: int) -> None:
    for value in MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]).tick_values(0, most):
        x = bars.left + value * (bars.right - bars.left) / most
        if value < 0 or x > bars.right + 1:
            continue
        canvas.line([(x, bars.top), (x, bars.bottom)], GRID, width=0.8, above=0.5)
        label = f"{value:,.0f}"
        canvas.text(x, bars.bottom + 14, label, colour=GREY, align="center", gid="tick")
    canvas.line([(bars.left, bars.bottom), (bars.right, bars.bottom)], GREY, width=0.8)
    canvas.text(bars.x, bars.bottom + 34, "messages", align="center", gid="axis")


def _draw_bar(canvas: Canvas, row: LossRow, left: float, y: float, scale: float) -> float:
    """The bar of one subscriber; returns its right end."""
    x = left
    used = left - 100.0
    for part in _PARTS:
        count = getattr(row, part.field)
        if not count:
            continue
        box = Box(x, y - _BAR / 2, x + count * scale, y + _BAR / 2)
        _fill(canvas, box, part)
        used = _draw_count(canvas, f"{count:,}", box, part, used)
        x = box.right
    return x


def _draw_count(canvas: Canvas, text: str, box: Box, part: _Part, used: float) -> float:
    """The count in its part, or under it where the part is too narrow; the right end of those."""
    width = text_width(text, SMALL, "bold")
    if width + 8 <= box.right - box.left:
        paper = part.colour if part.hatch is None else PAPER
        canvas.text(
            box.x, box.y, text, colour=part.ink if part.hatch is None else INK,
            align="center", weight="bold", paper=paper, gid="count",
        )  # fmt: skip
        return used
    x = max(box.x, used + 6 + width / 2)
    canvas.line([(box.x, box.bottom), (x, box.bottom + 4)], GREY, width=0.6, gid="leader")
    canvas.text(x, box.bottom + 10, text, align="center", weight="bold", gid="count")
    return x + width / 2


def _fill(canvas: Canvas, box: Box, part: _Part) -> None:
    edge = GREY if part.colour == PAPER else PAPER
    canvas.rectangle(box, part.colour, edge=edge, hatch=part.hatch, gid=f"bar:{part.field}")
