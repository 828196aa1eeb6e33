"""Event stream: a log that is kept, replayed from anywhere, and shared by groups of readers."""

from labkit.patterns.event_stream.event import Event, Events, NewEvent, UnreadableEvent
from labkit.patterns.event_stream.follower import Follower
from labkit.patterns.event_stream.group import Group
from labkit.patterns.event_stream.member import Member
from labkit.patterns.event_stream.projection import Projection
from labkit.patterns.event_stream.snapshot import ProjectionStatistics, Snapshot
from labkit.patterns.event_stream.statistics import MemberStatistics, StreamStatistics
from labkit.patterns.event_stream.stream import EventStream
from labkit.patterns.event_stream.tables import Holdings, Positions

__all__ = [
    "Event",
    "EventStream",
    "Events",
    "Follower",
    "Group",
    "Holdings",
    "Member",
    "MemberStatistics",
    "NewEvent",
    "Positions",
    "Projection",
    "ProjectionStatistics",
    "Snapshot",
    "StreamStatistics",
    "UnreadableEvent",
]
