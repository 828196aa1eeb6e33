"""The ends of each pattern, as bare as the contract of the brokers allows."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from labkit.broker import (
    Depth,
    Gap,
    PubSubBroker,
    QueueBroker,
    QueueItem,
    QueueOptions,
    Received,
    ReplyBroker,
)
from labkit.errors import BrokerUnavailable, LabkitError
from labkit.measure import body as bodies_of
from labkit.measure.ends import (
    KEEP_S,
    LEASE_S,
    MOST_AT_ONCE,
    MOST_TAKEN,
    Arrived,
    Failure,
    Name,
    failure,
)


class Publishing:
    """PUBLISH, to as many subscribers as there are."""

    most_at_once = MOST_AT_ONCE
    keeps_order = True

    def __init__(self, lab: PubSubBroker, name: Name, size: int) -> None:
        self.trailer = bodies_of.trailer(size)
        self.nobody_subscribed = 0
        self._lab = lab
        self._channel = name.text

    def send(self, bodies: Sequence[bytes], arrived: Arrived) -> Failure | None:
        """One body, or many in one round trip."""
        del arrived
        try:
            if len(bodies) == 1:
                receipts = [self._lab.publish(self._channel, bodies[0])]
            else:
                receipts = self._lab.publish_many([(self._channel, body) for body in bodies])
        except LabkitError as error:
            return failure(error, len(bodies))
        for receipt in receipts:
            if receipt.subscriptions == 0:
                self.nobody_subscribed += 1
        return None

    def collect(self, wait_s: float, arrived: Arrived) -> None:
        """Nothing comes back to a publisher."""

    def all_lost(self) -> bool:
        """What is late may always still come."""
        return False

    def close(self) -> None:
        """It holds nothing."""


class Subscribed:
    """One subscriber; what it takes, it has."""

    def __init__(self, lab: PubSubBroker, name: Name, end: int = 0) -> None:
        self.gaps: list[Gap] = []
        self._end = end
        self._subscription = lab.open_subscription()
        try:
            self._subscription.add(name.text)
        except BaseException:
            self._subscription.close()
            raise

    def step(self, wait_s: float, arrived: Arrived) -> int:
        """Poll until there is nothing."""
        poll, end = self._subscription.poll, self._end
        got = poll(wait_s)
        taken = 0
        while got is not None:
            if isinstance(got, Received):
                arrived(end, got.body)
                taken += 1
                if taken >= MOST_TAKEN:
                    break
            elif isinstance(got, Gap):
                self.gaps.append(got)
            got = poll(0.0)
        return taken

    def close(self) -> None:
        """The connection goes back."""
        self._subscription.close()


class Enqueueing:
    """Puts tasks into a queue; the last one out forgets the queue."""

    most_at_once = MOST_AT_ONCE
    keeps_order = False

    def __init__(self, lab: QueueBroker, name: Name, size: int) -> None:
        self.trailer = bodies_of.trailer(size)
        self._queue = lab.open_queue(name.text, QueueOptions(lease=LEASE_S))

    def send(self, bodies: Sequence[bytes], arrived: Arrived) -> Failure | None:
        """Put them, in few round trips."""
        del arrived
        try:
            self._queue.put([QueueItem(f"{bodies_of.number_of(b):x}", b) for b in bodies])
        except LabkitError as error:
            return failure(error, len(bodies))
        return None

    def collect(self, wait_s: float, arrived: Arrived) -> None:
        """Nothing comes back to who puts a task."""

    def depth(self) -> Depth:
        """How many tasks are where."""
        return self._queue.depth()

    def all_lost(self) -> bool:
        """What is neither done nor in the queue is lost."""
        try:
            return self._queue.depth().unfinished == 0
        except LabkitError:
            return False  # nobody to ask

    def close(self) -> None:
        """Forget what is left."""
        try:
            self._queue.purge()
        except LabkitError:
            return  # gone with its broker


class Working:
    """One worker: takes tasks, works for `work_s`, acknowledges."""

    def __init__(
        self,
        lab: QueueBroker,
        name: Name,
        end: int = 0,
        *,
        prefetch: int = 1,
        work: Callable[[], None] | None = None,
    ) -> None:
        self._queue = lab.open_queue(name.text, QueueOptions(lease=LEASE_S))
        self._worker = f"worker-{end}-{secrets.token_hex(3)}"
        self._prefetch = prefetch
        self._work = work

    def step(self, wait_s: float, arrived: Arrived) -> int:
        """Take, work, acknowledge; done is what Redis says was still ours."""
        found = self._queue.take(self._worker, self._prefetch, wait_s)
        if not found:
            return 0
        if self._work is not None:
            for _ in found:
                self._work()
        for delivery, mine in zip(found, self._queue.ack(found), strict=True):
            if mine:
                arrived(0, delivery.body)
        return len(found)

    def close(self) -> None:
        """Give its tasks back."""
        try:
            self._queue.leave(self._worker)
        except LabkitError:
            return  # gone with its broker


class Asking:
    """Sends requests, and gets their replies."""

    most_at_once = MOST_AT_ONCE
    keeps_order = False

    def __init__(self, lab: ReplyBroker, name: Name, size: int) -> None:
        self._service = name.text
        self._inbox = lab.open_inbox(KEEP_S)
        try:
            self.trailer = bodies_of.trailer(size, self._inbox.address)
        except BaseException:
            self._inbox.close()
            raise

    def send(self, bodies: Sequence[bytes], arrived: Arrived) -> Failure | None:
        """Requests in one round trip."""
        del arrived
        failed, reason = [], None
        for position, outcome in enumerate(self._inbox.send(self._service, bodies, KEEP_S)):
            if outcome == 0 and not isinstance(outcome, LabkitError):
                outcome = BrokerUnavailable("Nobody serves.")
            if isinstance(outcome, LabkitError) and not getattr(outcome, "sent", False):
                failed.append(position)
                reason = outcome
        return None if reason is None else Failure(failed, reason)

    def collect(self, wait_s: float, arrived: Arrived) -> None:
        """Replies that are there."""
        for reply in self._inbox.poll(MOST_TAKEN, wait_s):
            arrived(0, reply)

    def all_lost(self) -> bool:
        """A reply may always still come."""
        return False

    def close(self) -> None:
        """Forget the inbox."""
        self._inbox.close()


class Answering:
    """One responder: sends each request back."""

    def __init__(
        self,
        lab: ReplyBroker,
        name: Name,
        end: int = 0,
        *,
        prefetch: int = 1,
        work: Callable[[], None] | None = None,
    ) -> None:
        self._lab = lab
        self._service = lab.open_service(name.text, f"responder-{end}", LEASE_S)
        self._prefetch = prefetch
        self._work = work

    def step(self, wait_s: float, arrived: Arrived) -> int:
        """Take requests and answer them."""
        del arrived  # the one who asked sees the end
        requests = self._service.poll(self._prefetch, wait_s)
        for request in requests:
            if self._work is not None:
                self._work()
            self._lab.send_reply(bodies_of.address_of(request), request)
        return len(requests)

    def close(self) -> None:
        """No longer serve."""
        self._service.close()


class Slow:
    """A subscriber that works on each message before it takes the next."""

    def __init__(self, subscribed: Subscribed, work: Callable[[], None]) -> None:
        self.gaps = subscribed.gaps
        self._subscribed = subscribed
        self._work = work

    def step(self, wait_s: float, arrived: Arrived) -> int:
        """Take, and work after each."""

        def arrived_and_worked(end: int, body: bytes) -> None:
            arrived(end, body)
            self._work()

        return self._subscribed.step(wait_s, arrived_and_worked)

    def close(self) -> None:
        """The connection goes back."""
        self._subscribed.close()
