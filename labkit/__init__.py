"""labkit: the small package that the Messaging Lab's notebooks use.

    import labkit
    from labkit import Publisher, Subscriber

    lab = labkit.connect()
    with Subscriber(lab, name="board") as board, Publisher(lab, sender="tower") as tower:
        board.subscribe("flights.JFK")
        tower.publish("flights.JFK", {"flight": "B6 739"}, type="flight.departed")
        print(board.drain())

Names are loaded when they are first used, so that `import labkit` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit import channels, errors, families
    from labkit.backoff import Backoff
    from labkit.broker import Gap, Priority, Receipt
    from labkit.clock import StepClock, SystemClock
    from labkit.connection import connect
    from labkit.errors import LabkitError
    from labkit.message import Message
    from labkit.patterns.event_stream import Event, EventStream, NewEvent, Projection
    from labkit.patterns.pubsub import Incoming, Publisher, Subscriber
    from labkit.patterns.request_reply import Requester, Responder
    from labkit.patterns.work_queue import (
        NewTask,
        OnceStore,
        Reject,
        Retry,
        RetryPolicy,
        Task,
        Worker,
        WorkerPool,
        WorkQueue,
    )
    from labkit.trace import Action, Trace, TraceEvent

__version__ = "0.1.0"

_HOMES = {
    "Action": "labkit.trace",
    "Backoff": "labkit.backoff",
    "Event": "labkit.patterns.event_stream",
    "EventStream": "labkit.patterns.event_stream",
    "Gap": "labkit.broker",
    "Incoming": "labkit.patterns.pubsub",
    "LabkitError": "labkit.errors",
    "Message": "labkit.message",
    "NewEvent": "labkit.patterns.event_stream",
    "NewTask": "labkit.patterns.work_queue",
    "OnceStore": "labkit.patterns.work_queue",
    "Priority": "labkit.broker",
    "Projection": "labkit.patterns.event_stream",
    "Publisher": "labkit.patterns.pubsub",
    "Receipt": "labkit.broker",
    "Reject": "labkit.patterns.work_queue",
    "Requester": "labkit.patterns.request_reply",
    "Responder": "labkit.patterns.request_reply",
    "Retry": "labkit.patterns.work_queue",
    "RetryPolicy": "labkit.patterns.work_queue",
    "StepClock": "labkit.clock",
    "Subscriber": "labkit.patterns.pubsub",
    "SystemClock": "labkit.clock",
    "Task": "labkit.patterns.work_queue",
    "Trace": "labkit.trace",
    "TraceEvent": "labkit.trace",
    "WorkQueue": "labkit.patterns.work_queue",
    "Worker": "labkit.patterns.work_queue",
    "WorkerPool": "labkit.patterns.work_queue",
    "connect": "labkit.connection",
}
_MODULES = ("channels", "errors", "families")

__all__ = [
    "Action",
    "Backoff",
    "Event",
    "EventStream",
    "Gap",
    "Incoming",
    "LabkitError",
    "Message",
    "NewEvent",
    "NewTask",
    "OnceStore",
    "Priority",
    "Projection",
    "Publisher",
    "Receipt",
    "Reject",
    "Requester",
    "Responder",
    "Retry",
    "RetryPolicy",
    "StepClock",
    "Subscriber",
    "SystemClock",
    "Task",
    "Trace",
    "TraceEvent",
    "WorkQueue",
    "Worker",
    "WorkerPool",
    "channels",
    "connect",
    "errors",
    "families",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"labkit.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
