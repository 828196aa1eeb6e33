"""What a conversation amounts to, in words: the title that states the finding, and the alt text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from labkit._words import plural as plural
from labkit.plots._conversation import Conversation, Fate, Sending

_NAMED = 2
"""Up to so many subscribers with the same trouble are named; more are counted together."""
_TOLD = 6
"""Subscribers told one by one in the alt text."""


def listing(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def forgotten_note(count: int) -> list[str]:
    """The sentence that says so where a trace forgot its beginning."""
    if not count:
        return []
    return [
        f"The trace was full and forgot its first {plural(count, 'event')}: "
        "what they told is missing here."
    ]


def finding(talk: Conversation) -> str:
    """The title: what happened, in one line."""
    troubles = _troubles(talk)
    count = len(talk.sendings)
    if not count:
        received = {name: talk.tally(name)[Fate.DELIVERED] for name in talk.presences}
        told = [f"{name} received {n}" for name, n in received.items() if n]
        return "Messages from elsewhere: " + (", ".join([*told, *troubles]) or "none handled")
    if not talk.presences:
        return f"{plural(count, 'message')} sent" + (
            ": " + ", ".join(troubles) if troubles else "; who heard them is not in the trace"
        )
    if troubles:
        return f"{plural(count, 'message')} sent: {', '.join(troubles)}"
    tallies = [talk.tally(name) for name in talk.presences]
    extra = _extras(tallies)
    head = f"{plural(count, 'message')}, {plural(len(talk.presences), 'subscriber')}"
    if not any(t[Fate.DELIVERED] for t in tallies):
        return f"{head}: {extra or 'nothing delivered'}"
    return f"{head}: all delivered{', ' + extra if extra else ''}"


def _extras(tallies: Sequence[Counter[Fate]]) -> str:
    filtered = sum(t[Fate.FILTERED] for t in tallies)
    twice = sum(t[Fate.DUPLICATE] for t in tallies)
    parts = [f"{filtered} filtered out"] if filtered else []
    return ", ".join(parts + ([f"{twice} more than once"] if twice else []))


def _troubles(talk: Conversation) -> list[str]:
    tallies = {name: talk.tally(name) for name in talk.presences}
    in_gap = {name: talk.lost_in_gap(name) for name in talk.presences}
    lost = {name: tallies[name][Fate.LOST] - in_gap[name] for name in tallies}

    def of(fate: Fate) -> dict[str, int]:
        return {name: counts[fate] for name, counts in tallies.items()}

    told = [
        *_trouble(of(Fate.LATE), "missed {} by coming late"),
        *_trouble(in_gap, "lost {} in a gap"),
        *_trouble(lost, "lost {}"),
        *_trouble(of(Fate.DROPPED), "dropped {} (buffer full)"),
        *_trouble(of(Fate.FAILED), "failed on {}"),
        *_trouble(of(Fate.UNREADABLE), "could not read {}"),
        *_trouble(of(Fate.WAITING), "still has {} to handle", "still have {} to handle"),
    ]
    troubles = [
        did if before == who else f"{who} {did}"
        for (who, did), (before, _) in zip(told, [("", ""), *told], strict=False)
    ]
    if unheard := sum(s.unheard and not _late_for_one(talk, s) for s in talk.sendings):
        troubles.append(f"{unheard} reached nobody")  # what somebody came late for is told above
    if refused := sum(s.refused is not None for s in talk.sendings):
        troubles.append(f"{refused} could not be sent")
    duplicates = sum(t[Fate.DUPLICATE] for t in tallies.values())
    if troubles and duplicates:
        troubles.append(f"{duplicates} came more than once")
    return troubles


def _late_for_one(talk: Conversation, sending: Sending) -> bool:
    return any(presence.came_late(sending) for presence in talk.presences.values())


def _trouble(
    counts: dict[str, int], did: str, together: str | None = None
) -> list[tuple[str, str]]:
    """Who, and what they did: the few by name, many together."""
    concerned = {name: n for name, n in counts.items() if n}
    if len(concerned) <= _NAMED:
        return [(name, did.format(f"{n:,}")) for name, n in concerned.items()]
    total = f"{sum(concerned.values()):,} in all"
    return [(f"{len(concerned)} subscribers", (together or did).format(total))]


def alt_text(talk: Conversation, caption: str = "") -> str:
    """The picture in words, for those who do not see it: one to five sentences."""
    sentences = ["Space-time picture: time runs to the right, each actor is a lane."]
    if sent := _sent(talk):
        sentences.append(sent)
    if received := _received(talk):
        sentences.append(received)
    if nowhere := _nowhere(talk):
        sentences.append(nowhere)
    return " ".join([*sentences, *([caption] if caption else [])])


def _sent(talk: Conversation) -> str:
    parts = []
    for sender in dict.fromkeys(s.sender for s in talk.sendings):
        mine = [s for s in talk.sendings if s.sender == sender]
        channels = Counter(s.channel for s in mine)
        where = [f"{n} on {channel}" for channel, n in channels.most_common(4)]
        if len(channels) > 4:
            where.append(f"the rest on {plural(len(channels) - 4, 'more channel')}")
        if len(channels) == 1:
            where = [f"on {next(iter(channels))}"]
            parts.append(f"{sender} sent {plural(len(mine), 'message')} {where[0]}")
        else:
            parts.append(f"{sender} sent {plural(len(mine), 'message')}: {listing(where)}")
    return "; ".join(parts) + "." if parts else ""


def _received(talk: Conversation) -> str:
    names = list(talk.presences)
    parts = [_one_subscriber(talk, name) for name in names[:_TOLD]]
    if len(names) > _TOLD:
        others = sum(talk.tally(name)[Fate.DELIVERED] for name in names[_TOLD:])
        count = plural(len(names) - _TOLD, "more subscriber")
        parts.append(f"{count} received {others:,} in all")
    return "; ".join(parts) + "." if parts else ""


def _one_subscriber(talk: Conversation, name: str) -> str:
    tally = talk.tally(name)
    in_gap = talk.lost_in_gap(name)
    told = [
        (tally[Fate.LATE], "missed {} by coming late"),
        (in_gap, "lost {} in a gap of its connection"),
        (tally[Fate.LOST] - in_gap, "lost {}"),
        (tally[Fate.DROPPED], "dropped {} from its full buffer"),
        (tally[Fate.FILTERED], "filtered out {}"),
        (tally[Fate.FAILED], "failed on {}"),
        (tally[Fate.DUPLICATE], "got {} more than once"),
        (tally[Fate.UNREADABLE], "could not read {}"),
        (tally[Fate.WAITING], "has not handled {} yet"),
    ]
    parts = [f"received {tally[Fate.DELIVERED]:,}"]
    parts += [text.format(f"{count:,}") for count, text in told if count]
    return f"{name} {listing(parts)}"


def _nowhere(talk: Conversation) -> str:
    unheard = sum(s.unheard for s in talk.sendings)
    refused = sum(s.refused is not None for s in talk.sendings)
    parts = [f"{plural(unheard, 'message')} found nobody listening"] if unheard else []
    parts += [f"{plural(refused, 'message')} never left the sender"] if refused else []
    return "; ".join(parts) + "." if parts else ""
