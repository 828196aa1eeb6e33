"""The title and the alt text of a space-time picture in which there are queues or services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from labkit.plots._call_words import call_story, calls_finding
from labkit.plots._calls import Call, read_calls
from labkit.plots._conversation import Conversation
from labkit.plots._life_words import life_finding, life_story
from labkit.plots._task_reading import read_tasks
from labkit.plots._tasks import Task
from labkit.plots._words import alt_text, finding
from labkit.trace import Trace, TraceEvent

_TOLD = 12
"""Up to so many tasks or requests are told one by one in the alt text."""


def whole_finding(trace: Trace | Sequence[TraceEvent], talk: Conversation) -> str:
    """What happened to tasks, to requests and to what was published, in one line."""
    if not talk.pulled:
        return finding(talk)
    parts = [life_finding(tasks)] if (tasks := _tasks(trace, talk)) else []
    parts += [calls_finding(calls)] if (calls := _calls(trace, talk)) else []
    pushed = _pushed(talk)
    return "; ".join(parts + ([finding(pushed)] if pushed.sendings or pushed.arrivals else []))


def whole_alt_text(trace: Trace | Sequence[TraceEvent], talk: Conversation, caption: str) -> str:
    """The picture in words, for those who do not see it."""
    if not talk.pulled:
        return alt_text(talk, caption)
    pushed = _pushed(talk)
    parts = [alt_text(pushed)]
    if tasks := _tasks(trace, talk):
        told = [life_story(task) for task in tasks] if len(tasks) <= _TOLD else []
        parts.append(". ".join([life_finding(tasks), *told]) + ".")
    if calls := _calls(trace, talk):
        told = [f"{c.label}: {call_story(c)}" for c in calls] if len(calls) <= _TOLD else []
        parts.append(". ".join([calls_finding(calls), *told]) + ".")
    return " ".join([*parts, *([caption] if caption else [])])


def _tasks(trace: Trace | Sequence[TraceEvent], talk: Conversation) -> list[Task]:
    return read_tasks(trace).tasks if talk.queues else []


def _calls(trace: Trace | Sequence[TraceEvent], talk: Conversation) -> list[Call]:
    return read_calls(trace).calls if talk.services else []


def _pushed(talk: Conversation) -> Conversation:
    """What was published, and nothing else."""
    arrivals = [a for a in talk.arrivals if a.channel not in talk.pulled]
    heard = {a.subscriber for a in arrivals}
    return replace(
        talk,
        sendings=[s for s in talk.sendings if s.channel not in talk.pulled],
        arrivals=arrivals,
        presences={n: p for n, p in talk.presences.items() if p.joined or n in heard},
    )
