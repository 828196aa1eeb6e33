"""What streams and their readers count."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.errors import DecodeError
from labkit.patterns.statistics import Latency, Statistics


@dataclass(frozen=True, kw_only=True, repr=False)
class StreamStatistics(Statistics):
    """What was appended to a stream here, and read from it; `messages` counts the appended ones.

    Attributes:
        failed: events that were not appended, or may not have been.
        conflicts: events refused, because their key had moved on.
        read: events read without a group.
        unreadable: entries read that are no events; the last ones are in `decode_errors`.
        trimmed: entries destroyed here.
        outages: times in which the broker could not be reached while following.
        rewound: times at which the broker came back with less than had been read: it lost events.
    """

    role = "Stream"

    failed: int
    conflicts: int
    read: int
    unreadable: int
    trimmed: int
    outages: int
    rewound: int
    decode_errors: tuple[DecodeError, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class MemberStatistics(Statistics):
    """What one member of a group did; `messages` counts the deliveries that it was given.

    Attributes:
        committed: deliveries that it committed.
        late: deliveries that it committed too late: another had claimed them.
        redelivered: deliveries that were not the event's first.
        claimed: deliveries that it took over from others.
        unreadable: deliveries that are no events; the last ones are in `decode_errors`.
        destroyed: entries that were trimmed before they were committed.
        forgotten: times at which the broker had forgotten the group.
        outages: times in which the broker could not be reached.
        latency: from appending to delivery, for events appended in this process; else None.
    """

    role = "Member"

    committed: int
    late: int
    redelivered: int
    claimed: int
    unreadable: int
    destroyed: int
    forgotten: int
    outages: int
    decode_errors: tuple[DecodeError, ...]
    latency: Latency | None
