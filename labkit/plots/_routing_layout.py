"""Where exchanges, bindings and queues stand in the picture of a topology.

Columns from left to right: messages, exchanges by how many exchanges lead to them, queues. Each
binding enters its target at a height of its own, with its key over the last, level part of its
line, so that no two keys can meet. A line that must pass a column has a place in it, as if it were
a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from labkit.plots._placement import Box
from labkit.plots.style import MARGIN, SMALL, WIDTH, elide, text_width
from labkit.topology import Binding, Route, Topology

MOST_LINES = 6
"""Messages that have a line of their own on one binding; more share one."""

_GAP = 20.0
_PORT = 26.0
_LINE = 5.0
_MESSAGE_WIDTH, _NODE_WIDTH, _FIRST_GAP = 200.0, 122.0, 50.0
_TEXT_ROW = 15.0
_LEAST_SLOPE = 28.0
_LABEL_PAD = 22.0

Point = tuple[float, float]
Key = tuple[str, str]
"""What a node is (message, exchange, queue, passage), and its name."""


@dataclass(slots=True)
class Edge:
    """A binding, an alternate exchange, or a message on its way to its exchange."""

    source: Key
    target: Key
    text: str
    carried: list[int]
    dashed: bool = False
    points: list[Point] = field(default_factory=list)
    label: Point | None = None
    shown: str = ""

    @property
    def height(self) -> float:
        """Pixels that it takes at its target."""
        return _PORT + _LINE * (min(len(self.carried), MOST_LINES) - 1 if self.carried else 0)


@dataclass(slots=True)
class Node:
    """A box, or a place for a line to pass."""

    key: Key
    column: int
    rows: int = 2
    box: Box = field(default_factory=lambda: Box(0, 0, 0, 0))
    entering: list[Edge] = field(default_factory=list)
    leaving: list[Edge] = field(default_factory=list)

    @property
    def height(self) -> float:
        """Pixels: enough for its text and for all that enters."""
        least = _PORT if self.key[0] == "passage" else 12 + _TEXT_ROW * self.rows
        return max(least, sum(edge.height for edge in self.entering))


@dataclass(frozen=True, slots=True)
class Message:
    """A message in the picture."""

    exchange: str
    key: str
    text: str
    route: Route


class RoutingLayout:
    """Nodes and edges, in pixels from the top left corner."""

    def __init__(self, topology: Topology, messages: Sequence[Message], top: float) -> None:
        self.topology = topology
        self.messages = messages
        self.nodes: dict[Key, Node] = {}
        self.edges: list[Edge] = []
        self.back: list[Binding] = []
        self._add_nodes()
        self._add_edges()
        self._columns = 1 + max((node.column for node in self.nodes.values()), default=0)
        self._passages: dict[int, list[Key]] = {}
        self._add_passages()
        self._stand(top)
        self._connect()
        self.bottom = max((node.box.bottom for node in self.nodes.values()), default=top) + 12

    def gets(self, queue: str) -> list[int]:
        """The messages that a queue gets, by number from 0."""
        return [i for i, one in enumerate(self.messages) if queue in one.route.queues]

    def drops(self, exchange: str) -> list[int]:
        """The messages that were published there and reach no queue."""
        return [
            i
            for i, one in enumerate(self.messages)
            if one.route.unroutable and one.exchange == exchange
        ]

    # --- what there is ------------------------------------------------------------------------

    def _add_nodes(self) -> None:
        first = 1 if self.messages else 0
        depth = self._depths()
        for i, _ in enumerate(self.messages):
            self._add(("message", str(i)), 0)
        if any(not one.exchange for one in self.messages):
            self._add(("exchange", ""), first)
        for name, level in depth.items():
            self._add(("exchange", name), first + level, 3 if self.drops(name) else 2)
        last = first + 1 + max(depth.values(), default=0)
        for queue in self.topology.queues:
            self._add(("queue", queue.name), last)

    def _add(self, key: Key, column: int, rows: int = 2) -> None:
        self.nodes[key] = Node(key, column, rows)

    def _ways(self) -> list[tuple[str, str]]:
        ways = [(b.source, b.target) for b in self.topology.bindings if b.to == "exchange"]
        return ways + [(e.name, e.alternate) for e in self.topology.exchanges if e.alternate]

    def _depths(self) -> dict[str, int]:
        """The longest way to each exchange; ways that lead back do not count."""
        depth = {one.name: 0 for one in self.topology.exchanges}
        for _ in depth:
            for source, target in self._ways():
                if depth[target] <= depth[source] < len(depth) - 1 and not self._leads(
                    target, source
                ):
                    depth[target] = depth[source] + 1
        return depth

    def _leads(self, start: str, end: str) -> bool:
        seen, waiting = {start}, [start]
        while waiting:
            name = waiting.pop()
            if name == end:
                return True
            for source, target in self._ways():
                if source == name and target not in seen:
                    seen.add(target)
                    waiting.append(target)
        return False

    def _add_edges(self) -> None:
        for i, message in enumerate(self.messages):
            self._edge(("message", str(i)), ("exchange", message.exchange), "", [i])
        by_name = {m.key: [] for m in self.messages if not m.exchange}  # type: dict[str, list[int]]
        for i, message in enumerate(self.messages):
            if not message.exchange and message.route.queues:
                by_name[message.key].append(i)
        for name, carried in by_name.items():
            if carried:
                self._edge(("exchange", ""), ("queue", name), name, carried)
        for binding in self.topology.bindings:
            carried = [i for i, m in enumerate(self.messages) if self._takes(m.route, binding)]
            source, target = ("exchange", binding.source), (binding.to, binding.target)
            if self.nodes[target].column <= self.nodes[source].column:
                self.back.append(binding)
                continue
            fanout = self.topology.exchange(binding.source).kind == "fanout"
            text = "" if fanout else binding.text or "(no key)"
            self._edge(source, target, text, carried)
        for exchange in self.topology.exchanges:
            if exchange.alternate is not None:
                self._alternate(exchange.name, exchange.alternate)

    def _alternate(self, name: str, other: str) -> None:
        if self.nodes["exchange", other].column <= self.nodes["exchange", name].column:
            return
        carried = [
            i
            for i, m in enumerate(self.messages)
            if any(s.binding.source == other for s in m.route.steps)
            and not any(s.taken and s.binding.source == name for s in m.route.steps)
            and (m.exchange == name or any(s.binding.source == name for s in m.route.steps))
        ]
        self._edge(("exchange", name), ("exchange", other), "alternate", carried, dashed=True)

    @staticmethod
    def _takes(route: Route, binding: Binding) -> bool:
        return any(step.taken and step.binding is binding for step in route.steps)

    def _edge(
        self, source: Key, target: Key, text: str, carried: list[int], *, dashed: bool = False
    ) -> None:
        edge = Edge(source, target, text, carried, dashed)
        self.edges.append(edge)
        self.nodes[source].leaving.append(edge)
        self.nodes[target].entering.append(edge)

    def _add_passages(self) -> None:
        for number, edge in enumerate(self.edges):
            first, last = self.nodes[edge.source].column, self.nodes[edge.target].column
            for column in range(first + 1, last):
                key = ("passage", f"{number}.{column}")
                self._add(key, column)
                self.nodes[key].entering.append(Edge(key, key, "", edge.carried))
                self._passages.setdefault(number, []).append(key)

    # --- where it stands ----------------------------------------------------------------------

    def _stand(self, top: float) -> None:
        columns: list[list[Node]] = [[] for _ in range(self._columns)]
        for node in self.nodes.values():
            columns[node.column].append(node)
        place: dict[Key, float] = {}
        for column in columns:
            column.sort(key=lambda node: self._pull(node, place))
            for i, node in enumerate(column):
                place[node.key] = (i + 0.5) / len(column)
        tall = max(
            sum(node.height for node in column) + _GAP * (len(column) - 1)
            for column in columns
            if column
        )
        widths = [_MESSAGE_WIDTH if self.messages and i == 0 else _NODE_WIDTH
                  for i in range(self._columns)]  # fmt: skip
        left_over = WIDTH - 2 * MARGIN - sum(widths)
        gaps = self._columns - 1
        first = _FIRST_GAP if self.messages and gaps > 1 else 0.0
        self.gap = (left_over - first) / max(1, gaps - (1 if first else 0))
        x = float(MARGIN)
        for i, (column, width) in enumerate(zip(columns, widths, strict=True)):
            used = sum(node.height for node in column) + _GAP * (len(column) - 1)
            y = top + (tall - used) / 2
            for node in column:
                node.box = Box(x, y, x + width, y + node.height)
                y += node.height + _GAP
            x += width + (first if first and i == 0 else self.gap)

    def _pull(self, node: Node, place: dict[Key, float]) -> float:
        """Beside what leads to it, so that lines cross as little as may be."""
        numbers = {id(edge): number for number, edge in enumerate(self.edges)}
        sources, aside = [], 0.0
        for edge in node.entering:
            if node.key[0] == "passage":  # in the order of where it leads
                edge = self.edges[int(node.key[1].split(".")[0])]
                names = [queue.name for queue in self.topology.queues]
                aside = names.index(edge.target[1]) / 1000 if edge.target[0] == "queue" else 0.0
                sources.append(edge.source)
                continue
            passages = self._passages.get(numbers[id(edge)], [])
            sources.append(passages[-1] if passages else edge.source)
        known = [place[source] for source in sources if source in place]
        return (sum(known) / len(known) if known else 0.5) + aside

    def _next(self, edge: Edge, number: int) -> Node:
        """What its line comes to first."""
        passages = self._passages.get(number, [])
        return self.nodes[passages[0] if passages else edge.target]

    def _before(self, edge: Edge, number: int) -> Node:
        """What its line comes from last."""
        passages = self._passages.get(number, [])
        return self.nodes[passages[-1] if passages else edge.source]

    def _connect(self) -> None:
        numbers = {id(edge): number for number, edge in enumerate(self.edges)}
        for node in self.nodes.values():
            if node.key[0] != "passage":
                node.entering.sort(key=lambda edge: self._before(edge, numbers[id(edge)]).box.y)
            node.leaving.sort(key=lambda edge: self._next(edge, numbers[id(edge)]).box.y)
        for node in self.nodes.values():
            if node.key[0] == "passage":
                continue
            y = node.box.y - sum(edge.height for edge in node.entering) / 2
            for edge in node.entering:
                self._lead(edge, numbers[id(edge)], node.box.left, y + edge.height / 2)
                y += edge.height

    def _lead(self, edge: Edge, number: int, left: float, y: float) -> None:
        room = self.gap - _LEAST_SLOPE - _LABEL_PAD
        edge.shown = elide(edge.text, max(30.0, room), SMALL) if edge.text else ""
        level = text_width(edge.shown, SMALL) + _LABEL_PAD if edge.shown else _LABEL_PAD
        source = self.nodes[edge.source]
        place = source.leaving.index(edge) + 1
        exit_y = source.box.top + (source.box.bottom - source.box.top) * place / (
            len(source.leaving) + 1
        )
        points: list[Point] = [(source.box.right, exit_y)]
        for key in self._passages.get(number, []):
            box = self.nodes[key].box
            points += [(box.left, box.y), (box.right, box.y)]
        points += [(left - level, y), (left, y)]
        edge.points = points
        if edge.shown:
            edge.label = (left - level + 4, y)
