"""The read models of the operations room: three views of the same events, each for one question.

Each is a projection: it can be thrown away and computed again, changed after a bug, or added a year
later, because the events are kept. None of them decides anything; that is the desk's business.
"""

from __future__ import annotations

from typing import Any

from labkit.patterns.event_stream import Event, Projection

View = dict[str, dict[str, Any]]
"""What each view holds: rows by name, in what JSON can hold."""

ON_TIME_MINUTES = 15
"""A departure counts as late from here on, as the industry counts."""


def departure_board(origin: str | None = None) -> Projection[View]:
    """What a board at the airport shows: for each flight where to, when, and how it stands."""

    def apply(board: View, event: Event) -> None:
        if event.type == "flight.arrived" or not _of(event, origin):
            return
        facts = event.content
        row = {"to": facts["destination"], "scheduled": facts["scheduled"]}
        status = event.type.removeprefix("flight.")
        board[facts["flight"]] = {**row, "status": status, "late": facts.get("delay_minutes", 0)}

    return Projection(dict, apply, name="departure board")


def delay_per_carrier() -> Projection[View]:
    """For each carrier: departures, those that were late, minutes of delay, cancellations."""

    def apply(carriers: View, event: Event) -> None:
        if event.type not in ("flight.departed", "flight.cancelled"):
            return
        row = carriers.setdefault(
            event.content["carrier"], {"departed": 0, "late": 0, "minutes": 0, "cancelled": 0}
        )
        if event.type == "flight.cancelled":
            row["cancelled"] += 1
            return
        minutes = event.content["delay_minutes"]
        row["departed"] += 1
        row["late"] += minutes >= ON_TIME_MINUTES
        row["minutes"] += max(0, minutes)

    return Projection(dict, apply, name="delay per carrier")


def bookings_to_move() -> Projection[View]:
    """Per cancelled flight: where its passengers want to go, and the flights that may take them.

    A flight that may take them goes to the same place from the same airport, and has neither left
    nor been cancelled.
    """

    def apply(state: View, event: Event) -> None:
        if not _of(event, None):
            return
        flight, waiting, to_move = event.content["flight"], state["waiting"], state["to move"]
        route = f"{event.content['origin']}-{event.content['destination']}"
        if event.type == "flight.scheduled":
            waiting.setdefault(route, []).append(flight)
            for row in to_move.values():
                if row["route"] == route:
                    row["may take them"].append(flight)
        elif event.type in ("flight.departed", "flight.cancelled"):
            waiting[route].remove(flight)
            for row in to_move.values():
                if flight in row["may take them"]:
                    row["may take them"].remove(flight)
        if event.type == "flight.cancelled":
            to_move[flight] = {"route": route, "may take them": list(waiting[route])}

    return Projection({"waiting": {}, "to move": {}}, apply, name="bookings to move")


def _of(event: Event, origin: str | None) -> bool:
    """Whether it is about a flight (from there)."""
    if not event.type.startswith("flight."):
        return False
    return origin is None or bool(event.content["origin"] == origin)
