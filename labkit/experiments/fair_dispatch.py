"""Who gets which task, with one taken at a time or several: the queue decides, time is computed."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence

from labkit.broker import Delivery, QueueBroker
from labkit.clock import StepClock
from labkit.message import Message
from labkit.patterns.work_queue import WorkQueue
from labkit.trace import Action, Trace

QUEUE = "fair dispatch"


def fair_dispatch(
    lab: QueueBroker,
    prefetch: int,
    *,
    seconds: Sequence[float] = (10, 1, 1, 1, 1, 1),
    workers: Sequence[str] = ("Ida", "Jon"),
) -> Trace:
    """Let workers take tasks from a real queue, and compute when each is done.

    The tasks are handed out by the broker; only their durations are computed, so that the lesson
    takes no time and ends the same everywhere.

    Args:
        lab: an open broker.
        prefetch: how many tasks a worker takes when it has none.
        seconds: how long each task takes, in the order in which they are put.
        workers: who works; the first one takes first.

    Returns:
        a trace of its own, in seconds from the start: delivered when a task is begun, acked when
        it is done.
    """
    queue = WorkQueue(lab, QUEUE)
    queue.purge()
    queue.put_many([{"label": f"{s:g} s", "seconds": s} for s in seconds])
    trace = Trace(StepClock(tick=0))
    free = [(0.0, place, name) for place, name in enumerate(workers)]
    hands: dict[str, deque[Delivery]] = {name: deque() for name in workers}
    while free:
        now, place, name = heapq.heappop(free)
        if not hands[name]:
            hands[name] += queue.tasks.take(name, prefetch, 0.0)
        if not hands[name]:
            continue
        delivery = hands[name].popleft()
        message = Message.decode(delivery.body)
        done = now + message.content["seconds"]
        for action, moment in ((Action.DELIVERED, now), (Action.ACKED, done)):
            trace.record(
                *(name, action),
                channel=QUEUE,
                message_id=delivery.id,
                label=message.label,
                at=moment,
            )
        queue.tasks.ack([delivery])
        heapq.heappush(free, (done, place, name))
    return trace
