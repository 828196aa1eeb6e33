"""Four jobs, each written once and run on every broker, with labkit's four patterns.

They are what a student reads, and what `lines_of_code` counts: a job says what is to be done, and
`Notes` what came of it. All ends of a job live in this program, so that its figures are those of a
Python client and a broker together.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from labkit.data import stormy_day
from labkit.experiments.choosing.at_hand import AtHand
from labkit.experiments.choosing.killing import kill_one
from labkit.experiments.choosing.lines import code_lines
from labkit.experiments.choosing.notes import PATIENCE_S, Notes
from labkit.message import Message
from labkit.patterns.event_stream import EventStream, NewEvent
from labkit.patterns.event_stream.follower import Follower
from labkit.patterns.pubsub import Publisher, Subscriber
from labkit.patterns.request_reply import Requester, Responder
from labkit.patterns.request_reply.outcome import Reply, Result
from labkit.patterns.work_queue import Task, Worker, WorkQueue

AIRPORTS = ("EWR", "JFK", "LGA")
BOARDS = ("JFK board", "app", "audit")
PACED = 120
RATE = 100.0
"""Per second: slow enough for the slowest broker, so that a latency is not a queue."""
LEASE_S = 1.0
"""So long may a worker be silent."""
KILLED_TASKS = 12
"""In the queue whose worker is killed."""


def fan_out(broker: AtHand, run: str, notes: Notes) -> None:
    """Tell three readers of every departure and cancellation, on a channel for each airport."""
    notes.readers = len(BOARDS)
    with ExitStack() as stack:
        for name in BOARDS:
            board = stack.enter_context(Subscriber(broker.lab, name=name))
            board.subscribe(*(f"{run}.{airport}" for airport in AIRPORTS))
            board.set_message_callback(_noting(notes, name))
            board.listen()
        tower = stack.enter_context(Publisher(broker.lab, sender="tower"))
        for n, flight in notes.paced(flights()[:PACED], RATE):
            tower.publish(f"{run}.{flight['origin']}", {"number": n, **flight})
        notes.wait()
        day = notes.burst(flights())
        began = time.monotonic_ns()
        tower.publish_multiple((f"{run}.{f['origin']}", {"number": n, **f}) for n, f in day)
        notes.wait()
        notes.took(began)


def rebook(broker: AtHand, run: str, notes: Notes) -> None:
    """A cancelled flight is a task. Ann does them; then somebody is killed, and Bob goes on."""

    def handler(task: Task) -> None:
        notes.arrived(task.content["number"])

    queue = WorkQueue(broker.lab, run, lease=LEASE_S, sender="desk")
    with Worker(queue, handler, name="Ann") as ann:
        ann.start()
        for n, flight in notes.paced(cancelled()[:PACED], RATE):
            queue.put({"number": n, **flight})
        notes.wait()
        tasks = [{"number": n, **flight} for n, flight in notes.burst(cancelled())]
        began = time.monotonic_ns()
        queue.put_many(tasks)
        notes.wait()
        notes.took(began)
    more = WorkQueue(broker.lab, f"{run}-killed", lease=LEASE_S, sender="desk")
    more.put_many({"number": n, **f} for n, f in notes.burst(cancelled()[:KILLED_TASKS]))
    begun = kill_one(broker, more)
    notes.killed(begun)
    with Worker(more, handler, name="Bob") as bob:
        bob.start()
        notes.wait()


def ask_for_seats(broker: AtHand, run: str, notes: Notes) -> None:
    """Ask a desk for seats: one by one as passengers come, and then all at once."""

    def desk(request: Message) -> dict[str, Any]:
        return {"number": request.content["number"], "seats": 3}

    with (
        Responder(broker.lab, run, desk, name="desk") as responder,
        Requester(broker.lab, name="gate") as gate,
    ):
        responder.start()
        for n, flight in notes.paced(cancelled()[:PACED], RATE):
            _note_reply(notes, gate.request(run, {"number": n, **flight}, timeout=PATIENCE_S))
        questions = [{"number": n, **flight} for n, flight in notes.burst(cancelled())]
        began = time.monotonic_ns()
        for reply in gate.request_many(run, questions, timeout=PATIENCE_S):
            _note_reply(notes, reply)
        notes.took(began)


def replay(broker: AtHand, run: str, notes: Notes) -> None:
    """Follow a log live; keep the day in it; read all of it once more, from the beginning."""
    log = EventStream(broker.lab, run, sender="tower")
    with log.follow("first", timeout=PATIENCE_S) as follower:
        live = threading.Thread(target=_follow, args=(follower, notes), daemon=True)
        live.start()
        for n, flight in notes.paced(flights()[:PACED], RATE):
            log.append({"number": n, **flight}, key=flight["flight"])
        notes.wait()
    live.join()
    notes.expect(PACED)  # somebody else will read these, too
    log.append_many(_events(notes.burst(flights())))
    began = time.monotonic_ns()
    for event in log.read():
        notes.arrived(event.content["number"], "next day", event.key or "", timed=False)
    notes.took(began)


def lines_of_code(job: Job) -> int:
    """Lines of the job itself: no blank ones, no comments, no docstring."""
    return code_lines(inspect.getsource(job.run))


# --- the day, and small helpers ------------------------------------------------------------------


def flights() -> list[dict[str, Any]]:
    """What is told of each departure and cancellation of the day, in order."""
    happened = stormy_day(types=["flight.departed", "flight.cancelled"])
    return [{"what": one.message.type, **one.message.content} for one in happened]


def cancelled() -> list[dict[str, Any]]:
    """The same of the 180 cancelled ones."""
    return [one for one in flights() if one["what"] == "flight.cancelled"]


def _events(flights: Sequence[tuple[int, dict[str, Any]]]) -> list[NewEvent]:
    return [NewEvent({"number": n, **flight}, key=flight["flight"]) for n, flight in flights]


def _noting(notes: Notes, reader: str) -> Callable[[str, Message], None]:
    """A callback of a subscriber that notes what it hears."""
    return lambda channel, message: notes.arrived(message.content["number"], reader, channel)


def _note_reply(notes: Notes, reply: Result) -> None:
    """A reply has arrived; an error instead of one has not."""
    if isinstance(reply, Reply):
        notes.arrived(reply.content["number"])


def _follow(follower: Follower, notes: Notes) -> None:
    for event in follower:
        notes.arrived(event.content["number"], "live", event.key or "")


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        name: what it is called in tables.
        run: does it, on a broker, under a name of its own; writes what happens into the notes.
        capability: what a broker must be able to do for it.
        also: further capabilities that decide how well.
    """

    name: str
    run: Callable[[AtHand, str, Notes], None]
    capability: str
    also: tuple[str, ...]


JOBS = (
    Job(
        "fan-out",
        fan_out,
        "publish/subscribe",
        ("order across channels", "subscriber count", "replay for late subscribers"),
    ),
    Job(
        "rebooking",
        rebook,
        "work queue",
        ("leases", "tasks in order", "delayed tasks", "priorities", "dead letters"),
    ),
    Job(
        "seats",
        ask_for_seats,
        "request/reply",
        ("nobody serves, known at once", "requests in order", "closed inbox known"),
    ),
    Job(
        "replay",
        replay,
        "stream",
        ("consumer groups", "partitions", "acknowledge one by one", "expected revision"),
    ),
)
