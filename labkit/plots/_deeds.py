"""What was done with messages that somebody had taken: signs and words in a space-time picture."""

from __future__ import annotations

import re
from collections.abc import Iterator

from labkit.plots._canvas import Canvas
from labkit.plots._conversation import BROKER, Deed, Done, Fate
from labkit.plots._layout import Layout, Point
from labkit.plots._placement import Box
from labkit.plots._task_reading import delay_in
from labkit.plots._timeline import SAMPLE, Sample, seconds
from labkit.plots._words import plural
from labkit.plots.style import (
    GREY,
    INK,
    LOSS,
    LOSS_INK,
    PAPER,
    SMALL,
    elide,
    legible,
    line_height,
    look_of,
    text_width,
)

_ATTEMPT = re.compile(r"attempt \d+")
_BAND = 8.0
_MOST_NAMED = 24

Spot = tuple[str, str, str, Point]
"""A lane, a word, its colour, and where it belongs."""


def draw_bands(canvas: Canvas, layout: Layout) -> None:
    """A lane is thick while its actor has a message in hand."""
    for arrival, left, right in layout.bands():
        y = layout.y[arrival.subscriber]
        box = Box(left, y - _BAND / 2, max(right, left + 2), y + _BAND / 2)
        colour = look_of(arrival.channel).colour
        canvas.rectangle(box, colour, edge=PAPER, above=1.6, gid="in hand")


def draw_deeds(canvas: Canvas, layout: Layout) -> None:
    """The signs at the ends of bands, and on the lanes of those who waited in vain."""
    for done in layout.talk.deeds:
        if done.actor not in layout.y:
            continue
        x, y = layout.x(done.moment), layout.y[done.actor]
        if done.deed is Deed.ACKED:
            canvas.tick(x, y - 1, gid="acked")
        elif done.deed in (Deed.CRASHED, Deed.DEAD):
            canvas.cross(x, y, gid=str(done.deed))
        elif done.deed is Deed.TIMED_OUT:
            canvas.line([(x, y - 8), (x, y + 8)], LOSS, width=2.4, above=4, gid="timed out")
        elif done.deed is Deed.RECOVERED:
            canvas.line([(x, y - 6), (x, y + 6)], INK, width=1.6, above=4, gid="recovered")
        else:
            colour = GREY if done.deed is Deed.RETURNED else LOSS
            canvas.marker(x, y, "D", colour, size=6.5, hollow=True, above=4.5, gid=str(done.deed))
    for x, y in untaken(layout):
        canvas.marker(x, y, "s", GREY, hollow=True, size=5, above=4.5, gid="not taken")


def untaken(layout: Layout) -> list[Point]:
    """Where messages came to the broker that nobody has taken."""
    talk = layout.talk
    taken = {id(arrival.sending) for arrival in talk.arrivals}
    return [
        stroke.end
        for stroke in layout.strokes
        if stroke.sending is not None
        and stroke.fate is None
        and not stroke.broken
        and stroke.channel in talk.pulled
        and id(stroke.sending) not in taken
    ]


def lane_end(layout: Layout, name: str) -> float:
    """Where a lane ends: at the edge, or where its actor died."""
    died = layout.talk.crash_of(name)
    return layout.right if died is None else layout.x(died)


def deed_spots(layout: Layout) -> Iterator[Spot]:
    """What the signs mean, where no legend says it."""
    told: set[str] = set()
    for done in layout.talk.deeds:
        if done.actor not in layout.y or done.deed is Deed.ACKED:
            continue
        if done.deed is Deed.CRASHED:
            if done.actor in told:  # once, though several tasks were in its hands
                continue
            told.add(done.actor)
        colour = GREY if done.deed in (Deed.RETURNED, Deed.RECOVERED) else LOSS_INK
        spot = (layout.x(done.moment), layout.y[done.actor])
        yield done.actor, _word(done), colour, spot
    for point in untaken(layout):
        yield BROKER, "not taken", GREY, point


def _word(done: Done) -> str:
    if done.deed is Deed.RETRYING:
        delay = delay_in(done.detail)
        return "again at once" if delay is None else f"again in {seconds(delay)}"
    return {
        Deed.DEAD: "dead letter",
        Deed.LATE_ACK: "too late",
        Deed.RETURNED: "given back",
        Deed.RECOVERED: "taken back",
    }.get(done.deed, str(done.deed))


def name_spots(layout: Layout, shown: dict[int, str]) -> Iterator[tuple[str, list[Box]]]:
    """At their takers, what messages are called; `shown` is what they are called where sent."""
    talk = layout.talk
    names = {id(talk.sendings[index]): text for index, text in shown.items()}
    taken = [
        a
        for a in talk.arrivals
        if talk.pulling(a) and a.subscriber not in talk.senders and id(a.sending) in names
    ]
    if len(taken) > _MOST_NAMED:
        return
    for arrival in taken:
        text = names[id(arrival.sending)]
        if arrival.fate is Fate.REDELIVERED and (found := _ATTEMPT.search(arrival.note)):
            text = f"{elide(legible(text), 120, SMALL)}, {found[0]}"
        x, y = layout.x(arrival.moment), layout.y[arrival.subscriber]
        width = text_width(text, SMALL) + 4
        spots = [(x + width / 2 + dx, y + dy) for dy in (15, 29) for dx in (-6, 2, -width / 2)]
        yield text, [Box.around(at, down, width, line_height(SMALL)) for at, down in spots]


def deed_legend(layout: Layout) -> list[tuple[Sample, str]]:
    """What stands in the picture often, and is told once."""
    entries: list[tuple[Sample, str]] = []
    if any(True for _ in layout.bands()):
        entries.append((_band, "in hand"))
    if any(done.deed is Deed.ACKED for done in layout.talk.deeds):
        entries.append((lambda c, x, y: c.tick(x + 24, y, gid="sample"), "acknowledged"))
    if any(done.deed is Deed.RETRYING for done in layout.talk.deeds):
        entries.append((_failed, "failed"))
    return entries


def _failed(canvas: Canvas, x: float, y: float) -> None:
    canvas.marker(x + 24, y, "D", LOSS, size=6.5, hollow=True, gid="sample")


def _band(canvas: Canvas, x: float, y: float) -> None:
    canvas.rectangle(Box(x, y - _BAND / 2, x + SAMPLE, y + _BAND / 2), GREY, gid="sample")


def summary(layout: Layout, name: str) -> list[str]:
    """At the right end of a lane what its actor did; nothing for those without queue or service."""
    talk = layout.talk
    lines = []
    put = sum(s.sender == name and s.channel in talk.queues for s in talk.sendings)
    asked = sum(s.sender == name and s.channel in talk.services for s in talk.sendings)
    took = [a for a in talk.arrivals if a.subscriber == name and talk.pulling(a)]
    if put:
        lines.append(f"{put:,} put")
    if asked:
        answered = sum(a.fate is Fate.DELIVERED for a in took)
        lines += [f"{answered:,} of {asked:,}", "answered"]
    if any(a.channel in talk.queues for a in took):
        done = sum(d.actor == name and d.deed is Deed.ACKED for d in talk.deeds)
        lines.append(f"{done:,} done")
    if any(a.channel in talk.services for a in took):
        lines.append(plural(sum(s.sender == name for s in talk.sendings), "reply", "replies"))
    return lines
