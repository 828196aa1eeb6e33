"""The stormy day: what the file says, and that the messages say the same."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from labkit import Message, StepClock, channels, families
from labkit.data import CARRIERS, Flight, Happening, happenings, load_flights, replay, stormy_day
from labkit.errors import ConfigurationError
from labkit.families import Family

SHA256 = "741f50a07a006ec129bac8a9a84b9fe7e7e14d67cbc9aa209f034b2bbabddf1e"
HERE = ZoneInfo("America/New_York")
ZONES = {
    "America/Chicago": "AUS BNA DFW DSM HOU IAH MCI MDW MEM MKE MSN MSP MSY OMA ORD SAT STL TUL "
    "XNA",
    "America/Denver": "DEN EGE SLC",
    "America/Phoenix": "PHX",
    "America/Los_Angeles": "BUR LAS LAX LGB OAK PDX SAN SEA SFO SJC SMF SNA",
    "Pacific/Honolulu": "HNL",
    "America/Puerto_Rico": "BQN PSE SJU",
    "America/St_Thomas": "STT",
}
ZONE_OF = {code: ZoneInfo(zone) for zone, codes in ZONES.items() for code in codes.split()}

Row = dict[str, str]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """The file, read here with nothing of labkit's."""
    text = (files("labkit.data") / "flights-2013-03-08.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture(scope="module")
def day() -> list[Happening]:
    return stormy_day()


def number(text: str) -> int | None:
    return int(float(text)) if text else None


def hhmm(text: str) -> timedelta:
    hours, minutes = divmod(int(float(text)), 100)
    return timedelta(hours=hours, minutes=minutes)


def scheduled_arrival(row: Row) -> datetime:
    """Of the file alone: the first time the destination's clock shows it after the departure."""
    departs = datetime.fromisoformat("2013-03-08T00:00").replace(tzinfo=HERE)
    departs += hhmm(row["sched_dep_time"])
    there = ZONE_OF.get(row["dest"], HERE)
    local = departs.astimezone(there)
    arrives = local.replace(hour=0, minute=0) + hhmm(row["sched_arr_time"])
    while arrives.astimezone(UTC) <= departs.astimezone(UTC):
        arrives += timedelta(days=1)
    return arrives


# --- the file -------------------------------------------------------------------------------------


def test_the_file_is_inside_the_package_and_unchanged() -> None:
    content = (files("labkit.data") / "flights-2013-03-08.csv").read_bytes()

    assert hashlib.sha256(content).hexdigest() == SHA256
    assert content.count(b"\n") == 980, "a header and 979 rows"


def test_its_provenance_lies_beside_it() -> None:
    text = (files("labkit.data") / "README.md").read_text(encoding="utf-8")

    for words in ("nycflights13", "Bureau of Transportation", "CC0", "8 March 2013"):
        assert words in text


# --- the flights ----------------------------------------------------------------------------------


def test_there_are_979_departures_of_which_180_were_cancelled() -> None:
    flights = load_flights()

    assert len(flights) == 979
    assert sum(flight.cancelled for flight in flights) == 180
    delays = [flight.delay_minutes for flight in flights if flight.delay_minutes is not None]
    assert round(sum(delays) / len(delays)) == 84
    assert {flight.origin for flight in flights} == {"EWR", "JFK", "LGA"}
    assert {flight.carrier for flight in flights} <= set(CARRIERS.values())


def test_flights_stand_in_the_order_of_the_file(rows: list[Row]) -> None:
    assert [
        (f.name, f.origin, f.destination, f.delay_minutes, f.distance_miles) for f in load_flights()
    ] == [
        (
            f"{row['carrier']} {row['flight']}",
            row["origin"],
            row["dest"],
            number(row["dep_delay"]),
            int(row["distance"]),
        )
        for row in rows
    ]


def test_scheduled_times_are_the_universal_ones_of_the_file(rows: list[Row]) -> None:
    for flight, row in zip(load_flights(), rows, strict=True):
        hour = datetime.fromisoformat(row["time_hour"])
        assert flight.scheduled == hour + timedelta(minutes=int(row["minute"])), flight.name


def test_departures_are_scheduled_plus_delay_and_show_the_files_time(rows: list[Row]) -> None:
    for flight, row in zip(load_flights(), rows, strict=True):
        assert (flight.departed is None) == (row["dep_time"] == "")
        if flight.departed is None:
            assert flight.cancelled
            continue
        assert flight.departed - flight.scheduled == timedelta(minutes=float(row["dep_delay"]))
        shown = flight.departed.astimezone(HERE)
        shown_as = timedelta(hours=shown.hour, minutes=shown.minute)
        assert shown_as == hhmm(row["dep_time"]) % timedelta(days=1), flight.name


def test_a_flight_after_midnight_left_on_the_next_day() -> None:
    first = load_flights()[0]

    assert first.name == "B6 739"
    assert (first.origin, first.destination, first.carrier) == ("JFK", "PSE", "JetBlue")
    assert f"{first.scheduled:%Y-%m-%d %H:%M}" == "2013-03-08 23:55"
    assert f"{first.departed:%Y-%m-%d %H:%M}" == "2013-03-09 00:01"
    assert first.delay_minutes == 6
    late = [f for f in load_flights() if f.departed and f.departed.day == 9]
    assert late, "others did too"
    assert all(f.scheduled.day == 8 for f in load_flights())


def test_arrivals_are_the_scheduled_ones_plus_the_delay(rows: list[Row]) -> None:
    """Once by adding the file's delay, and once by labkit, from the clock at the destination."""
    checked = 0
    for flight, row in zip(load_flights(), rows, strict=True):
        assert flight.arrival_delay_minutes == number(row["arr_delay"])
        if not row["arr_delay"]:
            continue
        expected = scheduled_arrival(row) + timedelta(minutes=float(row["arr_delay"]))
        assert flight.arrived == expected, flight
        checked += 1
    assert checked == sum(bool(row["arr_delay"]) for row in rows) > 750


def test_arrivals_show_the_files_time_at_the_destination(rows: list[Row]) -> None:
    for flight, row in zip(load_flights(), rows, strict=True):
        assert (flight.arrived is None) == (row["arr_time"] == ""), flight
        if flight.arrived is None:
            continue
        there = flight.arrived.astimezone(ZONE_OF.get(flight.destination, HERE))
        shown = timedelta(hours=there.hour, minutes=there.minute)
        assert shown == hhmm(row["arr_time"]) % timedelta(days=1), flight


def test_no_flight_was_under_way_for_less_than_it_flew(rows: list[Row]) -> None:
    for flight, row in zip(load_flights(), rows, strict=True):
        if flight.arrived is None or flight.departed is None or not row["air_time"]:
            continue
        on_the_ground = flight.arrived - flight.departed - timedelta(minutes=float(row["air_time"]))
        assert timedelta(0) <= on_the_ground < timedelta(hours=6), flight


# --- the day as messages --------------------------------------------------------------------------


def of_flight(flight: Flight, kind: str) -> list[Happening]:
    return [h for h in happenings(flight) if h.message.type == kind]


def test_the_day_is_told_in_order(day: list[Happening]) -> None:
    times = [happening.time for happening in day]

    assert times == sorted(times)
    assert f"{times[-1]:%Y-%m-%d}" == "2013-03-09", "the last arrival is on the next morning"


def test_within_a_minute_the_files_order_is_kept(day: list[Happening]) -> None:
    flights = load_flights()
    where = {(f.name, f.origin, f"{f.scheduled:%H:%M}"): i for i, f in enumerate(flights)}
    assert len(where) == len(flights)
    same_minute: dict[datetime, list[int]] = defaultdict(list)
    for happening in day:
        if happening.message.type == "flight.scheduled":
            content = happening.message.content
            key = (content["flight"], content["origin"], content["scheduled"])
            same_minute[happening.time].append(where[key])

    assert any(len(order) > 5 for order in same_minute.values())
    assert all(order == sorted(order) for order in same_minute.values())


def test_every_flight_is_told_of_once(day: list[Happening]) -> None:
    counts = Counter(happening.message.type for happening in day)
    flights = load_flights()

    assert counts["flight.scheduled"] == 979
    assert counts["flight.cancelled"] == 180
    assert counts["flight.departed"] == 799
    assert counts["flight.arrived"] == sum(flight.arrived is not None for flight in flights)
    assert sum(counts.values()) == len(day) == sum(len(list(happenings(f))) for f in flights)


def test_each_flights_story_is_in_order() -> None:
    order = ["flight.scheduled", "system.alert", "flight.departed", "flight.arrived"]
    for flight in load_flights():
        story = [happening.message.type for happening in happenings(flight)]
        times = [happening.time for happening in happenings(flight)]
        assert times == sorted(times), flight
        if flight.cancelled:
            assert story == ["flight.scheduled", "flight.cancelled"]
        else:
            assert story == sorted(story, key=order.index)
            assert "flight.departed" in story


def test_a_message_tells_what_the_flight_did() -> None:
    flight = load_flights()[0]
    [departed] = of_flight(flight, "flight.departed")
    [arrived] = of_flight(flight, "flight.arrived")

    assert departed.channel == "flights.JFK"
    assert departed.message == Message(
        type="flight.departed",
        content={
            "flight": "B6 739",
            "carrier": "JetBlue",
            "origin": "JFK",
            "destination": "PSE",
            "scheduled": "23:55",
            "delay_minutes": 6,
        },
        timestamp="2013-03-09T05:01:00.000Z",
        sender="tower",
        metadata={},
    )
    assert departed.message.label == "B6 739 departed"
    assert arrived.message.content["delay_minutes"] == -9
    assert arrived.time == flight.arrived


def test_every_message_is_stamped_with_its_time_and_travels(day: list[Happening]) -> None:
    for happening in day:
        assert happening.message.time == happening.time
        assert Message.decode(happening.message.encode()) == happening.message
        assert channels.matches("flights.???", happening.channel) or (
            channels.matches("alerts.*", happening.channel)
        )


def test_a_flight_is_on_the_board_two_hours_before() -> None:
    flight = load_flights()[0]

    [scheduled] = of_flight(flight, "flight.scheduled")

    assert scheduled.time == flight.scheduled - timedelta(hours=2)


def test_a_cancelled_flight_is_so_at_its_departure() -> None:
    flight = next(flight for flight in load_flights() if flight.cancelled)

    [cancelled] = of_flight(flight, "flight.cancelled")

    assert cancelled.time == flight.scheduled
    assert "delay_minutes" not in cancelled.message.content


LEVELS = [(15, "info"), (60, "warning"), (180, "critical")]


def test_alerts_come_only_while_a_flight_has_not_left() -> None:
    seen: Counter[str] = Counter()
    for flight in load_flights():
        alerts = of_flight(flight, "system.alert")
        due = [(m, level) for m, level in LEVELS if (flight.delay_minutes or 0) >= m]
        assert [alert.message.content["delay_minutes"] for alert in alerts] == [m for m, _ in due]
        for alert, (minutes, level) in zip(alerts, due, strict=True):
            assert alert.channel == f"alerts.{level}"
            assert alert.message.content["level"] == level
            assert alert.message.content["flight"] == flight.name
            assert alert.time == flight.scheduled + timedelta(minutes=minutes)
            assert flight.departed is not None
            assert alert.time <= flight.departed
            assert families.check(alert.message) is Family.ALERT
            seen[level] += 1
    assert set(seen) == {"info", "warning", "critical"}
    assert seen["info"] > seen["warning"] > seen["critical"] > 0


# --- slices ---------------------------------------------------------------------------------------


def test_a_slice_has_the_airports_asked_for(day: list[Happening]) -> None:
    jfk = stormy_day(origins=["JFK"])

    assert {h.message.content["origin"] for h in jfk} == {"JFK"}
    assert stormy_day(origins="JFK") == jfk, "one airport may be given as it is"
    rest = stormy_day(origins=("EWR", "LGA"))
    assert len(jfk) + len(rest) == len(day)


def test_a_slice_has_the_times_asked_for_without_its_end(day: list[Happening]) -> None:
    slice_ = stormy_day(start="08:00", end="08:30")

    inside = [h for h in day if "08:00" <= f"{h.time:%H:%M}" < "08:30" and h.time.day == 8]
    assert slice_ == inside
    assert stormy_day(end="08:00") + stormy_day(start="08:00") == day
    assert stormy_day(start="08:00", end="08:00") == []


def test_a_slice_has_the_types_asked_for(day: list[Happening]) -> None:
    cancelled = stormy_day(types=["flight.cancelled"])

    assert len(cancelled) == 180
    assert cancelled == [h for h in day if h.message.type == "flight.cancelled"]
    assert stormy_day(types="flight.cancelled") == cancelled
    assert stormy_day(types=[]) == []


def test_a_slice_is_as_short_as_asked_for(day: list[Happening]) -> None:
    assert stormy_day(limit=10) == day[:10]
    assert stormy_day(limit=0) == []
    assert stormy_day(limit=10**9) == day


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"origins": ["JFK", "LAX"]}, "no airport LAX; it has EWR, JFK, LGA"),
        ({"origins": "jfk"}, "no airport jfk"),
        ({"types": ["flight.delayed"]}, "no type flight.delayed"),
        ({"start": "8 o'clock"}, '"HH:MM", got "8 o\'clock"'),
        ({"start": "25:00"}, "\"HH:MM\", got '25:00'"),
        ({"end": ""}, "\"HH:MM\", got ''"),
        ({"end": "08:00:30"}, "\"HH:MM\", got '08:00:30'"),
        ({"end": "08:00+01:00"}, '"HH:MM"'),
        ({"limit": -1}, "limit"),
    ],
    ids=str,
)
def test_a_slice_that_the_day_does_not_have_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        stormy_day(**wrong)

    assert words in str(refused.value)


# --- replay ---------------------------------------------------------------------------------------


def told(minutes: list[float]) -> list[Happening]:
    """Happenings at these minutes after noon."""
    noon = datetime(2013, 3, 8, 17, tzinfo=UTC)
    return [
        Happening(noon + timedelta(minutes=m), f"c{m:g}", Message.new("a", m, sender="tower"))
        for m in minutes
    ]


@pytest.mark.parametrize(
    ("speed", "expected"), [(60, [0, 1, 1, 4.5, 60]), (1, [0, 60, 60, 270, 3600]), (120, None)]
)
def test_a_replay_keeps_the_days_pauses_at_its_speed(
    speed: float, expected: list[float] | None
) -> None:
    clock = StepClock(tick=0)
    began = clock.now()
    published: list[tuple[float, str, Message]] = []
    happened = told([0, 1, 1, 4.5, 60])

    count = replay(
        happened,
        lambda channel, message: published.append((clock.now() - began, channel, message)),
        speed=speed,
        clock=clock,
    )

    assert count == 5
    assert [time for time, _, _ in published] == pytest.approx(expected or [0, 0.5, 0.5, 2.25, 30])
    assert [(channel, message) for _, channel, message in published] == [
        (h.channel, h.message) for h in happened
    ]


def test_a_slow_publisher_does_not_shift_what_comes_later() -> None:
    clock = StepClock(tick=0)
    began = clock.now()
    times: list[float] = []

    def publish_slowly(*_: object) -> None:
        times.append(clock.now() - began)
        clock.advance(1.5)

    replay(told([0, 1, 2, 10]), publish_slowly, speed=60, clock=clock)

    assert times == pytest.approx([0, 1.5, 3.0, 10.0]), "late ones go at once, the last is on time"


def test_at_infinite_speed_nothing_waits() -> None:
    clock = StepClock(tick=0)
    began = clock.now()

    assert replay(stormy_day(), lambda *_: None, speed=float("inf"), clock=clock) > 3_000

    assert clock.now() == began


def test_a_replay_of_nothing_is_nothing() -> None:
    assert replay([], lambda *_: None) == 0


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_a_replay_that_does_not_move_is_refused(speed: float) -> None:
    with pytest.raises(ConfigurationError, match="above 0"):
        replay(told([0]), lambda *_: None, speed=speed)
