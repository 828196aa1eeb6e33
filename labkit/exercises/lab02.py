"""Checks of lab 02: publish and subscribe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from labkit import Publisher, Subscriber
from labkit.broker import Lab
from labkit.data import load_flights, stormy_day
from labkit.exercises.framework import Wrong, exercise
from labkit.patterns.statistics import SubscriberStatistics


@exercise(
    "2.1",
    "The right net",
    expects="function",
    correct="Each message that the board wanted came once, and no other.",
)
def check_subscribe_board(subscribe_board: Callable[[Subscriber], Any], lab: Lab) -> None:
    """Each wanted channel once, the others never."""
    wanted = ("flights.JFK", "flights.EWR", "flights.LGA", "flights.BOS", "alerts.critical")
    unwanted = ("alerts.info", "alerts.warning", "weather")
    with Subscriber(lab, name="board") as board, Publisher(lab, sender="tower") as tower:
        subscribe_board(board)
        tower.publish_multiple([(channel, 1) for channel in (*wanted, *unwanted)])
        got = [incoming.channel for incoming in board.drain()]
    if not got:
        raise Wrong(
            "The board got nothing at all.",
            "Patterns need psubscribe: to subscribe, a * is a character like any other.",
        )
    if "flights.BOS" not in got and "flights.JFK" in got:
        raise Wrong(
            "The board did not get flights.BOS: an airport that opened today.",
            "Names cannot know what is new; a pattern can. Which one stands for all flights?",
            'board.psubscribe("flights.*")',
        )
    if missing := [channel for channel in wanted if channel not in got]:
        raise Wrong(
            f"The board did not get {', '.join(missing)}.",
            "Flights need a pattern (psubscribe), critical alerts a name (subscribe).",
            'board.psubscribe("flights.*") and board.subscribe("alerts.critical")',
        )
    if extra := [channel for channel in unwanted if channel in got]:
        raise Wrong(
            f"The board also got {', '.join(extra)}, which it did not want.",
            "Make the pattern narrower: which channels does yours match?",
        )
    if twice := sorted({channel for channel in got if got.count(channel) > 1}):
        raise Wrong(
            f"The board got {', '.join(twice)} more than once.",
            "A channel that matches both a name and a pattern comes twice: subscribe one way only.",
        )


@exercise(
    "2.2",
    "Count the cancelled flights",
    expects="function",
    correct="180 in all: one in four at Newark and LaGuardia. Lab 03 rebooks them.",
)
def check_count_cancelled(count_cancelled: Callable[[Subscriber], Any], lab: Lab) -> None:
    """The counts of the real day."""
    expected: dict[str, int] = {}
    for flight in load_flights():
        if flight.cancelled:
            expected[flight.origin] = expected.get(flight.origin, 0) + 1
    with Subscriber(lab, name="board") as board, Publisher(lab, sender="tower") as tower:
        board.psubscribe("flights.*")
        counts = count_cancelled(board)
        tower.publish_multiple([(h.channel, h.message) for h in stormy_day()])
        board.drain()
        errors = board.stats().errors
    if not isinstance(counts, dict):
        raise Wrong(
            f"The function returned a {type(counts).__name__}, not the dict of counts.",
            "Make counts = {} first, let the handler change it, and return counts.",
        )
    if errors and "positional argument" in errors[-1].error:
        raise Wrong(
            f"The handler could not be called: {errors[-1].error}",
            "A handler takes two arguments: def count(channel, message).",
        )
    if errors:
        raise Wrong(
            f"The handler raised {errors[-1].error}",
            "The origin is message.content['origin']; a count starts with counts.get(origin, 0).",
        )
    if not counts:
        raise Wrong(
            "Nothing was counted.",
            "Is the handler registered, and for a type? route's first argument is a channel.",
            'board.route(type="flight.cancelled", handler=count)',
        )
    if set(counts) != set(expected):
        raise Wrong(
            f"Counted by {', '.join(map(str, list(counts)[:4]))} …, not by airport of origin.",
            'The airport is in the content: message.content["origin"].',
        )
    if sum(counts.values()) > sum(expected.values()):
        raise Wrong(
            f"{sum(counts.values())} were counted; 180 flights were cancelled.",
            'Take only one type of message: route(type="flight.cancelled", …), not a channel.',
        )
    if counts != expected:
        raise Wrong(
            f"The counts are {counts}.",
            "Each cancelled flight counts once for its own airport: counts[origin] + 1.",
        )


@exercise(
    "2.3",
    "An honest report",
    expects="function",
    correct="Late, lost, dropped, unreadable: four ways not to arrive, all of them counted.",
)
def check_never_handled(never_handled: Callable[[SubscriberStatistics], Any], lab: Lab) -> None:
    """Statistics with one kind of loss at a time, then all together."""
    cases = {
        "missed_before": "messages that were sent before it subscribed",
        "lost": "messages that were lost on the way",
        "dropped": "messages that its full buffer dropped",
        "unreadable": "bodies that it could not read",
    }
    with Subscriber(lab, name="board") as board:
        clean = board.stats()
    clean = _with(clean, messages=10, handled=10)
    if never_handled(clean) != 0:
        raise Wrong(
            "For a board that handled all of 10 messages you do not return 0.",
            "Count what is gone, not what is there.",
        )
    if never_handled(_with(clean, messages=17, filtered=7)) != 0:
        raise Wrong(
            "You count messages that its own filter kept away.",
            "Leave filtered out: those were not wanted.",
        )
    if never_handled(_with(clean, duplicates=3, out_of_order=2)) != 0:
        raise Wrong(
            "You count duplicates or late messages, which did arrive.",
            "Leave duplicates and out_of_order out.",
        )
    if never_handled(_with(clean, gaps=1)) != 0:
        raise Wrong(
            "You count gaps: those are times without a connection, not messages.",
            "What was missed in a gap is in another count already.",
        )
    if never_handled(_with(clean, callback_errors=2)) != 0:
        raise Wrong(
            "You count messages whose handler failed; they did reach it.",
            "Leave callback_errors and errors out.",
        )
    for position, (name, meaning) in enumerate(cases.items()):
        number = 3 + position
        if never_handled(_gone(clean, **{name: number})) != number:
            raise Wrong(
                f"You leave out {meaning}.",
                f"Add stats.{name}.",
            )
    if never_handled(_gone(clean, **dict.fromkeys(cases, 2))) != 8:
        raise Wrong(
            "Each kind alone is right, but not all of them together.",
            "Add the four numbers up: stats.missed_before + stats.lost + …",
        )


def _gone(stats: SubscriberStatistics, **counts: int) -> SubscriberStatistics:
    """Dropped and unreadable ones did arrive; the others are not among the messages."""
    arrived = counts.get("dropped", 0) + counts.get("unreadable", 0)
    return _with(stats, messages=stats.messages + arrived, **counts)


def _with(stats: SubscriberStatistics, **counts: int) -> SubscriberStatistics:
    return replace(stats, **counts)  # type: ignore[arg-type]
