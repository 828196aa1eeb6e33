"""How a trace is read: from events to a conversation."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set

from labkit.errors import ConfigurationError
from labkit.plots._calls import services_in
from labkit.plots._conversation import (
    BROKER,
    Arrival,
    Conversation,
    Deed,
    Done,
    Fate,
    Moment,
    Presence,
    Sending,
)
from labkit.plots._task_reading import OF_QUEUES
from labkit.trace import Action, Trace, TraceEvent

_WRITTEN_TO = re.compile(r"\b(\d+)\b")


def read(trace: Trace | Iterable[TraceEvent], actors: Sequence[str] | None = None) -> Conversation:
    """Read a trace.

    `actors` chooses lanes and their order; where it names no sender, all of them stay, and where it
    names no subscriber, all of those.

    Raises:
        ConfigurationError: no message in it, or `actors` names somebody who is not.
    """
    enabled = trace.enabled if isinstance(trace, Trace) else True
    events = sorted(trace, key=lambda event: event.time)
    services = services_in(events)
    queues = {e.channel for e in events if e.channel and str(e.action) in OF_QUEUES}
    reader = _Reader(queues | services | {f"{name} reply" for name in services})
    for order, event in enumerate(events):
        reader.take(event, Moment(event.time, order))
    found = reader.finish()
    found.services = frozenset(services)
    found.forgotten = trace.forgotten if isinstance(trace, Trace) else 0
    if not found.sendings and not found.arrivals:
        why = (
            "publish something first, and let a subscriber drain it."
            if enabled
            else "it was switched off (enabled=False), so nothing was recorded."
        )
        raise ConfigurationError(f"The trace holds no message to draw: {why}")
    if actors is not None:
        _choose(found, actors)
    return found


def _choose(found: Conversation, actors: Sequence[str]) -> None:
    known = [*found.senders, BROKER, *found.subscribers]
    if unknown := [name for name in actors if name not in known]:
        raise ConfigurationError(
            f"Nobody called {unknown[0]!r} takes part in this trace; there are: {', '.join(known)}."
        )
    found.senders = [n for n in actors if n in found.senders] or found.senders
    found.subscribers = [n for n in actors if n in found.subscribers] or found.subscribers
    shown = {*found.senders, *found.subscribers}
    found.sendings = [s for s in found.sendings if s.sender in shown]
    kept = {id(sending) for sending in found.sendings}
    found.arrivals = [
        a
        for a in found.arrivals
        if a.subscriber in shown and (a.sending is None or id(a.sending) in kept)
    ]
    found.deeds = [deed for deed in found.deeds if deed.actor in {*shown, BROKER}]
    found.presences = {n: p for n, p in found.presences.items() if n in shown}


_FATES = {
    Action.DELIVERED: Fate.DELIVERED,
    Action.DUPLICATE: Fate.DUPLICATE,
    Action.FILTERED: Fate.FILTERED,
    Action.FAILED: Fate.FAILED,
    Action.UNREADABLE: Fate.UNREADABLE,
    Action.DROPPED: Fate.DROPPED,
    Action.LOST: Fate.LOST,
    Action.REDELIVERED: Fate.REDELIVERED,
    Action.LATE_REPLY: Fate.LATE_REPLY,
    Action.EXPIRED: Fate.EXPIRED,
}
_DEEDS = {str(deed): deed for deed in Deed}


class _Reader:
    """Takes events in the order of time."""

    def __init__(self, pulled: Set[str]) -> None:
        self.pulled = frozenset(pulled)
        self.deeds: list[Done] = []
        self.below: set[str] = set()
        self.sendings: list[Sending] = []
        self.by_id: dict[str, Sending] = {}
        self.arrivals: list[Arrival] = []
        self.presences: dict[str, Presence] = {}
        self.senders: list[str] = []
        self.moments: list[Moment] = []

    def take(self, event: TraceEvent, moment: Moment) -> None:
        if event.action in (Action.SENT, Action.ACCEPTED, Action.SEND_FAILED):
            self._sender_did(event, moment)
        elif event.action in _FATES:
            self._arrived(event, moment)
        elif str(event.action) in _DEEDS:
            sending = self.by_id.get(event.message_id or "")
            deed = Deed(str(event.action))
            self.deeds.append(Done(deed, event.actor, moment, sending, event.detail))
        elif not self._came_or_went(event, moment):
            return
        self.moments.append(moment)

    def _sender_did(self, event: TraceEvent, moment: Moment) -> None:
        known = self.by_id.get(event.message_id or "")
        if event.action is Action.SENT:
            if event.actor not in self.senders:
                self.senders.append(event.actor)
            known = Sending(
                event.actor, event.channel or "?", event.label, moment, event.message_id
            )
            self.sendings.append(known)
            if event.message_id is not None:
                self.by_id[event.message_id] = known
        elif known is None:
            return
        elif event.action is Action.ACCEPTED:
            known.accepted = moment
            if found := _WRITTEN_TO.search(event.detail):
                known.written_to = int(found[1])
        else:
            known.refused = moment

    def _arrived(self, event: TraceEvent, moment: Moment) -> None:
        if event.action is Action.DUPLICATE and event.actor == BROKER:
            return  # a queue refused a task that it had
        presence = self._presence(event.actor)
        sending = self.by_id.get(event.message_id or "")
        if sending is not None and not presence.joined:
            presence.heard_before = True  # its subscribing is older than the trace
        fate = _FATES[event.action]
        if event.channel in self.pulled and event.actor not in self.senders:
            self.below.add(event.actor)
        arrow = True
        if fate is Fate.UNREADABLE and sending is not None:
            arrow = False
        elif fate in (Fate.FAILED, Fate.FILTERED):
            mine = [a for a in self.arrivals[-50:] if a.subscriber == event.actor]
            arrow = not (
                mine and mine[-1].sending is sending and mine[-1].fate is not Fate.FILTERED
            )
        self.arrivals.append(
            Arrival(event.actor, fate, moment, event.channel or "?", sending, arrow, event.detail)
        )

    def _came_or_went(self, event: TraceEvent, moment: Moment) -> bool:
        if event.action is Action.SUBSCRIBED:
            self._presence(event.actor).joined.append((moment, event.channel or "*"))
            return True
        presence = self.presences.get(event.actor)
        if presence is None:
            return False
        if event.action in (Action.UNSUBSCRIBED, Action.DISCONNECTED):
            gone = event.channel if event.action is Action.UNSUBSCRIBED else None
            presence.left.append((moment, gone))
        elif event.action is Action.CONNECTION_LOST:
            presence.gaps.append((moment, None))
        elif event.action is Action.RECONNECTED and presence.gaps:
            presence.gaps[-1] = (presence.gaps[-1][0], moment)
        else:
            return False
        return True

    def _presence(self, actor: str) -> Presence:
        return self.presences.setdefault(actor, Presence())

    def finish(self) -> Conversation:
        arrivals = _settle(self.arrivals)
        reached = {(id(a.sending), a.subscriber) for a in arrivals if a.sending}
        for sending in self.sendings:
            self._follow(sending, reached, arrivals)
        heard = {id(a.sending) for a in arrivals if a.sending}
        for sending in self.sendings:
            silent = id(sending) not in heard and sending.refused is None
            nobody = sending.written_to == 0 or (sending.written_to is None and self.presences)
            sending.unheard = silent and bool(nobody) and sending.channel not in self.pulled
        senders = [name for name in self.senders if name not in self.below]
        return Conversation(
            self.sendings,
            arrivals,
            self.presences,
            senders,
            [name for name in self.presences if name not in senders],
            self.moments,
            deeds=self.deeds,
            pulled=self.pulled,
        )

    def _follow(
        self, sending: Sending, reached: set[tuple[int, str]], arrivals: list[Arrival]
    ) -> None:
        """Say what became of a message where no event says it."""
        if sending.refused is not None:
            return
        for name, presence in self.presences.items():
            if (id(sending), name) in reached or not presence.hears(sending):
                continue
            if presence.in_gap(sending.at_broker):
                fate = Fate.LOST  # the connection was gone, and nothing is kept for those away
            elif sending.written_to != 0:
                fate = Fate.WAITING
            else:
                continue
            arrivals.append(Arrival(name, fate, sending.at_broker, sending.channel, sending))


def _settle(arrivals: list[Arrival]) -> list[Arrival]:
    """Pair a duplicate with its second delivery; what came late after all is not lost."""
    groups: defaultdict[tuple[int, str], list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        if arrival.sending is not None:
            groups[id(arrival.sending), arrival.subscriber].append(arrival)
    gone: set[int] = set()
    for group in groups.values():
        delivered = [a for a in group if a.fate is Fate.DELIVERED]
        for again in delivered[1:]:
            again.fate = Fate.DUPLICATE
        announced = [a for a in group if a.fate is Fate.DUPLICATE and a not in delivered]
        gone.update(id(a) for a in announced[: max(0, len(delivered) - 1)])
        if any(a.fate is not Fate.LOST for a in group):
            gone.update(id(a) for a in group if a.fate is Fate.LOST)
    return [a for a in arrivals if id(a) not in gone]
