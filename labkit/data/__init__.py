"""One stormy day of flights, and how to tell it as messages."""

from labkit.data.day import Happening, happenings, replay, stormy_day
from labkit.data.flights import CARRIERS, Flight, load_flights

__all__ = [
    "CARRIERS",
    "Flight",
    "Happening",
    "happenings",
    "load_flights",
    "replay",
    "stormy_day",
]
