"""Checks of lab 06: keep the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labkit import EventStream
from labkit.broker import Lab, Position
from labkit.exercises.framework import Wrong, exercise
from labkit.patterns.event_stream import Event, Group, Member

_BATCH = 5
_EVENTS = 12
_FATAL = 7
_NONE: dict[int, str] = {}


def _log(lab: Lab, name: str, count: int) -> EventStream:
    """A log of 1, 2, 3 …"""
    log = EventStream(lab, name, sender="tower")
    log.append_many(range(1, count + 1))
    return log


@exercise(
    "6.1",
    "Go on where you were",
    expects="function",
    correct="None missing, none twice, whatever was trimmed meanwhile.",
)
def check_read_after(read_after: Callable[[EventStream, Position | None], Any], lab: Lab) -> None:
    """From the beginning, from the middle, at the end, and after a trim."""
    log = _log(lab, "exercise 1", 8)
    events = log.read()

    def ask(position: Position | None) -> list[int]:
        got = read_after(log, position)
        try:
            return [event.content for event in got]
        except (TypeError, AttributeError):
            raise Wrong(
                f"The function returned a {type(got).__name__}, not a list of events.",
                "log.read(…) returns a list of events: return that.",
            ) from None

    got = ask(events[2].position)
    if got[:1] == [3]:
        raise Wrong(
            "The event at the position, which is done, came again.",
            "A position names the event that comes first. What names the place behind it?",
            "A cursor: {0: position}, from partition to the last position that is done.",
        )
    if got == [1, 2, 3, 4, 5, 6, 7, 8]:
        raise Wrong(
            "You begin at the first event, whatever the position.",
            "Hand the position on to log.read, as a cursor: {0: position}.",
        )
    if got != [4, 5, 6, 7, 8]:
        raise Wrong(
            f"After the third of eight events come {got}.",
            "All that come behind the position: log.read({0: position}).",
        )
    if (got := ask(None)) != [1, 2, 3, 4, 5, 6, 7, 8]:
        raise Wrong(
            f"For None, eight events in the log, you return {got}.",
            "None means that nothing is done yet: log.read() begins at the first event.",
        )
    if (got := ask(events[-1].position)) != []:
        raise Wrong(
            f"After the last event comes nothing; you return {got}.",
            "An empty list is an answer.",
        )
    log.trim(before=events[4])
    if (got := ask(events[2].position)) != [5, 6, 7, 8]:
        raise Wrong(
            f"Events 1 to 4 were trimmed; after the third comes the fifth. You return {got}.",
            "You drop the first event that you read. Is it always the one at the position? A "
            "cursor does not need the event to be there.",
        )


class _Crash(Exception):
    """The program dies here."""


class _Handled:
    """A handler that notes what it gets, and how the group stood at that moment."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self.fatal = 0
        self.seen: list[int] = []
        self.pending: list[int] = []

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Event):
            raise Wrong(
                f"handle was called with a {type(event).__name__}.",
                "Call handle(event) for each event in the list that poll returns.",
            )
        self.pending.append(self._group.state().places[0].pending or 0)
        if event.content == self.fatal:
            self.fatal = 0
            raise _Crash("the program dies")
        self.seen.append(event.content)


@exercise(
    "6.2",
    "A crash loses nothing",
    expects="function",
    correct="Commit after the work: a crash costs a second handling, and no event.",
    may_raise=True,
)
def check_work_through(work_through: Callable[[Member, Any], Any], lab: Lab) -> None:
    """Without a crash, then with one, and with a second member of the same name."""
    group = _log(lab, "exercise 2", _EVENTS).group("board")
    handle = _Handled(group)
    work_through(group.join("Ann"), handle)
    if not handle.seen:
        raise Wrong("No event was handled.", "events = member.poll(count=5), then handle each.")
    if handle.pending[0] == 0:
        raise Wrong(
            "The first event was committed before it was handled: a crash would lose it.",
            "Handle first, then say that it is done.",
        )
    if group.lag() == _EVENTS:
        raise Wrong(
            f"Nothing was committed: the lag is {_EVENTS}.",
            "The group knows only what it is told: member.commit(), after each batch.",
        )
    if max(handle.pending) > _BATCH:
        raise Wrong(
            f"You held {max(handle.pending)} events at once.",
            "At most five: member.poll(count=5), over and over.",
        )
    if 0 in handle.pending:
        raise Wrong(
            "After one event of a batch you committed the whole batch.",
            "commit() is for all that poll has given. Call it when all of them are handled, or say "
            "up to which: member.commit(event).",
        )
    if len(set(handle.seen)) < _EVENTS:
        raise Wrong(
            f"Only {len(set(handle.seen))} of {_EVENTS} events were handled.",
            "Go on until poll returns an empty list: while events := member.poll(count=5): …",
        )
    if lag := group.lag():
        raise Wrong(
            f"All is handled, and the lag is {lag}.",
            "The last batch may be a small one, and must be committed, too.",
        )
    _crash(work_through, lab)


def _crash(work_through: Callable[[Member, Any], Any], lab: Lab) -> None:
    group = _log(lab, "exercise 2, with a crash", _EVENTS).group("board")
    handle = _Handled(group)
    handle.fatal = _FATAL
    try:
        work_through(group.join("Ann"), handle)
    except _Crash:
        crashed = True
    else:
        crashed = False
    work_through(group.join("Ann"), handle)
    lost = sorted(set(range(1, _EVENTS + 1)) - set(handle.seen))
    if not crashed:
        raise Wrong(
            f"handle raised at event {_FATAL}, and nobody heard of it.",
            "Do not catch its exceptions: what is not handled must not be committed.",
        )
    if lost:
        raise Wrong(
            f"After the crash at event {_FATAL} and a second run, these were never handled: "
            f"{', '.join(map(str, lost))}.",
            "Something commits although the batch is not done: is there a commit in a finally?",
        )
    if lag := group.lag():
        raise Wrong(
            f"After the crash and a second run the lag is {lag}.",
            "The second run gets what the first one owed, and must commit it.",
        )


@exercise(
    "6.3",
    "How much may go?",
    expects="function",
    correct="The slowest group decides, and its oldest pending event.",
)
def check_may_go(may_go: Callable[[EventStream], Any], lab: Lab) -> None:
    """Two groups, a hole, a group that has done nothing, no group, a log that was trimmed."""

    def ask(
        log: EventStream, right: int, situation: str, hint: str, special: dict[int, str] = _NONE
    ) -> None:
        before = len(log)
        got = may_go(log)
        if len(log) != before:
            raise Wrong(
                f"Your function trimmed the log: {before - len(log)} events are destroyed.",
                "Only count: somebody else will trim.",
            )
        if isinstance(got, bool) or not isinstance(got, int):
            raise Wrong(
                f"The function returned a {type(got).__name__}, not a number.",
                "Return how many events may go.",
            )
        if got != right:
            raise Wrong(f"{situation}: {right} may go, and you say {got}.", special.get(got, hint))

    log = _log(lab, "exercise 3", 10)
    for name, done in (("audit", 6), ("board", 4), ("crew", 8)):
        _work(log.group(name).join("Ann"), done)
    ask(
        log,
        4,
        "Of ten events the audit has committed 6, the board 4, the crew 8",
        "The slowest group decides: look at all of them, and take the minimum.",
        {8: "That is the fastest group; the slowest one still needs what is behind it."},
    )
    hole = _log(lab, "exercise 3, a hole", 10)
    member = hole.group("board").join("Ann")
    events = member.poll(5)
    member.acknowledge([events[i] for i in (0, 1, 3, 4)])
    ask(
        hole,
        2,
        "The board has committed events 1, 2, 4 and 5, and event 3 is pending",
        "Trimming begins at the oldest event: what is done behind a pending one cannot go before "
        "it. Look at committed, not at counts of what is left.",
        {5: "What is given is not done: look at committed, not at delivered."},
    )
    idle = _log(lab, "exercise 3, idle", 10)
    idle.group("board")
    ask(
        idle,
        0,
        "The board has committed nothing",
        "committed is None then, and log.read(end=None) reads everything: return 0 for it.",
    )
    ask(
        _log(lab, "exercise 3, no group", 10),
        0,
        "There is no group, so nobody has read anything",
        "min(done, default=0) takes an empty list, too.",
    )
    log.trim(keep=8)
    ask(
        log,
        2,
        "The board has committed 4 of ten events, of which the first two were trimmed already",
        "Count the events that are still there: len(log.read(end=committed)).",
    )


def _work(member: Member, count: int) -> None:
    member.poll(count)
    member.commit()
