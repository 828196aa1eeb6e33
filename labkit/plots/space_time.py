"""The space-time picture of a trace: actors as lanes, messages as arrows, losses as broken ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._conversation import BROKER, Fate
from labkit.plots._deeds import deed_legend, draw_bands, draw_deeds, lane_end, summary
from labkit.plots._foot import Foot
from labkit.plots._labels import Labels, label_messages
from labkit.plots._layout import NAME_WIDTH, Axis, Layout, Stroke
from labkit.plots._marks import (
    Word,
    gap_boxes,
    place_words,
    silence_span,
    ticks,
)
from labkit.plots._placement import leader
from labkit.plots._pulled_words import whole_alt_text, whole_finding
from labkit.plots._reading import read
from labkit.plots._timeline import Sample
from labkit.plots._words import forgotten_note
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    GREY,
    INK,
    LOSS,
    NORMAL,
    PAPER,
    SHADE,
    TITLE,
    elide,
    in_style,
    legible,
    line_height,
    look_of,
)
from labkit.trace import Trace, TraceEvent

_DOTTED = (1.0, 3.0)


@in_style
def space_time(
    trace: Trace | Iterable[TraceEvent],
    *,
    actors: Sequence[str] | None = None,
    title: str | None = None,
    labels: bool = True,
    broker: str = BROKER,
    axis: Axis = "auto",
) -> LabFigure:
    """Draw who sent what to whom, when, and what was lost on the way.

    Senders stand on top, the broker under them, then the subscribers. Each channel has one look
    (colour, line and marker) in all pictures of a lab.

    Args:
        trace: a trace, or some of its events (`trace.select(…)`).
        actors: which lanes to show, in this order; None shows all. Where it names no sender, all
            senders stay; where it names no subscriber, all subscribers stay.
        title: None states the finding, counted from the trace.
        labels: whether messages are named. Over 14 are numbered, with a key; over 40 are not named.
        broker: what to call the broker's lane.
        axis: "time" to scale, "order" with equal steps, or "auto": time where it can be read.

    Raises:
        ConfigurationError: the trace holds no message, or `actors` names somebody who is not in it.
    """
    trace = trace if isinstance(trace, Trace) else list(trace)
    talk = read(trace, actors)
    for channel in talk.channels:
        look_of(channel)
    headline = legible(title) if title is not None else legible(whole_finding(trace, talk))
    top = 26 + len(title_lines(headline)) * line_height(TITLE)

    def build(rows: dict[str, int]) -> Layout:
        return Layout(talk, top, rows, axis=axis, broker=broker)

    if labels:
        layout, room, named = label_messages(build, talk.senders)
    else:
        layout, named = build({}), Labels()
        room = layout.room()
    words, omitted = place_words(layout, room, {i: text for i, _, _, text in named.placed})
    caption = _caption(named, talk.forgotten)
    marks = deed_legend(layout) + _legend_marks(layout, omitted)
    foot = Foot(layout, marks, named.key, caption)
    alt = whole_alt_text(trace, talk, caption)
    canvas = Canvas(foot.height, headline=headline, alt_text=alt)
    _draw_lanes(canvas, layout)
    draw_bands(canvas, layout)
    for stroke in layout.strokes:
        _draw_stroke(canvas, stroke)
    _draw_marks(canvas, layout)
    draw_deeds(canvas, layout)
    _draw_labels(canvas, named)
    for word in words:
        _draw_word(canvas, layout, word)
    foot.draw(canvas)
    return canvas.figure


def _caption(named: Labels, forgotten: int) -> str:
    parts = [named.why_not] if named.why_not else []
    return " ".join(parts + forgotten_note(forgotten))


def _draw_lanes(canvas: Canvas, layout: Layout) -> None:
    for _, box in gap_boxes(layout):
        canvas.rectangle(box, SHADE, gid="gap", above=0.5)
    for name in layout.lanes:
        y = layout.y[name]
        shown = layout.broker if name == BROKER else name
        role = layout.role(name)
        x = layout.left - 12
        text = elide(legible(shown), NAME_WIDTH, NORMAL)
        top = y - 7.5 * len(role)
        canvas.text(x, top, text, size=NORMAL, align="right", gid="lane")
        for i, line in enumerate(role):
            canvas.text(x, top + 15 * (i + 1), line, colour=GREY, align="right", gid="lane")
        _draw_lane_line(canvas, layout, name)
        for i, line in enumerate(lines := _summary(layout, name)):
            middle = y + (i - (len(lines) - 1) / 2) * 15
            canvas.text(layout.right + 8, middle, line, colour=GREY, gid="summary")


def _summary(layout: Layout, name: str) -> list[str]:
    talk = layout.talk
    lines = summary(layout, name)
    if lines:
        return lines
    if name in talk.senders:
        lines.append(f"{sum(s.sender == name for s in talk.sendings):,} sent")
    if name in talk.presences:
        tally = talk.tally(name)
        lines.append(f"{tally[Fate.DELIVERED]:,} received")
    return lines


def _draw_lane_line(canvas: Canvas, layout: Layout, name: str) -> None:
    y, x = layout.y[name], layout.left
    presence = layout.talk.presences.get(name)
    dotted = presence.silences() if presence and name not in layout.talk.senders else []
    for start, end in dotted:
        left, right = silence_span(layout, start, end)
        canvas.line([(x, y), (left, y)], GREY, width=1.2, above=1)
        canvas.line([(left, y), (right, y)], GREY, width=1.2, dashes=_DOTTED, above=1)
        x = right
    edge = max(x, lane_end(layout, name))
    canvas.line([(x, y), (edge, y)], GREY, width=1.2, above=1)


def _draw_stroke(canvas: Canvas, stroke: Stroke) -> None:
    look = look_of(stroke.channel)
    if stroke.broken:
        what = str(stroke.fate) if stroke.fate is not None else "not sent"
        canvas.line(
            [stroke.start, stroke.end], look.colour, width=1.5, dashes=look.dashes, above=3,
            gid=f"broken:{what}",
        )  # fmt: skip
        canvas.cross(*stroke.end)
    elif stroke.fate is Fate.WAITING:
        canvas.line(
            [stroke.start, stroke.end], look.colour, width=1.0, dashes=_DOTTED, gid="waiting"
        )
        canvas.marker(*stroke.end, "s", look.colour, hollow=True, size=5)
    else:
        canvas.arrow(
            stroke.start,
            stroke.end,
            look.colour,
            dashes=look.dashes,
            open_head=stroke.fate in (Fate.DUPLICATE, Fate.LATE_REPLY),
            gid=f"arrow:{stroke.fate or 'sent'}",
        )
    if stroke.fate is None:
        canvas.marker(*stroke.start, look.marker, look.colour, size=6.5)


def _draw_marks(canvas: Canvas, layout: Layout) -> None:
    for stroke in layout.strokes:
        if stroke.fate is None and stroke.sending is not None and stroke.sending.unheard:
            x, y = stroke.end
            canvas.line([(x, y), (x, y + 9)], look_of(stroke.channel).colour, width=1.5)
            canvas.cross(x, y + 14, gid="nobody")
    for arrival in layout.talk.arrivals:
        x, y = layout.x(arrival.moment), layout.y[arrival.subscriber]
        if arrival.fate is Fate.FILTERED:
            _filtered(canvas, x, y)
        elif arrival.fate is Fate.EXPIRED:
            canvas.cross(x, y, gid="expired")
        elif arrival.fate in (Fate.FAILED, Fate.UNREADABLE):
            _failed(canvas, x, y)
    for name, x, _ in ticks(layout):
        y = layout.y[name]
        canvas.line([(x, y - 8), (x, y + 8)], INK, width=2.0, above=2.5, gid="came or went")


def _filtered(canvas: Canvas, x: float, y: float) -> None:
    canvas.marker(x, y, "o", GREY, size=6, hollow=True, above=4.5, gid="filtered")


def _failed(canvas: Canvas, x: float, y: float) -> None:
    canvas.marker(x, y, "D", LOSS, size=6.5, hollow=True, above=4.5, gid="failed")


def _draw_labels(canvas: Canvas, named: Labels) -> None:
    for _, anchor, box, text in named.placed:
        line = leader(anchor, box)
        if line.y1 - line.y2 > 4:
            canvas.line([(line.x1, line.y1), (line.x2, line.y2)], GREY, width=0.6, gid="leader")
        weight = "bold" if named.key else "normal"
        canvas.text(box.x, box.y, text, align="center", weight=weight, paper=PAPER, gid="label")


def _draw_word(canvas: Canvas, layout: Layout, word: Word) -> None:
    shaded = any(box.holds(word.box) for _, box in gap_boxes(layout))
    canvas.text(
        word.box.x,
        word.box.y,
        word.text,
        colour=word.colour,
        align="center",
        slant=word.slant,
        paper=SHADE if shaded else PAPER,
        gid="word",
    )


def _legend_marks(layout: Layout, omitted: set[str]) -> list[tuple[Sample, str]]:
    """What no word in the picture says."""
    marks: list[tuple[Sample, str]] = []
    if any(a.fate is Fate.FILTERED for a in layout.talk.arrivals):
        marks.append((lambda c, x, y: _filtered(c, x + 24, y), "filtered out by the subscriber"))
    losses = omitted & {"lost", "dropped", "nobody listening", "not sent"}
    if losses:
        marks.append((lambda c, x, y: c.cross(x + 24, y), " or ".join(sorted(losses))))
    for meaning in sorted(omitted - losses):
        marks.append((_sign(meaning), meaning.removeprefix("tick: ").removeprefix("dotted lane: ")))
    return marks


def _sign(meaning: str) -> Sample:
    def draw(canvas: Canvas, x: float, y: float) -> None:
        if meaning.startswith("tick"):
            canvas.line([(x + 24, y - 8), (x + 24, y + 8)], INK, width=2.0)
        elif meaning.startswith("dotted"):
            canvas.line([(x, y), (x + 34, y)], GREY, width=1.2, dashes=_DOTTED)
        elif meaning == "not handled yet":
            canvas.marker(x + 24, y, "s", GREY, hollow=True, size=5)
        elif meaning == "duplicate":
            canvas.arrow((x, y), (x + 34, y), GREY, open_head=True, gid="sample")
        else:
            _failed(canvas, x + 24, y)

    return draw
