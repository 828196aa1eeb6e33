"""The contract of request/reply: a request to one of many responders, its answer to the asker.

At most once: a request or a reply may be lost, and the one who asks must set a time-out. Whether
the work was done cannot be known after a time-out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from labkit.broker.base import Broker


class ReplyInbox(Protocol):
    """Where the replies for one asker arrive. It belongs to one thread at a time."""

    @property
    def address(self) -> str:
        """Where replies are to be sent; it travels with each request."""

    def poll(self, count: int, timeout: float) -> list[bytes]:
        """At most `count` bodies; waits up to `timeout` seconds for the first."""

    def close(self) -> None:
        """Forget the inbox and what is still in it."""


class Service(Protocol):
    """A responder's end of a named service. It belongs to one thread at a time."""

    def poll(self, count: int, timeout: float) -> list[bytes]:
        """At most `count` requests that no other responder gets; waits for the first.

        While it is polled, and for `presence` seconds after, the service counts as served.
        """

    def close(self) -> None:
        """This responder goes."""


@runtime_checkable
class ReplyBroker(Broker, Protocol):
    """Request/reply, point to point."""

    def open_inbox(self, life: float) -> ReplyInbox:
        """A new inbox; what lies in it unread for `life` seconds is forgotten."""

    def open_service(self, name: str, responder: str, presence: float) -> Service:
        """Serve requests to `name`, as one of its responders."""

    def send_requests(self, name: str, bodies: Sequence[bytes]) -> int | None:
        """Send requests to a service, in few round trips, if somebody serves it.

        Returns:
            how many responders there are; 0 means that nothing was sent. None where the broker
            cannot know: then the requests were sent.
        """

    def send_replies(self, replies: Sequence[tuple[str, bytes]], life: float) -> list[bool | None]:
        """Send (address, body) pairs. False: nobody has that inbox any more; None: unknown."""
