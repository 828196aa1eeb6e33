"""Request/reply: ask and get an answer, at most once, and never somebody else's."""

from labkit.patterns.request_reply.outcome import Gathered, Outcome, Pending, Reply, Served
from labkit.patterns.request_reply.requester import Requester
from labkit.patterns.request_reply.responder import Responder
from labkit.patterns.request_reply.statistics import RequesterStatistics, ResponderStatistics

__all__ = [
    "Gathered",
    "Outcome",
    "Pending",
    "Reply",
    "Requester",
    "RequesterStatistics",
    "Responder",
    "ResponderStatistics",
    "Served",
]
