"""The contract of request/reply: a request to one of many responders, its answer to the asker.

**At most once**: a request or a reply may be lost, and the one who asks must set a time-out.
Whether the work was done cannot be known after a time-out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from labkit.broker.base import Broker
from labkit.errors import BrokerRefused, BrokerUnavailable

Sent = int | None | BrokerUnavailable | BrokerRefused
"""What became of a request on its way: how many responders there are, None where the broker cannot
know, 0 for nobody (then it was not sent), or why it may not be there."""


class ReplyInbox(Protocol):
    """Where the replies to one asker arrive.

    It lives from `open_inbox` to `close`, whether it is polled or not. `poll` belongs to one thread
    at a time; requests may be sent from any.
    """

    @property
    def address(self) -> str:
        """Where replies are to be sent; it travels with each request."""

    @property
    def connected(self) -> bool:
        """Whether the broker could be heard at the last look."""

    def send(self, service: str, bodies: Sequence[bytes], keep: float) -> list[Sent]:
        """Send requests to a service, in few round trips, if somebody serves it.

        Args:
            service: whose responders are meant.
            bodies: the requests, with this inbox's address in them.
            keep: seconds after which the broker may forget those that nobody took.

        Returns:
            for each request what became of it. An error whose `sent` is True says that the request
            may have arrived all the same.
        """

    def poll(self, count: int, timeout: float) -> list[bytes]:
        """At most `count` bodies; waits up to `timeout` seconds for the first.

        After a lost connection it comes back by itself, with back-off.

        Raises:
            BrokerRefused: the broker answers with an error.
        """

    def close(self) -> None:
        """Forget the inbox and what is still in it. Closing twice is fine."""


class Service(Protocol):
    """A responder's end of a named service. It belongs to one thread at a time.

    The service counts as served from `open_service` to `close`, whether it is polled or not: a
    request may take its time.
    """

    @property
    def connected(self) -> bool:
        """Whether the broker could be heard at the last look."""

    def poll(self, count: int, timeout: float) -> list[bytes]:
        """At most `count` requests that no other responder gets; waits for the first.

        After a lost connection it comes back by itself, with back-off.

        Raises:
            BrokerRefused: the broker answers with an error.
        """

    def close(self) -> None:
        """This responder goes, and says so. Closing twice is fine."""

    def abandon(self) -> None:
        """Go as a process that dies: without a word. It is missed after its `presence`."""


@runtime_checkable
class ReplyBroker(Broker, Protocol):
    """Request/reply, point to point."""

    def open_inbox(self, life: float) -> ReplyInbox:
        """A new inbox. If its owner dies, it is forgotten after `life` seconds."""

    def open_service(self, name: str, responder: str, presence: float) -> Service:
        """Serve requests to `name`, as one of its responders.

        Args:
            name: the service.
            responder: who serves; two may have the same name.
            presence: seconds after which a responder that died counts as gone.
        """

    def send_reply(self, address: str, body: bytes) -> bool | None:
        """Send a reply to an inbox. False: it is closed or forgotten; None: unknown.

        Raises:
            BrokerUnavailable: its `sent` tells whether the reply may have arrived.
            BrokerRefused: the broker answers with an error.
        """
