"""What requesters and responders count."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.errors import DecodeError
from labkit.patterns.statistics import Latency, Statistics


@dataclass(frozen=True, kw_only=True, repr=False)
class RequesterStatistics(Statistics):
    """What became of a requester's requests.

    `messages` is the sum of `replied`, `remote_errors`, `timed_out`, `abandoned`, `no_responder`,
    `failed` and those that are still waiting.

    Attributes:
        replied: requests that got their reply.
        remote_errors: requests whose handler failed and said so.
        timed_out: requests without a reply in time.
        abandoned: requests nobody waits for any more: `first=k` was reached, or we disconnected.
        no_responder: requests that were not sent, because nobody serves them.
        failed: requests that were not sent, because the broker could not be reached or refused.
        late: replies to requests that had been given up.
        duplicates: replies to requests that had one already.
        unknown: replies to requests that are not ours, or of too long ago.
        unreadable: bodies that are no replies; the last ones are in `decode_errors`.
        connections_lost: how often the inbox had to connect again.
        latency: from sending a request to reading its reply.
    """

    role = "Requester"

    replied: int
    remote_errors: int
    timed_out: int
    abandoned: int
    no_responder: int
    failed: int
    late: int
    duplicates: int
    unknown: int
    unreadable: int
    connections_lost: int
    decode_errors: tuple[DecodeError, ...]
    latency: Latency | None


@dataclass(frozen=True, kw_only=True, repr=False)
class ResponderStatistics(Statistics):
    """What a responder did with the requests that it took.

    `messages` is the sum of `replied`, `handler_errors`, `expired`, `unreadable`, `no_inbox`,
    `not_sent` and those that are in hand, or were in hand when it crashed.

    Attributes:
        replied: requests that were answered.
        handler_errors: requests on which the handler failed, answered with the error; the last
            ones are in `errors`.
        expired: requests whose deadline had passed: dropped, no work done.
        unreadable: bodies that are no requests; the last ones are in `decode_errors`.
        no_inbox: replies for which nobody waited any more.
        not_sent: replies that could not be sent, because the broker was not there or refused.
        connections_lost: how often the connection had to be made again.
        latency: from taking a request to having its reply; "handling time".
    """

    role = "Responder"

    replied: int
    handler_errors: int
    expired: int
    unreadable: int
    no_inbox: int
    not_sent: int
    connections_lost: int
    decode_errors: tuple[DecodeError, ...]
    latency: Latency | None
