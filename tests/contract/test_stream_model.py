"""Append, poll, commit, claim, trim, join and leave in any order, beside a simple model of a log.

The model keeps the log as a list, and for each group how far it was delivered and who holds what.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import labkit
from labkit import StepClock
from labkit.broker import Given, NewEntry, Position
from labkit.errors import Conflict, TrimRefused
from labkit.servers import RedisServer

GROUPS = ("boards", "apps")
MEMBERS = ("ada", "bob")
KEYS = ("k1", "k2", None)


@dataclass
class ModelGroup:
    """Where a group stands."""

    delivered: Position | None = None
    held: dict[Position, tuple[str, int]] = field(default_factory=dict)  # by whom, which attempt
    new_here: dict[str, bool] = field(default_factory=dict)  # may a member be owed something?
    in_hand: dict[str, set[Position]] = field(default_factory=lambda: {m: set() for m in MEMBERS})


class StreamMachine(RuleBasedStateMachine):
    """Does everything twice: to the broker and to the model."""

    connect: Callable[[], Any]

    @initialize()
    def open(self) -> None:
        self.clock = StepClock(tick=0)
        self.lab = type(self).connect(clock=self.clock, namespace=f"{secrets.token_hex(6)}:")
        self.stream = self.lab.open_stream("s")
        self.log: list[tuple[Position, bytes, str | None, int | None]] = []
        self.revisions: dict[str, int] = {}
        self.appended = 0
        self.cut: Position | None = None
        self.model = {name: ModelGroup() for name in GROUPS}
        self.groups = {name: self.stream.open_group(name, {}) for name in GROUPS}
        self.members = {(g, m): self.groups[g].join(m) for g in GROUPS for m in MEMBERS}
        self.append([None, "k1"], 0)

    def teardown(self) -> None:
        if hasattr(self, "lab"):
            self.lab.close()

    def entry(self, key: str | None) -> NewEntry:
        self.appended += 1
        return NewEntry(f"{self.appended}".encode(), key, round(self.clock.now() * 1000))

    def note(self, entries: list[NewEntry], done: list[Any]) -> None:
        for entry, answer in zip(entries, done, strict=True):
            revision = None
            if entry.key is not None:
                revision = self.revisions[entry.key] = self.revisions.get(entry.key, 0) + 1
            assert answer.revision == revision
            assert not self.log or self.log[-1][0] < answer.position
            assert self.cut is None or self.cut < answer.position
            self.log.append((answer.position, entry.body, entry.key, revision))

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=4), pause=st.integers(0, 1))
    def append(self, keys: list[str | None], pause: int) -> None:
        self.clock.advance(pause / 1000)
        entries = [self.entry(key) for key in keys]
        self.note(entries, self.stream.append(entries))

    @rule(off=st.integers(-1, 1), count=st.integers(1, 2))
    def append_expected(self, off: int, count: int) -> None:
        entries = [self.entry("k1") for _ in range(count)]
        actual = self.revisions.get("k1", 0)
        if not off:
            return self.note(entries, self.stream.append_expected(entries, actual))
        with pytest.raises(Conflict) as caught:
            self.stream.append_expected(entries, actual + off)
        assert (caught.value.expected, caught.value.actual) == (actual + off, actual)
        return None

    @rule(start=st.integers(0, 20), count=st.integers(1, 5))
    def read(self, start: int, count: int) -> None:
        start = min(start, len(self.log))
        after = {0: self.log[start - 1][0]} if start else {}
        found = self.stream.read(after, count, 0.0)
        assert [(e.position, e.body, e.key, e.revision) for e in found] == self.log[
            start : start + count
        ]

    @rule(group=st.sampled_from(GROUPS), member=st.sampled_from(MEMBERS), count=st.integers(1, 4))
    def poll(self, group: str, member: str, count: int) -> None:
        model = self.model[group]
        given = self.members[group, member].poll(count, 0.0)
        if model.new_here.get(member):
            owed = sorted(self.mine(model, member) - model.in_hand[member])
            if owed:
                model.new_here[member] = len(owed) >= count
                return self.check_taken(model, given, owed[:count], member)
        model.new_here[member] = False
        new = [e for e in self.log if model.delivered is None or model.delivered < e[0]][:count]
        assert [(e.position, e.attempt) for e in given.entries] == [(e[0], 1) for e in new]
        for place, *_ in new:
            model.held[place] = (member, 1)
            model.in_hand[member].add(place)
            model.delivered = place
        return None

    def check_taken(
        self, model: ModelGroup, given: Given, expected: list[Position], member: str
    ) -> None:
        """These were taken over: what is there, with one attempt more; what is not, is told."""
        there = {place for place, *_ in self.log}
        for place in expected:
            if place in there:
                model.held[place] = (member, model.held[place][1] + 1)
                model.in_hand[member].add(place)
        assert [(e.position, e.attempt) for e in given.entries] == [
            (place, model.held[place][1]) for place in expected if place in there
        ]
        gone = [place for place in expected if place not in there]
        assert list(given.gone) == gone
        for place in gone:
            del model.held[place]

    @rule(group=st.sampled_from(GROUPS), member=st.sampled_from(MEMBERS), count=st.integers(1, 3))
    def claim(self, group: str, member: str, count: int) -> None:
        model = self.model[group]
        others = [p for p in sorted(model.held) if model.held[p][0] != member][:count]
        given = self.members[group, member].claim_stale(0.0, count)
        self.check_taken(model, given, others, member)

    @rule(
        group=st.sampled_from(GROUPS),
        member=st.sampled_from(MEMBERS),
        which=st.integers(0, 30),
        alone=st.booleans(),
    )
    def commit(self, group: str, member: str, which: int, alone: bool) -> None:
        """Up to a place, or one place alone; what is not this member's any more is late."""
        model = self.model[group]
        if not self.log:
            return
        place = self.log[which % len(self.log)][0]
        mine = self.mine(model, member)
        if alone:
            answer = self.members[group, member].acknowledge([place])
            done = mine & {place}
            assert answer.late == (() if done else (place,))
        else:
            answer = self.members[group, member].commit({0: place})
            done = {p for p in mine & model.in_hand[member] if p <= place}
            assert all(p not in mine for p in answer.late)
        assert answer.entries == len(done)
        for p in done:
            del model.held[p]

    def mine(self, model: ModelGroup, member: str) -> set[Position]:
        return {place for place, (owner, _) in model.held.items() if owner == member}

    @rule(group=st.sampled_from(GROUPS), member=st.sampled_from(MEMBERS), leaves=st.booleans())
    def die_and_join(self, group: str, member: str, leaves: bool) -> None:
        if leaves:
            self.members[group, member].close()
        self.members[group, member] = self.groups[group].join(member)
        self.model[group].new_here[member] = True
        self.model[group].in_hand[member] = set()

    @rule(keep=st.integers(0, 6), force=st.booleans())
    def trim(self, keep: int, force: bool) -> None:
        cut = self.stream.cut(keep)
        goes = self.log[: max(0, len(self.log) - keep)]
        places = {place for place, *_ in goes}
        unread = {
            name: missed
            for name, m in self.model.items()
            if (missed := sum(m.delivered is None or m.delivered < p for p in places))
        }
        pending = {
            name: held
            for name, m in self.model.items()
            if (held := sum(p in places for p in m.held))
        }
        doomed = self.stream.doomed(cut)
        assert (doomed.entries, doomed.unread, doomed.pending) == (len(goes), unread, pending)
        try:
            assert self.stream.trim(cut, force=force).entries == len(goes)
        except TrimRefused:
            assert not force
            assert unread or pending
            return
        assert force or not (unread or pending)
        if goes:
            self.cut = goes[-1][0]
        self.log = self.log[len(goes) :]

    @rule(group=st.sampled_from(GROUPS), where=st.integers(0, 20))
    def reset(self, group: str, where: int) -> None:
        where = min(where, len(self.log))
        place = self.log[where - 1][0] if where else None
        self.groups[group].reset({} if place is None else {0: place})
        self.model[group] = ModelGroup(place)
        for member in MEMBERS:
            self.members[group, member] = self.groups[group].join(member)

    @invariant()
    def positions_are_right(self) -> None:
        if not hasattr(self, "groups"):
            return
        there = [place for place, *_ in self.log]
        for name, model in self.model.items():
            state = self.groups[name].state()
            [place] = state.places
            unread = sum(model.delivered is None or model.delivered < p for p in there)
            assert place.delivered == model.delivered
            assert (place.unread, place.pending) == (unread, len(model.held))
            assert place.lag == unread + len(model.held)
            held = {m: sum(o == m for o, _ in model.held.values()) for m in MEMBERS}
            assert {m: n for m, n in state.pending.items() if n} == {
                m: n for m, n in held.items() if n
            }
            rows = {h.position: (h.member, h.attempt) for h in self.groups[name].holdings(1000)}
            assert rows == model.held
            if model.held:
                before = [p for p in there if p < min(model.held)]
                assert place.committed == (before[-1] if before else None)

    @invariant()
    def extent_is_right(self) -> None:
        if not hasattr(self, "groups"):
            return
        [extent] = self.stream.extents()
        assert extent.length == len(self.log)
        assert extent.first == (self.log[0][0] if self.log else None)
        assert extent.last == (self.log[-1][0] if self.log else None)
        for key, revision in self.revisions.items():
            assert self.stream.revision(key) == revision


def check(url: str, examples: int) -> None:
    machine = type("Machine", (StreamMachine,), {})
    machine.connect = staticmethod(lambda **options: labkit.connect(url, **options))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


def test_the_embedded_stream_does_what_the_model_does() -> None:
    check("embedded://", 25)


@pytest.mark.parametrize("product", ["redis", "valkey"])
def test_the_stream_of_a_real_server_does_what_the_model_does(
    product: str, request: pytest.FixtureRequest
) -> None:
    server: RedisServer = request.getfixturevalue(f"{product}_server")
    check(server.url, 50)
