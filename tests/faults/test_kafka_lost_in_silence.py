"""Nothing on Kafka is lost without a word: after an error, a Ctrl+C, a rebalance, an outage."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import confluent_kafka as ck
import pytest
from helpers import eventually

import labkit
from labkit.broker import Gap, NewEntry, Received
from labkit.brokers.kafka import pubsub
from labkit.brokers.kafka.member import Member
from labkit.errors import BrokerRefused, BrokerUnavailable, LabkitError, NotConnected

ILLEGAL_GENERATION = 22
TOPIC_AUTHORIZATION_FAILED = 29
COMMIT = 8


@pytest.fixture
def lab() -> Iterator[Any]:
    with labkit.connect("kafka+embedded://?partitions=1", timeout=2.0) as lab:
        yield lab


class Refusal:
    """An event of a consumer that is no record: it may not read there any more."""

    def __init__(
        self, topic: str = "elsewhere", code: int = ck.KafkaError.TOPIC_AUTHORIZATION_FAILED
    ) -> None:
        self._topic, self._code = topic, code

    def error(self) -> ck.KafkaError:
        return ck.KafkaError(self._code)

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0


class Troubled:
    """A consumer that gives some records, then trouble once, then the others."""

    def __init__(self, consumer: Any, trouble: object, after: int = 5) -> None:
        self._consumer, self._trouble, self._after = consumer, trouble, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def poll(self, timeout: float) -> Any:
        if self._after == 0 and (trouble := self._trouble):
            self._trouble = None
            if isinstance(trouble, BaseException):
                raise trouble
            return trouble
        message = self._consumer.poll(2.0 if self._trouble else timeout)
        if message is not None and message.error() is None:
            self._after -= 1
        return message


TROUBLES = pytest.mark.parametrize(
    "trouble", [Refusal(), KeyboardInterrupt()], ids=lambda t: type(t).__name__
)


@TROUBLES
def test_what_a_member_had_collected_when_trouble_came_is_given_later(
    lab: Any, trouble: object
) -> None:
    stream = lab.open_stream("s")
    stream.append([NewEntry(str(n).encode()) for n in range(20)])
    member = stream.open_group("g", {}).join("ada")
    member._member._consumer = Troubled(member._member._consumer, trouble)
    given: list[bytes] = []

    def all_came() -> bool:
        given.extend(entry.body for entry in member.poll(3, 0.1).entries)
        return len(given) >= 20

    with pytest.raises((BrokerRefused, KeyboardInterrupt)):
        eventually(all_came)
    eventually(all_came)
    assert given == [str(n).encode() for n in range(20)]


@TROUBLES
def test_replies_collected_when_trouble_came_are_given_later(lab: Any, trouble: object) -> None:
    inbox = lab.open_inbox(60)
    inbox._consumer = Troubled(inbox._consumer, trouble)
    for n in range(20):
        lab.send_reply(inbox.address, str(n).encode())
    with pytest.raises((BrokerRefused, KeyboardInterrupt)):
        inbox.poll(100, 2.0)
    given: list[bytes] = []
    eventually(lambda: given.extend(inbox.poll(3, 0.1)) or len(given) >= 20)
    assert given == [str(n).encode() for n in range(20)]


def test_a_subscription_keeps_what_came_with_an_error(lab: Any) -> None:
    subscription = lab.open_subscription()
    subscription.add("news")
    consumer = subscription._consumer

    class InOneBatch:
        """All 20 messages at once, with an error among them."""

        def __getattr__(self, name: str) -> Any:
            return getattr(consumer, name)

        def consume(self, _: int, __: float) -> list[Any]:
            messages: list[Any] = []
            while sum(message.error() is None for message in messages) < 19:
                messages += consumer.consume(1, 0.1)
            return [*messages[:5], Refusal(), *messages[5:]]

    lab.publish_many([("news", str(n).encode()) for n in range(20)])
    first = eventually(lambda: subscription.poll(0.0))  # the end of the empty partition is past
    subscription._ready.appendleft(first)
    given: list[bytes] = [thing.body for thing in subscription.poll_many(0.0, 100)]
    lab.publish_many([("news", str(n).encode()) for n in range(20, 40)])
    subscription._consumer = InOneBatch()

    def more() -> bool:
        given.extend(x.body for x in subscription.poll_many(0.1) if isinstance(x, Received))
        return len(given) >= 40

    with pytest.raises(BrokerRefused):
        eventually(more)
    subscription._consumer = consumer
    eventually(more)
    assert given == [str(n).encode() for n in range(40)]


def test_a_gap_that_could_not_be_looked_into_is_told_later(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.publish("news", b"0")
    subscription = lab.open_subscription()
    subscription.add("news")
    [(topic, _)] = subscription._positions
    gone = Refusal(topic, ck.KafkaError._AUTO_OFFSET_RESET)
    subscription._consumer = Troubled(subscription._consumer, gone, after=0)

    def away(_: object) -> Any:
        raise BrokerUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(lab._client, "starts", away)
        assert subscription.poll(0.1) is None
        assert not subscription.connected
    assert isinstance(eventually(lambda: subscription.poll(0.1)), Gap)
    lab.publish("news", b"1")
    assert isinstance(eventually(lambda: subscription.poll(0.1)), Received)


# --- services -----------------------------------------------------------------------------------


@pytest.fixture
def service(lab: Any) -> Any:
    """One that has been sent ten requests, has read them all, and has given one."""
    service, inbox = lab.open_service("s", "ada", 5.0), lab.open_inbox(60)
    inbox.send("s", [str(n).encode() for n in range(10)], 60.0)
    assert eventually(lambda: service.poll(1, 0.2)) == [b"0"]
    eventually(lambda: service._feed._ready or service._feed.take(service, 0, 0.1))
    return service


def test_requests_whose_commit_is_refused_are_given_once(lab: Any, service: Any) -> None:
    lab.faults.fail_next(COMMIT, [ILLEGAL_GENERATION])
    given: list[bytes] = []
    eventually(lambda: given.extend(service.poll(4, 0.2)) or len(given) >= 9)
    given += service.poll(4, 0.0)
    assert sorted(given) == [str(n).encode() for n in range(1, 10)]


def test_requests_whose_commit_fails_are_not_lost(lab: Any, service: Any) -> None:
    lab.faults.fail_next(COMMIT, [TOPIC_AUTHORIZATION_FAILED])
    with pytest.raises(BrokerRefused):
        service.poll(4, 2.0)
    given: list[bytes] = []
    eventually(lambda: given.extend(service.poll(4, 0.2)) or len(given) >= 9)
    assert given == [str(n).encode() for n in range(1, 10)]


def test_a_responder_that_always_has_requests_lets_another_one_in() -> None:
    url = "kafka+embedded://busy?partitions=2"
    with labkit.connect(url) as lab, labkit.connect(url) as other_lab:
        busy: Any = lab.open_service("s", "busy", 5.0)
        lab.open_inbox(60).send("s", [b"request"] * 1_200, 60.0)
        eventually(lambda: busy.poll(1, 0.2) and len(busy._feed._ready) > 500)
        others: list[Any] = []
        come = threading.Thread(
            target=lambda: others.append(other_lab.open_service("s", "other", 5.0))
        )
        come.start()

        def they_share() -> bool:
            busy.poll(1, 0.1)
            for other in others:
                other.poll(1, 0.02)
            return [len(each._feed._member.parts) for each in (busy, *others)] == [1, 1]

        try:
            eventually(they_share, 5)  # sooner than it has given what it had read
        finally:
            come.join()


def test_a_responder_interrupted_while_it_comes_leaves_the_group(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    members: list[Member] = []

    def interrupted(member: Member, *_: Any) -> bool:
        members.append(member)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Member, "wait_joined", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lab.open_service("s", "ada", 5.0)
    with pytest.raises(NotConnected, match="left its group"):
        members[0].pump(0.0)
    service, inbox = lab.open_service("s", "ada", 5.0), lab.open_inbox(60)
    inbox.send("s", [b"hello"], 60.0)
    assert eventually(lambda: service.poll(1, 0.2)) == [b"hello"]


# --- rebalances and outages ---------------------------------------------------------------------


def test_a_member_interrupted_while_it_is_given_partitions_reads_them(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = lab.open_stream("s")
    stream.append([NewEntry(str(n).encode()) for n in range(20)])
    member = stream.open_group("g", {}).join("ada")

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lab._client, "committed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            eventually(lambda: member.poll(100, 0.1).entries)
    assert member.parts
    given: list[bytes] = []
    eventually(
        lambda: given.extend(e.body for e in member.poll(100, 0.1).entries) or len(given) >= 20
    )
    assert given == [str(n).encode() for n in range(20)]


def test_a_subscription_by_pattern_outlives_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "LOOK_S", 0.0)  # it looks for topics at each poll
    with labkit.connect("kafka+embedded://", timeout=0.5) as lab:
        lab.publish("news.a", b"before")
        subscription = lab.open_subscription()
        subscription.add("news.*", pattern=True)
        lab.faults.broker_down()
        assert subscription.poll(0.1) is None
        assert not subscription.connected
        lab.faults.broker_up()

        def published() -> bool:
            try:
                lab.publish("news.a", b"after")
            except LabkitError:
                return False
            return True

        eventually(published)
        thing = eventually(lambda: subscription.poll(0.1))
        assert (thing.channel, thing.body, thing.pattern) == ("news.a", b"after", "news.*")
        assert subscription.connected


# --- closing ------------------------------------------------------------------------------------


def test_nobody_joins_a_lab_that_is_being_closed() -> None:
    lab: Any = labkit.connect("kafka+embedded://")
    group = lab.open_stream("s").open_group("g", {})
    errors: list[BaseException] = []

    def join_late() -> None:
        for late in (lambda: group.join("late"), lab.open_subscription):
            try:
                late()
            except NotConnected as error:
                errors.append(error)

    lab._client.on_close(errors, join_late)
    lab.close()
    assert len(errors) == 2


def test_what_came_too_late_to_be_closed_with_the_lab_is_closed_at_once() -> None:
    lab: Any = labkit.connect("kafka+embedded://")
    done: list[str] = []

    def come_late() -> None:
        with pytest.raises(NotConnected):
            lab._client.on_close(lab, lambda: done.append("closed"))
        done.append("refused")

    lab._client.on_close(done, come_late)
    lab.close()
    assert done == ["closed", "refused"]


def test_a_lab_closed_by_two_threads_lets_go_of_its_cluster_once() -> None:
    url = "kafka+embedded://closed-twice"
    with labkit.connect(url) as other_lab:
        lab: Any = labkit.connect(url)
        closing, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            closing.set()
            go_on.wait(10)

        lab._client.on_close(closing, wait)
        threads = [threading.Thread(target=lab.close)]
        threads[0].start()
        assert closing.wait(10)
        threads.append(threading.Thread(target=lab.close))
        threads[1].start()
        threads[1].join(0.5)
        go_on.set()
        for thread in threads:
            thread.join()
        other_lab.publish("news", b"still there")


def test_one_that_cannot_be_closed_keeps_nobody_else_open() -> None:
    lab: Any = labkit.connect("kafka+embedded://")
    failing = object()

    def fail() -> None:
        raise RuntimeError("not today")

    lab._client.on_close(failing, fail)
    subscription = lab.open_subscription()
    with pytest.raises(RuntimeError, match="not today"):
        lab.close()
    with pytest.raises(NotConnected, match="subscription is closed"):
        subscription.poll(0.0)
    lab.close()
