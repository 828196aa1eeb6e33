"""What labkit does with RabbitMQ, and which of it RabbitMQ does itself."""

from __future__ import annotations

from labkit.broker import Capabilities, Capability, Support

NO_STREAMS = (
    "labkit reads streams from Redis and Kafka; RabbitMQ's stream queues keep a log, too, but know "
    "no groups of readers."
)

_NATIVE, _EMULATED, _ABSENT = Support.NATIVE, Support.EMULATED, Support.ABSENT
_ROWS = (
    (
        "publish/subscribe",
        _NATIVE,
        "A topic exchange copies each message to every queue that is bound to it.",
    ),
    (
        "patterns",
        _EMULATED,
        "AMQP's * is one whole word and # any number; labkit binds the nearest and filters as a "
        "glob, whose * crosses dots and stands for parts of words.",
    ),
    ("batches", _NATIVE, "Many messages are on their way before the first confirm is waited for."),
    ("confirmed subscription", _NATIVE, "RabbitMQ answers each queue.bind; labkit waits for it."),
    (
        "databases apart",
        _NATIVE,
        "Virtual hosts share nothing: amqp://host/vhost.",
    ),
    (
        "order across channels",
        _NATIVE,
        "A queue keeps the order in which one connection published.",
    ),
    (
        "unheard messages known",
        _NATIVE,
        "A mandatory message that no queue is bound for comes back (basic.return).",
    ),
    (
        "subscriber count",
        _ABSENT,
        "A confirm says that RabbitMQ has the message, and a return that no queue is bound; how "
        "many queues got it is not told.",
    ),
    (
        "work queue",
        _NATIVE,
        "A quorum queue gives each message to one consumer and keeps it until basic.ack.",
    ),
    (
        "tasks in order",
        _NATIVE,
        "A queue is taken from in the order in which it was filled.",
    ),
    (
        "confirmed publishing",
        _NATIVE,
        "A confirm comes when a quorum queue has the task on the disk of most of its nodes.",
    ),
    (
        "leases",
        _NATIVE,
        "A lost connection or missed heartbeats give a worker's tasks to others; for one that "
        "stops while its program lives, labkit keeps a lease in that program.",
    ),
    (
        "delayed tasks",
        _EMULATED,
        "A queue for each delay, whose messages expire (TTL) into the work queue; a delay is "
        "rounded up by at most 25 %, and is between 10 ms and 45 days.",
    ),
    (
        "priorities",
        _EMULATED,
        "Quorum queues have none, so each priority has a queue of its own; with kind='list' it is "
        "one classic queue with x-max-priority, which is not replicated.",
    ),
    (
        "dead letters",
        _NATIVE,
        "x-delivery-limit and a dead-letter exchange; labkit also sends there, with a reason.",
    ),
    (
        "unique tasks",
        _EMULATED,
        "A binding for each id that is in the queue; two programs that put one id at the same "
        "moment may both get it in, and a program that dies between binding and publishing leaves "
        "its id taken until purge().",
    ),
    (
        "bounded queue",
        _EMULATED,
        "x-max-length with reject-publish bounds what waits, per priority; labkit adds what is "
        "delayed and what its own program has in hand.",
    ),
    (
        "depth",
        _EMULATED,
        "queue.declare tells how many wait; what is in the hands of other programs only the "
        "management interface knows.",
    ),
    (
        "request/reply",
        _NATIVE,
        "AMQP has reply_to: a queue for a service, and for an inbox an exclusive queue, or none "
        "(direct reply-to: amqp://…?replies=direct).",
    ),
    (
        "nobody serves, known at once",
        _NATIVE,
        "The service's queue goes with its last consumer, and a mandatory request comes back.",
    ),
    (
        "requests in order",
        _NATIVE,
        "A queue is taken from in the order in which it was filled.",
    ),
    (
        "closed inbox known",
        _NATIVE,
        "A mandatory reply to a queue that is gone comes back; before a direct one labkit asks.",
    ),
    (
        "responder count",
        _ABSENT,
        "A confirm says that the request is in the service's queue, not who consumes from it.",
    ),
    ("stream", _ABSENT, NO_STREAMS),
    (
        "replay for late subscribers",
        _ABSENT,
        "A queue forgets what was acknowledged; nothing is kept for those who come later.",
    ),
    (
        "delivery receipts",
        _ABSENT,
        "A confirm says that RabbitMQ has the message, not that anybody has read it.",
    ),
    (
        "cut-off of slow subscribers",
        _ABSENT,
        "Their queues grow in the broker, until its memory alarm blocks all publishers.",
    ),
)


def capabilities(name: str) -> Capabilities:
    """What it can do, and why."""
    return Capabilities(name, [Capability(*row) for row in _ROWS])
