"""A conversation: messages, what became of each of them, and who was there when."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from labkit.channels import matches

BROKER = "broker"


class Moment(NamedTuple):
    """When: seconds, and the place in the order of events, which decides between equal times."""

    time: float
    order: int


class Fate(StrEnum):
    """What became of a message at one subscriber."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    FILTERED = "filtered out"
    FAILED = "failed"
    UNREADABLE = "unreadable"
    DROPPED = "dropped"
    LOST = "lost"
    WAITING = "not handled yet"
    LATE = "missed by coming late"
    REDELIVERED = "redelivered"
    LATE_REPLY = "late, thrown away"
    EXPIRED = "expired, dropped"


class Deed(StrEnum):
    """What an actor did with a message that it had taken, or what befell it."""

    ACKED = "acked"
    LATE_ACK = "late ack"
    RETRYING = "retrying"
    DEAD = "dead"
    RETURNED = "returned"
    CRASHED = "crashed"
    RECOVERED = "recovered"
    TIMED_OUT = "timed out"


@dataclass(slots=True)
class Sending:
    """One message: who sent it, and whether the broker took it."""

    sender: str
    channel: str
    label: str
    sent: Moment
    message_id: str | None
    accepted: Moment | None = None
    refused: Moment | None = None
    written_to: int | None = None
    unheard: bool = False

    @property
    def at_broker(self) -> Moment:
        """When the broker had it, as well as the trace knows."""
        return self.accepted or self.sent


@dataclass(slots=True)
class Arrival:
    """What became of one message at one subscriber.

    `arrow` is False where this is only a mark on an arrow that is there already: a handler that
    failed on a message that was delivered.
    """

    subscriber: str
    fate: Fate
    moment: Moment
    channel: str
    sending: Sending | None
    arrow: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """A deed: whose, when, with which message."""

    deed: Deed
    actor: str
    moment: Moment
    sending: Sending | None
    detail: str = ""


@dataclass(slots=True)
class Presence:
    """When a subscriber was there, and for what."""

    joined: list[tuple[Moment, str]] = field(default_factory=list)
    left: list[tuple[Moment, str | None]] = field(default_factory=list)
    gaps: list[tuple[Moment, Moment | None]] = field(default_factory=list)
    heard_before: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Channels and patterns that it ever subscribed to, in order."""
        return tuple(dict.fromkeys(name for _, name in self.joined))

    def came_late(self, sending: Sending) -> bool:
        """Whether it subscribed to the message's channel only after the message."""
        first = min((m for m, n in self.joined if _fits(n, sending.channel)), default=None)
        return first is not None and not self.heard_before and first > sending.at_broker

    def hears(self, sending: Sending) -> bool:
        """Whether it was subscribed to the message's channel when the broker had the message."""
        now = sending.at_broker
        active = [
            name
            for moment, name in self.joined
            if moment < now
            and not any(moment < gone < now and what in (None, name) for gone, what in self.left)
        ]
        return any(_fits(name, sending.channel) for name in active)

    def in_gap(self, moment: Moment) -> bool:
        """Whether its connection was gone."""
        return any(start < moment and (end is None or moment < end) for start, end in self.gaps)

    def silences(self) -> list[tuple[Moment | None, Moment | None]]:
        """From when to when it was subscribed to nothing; None is the edge of the picture."""
        changes: list[tuple[Moment, bool, str | None]] = []
        changes += [(moment, True, name) for moment, name in self.joined]
        changes += [(moment, False, name) for moment, name in self.left]
        spans: list[tuple[Moment | None, Moment | None]] = []
        active: set[str] = set()
        silent: bool = bool(self.joined) and not self.heard_before
        since: Moment | None = None
        for moment, add, name in sorted(changes, key=lambda change: change[0]):
            if add:
                active.add(name or "")
            else:
                active = active - {name} if name is not None else set()
            if active and silent:
                spans.append((since, moment))
                silent = False
            elif not active and not silent:
                silent, since = True, moment
        if silent:
            spans.append((since, None))
        return spans


@dataclass(slots=True)
class Conversation:
    """All of it. `senders` and `subscribers` are in the order of their lanes.

    Messages on channels that are `pulled` (queues, services and the ways back from those) stay with
    the broker until somebody takes them.
    """

    sendings: list[Sending]
    arrivals: list[Arrival]
    presences: dict[str, Presence]
    senders: list[str]
    subscribers: list[str]
    moments: list[Moment]
    forgotten: int = 0
    deeds: list[Done] = field(default_factory=list)
    pulled: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()

    @property
    def queues(self) -> set[str]:
        """Channels that are pulled, and no service's."""
        return {c for c in self.pulled if c.removesuffix(" reply") not in self.services}

    def pulling(self, arrival: Arrival) -> bool:
        """Whether it was taken from the broker, and not pushed."""
        return arrival.channel in self.pulled

    def crash_of(self, actor: str) -> Moment | None:
        """When it crashed, if it did not come back."""
        mine = [a.moment for a in self.arrivals if a.subscriber == actor]
        latest = max([Moment(float("-inf"), 0), *mine])
        died = [d.moment for d in self.deeds if d.actor == actor and d.deed is Deed.CRASHED]
        return min((moment for moment in died if moment > latest), default=None)

    @property
    def channels(self) -> list[str]:
        """The channels, in the order in which messages came."""
        names = [s.channel for s in self.sendings] + [a.channel for a in self.arrivals]
        return list(dict.fromkeys(names))

    def tally(self, subscriber: str) -> Counter[Fate]:
        """How many messages had which fate at one subscriber."""
        mine = [a for a in self.arrivals if a.subscriber == subscriber]
        counts: Counter[Fate] = Counter(a.fate for a in mine if a.fate is not Fate.FAILED)
        failed = {id(a.sending) if a.sending else id(a) for a in mine if a.fate is Fate.FAILED}
        counts[Fate.FAILED] = len(failed)
        reached = {id(a.sending) for a in mine}
        presence = self.presences[subscriber]
        counts[Fate.LATE] = sum(
            s.refused is None and id(s) not in reached and presence.came_late(s)
            for s in self.sendings
        )
        return counts

    def lost_in_gap(self, subscriber: str) -> int:
        """How many of its losses fell into a time in which its connection was gone."""
        presence = self.presences[subscriber]
        return sum(
            a.fate is Fate.LOST and a.sending is not None and presence.in_gap(a.sending.at_broker)
            for a in self.arrivals
            if a.subscriber == subscriber
        )


def _fits(name: str, channel: str) -> bool:
    return name == channel or matches(name, channel)
