"""The flights of the day, as they stand in the file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from importlib.resources import files

NEW_YORK = timezone(timedelta(hours=-5), "EST")
"""Standard time: daylight saving began two days later, on 10 March 2013."""

FILE = "flights-2013-03-08.csv"

CARRIERS = {
    "9E": "Endeavor",
    "AA": "American",
    "AS": "Alaska",
    "B6": "JetBlue",
    "DL": "Delta",
    "EV": "ExpressJet",
    "F9": "Frontier",
    "FL": "AirTran",
    "HA": "Hawaiian",
    "MQ": "Envoy",
    "UA": "United",
    "US": "US Airways",
    "VX": "Virgin America",
    "WN": "Southwest",
    "YV": "Mesa",
}

_HOURS_FROM_NEW_YORK = {
    +1: "BQN PSE SJU STT",
    -1: "AUS BNA DFW DSM HOU IAH MCI MDW MEM MKE MSN MSP MSY OMA ORD SAT STL TUL XNA",
    -2: "DEN EGE PHX SLC",
    -3: "BUR LAS LAX LGB OAK PDX SAN SEA SFO SJC SMF SNA",
    -5: "HNL",
}
_OFFSETS = {
    airport: hours
    for hours, airports in _HOURS_FROM_NEW_YORK.items()
    for airport in airports.split()
}


@dataclass(frozen=True, slots=True)
class Flight:
    """One scheduled departure. Times are New York's, whole minutes.

    Attributes:
        name: carrier code and number: "B6 739".
        carrier: the carrier's name.
        origin, destination: airport codes.
        scheduled: planned departure.
        departed: actual departure, or None if the flight was cancelled.
        arrived: actual arrival, or None if it was cancelled or the arrival was not recorded.
        delay_minutes: departure delay (negative: early), or None if it was cancelled.
        arrival_delay_minutes: arrival delay, or None if it is not recorded.
        distance_miles: to the destination.
    """

    name: str
    carrier: str
    origin: str
    destination: str
    scheduled: datetime
    departed: datetime | None
    arrived: datetime | None
    delay_minutes: int | None
    arrival_delay_minutes: int | None
    distance_miles: int

    @property
    def cancelled(self) -> bool:
        """Whether it never left."""
        return self.departed is None


@lru_cache(maxsize=1)
def load_flights() -> tuple[Flight, ...]:
    """The 979 departures of 8 March 2013, in the order of the file (see README.md beside it)."""
    text = (files("labkit.data") / FILE).read_text(encoding="utf-8")
    return tuple(_flight(row) for row in csv.DictReader(text.splitlines()))


def _flight(row: dict[str, str]) -> Flight:
    day = datetime(int(row["year"]), int(row["month"]), int(row["day"]), tzinfo=NEW_YORK)
    scheduled = day + timedelta(minutes=_minutes(row["sched_dep_time"]))
    delay = _whole(row["dep_delay"])
    # Not dep_time alone: a flight that left after midnight still carries its scheduled day.
    departed = None if delay is None else scheduled + timedelta(minutes=delay)
    return Flight(
        name=f"{row['carrier']} {row['flight']}",
        carrier=CARRIERS[row["carrier"]],
        origin=row["origin"],
        destination=row["dest"],
        scheduled=scheduled,
        departed=departed,
        arrived=_arrival(row, departed),
        delay_minutes=delay,
        arrival_delay_minutes=_whole(row["arr_delay"]),
        distance_miles=int(row["distance"]),
    )


def _arrival(row: dict[str, str], departed: datetime | None) -> datetime | None:
    """Departure plus the time in between; the file gives arrivals in the destination's time."""
    if departed is None or not row["arr_time"]:
        return None
    shown = _minutes(row["arr_time"]) - _minutes(row["dep_time"])
    elapsed = (shown - 60 * _OFFSETS.get(row["dest"], 0)) % (24 * 60)
    return departed + timedelta(minutes=elapsed)


def _whole(text: str) -> int | None:
    return int(float(text)) if text else None


def _minutes(hhmm: str) -> int:
    """Minutes since midnight of a time written as the number HHMM."""
    hours, minutes = divmod(int(float(hhmm)), 100)
    return 60 * hours + minutes
