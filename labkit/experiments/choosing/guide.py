"""A decision guide that is made of one run: each sentence names the figures that it rests on.

Nothing in it is known beforehand. A sentence is written around evidence, which is a figure of this
run or a row of a broker's table of capabilities, and no number stands in it that is not in its
evidence. On another machine, or with other brokers at hand, it is another guide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from labkit._html import table
from labkit.broker import Support
from labkit.experiments.choosing.results import Comparison

MEMORY = "memory"
"""As a job's name in evidence: it is about the whole server."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a sentence comes from.

    Attributes:
        broker: on which broker.
        job: the job whose figure it is, `MEMORY`, or "" for a capability.
        name: the column of the figures, or the capability's name.
        value: what stands there: a number, or "native", "emulated", "absent".
    """

    broker: str
    job: str
    name: str
    value: Any

    @property
    def shown(self) -> str:
        """The value as it stands in a sentence: "1.9 ms"."""
        return _words(self.name, self.value)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One piece of advice.

    Attributes:
        need: who should read it.
        text: what this run says.
        rests_on: at least one piece of evidence.
    """

    need: str
    text: str
    rests_on: tuple[Evidence, ...]

    @property
    def basis(self) -> str:
        """What it rests on, in words: "fan-out, p99_ms: Redis 1.2 ms, Kafka 9 ms"."""
        groups: dict[str, list[str]] = {}
        for one in self.rests_on:
            where = f"{one.job}, {one.name}" if one.job else f"capability {one.name!r}"
            groups.setdefault(where, []).append(f"{one.broker} {one.shown}")
        return "; ".join(f"{where}: {', '.join(told)}" for where, told in groups.items())

    def __str__(self) -> str:
        return f"{self.need}: {self.text} [{self.basis}]"


class Guide(list[Sentence]):
    """The sentences; shown as a table."""

    def to_frame(self) -> pd.DataFrame:
        """need, text, rests_on: a row for each sentence."""
        rows = [(one.need, one.text, one.basis) for one in self]
        return pd.DataFrame(rows, columns=["need", "text", "rests_on"])

    def unfounded(self, run: Comparison) -> list[Sentence]:
        """Sentences that rest on nothing, or on something that does not stand in this run."""
        return [
            one
            for one in self
            if not one.rests_on or any(look_up(run, e) != e.value for e in one.rests_on)
        ]

    def __repr__(self) -> str:
        return "\n".join(map(str, self))

    def _repr_html_(self) -> str:
        rows = [(one.need, one.text, one.basis) for one in self]
        return table(("if you need", "this run says", "it rests on"), rows, "A guide of this run")


def look_up(run: Comparison, evidence: Evidence) -> Any:
    """What stands in the run where the evidence points; None if there is no such place."""
    try:
        if not evidence.job:
            return str(run.capability(evidence.broker, evidence.name).support)
        if evidence.job == MEMORY:
            return run.memory_mb(evidence.broker)
        return run.figure(evidence.broker, evidence.job, evidence.name)
    except (KeyError, IndexError):
        return None


def guide(run: Comparison) -> Guide:
    """What follows from this run."""
    return Guide(sentence for write in _WRITERS for sentence in write(_Facts(run)))


@dataclass(frozen=True)
class _Facts:
    """The run, as the sentences ask it."""

    run: Comparison

    def figures(self, job: str, column: str, *, real: bool = False) -> list[Evidence]:
        """A figure of every broker that has it, the smallest first."""
        frame = self.run.figures
        rows = frame[(frame.job == job) & (frame.real | (not real))]
        found = [Evidence(b, job, column, self.run.figure(b, job, column)) for b in rows.broker]
        return sorted((e for e in found if e.value is not None), key=lambda e: e.value)

    def capability(self, name: str) -> list[Evidence]:
        """How every broker comes to it; stand-ins count only where there is nothing else."""
        brokers = self.run.brokers
        names = brokers.broker[brokers.real] if brokers.real.any() else brokers.broker
        return [Evidence(b, "", name, str(self.run.capability(b, name).support)) for b in names]


def _nothing_lost(facts: _Facts) -> Iterator[Sentence]:
    lost = [e for job in facts.run.jobs.job for e in facts.figures(job, "lost")]
    bad = [e for e in lost if e.value]
    if bad:
        told = listed(f"{e.broker} lost {e.shown} of the {e.job}" for e in bad)
        yield Sentence("nothing lost", f"{told}.", tuple(bad))
        return
    text = "No broker lost a delivery, also when a worker was killed; so this does not decide."
    yield Sentence("nothing lost", text, tuple(lost))


def _many_hear(facts: _Facts) -> Iterator[Sentence]:
    yield from _soon(facts, "many hear it at once", "fan-out")
    order = facts.capability("order across channels")
    yield Sentence("one order over several channels", _advice(facts, order), tuple(order))


def _work(facts: _Facts) -> Iterator[Sentence]:
    queue = facts.capability("work queue")
    yield Sentence("work that is shared out", _advice(facts, queue), tuple(queue))
    back = facts.figures("rebooking", "back_after_s", real=True)
    if back:
        text = f"The killed worker's task was in other hands {_by(back)}."
        yield Sentence("work that survives its worker", text, tuple(back))
    for need, name in (
        ("work that may wait", "delayed tasks"),
        ("urgent work first", "priorities"),
    ):
        found = facts.capability(name)
        yield Sentence(need, _advice(facts, found), tuple(found))


def _answers(facts: _Facts) -> Iterator[Sentence]:
    yield from _soon(facts, "an answer", "seats")
    known = facts.capability("nobody serves, known at once")
    yield Sentence("to know at once that nobody serves", _advice(facts, known), tuple(known))


def _again(facts: _Facts) -> Iterator[Sentence]:
    stream = facts.capability("stream")
    yield Sentence("to read it again", _advice(facts, stream), tuple(stream))
    speed = facts.figures("replay", "throughput", real=True)[::-1]
    if speed:
        yield Sentence("to read a long log again", f"The log was read {_by(speed)}.", tuple(speed))


def _small(facts: _Facts) -> Iterator[Sentence]:
    found = [Evidence(b, MEMORY, "MB", facts.run.memory_mb(b)) for b in facts.run.brokers.broker]
    held = sorted((e for e in found if e.value is not None), key=lambda e: e.value)
    if held:
        text = f"After the work the server held {_by(held)}."
        yield Sentence("a small machine", text, tuple(held))


def _soon(facts: _Facts, need: str, job: str) -> Iterator[Sentence]:
    """Who has it there first; only if the span of the first ends before the others' begin."""
    halves = facts.figures(job, "p50_ms", real=True)
    most = {e.broker: e for e in facts.figures(job, "p99_ms", real=True)}
    if not halves:
        return
    spans = listed(f"{e.shown} to {most[e.broker].shown} on {e.broker}" for e in halves)
    text = f"From p50 to p99 it took {spans}."
    if len(halves) > 1:
        first, second = halves[:2]
        clear = most[first.broker].value < second.value
        text += (
            f" Take {first.broker}: its span ends before the others begin."
            if clear
            else " The spans overlap: speed does not decide."
        )
    yield Sentence(need, text, (*halves, *(most[e.broker] for e in halves)))


_WRITERS: Sequence[Callable[[_Facts], Iterator[Sentence]]] = (
    _nothing_lost,
    _many_hear,
    _work,
    _answers,
    _again,
    _small,
)


def _by(evidence: Sequence[Evidence]) -> str:
    """ "after 1 ms on Redis, 2 ms on RabbitMQ and 9 ms on Kafka"."""
    how = {"back_after_s": "after", "throughput": "at"}.get(evidence[0].name, "")
    return f"{how} {listed(f'{e.shown} on {e.broker}' for e in evidence)}".strip()


def _advice(facts: _Facts, evidence: Sequence[Evidence]) -> str:
    """ "Take Redis or RabbitMQ: native. labkit emulates it on Kafka (…)."."""
    names = {
        kind: [e.broker for e in evidence if e.value == kind]
        for kind in (Support.NATIVE, Support.EMULATED, Support.ABSENT)
    }
    native, emulated, absent = names.values()
    parts = [f"Take {' or '.join(native)}: native."] if native else []
    for brokers, words in ((emulated, "labkit emulates it on"), (absent, "Absent on")):
        if brokers:
            why = facts.run.capability(brokers[-1], evidence[0].name).why.rstrip(".")
            whose = f"{brokers[-1]}: " if len(brokers) > 1 else ""
            parts.append(f"{words} {listed(brokers)} ({whose}{why}).")
    return " ".join(parts)


def listed(parts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    found = list(parts)
    return " and ".join(filter(None, (", ".join(found[:-1]), *found[-1:])))


def _words(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if name == "back_after_s" and value < 1:
        name, value = "p99_ms", value * 1_000
    digits = 2 if name.endswith("_ms") and value < 99.5 else 3
    whole = not isinstance(value, float)
    number = f"{value:,}" if whole else f"{float(f'{value:.{digits}g}'):,.10g}"
    unit = {"p99_ms": " ms", "p50_ms": " ms", "back_after_s": " s", "throughput": "/s", "MB": " MB"}
    return number + unit.get(name, "")
