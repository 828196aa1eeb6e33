"""Publish/subscribe: one to many, at most once, and every loss that can be seen is counted."""

from labkit.patterns.pubsub.incoming import Inbox, Incoming
from labkit.patterns.pubsub.intake import Overflow
from labkit.patterns.pubsub.periodic import PeriodicRun
from labkit.patterns.pubsub.publisher import Publisher
from labkit.patterns.pubsub.subscriber import Subscriber

__all__ = ["Inbox", "Incoming", "Overflow", "PeriodicRun", "Publisher", "Subscriber"]
