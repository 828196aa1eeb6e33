"""The contract that every broker keeps: small protocols, one for each pattern, nothing else.

A broker says what it can do, capability by capability: `native` (the broker does it), `emulated`
(labkit does it with what the broker has) or `absent`, each with one sentence why. What is absent
raises `NotSupported` with that sentence. One large class with every method would promise what no
broker keeps.
"""

from labkit.broker.base import Broker, Capabilities, Capability, CommandLog, Support
from labkit.broker.entry import Appended, Cursor, Entry, Extent, NewEntry, Position
from labkit.broker.lab import Lab
from labkit.broker.pubsub import (
    Gap,
    Mark,
    Polled,
    PubSubBroker,
    Receipt,
    Received,
    Subscription,
    Unsubscribed,
)
from labkit.broker.queue import (
    BrokerQueue,
    DeadItem,
    Delivery,
    Depth,
    Handover,
    Interruptible,
    Priority,
    QueueBroker,
    QueueItem,
    QueueKind,
    QueueOptions,
    Recovered,
)
from labkit.broker.reply import ReplyBroker, ReplyInbox, Sent, Service
from labkit.broker.stream import (
    BrokerStream,
    Committed,
    Doomed,
    Given,
    GroupMember,
    GroupState,
    Holding,
    InParts,
    Place,
    StreamBroker,
    StreamGroup,
    together,
)

__all__ = [
    "Appended",
    "Broker",
    "BrokerQueue",
    "BrokerStream",
    "Capabilities",
    "Capability",
    "CommandLog",
    "Committed",
    "Cursor",
    "DeadItem",
    "Delivery",
    "Depth",
    "Doomed",
    "Entry",
    "Extent",
    "Gap",
    "Given",
    "GroupMember",
    "GroupState",
    "Handover",
    "Holding",
    "InParts",
    "Interruptible",
    "Lab",
    "Mark",
    "NewEntry",
    "Place",
    "Polled",
    "Position",
    "Priority",
    "PubSubBroker",
    "QueueBroker",
    "QueueItem",
    "QueueKind",
    "QueueOptions",
    "Receipt",
    "Received",
    "Recovered",
    "ReplyBroker",
    "ReplyInbox",
    "Sent",
    "Service",
    "StreamBroker",
    "StreamGroup",
    "Subscription",
    "Support",
    "Unsubscribed",
    "together",
]
