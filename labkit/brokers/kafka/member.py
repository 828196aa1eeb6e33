"""One member of a consumer group: joins, reads, knows how far it has read, commits, leaves."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from queue import SimpleQueue

import confluent_kafka as ck

from labkit.brokers.kafka import settings, words
from labkit.brokers.kafka.client import SLICE_S, KafkaClient, Part
from labkit.errors import BrokerRefused, BrokerUnavailable, NotConnected

MOCK_ROUND_S = 0.4
"""So long takes a round of the mock cluster: MOCK_SESSION_MS, less 1 s, and a bit."""

MOCK_AGAIN_S = 0.1

_MANY = 1_000
_LOST = {
    ck.KafkaError.ILLEGAL_GENERATION,
    ck.KafkaError.UNKNOWN_MEMBER_ID,
    ck.KafkaError.REBALANCE_IN_PROGRESS,
    ck.KafkaError.FENCED_INSTANCE_ID,
    ck.KafkaError._STATE,
    ck.KafkaError._ASSIGNMENT_LOST,
}

Parts = Callable[[list[Part]], None]


class Member:
    """A consumer in a group.

    `pump` belongs to one thread at a time; it also serves rebalances, which wait for it.

    Args:
        client: how to reach Kafka.
        group: its name.
        topics: what it reads.
        name: the member's own name, seen by whoever describes the group.
        longest_silence: seconds without a `pump` after which Kafka gives its partitions to others.
        given, taken: told of partitions that come and go.
    """

    def __init__(
        self,
        client: KafkaClient,
        group: str,
        topics: Sequence[str],
        *,
        name: str,
        longest_silence: float,
        given: Parts | None = None,
        taken: Parts | None = None,
    ) -> None:
        self._client = client
        self.group = group
        self.joined = False
        self.positions: dict[Part, int] = {}
        self._found: list[ck.Message] = []  # collected, and not given out by a pump yet
        self._interrupted: BaseException | None = None  # while it was given partitions
        self._given, self._taken = given, taken
        self._topics = list(topics)
        self._look_at = time.monotonic() + MOCK_ROUND_S
        self._lock = threading.RLock()
        self._commits: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._committing = threading.Lock()
        self._closed = False
        longest_ms = max(round(longest_silence * 1000), 10_000)  # never below the session
        self._consumer = client.consumer(
            group,
            *settings.group(mock=client.place.mock),
            client_id=name,
            max_poll_interval_ms=min(longest_ms, 86_400_000),
        )
        self._consumer.subscribe(
            self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )
        threading.Thread(
            target=_do_all, args=(self._commits,), name="labkit commit", daemon=True
        ).start()
        client.on_close(self, self.close)

    def pump(self, timeout: float, most: int = _MANY) -> list[ck.Message]:
        """At most so many records that are here, or the first that come within `timeout` seconds.

        Raises:
            BrokerRefused: Kafka does not let us read.
        """
        with self._lock:
            if self._closed:
                raise NotConnected("This member has left its group.")
            if not self.joined and self._client.place.mock:
                self._join_again()
            # not consume(), which now and then loses a rebalance that comes while it collects
            wait_s = 0.0 if self._found else min(timeout, SLICE_S)
            while len(self._found) < most:
                message = self._consumer.poll(wait_s)
                if message is None:
                    break
                if self._took(message):  # if it raises, the next pump gives what was found
                    self._found.append(message)
                wait_s = 0.0
            if (interrupted := self._interrupted) is not None:
                self._interrupted = None
                raise interrupted
            found, self._found = self._found[:most], self._found[most:]
            return found

    def has_read(self, ends: Mapping[Part, int]) -> bool:
        """Whether it has joined, and read its partitions up to there."""
        return self.joined and all(
            position >= ends.get(part, 0) for part, position in list(self.positions.items())
        )

    def wait_joined(self, timeout: float, take: Callable[[list[ck.Message]], None]) -> bool:
        """Serve the group until it has given us our partitions."""
        deadline = time.monotonic() + timeout
        while not self.joined and (left := deadline - time.monotonic()) > 0:
            take(self.pump(min(left, SLICE_S)))
        return self.joined

    def commit(self, offsets: Mapping[Part, int]) -> bool:
        """All before these offsets is done. False: the partitions are another member's by now.

        Raises:
            BrokerUnavailable: no answer; it may have been committed.
        """
        if self._closed:
            return False
        self._client.log(f"consumer.commit({words.places(offsets)})")
        places = [ck.TopicPartition(*part, offset) for part, offset in offsets.items()]
        try:
            answer = self._commit(places)
        except ck.KafkaException as error:
            if error.args[0].code() in _LOST:
                return False
            raise words.error(self._client.place.shown, error.args[0], sent=True) from None
        except RuntimeError:  # closed by another thread
            return False
        failed = [place.error for place in answer if place.error is not None]
        if failed and failed[0].code() not in _LOST:
            raise words.error(self._client.place.shown, failed[0], sent=True)
        return not failed

    def _commit(self, places: list[ck.TopicPartition]) -> list[ck.TopicPartition]:
        """What Kafka answers within the timeout; librdkafka itself knows no end of waiting.

        One after the other, also if nobody waits any more: a late one must not undo a later one.
        """
        consumer, patience = self._consumer, self._client.options.timeout
        answer: Future[list[ck.TopicPartition]] = Future()

        def ask() -> None:
            with self._committing:
                if answer.set_running_or_notify_cancel():
                    try:
                        answer.set_result(consumer.commit(offsets=places, asynchronous=False))
                    except Exception as error:
                        answer.set_exception(error)

        self._commits.put(ask)
        try:
            return answer.result(patience)
        except TimeoutError:
            shown = words.unreachable(self._client.place.shown, "no answer", sent=True)
            raise BrokerUnavailable(shown, sent=True) from None
        finally:
            answer.cancel()

    def seek(self, offsets: Mapping[Part, int]) -> None:
        """Go on reading there."""
        with self._lock:
            for part, offset in offsets.items():
                self._consumer.seek(ck.TopicPartition(*part, offset))
                self.positions[part] = offset
                self._found = [m for m in self._found if (m.topic(), m.partition()) != part]

    @property
    def parts(self) -> list[Part]:
        """The partitions that are ours."""
        return sorted(self.positions)

    def close(self) -> None:
        """Leave the group. Closing twice is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._client.closed_already(self)
            if self._committing.acquire(timeout=self._client.options.timeout):
                try:
                    with contextlib.suppress(ck.KafkaException, RuntimeError):
                        self._consumer.close()
                finally:
                    self._committing.release()
            else:  # closing would wait for the answer without end; so it is missed after a time
                del self._consumer
            self._commits.put(None)
            self.joined = False
            self.positions.clear()

    def crash(self) -> None:
        """Fall silent without leaving: the broker misses it after its session time-out.

        A consumer that is dropped, not closed, sends nothing any more.
        """
        with self._lock:
            if not self._closed:
                self._closed = True
                self._client.closed_already(self)
                self._commits.put(None)
                del self._consumer

    def _join_again(self) -> None:
        """A round of the mock cluster should be over, and we have not been given anything.

        The mock cluster ends a round once the leader has sent its plan, and turns away a member
        that asks for it only then. librdkafka joins again 1 s after it last did, or when metadata
        have come: let some come.
        """
        now = time.monotonic()
        if now > self._look_at:
            self._look_at = now + MOCK_AGAIN_S
            with contextlib.suppress(ck.KafkaException):
                self._consumer.list_topics(self._topics[0], timeout=SLICE_S)

    def _took(self, message: ck.Message) -> bool:
        error, part = message.error(), (message.topic(), message.partition())
        if error is None:
            self._client.down = False
            if part not in self.positions:
                return False
            self.positions[part] = message.offset() + 1
            return True
        code = error.code()
        if code == ck.KafkaError._PARTITION_EOF:
            if part in self.positions:
                self.positions[part] = max(self.positions[part], message.offset())
        elif code == ck.KafkaError._MAX_POLL_EXCEEDED:
            self.joined = False
        elif words.away(error):
            self._client.down = True
        elif code not in (ck.KafkaError.UNKNOWN_TOPIC_OR_PART, *_LOST):
            raise BrokerRefused(f"Kafka at {self._client.place.shown}: {words.of(error)}.")
        return False

    def _assigned(self, _: object, places: list[ck.TopicPartition]) -> None:
        parts = [(place.topic, place.partition) for place in places]
        # first of all: they are ours, whatever happens to the questions below
        self.positions.update(dict.fromkeys(parts, -1))
        self.joined = True
        try:
            if self._given is not None:
                self._given(parts)
            # without an answer its own reading will tell
            silent = (BrokerUnavailable, BrokerRefused, ck.KafkaException, RuntimeError)
            with contextlib.suppress(*silent):
                known = self._client.committed(self.group, parts)
                starts = self._client.starts([p for p in parts if known[p][0] < 0])
                self.positions.update({part: starts.get(part, known[part][0]) for part in parts})
        except BaseException as error:  # Ctrl+C: poll() would drop the record it came with
            self._interrupted = error

    def _revoked(self, _: object, places: list[ck.TopicPartition]) -> None:
        parts = [(place.topic, place.partition) for place in places]
        if self._taken is not None:
            self._taken(parts)
        for part in parts:
            self.positions.pop(part, None)
        # whoever has them next is given these again, and so are we
        self._found = [m for m in self._found if (m.topic(), m.partition()) in self.positions]
        self.joined = False
        self._look_at = time.monotonic() + MOCK_ROUND_S


def _do_all(calls: SimpleQueue[Callable[[], None] | None]) -> None:
    """One after the other; None is the last."""
    while (call := calls.get()) is not None:
        call()
        del call  # it holds the consumer


def set_back(
    client: KafkaClient, group: str, topics: Sequence[str], offsets: Mapping[Part, int]
) -> None:
    """Write what a group has committed, while it has no members.

    Raises:
        BrokerRefused: it has some.
    """
    if not client.place.mock:
        client.set_committed(group, offsets)
        return
    # the mock cluster takes commits of members alone: be one for a moment
    client.log(f"consumer.commit({words.places(offsets)})  # group.id={group!r}")
    member = Member(client, group, topics, name=client.name, longest_silence=10.0)
    try:
        member.wait_joined(client.options.timeout, lambda _: None)
        if set(offsets) - set(member.parts) or not member.commit(offsets):
            raise BrokerRefused(f"Kafka refuses the offsets: the group {group!r} has members.")
    finally:
        member.close()
