"""For the check of exercise 9.1: bindings, held against every key of the day."""

from __future__ import annotations

from typing import Any

from labkit.data import stormy_day
from labkit.errors import ConfigurationError
from labkit.exercises.framework import Wrong
from labkit.topology import Binding, Exchange, Queue, Topology

_HINTS = {
    "board": (
        "A queue may have several bindings, and gets what fits any of them: one for each thing "
        "that is wanted.",
        '"departed.JFK.*" is the first.',
    ),
    "coast": (
        "Where a flight goes is the third word; the other two do not matter, but have to be there.",
        '"*.*.LAX" is the first.',
    ),
}


def judge_board(bindings: Any) -> None:
    """Whether the board and the coast get what they want of the exchange, and nothing else.

    Raises:
        Wrong: at the first thing that is wrong.
    """
    if isinstance(bindings, Binding):
        bindings = [bindings]
    if not isinstance(bindings, list | tuple) or not all(
        isinstance(one, Binding) for one in bindings
    ):
        raise Wrong(
            f"The function returned a {type(bindings).__name__} that is no list of Bindings.",
            'Return [Binding("flights", "board", "…"), …].',
        )
    try:
        topology = Topology(
            (Exchange("flights", "topic"),),
            (Queue("board"), Queue("coast")),
            tuple(bindings),
        )
    except ConfigurationError as error:
        raise Wrong(
            f"These bindings cannot be declared. {error}",
            'A Binding is (exchange, queue, key), in this order. The exchange is called "flights", '
            'the queues "board" and "coast".',
        ) from None
    for queue in ("board", "coast"):
        if not any(one.target == queue for one in bindings):
            raise Wrong(
                f"No binding leads to the queue {queue!r}.",
                f'Binding("flights", "{queue}", …), and maybe more than one.',
            )
    for key in _keys():
        _expect_route(topology, key)


def _keys() -> list[str]:
    """What happened, from where, to where; each once."""
    kinds = ["flight.departed", "flight.cancelled", "flight.arrived", "flight.scheduled"]
    found = {
        ".".join((one.type.split(".")[1], one.content["origin"], one.content["destination"]))
        for one in (happening.message for happening in stormy_day(types=kinds))
        if isinstance(one.content, dict)
    }
    return sorted(found | {"arrived.LAX.JFK"})


def _expect_route(topology: Topology, key: str) -> None:
    what, origin, destination = key.split(".")
    route = topology.route("flights", key)
    board = origin == "JFK" and what in ("departed", "cancelled")
    coast = destination in ("LAX", "SFO")
    for queue, wanted in (("board", board), ("coast", coast)):
        if wanted and queue not in route.queues:
            raise Wrong(f"{key} does not reach the queue {queue!r}, and should.", *_HINTS[queue])
        if not wanted and queue in route.queues:
            way = next(s.binding for s in route.steps if s.taken and s.binding.target == queue)
            raise Wrong(
                f"{key} reaches the queue {queue!r}, and should not.",
                f"It comes by {way.key!r}. Which word of it is too generous?",
                *_HINTS[queue],
            )
