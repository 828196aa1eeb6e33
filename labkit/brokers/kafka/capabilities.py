"""What Kafka can do, and what librdkafka's mock cluster lacks of it."""

from __future__ import annotations

from typing import NoReturn

from labkit.broker import Capabilities, Capability, Support
from labkit.errors import NotSupported

_NATIVE, _EMULATED, _ABSENT = Support.NATIVE, Support.EMULATED, Support.ABSENT

_ROWS = (
    Capability(
        "publish/subscribe",
        _NATIVE,
        "A channel is a topic; each subscriber reads all of it, from where it ended when it came.",
    ),
    Capability(
        "patterns",
        _EMULATED,
        "labkit compares the names of all topics; one that is new is found within a second, and "
        "read from its beginning; a librdkafka subscription to ^… does the same in a group.",
    ),
    Capability(
        "batches", _NATIVE, "librdkafka packs what waits for one partition into one request."
    ),
    Capability(
        "confirmed subscription",
        _NATIVE,
        "The broker tells where each partition ends; reading begins exactly there.",
    ),
    Capability(
        "order across channels",
        _ABSENT,
        "Order holds within one partition; two topics have nothing to do with one another.",
    ),
    Capability(
        "subscriber count",
        _ABSENT,
        "Kafka appends and does not know who will read, now or next week.",
    ),
    Capability(
        "work queue",
        _EMULATED,
        "A consumer group shares partitions; labkit hands the tasks of a lab's partitions to its "
        "workers, and commits up to the first that is not done.",
    ),
    Capability(
        "leases",
        _EMULATED,
        "Within a lab, labkit watches its workers; between labs it is membership of the group: a "
        "member that is silent loses its partitions, and its attempt is not counted.",
    ),
    Capability(
        "delayed tasks",
        _ABSENT,
        "A partition is read in order: a record that waits would hold up all that come after it; "
        "only another try may wait, in a topic of its own.",
    ),
    Capability(
        "priorities",
        _ABSENT,
        "A partition is read in order, and no record overtakes another.",
    ),
    Capability(
        "dead letters",
        _EMULATED,
        "A topic of their own; one that is taken out is struck out in a second topic, because no "
        "record can be removed.",
    ),
    Capability(
        "unique tasks",
        _ABSENT,
        "Kafka appends without looking: a task that was put twice is done twice; remember what is "
        "done where it is done (OnceStore).",
    ),
    Capability(
        "bounded queue",
        _ABSENT,
        "Kafka removes what is old, by age or size, whether it was read or not; nothing counts "
        "before it appends.",
    ),
    Capability(
        "stream",
        _NATIVE,
        "A topic keeps its records as long as its retention says; reading takes nothing away.",
    ),
    Capability(
        "consumer groups",
        _NATIVE,
        "Each partition is one member's; when members come or go, a rebalance shares them anew.",
    ),
    Capability(
        "partitions",
        _NATIVE,
        "A topic has several; a key always goes to the same one, while their number stays.",
    ),
    Capability(
        "acknowledge one by one",
        _ABSENT,
        "A group commits an offset: everything before it is done, nothing after it.",
    ),
    Capability(
        "negative acknowledgement",
        _ABSENT,
        "A commit has no opposite: a record is left uncommitted, or appended elsewhere to be "
        "tried again.",
    ),
    Capability(
        "claim of stale entries",
        _ABSENT,
        "Kafka gives a dead member's partitions to others by itself, in a rebalance.",
    ),
    Capability(
        "expected revision",
        _ABSENT,
        "Kafka does not count the records of a key, and cannot look and append in one step.",
    ),
    Capability(
        "request/reply",
        _EMULATED,
        "Kafka has no reply-to; labkit takes a topic for a service, and one for all replies, where "
        "each inbox reads one partition.",
    ),
    Capability(
        "requests in order",
        _ABSENT,
        "Requests are spread over partitions, so that responders of several labs share them.",
    ),
    Capability(
        "closed inbox known",
        _ABSENT,
        "A reply is appended whether somebody still reads it or not.",
    ),
    Capability(
        "replay for late subscribers",
        _NATIVE,
        "Records stay: lab.open_stream reads a channel from its beginning (a subscriber does not).",
    ),
    Capability(
        "delivery receipts",
        _ABSENT,
        "The broker confirms that it has a record; who has read it, only their commits tell.",
    ),
)

_PRESENCE = (
    "The broker tells the members of a service's group; one that died counts until its session "
    "ends."
)

_REAL = (
    Capability("nobody serves, known at once", _EMULATED, _PRESENCE),
    Capability("read from a time", _NATIVE, "The broker finds the first record from a time on."),
    Capability("stream deletion", _NATIVE, "A topic is deleted, and its groups with it."),
    Capability("trim", _NATIVE, "Records before an offset are destroyed, whoever needs them."),
    Capability(
        "transactions",
        _NATIVE,
        "Records and commits become visible together, to readers with read_committed.",
    ),
    Capability("retention", _NATIVE, "retention.ms and retention.bytes of a topic say how much."),
    Capability("compaction", _NATIVE, "cleanup.policy=compact keeps the last record of each key."),
    Capability("topic administration", _NATIVE, "Topics are made, changed and deleted."),
)

_MOCK = (
    Capability(
        "nobody serves, known at once",
        _EMULATED,
        "The mock cluster does not describe groups; labkit counts the responders of this process.",
    ),
    Capability("read from a time", _ABSENT, "The mock cluster does not look for times."),
    Capability("stream deletion", _ABSENT, "The mock cluster cannot delete a topic."),
    Capability("trim", _ABSENT, "The mock cluster destroys the oldest records by itself."),
    Capability(
        "transactions",
        _ABSENT,
        "The mock cluster shows aborted records, too: read_committed means nothing there.",
    ),
    Capability(
        "retention", _ABSENT, "The mock cluster keeps about 5 MB a partition, whatever is set."
    ),
    Capability("compaction", _ABSENT, "The mock cluster never compacts."),
    Capability(
        "topic administration",
        _ABSENT,
        "The mock cluster answers no admin client; labkit makes its topics through ctypes.",
    ),
)


_IN_ORDER = Capability(
    "tasks in order",
    _NATIVE,
    "Topics get one partition here, which has one order, and which one lab at a time can have.",
)
_SPREAD = Capability(
    "tasks in order",
    _ABSENT,
    "Order holds within a partition, and tasks are spread over several, so that several labs can "
    "share them.",
)


def capabilities(name: str, *, mock: bool, partitions: int = 2) -> Capabilities:
    """The table of a real Kafka, or of the mock cluster.

    Args:
        name: what to call the broker.
        mock: it is a mock cluster.
        partitions: how many a topic gets that labkit makes.
    """
    order = _IN_ORDER if partitions == 1 else _SPREAD
    return Capabilities(name, [*_ROWS, order, *(_MOCK if mock else _REAL)])


def refuse(name: str, *, mock: bool = False) -> NoReturn:
    """Raise what the capability says.

    Raises:
        NotSupported: always.
    """
    row = capabilities("Kafka", mock=mock)[name]
    raise NotSupported(f"Kafka has no {name}: {row.why}")
