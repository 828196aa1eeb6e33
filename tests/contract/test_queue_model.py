"""Put, take, acknowledge, fail, crash and recover in any order, beside a simple model of a queue.

The model keeps a list a priority; whatever comes back goes to the end of its priority. Wherever
the broker may choose (which of two dead workers is looked at first), it compares sets.
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
    precondition,
    rule,
    run_state_machine_as_test,
)

import labkit
from labkit import StepClock
from labkit.broker import Delivery, Depth, Priority, QueueItem, QueueKind, QueueOptions
from labkit.servers import RedisServer

pytestmark = pytest.mark.timeout(900)  # much to compute, on a machine that may be busy

LEASE_S = 10.0
MOST_DELIVERIES = 3
WORKERS = ("ada", "bob", "eve")
PICK = st.integers(0, 50)


@dataclass(eq=False)
class Entry:
    """A task in the model."""

    id: str
    unique: bool
    priority: Priority
    deliveries: int = 0
    errors: list[str] = field(default_factory=list)
    due: float = 0.0


class Model:
    """What a queue has to do, without a broker."""

    def __init__(self) -> None:
        self.ready: list[Entry] = []
        self.delayed: list[Entry] = []
        self.held: dict[str, list[Entry]] = {worker: [] for worker in WORKERS}
        self.dead: list[Entry] = []
        self.lease_ends: dict[str, float] = {}
        self.done: list[str] = []

    def all(self) -> list[Entry]:
        in_hand = [entry for entries in self.held.values() for entry in entries]
        return [*self.ready, *self.delayed, *in_hand, *self.dead]

    def depth(self) -> Depth:
        in_flight = sum(map(len, self.held.values()))
        return Depth(len(self.ready), in_flight, len(self.delayed), len(self.dead))

    def move_due(self, now: float) -> None:
        due = sorted((e for e in self.delayed if e.due <= now), key=lambda e: e.due)
        self.delayed = [e for e in self.delayed if e.due > now]
        self.ready += due

    def take(self, worker: str, count: int, now: float) -> list[Entry]:
        self.move_due(now)
        self.lease_ends[worker] = max(self.lease_ends.get(worker, 0.0), now + LEASE_S)
        taken = sorted(self.ready, key=lambda e: -e.priority)[:count]
        self.ready = [e for e in self.ready if e not in taken]
        for entry in taken:
            entry.deliveries += 1
        self.held[worker] += taken
        return taken


class QueueMachine(RuleBasedStateMachine):
    """Does everything twice: to the broker and to the model."""

    connect: Callable[[], Any]
    kind: QueueKind

    @initialize()
    def open(self) -> None:
        self.clock = StepClock(tick=0)
        self.lab = type(self).connect(clock=self.clock, namespace=f"{secrets.token_hex(6)}:")
        options = QueueOptions(lease=LEASE_S, max_deliveries=MOST_DELIVERIES, kind=self.kind)
        self.queue = self.lab.open_queue("model", options)
        self.model = Model()
        self.put_count = 0
        self.pauses = 0.0
        self.known: list[tuple[Delivery, Entry]] = []  # some have ended: late answers, too

        self.put(list("abcd"), False, Priority.NORMAL, 0.0)

    def pick(self, which: int, keep: bool) -> tuple[Delivery, Entry]:
        """A delivery that somebody has had in hand; kept, it will be answered once more."""
        index = which % len(self.known)
        return self.known[index] if keep else self.known.pop(index)

    def pick_some(self, which: list[int]) -> list[tuple[Delivery, Entry]]:
        return [self.pick(n, keep=False) for n in which[: len(self.known)]]

    def teardown(self) -> None:
        if hasattr(self, "lab"):
            self.lab.close()

    @rule(
        ids=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4),
        unique=st.booleans(),
        priority=st.sampled_from(Priority),
        delay=st.sampled_from([0.0, 0.0, 3.0, 8.0]),
    )
    def put(self, ids: list[str], unique: bool, priority: Priority, delay: float) -> None:
        items, expected = [], []
        for letter in ids:
            self.put_count += 1
            self.pauses += 1e-3  # no two delays end together
            task_id = letter if unique else f"{letter}-{self.put_count}"
            wait = delay + self.pauses if delay else 0.0
            items.append(QueueItem(task_id, task_id.encode(), unique, wait, priority))
            fresh = not unique or all(e.id != task_id for e in self.model.all() if e.unique)
            expected.append(fresh)
            if fresh:
                entry = Entry(task_id, unique, priority, due=self.clock.now() + wait)
                (self.model.delayed if delay else self.model.ready).append(entry)
        assert self.queue.put(items) == expected

    @rule(
        worker=st.sampled_from(WORKERS),
        count=st.integers(1, 3),
        which=st.lists(PICK, max_size=2),
        together=st.booleans(),
    )
    def take(self, worker: str, count: int, which: list[int], together: bool) -> None:
        done = self.pick_some(which)
        expected_acks = [self.settle(entry, delivery) for delivery, entry in done]
        acked = [delivery for delivery, _ in done]
        if together:
            acks, taken = self.queue.ack_and_take(acked, worker, count)
        else:
            acks, taken = self.queue.ack(acked), self.queue.take(worker, count, 0.0)
        assert acks == expected_acks
        entries = self.model.take(worker, count, self.clock.now())
        assert [(d.id, d.priority, d.attempt, list(d.errors)) for d in taken] == [
            (e.id, e.priority, e.deliveries, e.errors) for e in entries
        ]
        self.known += zip(taken, entries, strict=True)

    def settle(self, entry: Entry, delivery: Delivery) -> bool:
        """Whether this delivery is still its worker's; if so it leaves the worker's hands."""
        held = self.model.held[delivery.worker]
        if entry not in held or entry.deliveries != delivery.attempt:
            return False
        held.remove(entry)
        return True

    @rule(
        which=PICK,
        keep=st.booleans(),
        how=st.sampled_from(["retry", "retry later", "bury", "release", "release two"]),
    )
    @precondition(lambda self: self.known)
    def answer(self, which: int, keep: bool, how: str) -> None:
        if how.startswith("release"):
            return self.release([which, which + 1] if how.endswith("two") else [which])
        delivery, entry = self.pick(which, keep)
        ours = self.settle(entry, delivery)
        if how == "bury":
            assert self.queue.bury(delivery, "no", "boom") == ours
        else:
            self.pauses += 1e-3
            wait = 4.0 + self.pauses if how == "retry later" else 0.0
            assert self.queue.retry(delivery, wait, "boom") == ours
        if not ours:
            return None
        entry.errors.append("boom")
        if how == "bury":
            self.model.dead.append(entry)
        elif how == "retry":
            self.model.ready.append(entry)
        else:
            entry.due = self.clock.now() + wait
            self.model.delayed.append(entry)
        return None

    def release(self, which: list[int]) -> None:
        pairs = self.pick_some(which)
        expected = [self.settle(entry, delivery) for delivery, entry in pairs]
        assert self.queue.release([delivery for delivery, _ in pairs]) == expected
        for (_, entry), ours in zip(pairs, expected, strict=True):
            if ours:
                entry.deliveries -= 1
                self.model.ready.append(entry)

    @rule(seconds=st.sampled_from([1.0, 5.0, 11.0]))
    def let_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(worker=st.sampled_from(WORKERS), lives=st.booleans())
    def beat_or_leave(self, worker: str, lives: bool) -> None:
        if lives:
            self.queue.renew(worker)
            self.model.lease_ends[worker] = self.clock.now() + LEASE_S
        else:
            self.queue.leave(worker)
            if worker in self.model.lease_ends:
                self.model.lease_ends[worker] = 0.0

    @rule()
    def recover(self) -> None:
        """A crash is nothing but a worker that does no more; this is where it shows."""
        now = self.clock.now()
        gone = [w for w in WORKERS if self.model.lease_ends.get(w, now + 1) <= now]
        found = self.queue.recover()
        expected = sorted(
            (e.id, worker, e.deliveries, e.deliveries >= MOST_DELIVERIES)
            for worker in gone
            for e in self.model.held[worker]
        )
        assert sorted((r.id, r.worker, r.attempt, r.dead) for r in found) == expected
        waiting = {(e.id, e.deliveries): e for w in gone for e in self.model.held[w]}
        for back in found:  # in the broker's order
            entry = waiting[back.id, back.attempt]
            entry.errors.append(f"worker {back.worker} died with it")
            (self.model.dead if back.dead else self.model.ready).append(entry)
        for worker in gone:
            self.model.held[worker].clear()
            del self.model.lease_ends[worker]

    @rule(every=st.integers(1, 3))
    @precondition(lambda self: self.model.dead)
    def redrive(self, every: int) -> None:
        letters = self.queue.dead()[::every]
        assert self.queue.redrive(letters) == len(letters)
        moved = self.model.dead[::every]
        self.model.dead = [e for e in self.model.dead if e not in moved]
        for entry in moved:
            self.model.ready.append(Entry(entry.id, entry.unique, entry.priority))

    @invariant()
    def depth_is_right(self) -> None:
        if hasattr(self, "queue"):
            assert self.queue.depth() == self.model.depth()

    @invariant()
    def dead_letters_are_right(self) -> None:
        if hasattr(self, "queue"):
            dead = [(d.id, d.attempts, list(d.errors)) for d in self.queue.dead()]
            assert dead == [(e.id, e.deliveries, e.errors) for e in self.model.dead]


@pytest.fixture(params=list(QueueKind))
def kind(request: pytest.FixtureRequest) -> QueueKind:
    return QueueKind(request.param)


def check(url: str, kind: QueueKind, examples: int) -> None:
    machine = type("Machine", (QueueMachine,), {})
    machine.connect = staticmethod(lambda **options: labkit.connect(url, **options))
    machine.kind = kind
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


def test_the_embedded_queue_does_what_the_model_does(kind: QueueKind) -> None:
    check("embedded://", kind, 80)


def test_the_queue_of_a_real_redis_does_what_the_model_does(
    redis_server: RedisServer, kind: QueueKind
) -> None:
    check(redis_server.url, kind, 150)


def test_the_queue_of_a_real_valkey_does_what_the_model_does(
    valkey_server: RedisServer, kind: QueueKind
) -> None:
    check(valkey_server.url, kind, 100)
