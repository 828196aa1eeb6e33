"""Four ways to hand messages on, each behind the same few verbs, so that they can be compared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from labkit.broker import Lab
from labkit.patterns.event_stream import EventStream, Group
from labkit.patterns.pubsub import Publisher, Subscriber
from labkit.patterns.work_queue import Task, Worker, WorkQueue

LEASE_S = 5.0
"""After so long a queue takes a worker that is silent for dead."""

SENT = 4
"""Messages in an experiment, unless it says otherwise."""


class Reader(Protocol):
    """Somebody who gets messages."""

    def take(self) -> int:
        """Take one, and do not confirm it; how many it got."""

    def finish(self, most: int) -> int:
        """Take at most so many, and confirm each; how many."""

    def again(self) -> int:
        """Ask for all that there was, once more; how many come."""

    def die(self) -> None:
        """Go without a word."""


class Way(Protocol):
    """One way to hand messages on."""

    def send(self, count: int) -> None:
        """Send so many."""

    def kept(self) -> int:
        """How many of them the broker has."""

    def join(self, name: str, team: str, /) -> Reader:
        """A reader; where a way knows teams, those of one team share the messages."""

    def close(self) -> None:
        """Leave nothing behind."""


class _PubSub:
    """A publisher and its subscribers."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab = lab
        self._name = name
        self._publisher = Publisher(lab, sender="tower").connect()
        self._readers: list[Subscriber] = []

    def send(self, count: int) -> None:
        for number in range(count):
            self._publisher.publish(self._name, number)

    def kept(self) -> int:
        """What a subscriber that asks now would find."""
        late = self.join("late", "")
        return late.finish(SENT)

    def join(self, name: str, _team: str, /) -> Reader:
        subscriber = Subscriber(self._lab, name=name).connect()
        subscriber.subscribe(self._name)
        self._readers.append(subscriber)
        return _Subscribed(subscriber)

    def close(self) -> None:
        for subscriber in self._readers:
            subscriber.disconnect()
        self._publisher.disconnect()


@dataclass(frozen=True, slots=True)
class _Subscribed:
    subscriber: Subscriber

    def take(self) -> int:
        return len(self.subscriber.drain(1))

    def finish(self, most: int) -> int:
        return len(self.subscriber.drain(most))

    def again(self) -> int:
        return len(self.subscriber.drain())

    def die(self) -> None:
        self.subscriber.disconnect()


class _Queue:
    """A work queue and its workers."""

    def __init__(self, lab: Lab, name: str, kind: str) -> None:
        self._lab = lab
        self._queue = WorkQueue(lab, name, kind=kind, lease=LEASE_S, sender="tower")
        self._queue.purge()
        self._workers = ExitStack()

    def send(self, count: int) -> None:
        self._queue.put_many(range(count))

    def kept(self) -> int:
        return self._queue.depth().unfinished

    def join(self, name: str, _team: str, /) -> Reader:
        worker = self._workers.enter_context(Worker(self._queue, _do_nothing, name=name))
        return _Working(worker, self._recover)

    def close(self) -> None:
        self._workers.close()
        self._queue.purge()

    def _recover(self) -> None:
        self._lab.clock.wait(2 * LEASE_S)
        self._queue.recover()


@dataclass(frozen=True, slots=True)
class _Working:
    worker: Worker
    recover: Callable[[], None]

    def take(self) -> int:
        return int(self.worker.take() is not None)

    def finish(self, most: int) -> int:
        return self.worker.run(most)

    def again(self) -> int:
        return self.worker.run()

    def die(self) -> None:
        self.worker.crash()
        self.recover()


class _Log:
    """An event stream and its groups."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._stream = EventStream(lab, name, sender="tower")
        self._stream.delete()

    def send(self, count: int) -> None:
        self._stream.append_many(range(count))

    def kept(self) -> int:
        return len(self._stream)

    def join(self, name: str, team: str, /) -> Reader:
        return _Member(self._stream.group(team), name)

    def close(self) -> None:
        self._stream.delete()


class _Member:
    def __init__(self, group: Group, name: str) -> None:
        self._group = group
        self._member = group.join(name)

    def take(self) -> int:
        return len(self._member.poll(1))

    def finish(self, most: int) -> int:
        claimed = len(self._member.claim_stale(0.0, most))
        found = claimed + (len(self._member.poll(most - claimed)) if claimed < most else 0)
        self._member.commit()
        return found

    def again(self) -> int:
        self._group.rewind("first")
        return self.finish(SENT)

    def die(self) -> None:
        """A member that is not asked any more is as good as dead."""


def _do_nothing(_task: Task) -> None:
    """The work that a task is here."""


WAYS: dict[str, Callable[[Lab, str], Way]] = {
    "pub/sub": _PubSub,
    "queue on lists": lambda lab, name: _Queue(lab, name, "list"),
    "queue on a stream": lambda lab, name: _Queue(lab, name, "stream"),
    "event stream": _Log,
}
