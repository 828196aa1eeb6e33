"""A topology as a graph: exchanges, bindings, queues, and which message goes where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from labkit._words import plural
from labkit.errors import ConfigurationError
from labkit.plots._canvas import Canvas, title_lines
from labkit.plots._routing_layout import MOST_LINES, Edge, Message, Node, RoutingLayout
from labkit.plots.show import LabFigure
from labkit.plots.style import (
    GREY,
    GRID,
    INK,
    LOSS_INK,
    MARGIN,
    NORMAL,
    PAPER,
    SHADE,
    SMALL,
    TITLE,
    WIDTH,
    elide,
    in_style,
    legible,
    line_height,
    series_look,
    text_width,
    wrap,
)
from labkit.topology import HeaderValue, Topology

MOST_MESSAGES = 12
"""More could not be told apart."""

_LINE = 5.0


@dataclass(frozen=True, slots=True)
class Published:
    """A message to be drawn: where it is published, and with what.

    Attributes:
        label: what to call it; "" for its routing key.
    """

    exchange: str
    routing_key: str = ""
    headers: Mapping[str, HeaderValue] = field(default_factory=dict, hash=False)
    label: str = ""


@in_style
def routing(
    topology: Topology,
    messages: Iterable[Published | tuple[str, str]] = (),
    *,
    title: str | None = None,
) -> LabFigure:
    """Draw exchanges, bindings and queues, and the way of each message.

    Where messages go is what `topology.route` predicts, by RabbitMQ's rules.

    Args:
        topology: what is declared.
        messages: what is published: `Published(…)`, or (exchange, routing key); at most 12.
        title: None states the finding.

    Raises:
        ConfigurationError: nothing to draw, too many messages, or an exchange that is not there.
    """
    if not topology.exchanges and not topology.queues:
        raise ConfigurationError("A topology without exchanges and queues has no picture.")
    published = [one if isinstance(one, Published) else Published(*one) for one in messages]
    if len(published) > MOST_MESSAGES:
        raise ConfigurationError(
            f"At most {MOST_MESSAGES} messages can be told apart, got {len(published)}."
        )
    routed = [_message(topology, one) for one in published]
    headline = legible(title) if title is not None else legible(_finding(topology, routed))
    top = 30.0 + len(title_lines(headline)) * line_height(TITLE)
    layout = RoutingLayout(topology, routed, top)
    notes = _notes(layout)
    alt = " ".join([f"{headline}.", *_told(topology, routed), *notes])
    canvas = Canvas(layout.bottom + MARGIN + 15 * len(notes), headline=headline, alt_text=alt)
    for edge in layout.edges:
        _draw_edge(canvas, edge)
    for node in layout.nodes.values():
        _draw_node(canvas, layout, node)
    for i, note in enumerate(notes):
        canvas.text(MARGIN, layout.bottom + 8 + 15 * i, note, colour=GREY, gid="note")
    return canvas.figure


def _message(topology: Topology, one: Published) -> Message:
    route = topology.route(one.exchange, one.routing_key, one.headers)
    headers = ", ".join(f"{name}={value}" for name, value in one.headers.items())
    text = one.label or one.routing_key or headers or "(no key)"
    return Message(one.exchange, one.routing_key, legible(text), route)


def _finding(topology: Topology, messages: list[Message]) -> str:
    if not messages:
        return (
            f"{plural(len(topology.exchanges), 'exchange')} and "
            f"{plural(len(topology.queues), 'queue')}, tied by "
            f"{plural(len(topology.bindings), 'binding')}"
        )
    lost = [one for one in messages if one.route.unroutable]
    copies = sum(len(one.route.queues) for one in messages)
    sent = plural(len(messages), "message")
    if not lost:
        become = "becomes" if len(messages) == 1 else "become"
        found = plural(copies, "copy", "copies")
        return f"{sent} {become} {found}: no queue gets the same one twice"
    if len(lost) == 1:
        [one] = lost
        namesakes = sum(other.text == one.text for other in messages) > 1
        which = f"number {messages.index(one) + 1} ({one.text})" if namesakes else repr(one.text)
        return f"Of {sent}, {which} fits no binding and reaches nobody"
    return f"Of {sent}, {len(lost)} fit no binding and reach nobody"


def _told(topology: Topology, messages: list[Message]) -> list[str]:
    """The picture in words."""
    told = [
        f"Message {i} ({one.text}), published to {one.exchange or 'the default exchange'}, goes to "
        f"{', '.join(one.route.queues) or 'no queue'}."
        for i, one in enumerate(messages, 1)
    ]
    for binding in topology.bindings:
        key = f" by {binding.text!r}" if binding.text else ""
        told.append(f"{binding.source} leads to {binding.target}{key}.")
    return told


def _notes(layout: RoutingLayout) -> list[str]:
    notes = []
    for binding in layout.back:
        key = f" by {binding.text!r}" if binding.text else ""
        notes.append(f"Not drawn: {binding.source} leads back to {binding.target}{key}.")
    if any(len(edge.carried) > MOST_LINES for edge in layout.edges):
        notes.append(f"A line with a number stands for more than {MOST_LINES} messages.")
    return [line for note in notes for line in wrap(legible(note), WIDTH - 2 * MARGIN, SMALL)]


def _draw_edge(canvas: Canvas, edge: Edge) -> None:
    dashes = (5.0, 3.0) if edge.dashed else None
    if not edge.carried:
        _draw_line(canvas, edge, 0.0, GREY, dashes, 1.0, "binding")
    elif len(edge.carried) > MOST_LINES:
        _draw_line(canvas, edge, 0.0, INK, dashes, 2.4, "way")
        x, y = edge.points[-1]
        canvas.text(x - 14, y + 11, str(len(edge.carried)), align="right", gid="count")
    else:
        for i, number in enumerate(edge.carried):
            look = series_look(number)
            shift = (i - (len(edge.carried) - 1) / 2) * _LINE
            _draw_line(canvas, edge, shift, look.colour, look.dashes, 1.8, f"way:{number + 1}")
    if edge.label is not None:
        x, y = edge.label
        lines = min(len(edge.carried), MOST_LINES)
        above = y - 9 - (_LINE * (lines - 1) / 2 if lines else 0)
        colour = INK if edge.carried else GREY
        canvas.text(x, above, legible(edge.shown), colour=colour, paper=PAPER, gid="key")


def _draw_line(
    canvas: Canvas,
    edge: Edge,
    shift: float,
    colour: str,
    dashes: tuple[float, ...] | None,
    width: float,
    gid: str,
) -> None:
    points = [(x, y + shift) for x, y in edge.points]
    canvas.line(points[:-1], colour, width=width, dashes=dashes, above=3, gid=gid)
    canvas.arrow(points[-2], points[-1], colour, dashes=dashes, width=width, gid=gid)


def _draw_node(canvas: Canvas, layout: RoutingLayout, node: Node) -> None:
    what, name = node.key
    if what == "passage":
        return
    if what == "message":
        _draw_message(canvas, layout, node, int(name))
        return
    width = node.box.right - node.box.left - (26 if what == "queue" else 14)
    if what == "exchange":
        kind = layout.topology.exchange(name).kind if name else "by queue name"
        dropped = layout.drops(name)
        lines = [(elide(legible(name or "(default)"), width, NORMAL, weight="bold"), INK, "bold")]
        lines.append((kind if not name else _fit(f"{kind} exchange", kind, width), GREY, "normal"))
        if dropped:
            lines.append((f"drops {_numbers(dropped)}", LOSS_INK, "normal"))
        canvas.rectangle(node.box, SHADE if dropped else GRID, edge=INK, above=3.8, gid="exchange")
    else:
        got = layout.gets(name)
        lines = [(elide(legible(name), width, NORMAL, weight="bold"), INK, "bold")]
        said = f"gets {_numbers(got)}" if got else "gets nothing"
        lines.append((said if layout.messages else "queue", INK if got else GREY, "normal"))
        canvas.rectangle(node.box, PAPER, edge=INK, above=3.8, gid="queue")
        right = node.box.right
        for step in (5, 10):  # a pile: what is kept
            ends = [(right - step, node.box.top + 4), (right - step, node.box.bottom - 4)]
            canvas.line(ends, GREY, width=0.8, above=3.9, gid="pile")
    y = node.box.y - 7.5 * (len(lines) - 1)
    for i, (text, colour, weight) in enumerate(lines):
        size = NORMAL if i == 0 else SMALL
        canvas.text(
            node.box.x - (6 if what == "queue" else 0), y + 15 * i,
            elide(text, width, size, weight=weight), size=size, colour=colour,
            align="center", weight=weight, gid=what,
        )  # fmt: skip
    if what == "exchange" and layout.drops(name):
        canvas.cross(node.box.right, node.box.bottom - 8, gid="dropped")


def _draw_message(canvas: Canvas, layout: RoutingLayout, node: Node, number: int) -> None:
    message, look, box = layout.messages[number], series_look(number), node.box
    canvas.rectangle(box, PAPER, edge=look.colour, above=3.8, gid="message")
    canvas.marker(box.left + 14, box.y, look.marker, look.colour, size=8)
    width = box.right - box.left - 36
    first = f"{number + 1}  {message.text}"
    where = f"to {message.exchange}" if message.exchange else "to the default exchange"
    canvas.text(box.left + 26, box.y - 7.5, elide(first, width, SMALL, weight="bold"),
                size=SMALL, weight="bold", gid="message")  # fmt: skip
    canvas.text(box.left + 26, box.y + 8.5, elide(legible(where), width, SMALL),
                colour=GREY, gid="message")  # fmt: skip


def _fit(text: str, short: str, width: float) -> str:
    """The text where there is room for it."""
    return text if text_width(text, SMALL) <= width else short


def _numbers(numbers: list[int]) -> str:
    return ", ".join(str(number + 1) for number in numbers)
