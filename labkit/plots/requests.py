"""Request/reply pairs: which answer belongs to which question, and which came to nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labkit.plots._call_layout import NAME_WIDTH, CallLayout, call_look
from labkit.plots._call_words import calls_alt, calls_caption, calls_finding
from labkit.plots._calls import Call, read_calls
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._placement import leader
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    GREY,
    LOSS,
    MARGIN,
    NORMAL,
    PAPER,
    SHADE,
    SMALL,
    TITLE,
    WIDTH,
    elide,
    in_style,
    ink_on,
    legible,
    line_height,
)
from labkit.trace import Trace, TraceEvent

MOST_CALLS = 16
_KEY_ROW = 22.0
_KEY_COLUMNS = 3


@in_style
def requests(
    trace: Trace | Iterable[TraceEvent], *, service: str | None = None, title: str | None = None
) -> LabFigure:
    """Draw requests and their replies as pairs of arrows, each pair with its number and look.

    Requesters stand on top, responders below. A responder's lane is thick where it works on a
    request; a span on a requester's lane is a wait that ended in a time-out. More than 16 requests
    are not all shown: those that had no plain answer come first, and the picture says how many it
    leaves out.

    Args:
        trace: a trace, or some of its events (`trace.select(…)`).
        service: draw requests to this one only.
        title: None states the finding, counted from all requests of the trace.

    Raises:
        ConfigurationError: no request in the trace.
    """
    found = read_calls(trace, service)
    ranked = sorted(found.calls, key=lambda call: not call.troubled)[:MOST_CALLS]
    shown = [call for call in found.calls if call in ranked]
    headline = legible(title) if title is not None else legible(calls_finding(found.calls))
    top = 26 + len(title_lines(headline)) * line_height(TITLE)
    layout = CallLayout(found, shown, top)
    return _draw(layout, headline, calls_caption(found, len(shown)))


def _draw(layout: CallLayout, headline: str, caption: str) -> LabFigure:
    key = [] if layout.named else list(enumerate(layout.shown))
    rows = -(-len(key) // _KEY_COLUMNS)
    key_top = layout.bottom + 116
    end = key_top + rows * _KEY_ROW - (0 if rows else 14)
    alt = calls_alt(layout.shown, caption)
    canvas = Canvas(end + (24 if caption else 4), headline=headline, alt_text=alt)
    _draw_lanes(canvas, layout)
    for index, box in layout.waits():
        canvas.rectangle(box, SHADE, edge=LOSS, above=0.8, gid=f"wait:{index + 1}")
        bar = [(box.right, box.top - 9), (box.right, box.bottom + 3)]
        canvas.line(bar, LOSS, width=2.4, above=2.6, gid="timed out")
    for index, call in enumerate(layout.shown):
        _draw_call(canvas, layout, index, call)
    for anchor, box, _ in layout.labels:
        line = leader(anchor, box)
        if line.y1 - line.y2 > 4:
            canvas.line([(line.x1, line.y1), (line.x2, line.y2)], GREY, width=0.6, gid="leader")
    for index, (_, box, text) in enumerate(layout.labels):
        _draw_number(canvas, index, box.left + 11, box.y)
        if text:
            canvas.text(box.left + 24, box.y, text, paper=PAPER, gid="label")
    for index, box in layout.numbers():
        _draw_number(canvas, index, box.x, box.y)
    for word, colour, box in layout.words():
        canvas.text(box.x, box.y, word, colour=colour, align="center", paper=PAPER, gid="word")
    layout.scale.draw(canvas, layout.bottom + 52)
    _draw_key(canvas, key, rows, key_top)
    if caption:
        canvas.text(MARGIN, end + 4, caption, colour=GREY, gid="caption")
    return canvas.figure


def _draw_lanes(canvas: Canvas, layout: CallLayout) -> None:
    calls = layout.found.calls
    for name in layout.lanes:
        y, x = layout.y[name], layout.left - 12
        asked = sum(call.requester == name for call in calls)
        text = elide(legible(name), NAME_WIDTH, NORMAL)
        canvas.text(x, y - 7, text, size=NORMAL, align="right", gid="lane")
        role = "requester" if asked else "responder"
        canvas.text(x, y + 8, role, colour=GREY, align="right", gid="lane")
        died = layout.death(name)
        end = layout.right if died is None else layout.scale.x(died)
        canvas.line([(layout.left, y), (end, y)], GREY, width=1.2, above=1)
        if died is not None:
            canvas.cross(end, y, gid="crashed")
        mine = [call for call in calls if name in (call.requester, call.responder)]
        answered = sum(call.answered is not None for call in mine)
        counts = [f"{answered:,} of {asked:,}", "answered"] if asked else [f"{answered:,} answered"]
        for i, line in enumerate(counts):
            at = y + (i - (len(counts) - 1) / 2) * 15
            canvas.text(layout.right + 8, at, line, colour=GREY, gid="summary")


def _draw_call(canvas: Canvas, layout: CallLayout, index: int, call: Call) -> None:
    look, arrows = call_look(index), layout.arrows(call)
    for start, end in arrows:
        back = start[1] > end[1]
        late = back and call.answered is None
        stop = (end[0], end[1] + (5 if late else 1)) if back else (end[0], end[1] - 5)
        gid = "arrow:late" if late else "arrow:reply" if back else "arrow:request"
        canvas.arrow(start, stop, look.colour, dashes=look.dashes, open_head=late, gid=gid)
        if late:
            canvas.marker(*end, "o", LOSS, hollow=True, size=6, gid="late")
    if not arrows:
        _draw_nowhere(canvas, layout, index, call)
    x = layout.scale.x(call.sent)
    canvas.marker(x, layout.y[call.requester], "o", look.colour, size=6.5, gid="sent")
    if call.expired is not None:
        canvas.cross(layout.scale.x(call.expired), layout.y[call.responder], gid="expired")
    if call.taken is None:
        return
    box = layout.work(call)
    canvas.rectangle(box, look.colour, edge=PAPER, above=2.2, gid="work")
    if call.crashed is not None or call.undelivered:
        canvas.cross(box.right, box.y, gid="broken")
    elif call.failed:
        canvas.marker(box.right, box.y, "D", LOSS, hollow=True, size=6.5, above=4.5, gid="failed")


def _draw_nowhere(canvas: Canvas, layout: CallLayout, index: int, call: Call) -> None:
    look, end = call_look(index), layout.nowhere(call)
    start = (layout.scale.x(call.sent), layout.y[call.requester])
    canvas.line([start, end], look.colour, width=1.5, dashes=look.dashes, above=3, gid="nowhere")
    if call.refused is not None:
        canvas.cross(*end, gid="refused")
    else:
        canvas.marker(*end, "s", look.colour, hollow=True, size=5, gid="waiting")


def _draw_number(canvas: Canvas, index: int, x: float, y: float) -> None:
    colour = call_look(index).colour
    canvas.marker(x, y, "o", colour, size=13 if index < 9 else 15.5, above=6.5, gid="disc")
    canvas.text(
        x, y, str(index + 1), colour=ink_on(colour), align="center", weight="bold", gid="number",
        above=7.0,
    )  # fmt: skip


def _draw_key(canvas: Canvas, key: Sequence[tuple[int, Call]], rows: int, top: float) -> None:
    width = (WIDTH - 2 * MARGIN) / _KEY_COLUMNS
    for place, (index, call) in enumerate(key):
        x, y = MARGIN + place // rows * width, top + place % rows * _KEY_ROW
        _draw_number(canvas, index, x + 10, y)
        canvas.text(x + 26, y, elide(legible(call.label), width - 44, SMALL), gid="key")
