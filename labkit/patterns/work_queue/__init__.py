"""Work queue: each task to one of many workers, at least once, and nothing is lost in between."""

from labkit.patterns.work_queue.handling import Acknowledge
from labkit.patterns.work_queue.letters import DeadLetter, DeadLetters
from labkit.patterns.work_queue.once import OnceStore
from labkit.patterns.work_queue.pool import WorkerPool
from labkit.patterns.work_queue.queue import WorkQueue
from labkit.patterns.work_queue.retry import RetryPolicy
from labkit.patterns.work_queue.statistics import QueueStatistics, WorkerStatistics
from labkit.patterns.work_queue.task import Ending, NewTask, Outcome, Reject, Retry, Task, Ticket
from labkit.patterns.work_queue.worker import Worker

__all__ = [
    "Acknowledge",
    "DeadLetter",
    "DeadLetters",
    "Ending",
    "NewTask",
    "OnceStore",
    "Outcome",
    "QueueStatistics",
    "Reject",
    "Retry",
    "RetryPolicy",
    "Task",
    "Ticket",
    "WorkQueue",
    "Worker",
    "WorkerPool",
    "WorkerStatistics",
]
