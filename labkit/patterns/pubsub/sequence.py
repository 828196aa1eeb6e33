"""Numbers in the metadata, so that a subscriber can see what it did not see.

A publisher numbers its messages from 1, for each channel and each run (epoch) of its own. What a
subscriber finds missing between two numbers was lost. Messages lost after the last one that arrives
cannot be known: nothing comes to say so.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from labkit.message import Message
from labkit.patterns.identity import message_id

RUNS_KEPT = 1_000
"""Runs of publishers remembered at once; the ones unheard for longest are forgotten first."""

LOST_IDS_TOLD = 50
"""Lost messages named one by one; the others are counted."""

LONGEST_NAME = 200
"""Longest epoch or sender that is taken for one."""

MISSING_KEPT = 1_000
"""Missing numbers remembered for each run, to recognise those that come late after all."""

_END = 2**63  # no publisher gets there: what claims to is not one of ours


@dataclass(frozen=True, slots=True)
class Observation:
    """What a message's number says.

    Attributes:
        lost: how many numbers are missing right before it.
        lost_ids: the message ids of the first `LOST_IDS_TOLD` of them.
        duplicate: it came before.
        late: it came after a later one; it had been counted as lost or missed before.
        missed_before: numbers before it, if it is the first of its run; -1 if it is itself one of
            those, come after all.
    """

    lost: int = 0
    lost_ids: tuple[str, ...] = ()
    duplicate: bool = False
    late: bool = False
    missed_before: int = 0


NOTHING = Observation()
"""Nothing to be said: the next one of its run, or one without a number."""


@dataclass(slots=True)
class _Run:
    first: int
    last: int
    missing: set[int] = field(default_factory=set)
    early: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Latest:
    """The run that was heard last, the one that will be forgotten last."""

    channel: str
    epoch: str
    sender_and_slash: str
    run: _Run


class SequenceTracker:
    """Follows the numbers of every run on every channel."""

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple[str, str, str], _Run] = OrderedDict()
        self._latest: _Latest | None = None

    def observe(self, channel: str, message: Message) -> Observation:
        """Take note of a message. One without numbers says nothing."""
        metadata = message.metadata
        epoch, number = metadata.get("epoch"), metadata.get("seq")
        latest = self._latest
        if (
            latest is not None  # most follow right behind another of their run
            and number == latest.run.last + 1
            and type(number) is int
            and number < _END
            and epoch == latest.epoch
            and channel == latest.channel
            and type(own_id := metadata.get("message_id")) is str
            and own_id.startswith(latest.sender_and_slash)
        ):
            latest.run.last = number
            return NOTHING
        if not isinstance(epoch, str) or type(number) is not int or not 0 < number < _END:
            return NOTHING
        sender = _sender(message)
        if max(len(epoch), len(sender)) > LONGEST_NAME:
            return NOTHING
        key = (channel, sender, epoch)
        run = self._runs.get(key)
        if run is None:
            return self._first(key, number)
        self._runs.move_to_end(key)
        self._latest = _Latest(channel, epoch, f"{sender}/", run)
        if number == run.last + 1:
            run.last = number
            return NOTHING
        if number > run.last:
            return self._ahead(run, number, key)
        if number in run.missing:
            run.missing.discard(number)
            return Observation(late=True)
        if number < run.first and number not in run.early and len(run.early) < MISSING_KEPT:
            run.early.add(number)
            return Observation(late=True, missed_before=-1)
        return Observation(duplicate=True)

    def forget(self, channel: str) -> None:
        """Start afresh on this channel: what passed while we were not subscribed is not a loss."""
        self._latest = None
        for key in [key for key in self._runs if key[0] == channel]:
            del self._runs[key]

    def channels(self) -> set[str]:
        """The channels on which a number has been seen."""
        return {channel for channel, _, _ in self._runs}

    def _first(self, key: tuple[str, str, str], number: int) -> Observation:
        channel, sender, epoch = key
        run = self._runs[key] = _Run(number, number)
        self._latest = _Latest(channel, epoch, f"{sender}/", run)
        if len(self._runs) > RUNS_KEPT:
            self._runs.popitem(last=False)
        return Observation(missed_before=number - 1)

    def _ahead(self, run: _Run, number: int, key: tuple[str, str, str]) -> Observation:
        channel, sender, epoch = key
        lost, skipped = number - run.last - 1, range(run.last + 1, number)
        room = skipped[: MISSING_KEPT - len(run.missing)] if len(run.missing) < MISSING_KEPT else ()
        run.missing.update(room)
        run.last = number
        ids = tuple(message_id(sender, epoch, channel, n) for n in room[:LOST_IDS_TOLD])
        return Observation(lost=lost, lost_ids=ids)


def _sender(message: Message) -> str:
    """The publisher's name as its message ids give it."""
    return (message.id or message.sender).split("/", 1)[0]
