"""What publish/subscribe promises on every broker. A broker's test class inherits these tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from helpers import eventually

from labkit import Message, Publisher, StepClock, Subscriber, Trace
from labkit.broker import PubSubBroker, Receipt, Received
from labkit.errors import (
    BatchError,
    BufferFull,
    ConfigurationError,
    MessageTooLarge,
    NotConnected,
    NotSupported,
    ValidationError,
)


def supports(lab: PubSubBroker, name: str) -> bool:
    """Where a broker cannot keep a promise, its capabilities say so."""
    return lab.capabilities[name].support != "absent"


def as_sent(lab: PubSubBroker, numbers: list[int]) -> list[int]:
    """Numbers of several channels in their order, where the broker does not keep it."""
    return numbers if supports(lab, "order across channels") else sorted(numbers)


def unheard_known(lab: PubSubBroker) -> bool:
    """Whether the broker says when nobody was there: it counts, or gives messages back."""
    return supports(lab, "subscriber count") or any(
        row.name == "unheard messages known" for row in lab.capabilities
    )


def counts_to(lab: PubSubBroker, receipt: Receipt, subscriptions: int) -> bool:
    """Whether the broker says so many, or that it does not know."""
    known = supports(lab, "subscriber count") or (subscriptions == 0 and unheard_known(lab))
    return receipt.subscriptions == (subscriptions if known else None)


class PubSubContract:
    """Inherit, and give a fixture `lab`: an open broker with an empty namespace of its own."""

    commands = ("SUBSCRIBE", "PUBLISH")
    """How the broker's client subscribes and publishes."""

    @pytest.fixture
    def tower(self, lab: PubSubBroker) -> Iterator[Publisher]:
        with Publisher(lab, sender="tower") as publisher:
            yield publisher

    @pytest.fixture
    def board(self, lab: PubSubBroker) -> Iterator[Subscriber]:
        with Subscriber(lab, name="board") as subscriber:
            yield subscriber

    # --- the broker itself --------------------------------------------------------------------

    def test_says_what_and_where_it_is(self, lab: PubSubBroker) -> None:
        assert lab.name
        assert lab.name in repr(lab)
        assert "***" in lab.url or "@" not in lab.url

    def test_every_capability_has_a_reason(self, lab: PubSubBroker) -> None:
        assert len(lab.capabilities) > 0
        for capability in lab.capabilities:
            assert capability.why.endswith(".")
            assert capability.name in lab.capabilities._repr_html_()

    def test_an_absent_capability_is_refused_with_its_reason(self, lab: PubSubBroker) -> None:
        absent = next(row for row in lab.capabilities if row.support == "absent")
        with pytest.raises(NotSupported, match=absent.why.split(";")[0][:20]):
            lab.capabilities.require(absent.name)

    def test_shows_the_native_commands(
        self, lab: PubSubBroker, tower: Publisher, board: Subscriber
    ) -> None:
        board.subscribe("news")
        tower.publish("news", "hello")
        shown = repr(lab.commands())
        subscribe, publish = self.commands
        assert shown.index(subscribe) < shown.index(publish)

    def test_raw_bodies_arrive_as_they_were_sent(self, lab: PubSubBroker) -> None:
        subscription = lab.open_subscription()
        subscription.add("raw")
        every_byte = bytes(range(256))
        lab.publish("raw", every_byte)
        assert subscription.poll(5) == Received("raw", every_byte)
        subscription.close()

    # --- who gets what ------------------------------------------------------------------------

    def test_fans_out_to_all_who_are_subscribed(self, lab: PubSubBroker, tower: Publisher) -> None:
        boards = [Subscriber(lab, name=f"board-{n}").connect() for n in range(3)]
        for board in boards:
            board.subscribe("flights.JFK")
        receipt = tower.publish("flights.JFK", {"flight": "B6 739"}, type="flight.departed")
        assert counts_to(lab, receipt, 3)
        for board in boards:
            [incoming] = board.drain()
            assert incoming.channel == "flights.JFK"
            assert incoming.message.type == "flight.departed"
            assert incoming.content == {"flight": "B6 739"}
            assert incoming.message.sender == "tower"
            board.disconnect()

    def test_a_late_subscriber_gets_nothing_of_before(
        self, lab: PubSubBroker, tower: Publisher, board: Subscriber
    ) -> None:
        assert counts_to(lab, tower.publish("news", "early"), 0)
        board.subscribe("news")
        tower.publish("news", "late")
        assert [i.content for i in board.drain()] == ["late"]
        assert board.stats().missed_before == 1
        assert tower.stats().unheard == unheard_known(lab)

    def test_subscribing_is_confirmed_before_it_returns(self, lab: PubSubBroker) -> None:
        with Publisher(lab, sender="tower") as tower:
            for round_number in range(50):
                with Subscriber(lab, name="board") as board:
                    board.subscribe("now")
                    tower.publish("now", round_number)
                    assert [i.content for i in board.drain()] == [round_number]

    def test_several_channels_in_order(
        self, lab: PubSubBroker, tower: Publisher, board: Subscriber
    ) -> None:
        board.subscribe("news", "alerts")
        tower.publish_multiple([("news", 1), ("alerts", 2), ("other", 3), ("news", 4)])
        received = [(i.channel, i.content) for i in board.drain()]
        if not supports(lab, "order across channels"):
            received.sort(key=lambda item: item[1])
            assert [i.content for i in board.history() if i.channel == "news"] == [1, 4]
        assert received == [("news", 1), ("alerts", 2), ("news", 4)]

    def test_patterns_cross_dots(
        self, lab: PubSubBroker, tower: Publisher, board: Subscriber
    ) -> None:
        board.psubscribe("flights.*")
        tower.publish("flights.JFK", 1)
        tower.publish("flights.JFK.delayed", 2)
        tower.publish("alerts.JFK", 3)
        received = board.drain()
        assert as_sent(lab, [i.content for i in received]) == [1, 2]
        assert {i.pattern for i in received} == {"flights.*"}

    def test_channel_and_pattern_both_deliver(
        self, lab: PubSubBroker, tower: Publisher, board: Subscriber
    ) -> None:
        board.subscribe("flights.JFK")
        board.psubscribe("flights.*")
        assert counts_to(lab, tower.publish("flights.JFK", 1), 2)
        assert [i.content for i in board.drain()] == [1, 1]
        assert board.stats().duplicates == 1

    def test_unsubscribing_ends_it_without_a_loss(
        self, tower: Publisher, board: Subscriber
    ) -> None:
        board.subscribe("news", "alerts")
        board.psubscribe("flights.*")
        tower.publish_multiple([("news", 1), ("flights.JFK", 1)])
        board.drain()
        board.unsubscribe("news")
        board.punsubscribe("flights.*")
        tower.publish_multiple([("news", 2), ("flights.JFK", 2), ("alerts", 3)])
        board.subscribe("news")
        board.psubscribe("flights.*")
        tower.publish_multiple([("news", 4), ("flights.JFK", 4)])
        assert sorted(i.content for i in board.drain()) == [3, 4, 4]
        assert board.stats().lost == 0

    def test_names_that_look_like_patterns_are_names(
        self, tower: Publisher, board: Subscriber
    ) -> None:
        board.subscribe("order.*")
        tower.publish("order.eu", 1)
        tower.publish("order.*", 2)
        assert [i.content for i in board.drain()] == [2]

    @pytest.mark.parametrize("wrong", [("",), (["news"],), (None,), ()])
    def test_a_wrong_name_says_what_is_right(self, board: Subscriber, wrong: tuple) -> None:
        with pytest.raises(ConfigurationError, match="channel"):
            board.subscribe(*wrong)

    # --- drain, step by step ------------------------------------------------------------------

    def test_drain_takes_all_that_was_published_before(
        self, tower: Publisher, board: Subscriber
    ) -> None:
        board.subscribe("count")
        for start in range(0, 3000, 1000):
            tower.publish_multiple([("count", n) for n in range(start, start + 1000)])
            assert [i.content for i in board.drain()] == list(range(start, start + 1000))

    def test_drain_hands_out_at_most_so_many(self, tower: Publisher, board: Subscriber) -> None:
        board.subscribe("count")
        tower.publish_multiple([("count", n) for n in range(5)])
        assert [i.content for i in board.drain(max_messages=2)] == [0, 1]
        assert [i.content for i in board.drain(max_messages=2)] == [2, 3]
        assert [i.content for i in board.drain(max_messages=2)] == [4]

    def test_drain_hands_out_more_than_its_buffer_holds(
        self, lab: PubSubBroker, tower: Publisher
    ) -> None:
        with Subscriber(lab, name="narrow", buffer=3) as narrow:
            narrow.subscribe("count")
            tower.publish_multiple([("count", n) for n in range(8)])
            assert [i.content for i in narrow.drain(max_messages=7)] == list(range(7))
            assert [i.content for i in narrow.drain(max_messages=7, timeout=0.01)] == [7]

    def test_drain_on_silence_returns_empty(self, board: Subscriber) -> None:
        assert board.drain() == []
        board.subscribe("quiet")
        assert board.drain(timeout=0.01) == []

    def test_drain_waits_for_more(self, lab: PubSubBroker, board: Subscriber) -> None:
        board.subscribe("slow")
        ready = threading.Event()

        def publish_later() -> None:
            with Publisher(lab, sender="tower") as tower:
                for n in range(3):
                    ready.wait(0.05)
                    tower.publish("slow", n)

        thread = threading.Thread(target=publish_later)
        thread.start()
        assert [i.content for i in board.drain(max_messages=3, timeout=10)] == [0, 1, 2]
        thread.join()

    # --- handlers -----------------------------------------------------------------------------

    def test_filters_routes_and_the_callback(self, tower: Publisher, board: Subscriber) -> None:
        alerts, cancelled, rest = [], [], []
        board.route("alerts.*", lambda channel, message: alerts.append((channel, message.content)))
        board.route(type="*.cancelled", handler=lambda _, message: cancelled.append(message.type))
        board.set_message_callback(lambda _, message: rest.append(message.content))
        board.filter(lambda message: message.content != "noise")
        board.psubscribe("*")
        tower.publish("alerts.critical", "fire")
        tower.publish("flights", "B6 1", type="flight.cancelled")
        tower.publish("flights", "B6 2", type="flight.departed")
        tower.publish("alerts.info", "noise")
        assert len(board.drain()) == 3
        assert (alerts, cancelled, rest) == (
            [("alerts.critical", "fire")],
            ["flight.cancelled"],
            ["B6 2"],
        )
        assert board.stats().filtered == 1

    def test_an_exception_in_a_handler_ends_nothing(
        self, tower: Publisher, board: Subscriber
    ) -> None:
        seen = []

        def handler(_: str, message: Message) -> None:
            seen.append(message.content)
            if message.content == "boom":
                raise KeyError("delay")

        board.set_message_callback(handler)
        board.subscribe("news")
        tower.publish_multiple([("news", "a"), ("news", "boom"), ("news", "b")])
        board.drain()
        assert seen == ["a", "boom", "b"]
        stats = board.stats()
        assert stats.callback_errors == 1
        assert stats.errors[0].error == "KeyError: 'delay'"
        assert stats.errors[0].where.startswith("handler, line")

    def test_what_is_no_message_is_kept_for_inspection(
        self, lab: PubSubBroker, tower: Publisher, board: Subscriber
    ) -> None:
        board.subscribe("news")
        lab.publish("news", b"\xff not json")
        tower.publish("news", "fine")
        assert [i.content for i in board.drain()] == ["fine"]
        [record] = board.stats().decode_errors
        assert record.channel == "news"
        assert record.preview == b"\xff not json"
        assert "JSON" in record.reason

    def test_injected_messages_take_the_same_way(self, board: Subscriber) -> None:
        routed = []
        board.route("alerts.*", lambda _, message: routed.append(message.content))
        board.inject("alerts.info", {"level": "info"})
        assert board.inject("news", b"rubbish") == []
        assert routed == [{"level": "info"}]
        assert board.stats().unreadable == 1

    # --- bounded buffers ----------------------------------------------------------------------

    def test_drop_oldest_drops_and_counts(self, lab: PubSubBroker, tower: Publisher) -> None:
        with Subscriber(lab, name="slow", buffer=3, overflow="drop_oldest") as slow:
            slow.subscribe("count")
            tower.publish_multiple([("count", n) for n in range(10)])
            assert [i.content for i in slow.drain()] == [7, 8, 9]
            assert slow.stats().dropped == 7
            assert slow.stats().lost == 0

    def test_block_leaves_it_with_the_broker(self, lab: PubSubBroker, tower: Publisher) -> None:
        with Subscriber(lab, name="slow", buffer=3, overflow="block") as slow:
            slow.subscribe("count")
            tower.publish_multiple([("count", n) for n in range(10)])
            assert [i.content for i in slow.drain()] == list(range(10))
            assert slow.stats().dropped == 0

    def test_error_says_so_and_counts(self, lab: PubSubBroker, tower: Publisher) -> None:
        with Subscriber(lab, name="slow", buffer=3, overflow="error") as slow:
            slow.subscribe("count")
            tower.publish_multiple([("count", n) for n in range(4)])
            with pytest.raises(BufferFull, match="larger buffer"):
                slow.drain()
            assert slow.stats().dropped == 1
            assert [i.content for i in slow.drain()] == [0, 1, 2]

    def test_an_overflow_in_the_background_comes_out_of_stop(
        self, lab: PubSubBroker, tower: Publisher
    ) -> None:
        go_on = threading.Event()
        with Subscriber(lab, name="slow", buffer=2, overflow="error") as slow:
            slow.set_message_callback(lambda *_: go_on.wait(0.02))
            slow.subscribe("count")
            slow.listen()

            def too_much_has_come() -> bool:
                tower.publish_multiple([("count", n) for n in range(20)])
                return not slow.listening

            eventually(too_much_has_come)
            with pytest.raises(BufferFull, match="2 messages are waiting"):
                slow.stop()

    @pytest.mark.parametrize("options", [{"buffer": 0}, {"overflow": "forget"}])
    def test_a_wrong_option_says_what_is_right(self, lab: PubSubBroker, options: dict) -> None:
        with pytest.raises(ConfigurationError, match=r"1 message|drop_oldest"):
            Subscriber(lab, **options)

    # --- the publisher ------------------------------------------------------------------------

    def test_a_ready_message_keeps_what_it_says(self, tower: Publisher, board: Subscriber) -> None:
        stamp = "2013-03-08T05:00:00.000Z"
        message = Message(
            "flight.departed", {"flight": "B6 1"}, stamp, "gate", {"priority": "high"}
        )
        board.subscribe("flights")
        tower.publish("flights", message)
        [incoming] = board.drain()
        received = incoming.message
        assert (received.timestamp, received.sender) == (stamp, "gate")
        assert received.metadata["priority"] == "high"
        assert received.metadata["seq"] == 1

    def test_a_bad_message_is_refused_and_takes_no_number(
        self, lab: PubSubBroker, board: Subscriber
    ) -> None:
        board.subscribe("news")
        with Publisher(lab, sender="tower", max_bytes=1000) as tower:
            with pytest.raises(ValidationError, match="content"):
                tower.publish("news", {"when": object()})
            with pytest.raises(MessageTooLarge, match="1,000 bytes"):
                tower.publish("news", "x" * 1000)
            tower.publish("news", "fine")
        assert [i.message.metadata["seq"] for i in board.drain()] == [1]

    def test_a_batch_with_a_bad_message_sends_none(
        self, tower: Publisher, board: Subscriber
    ) -> None:
        board.subscribe("news")
        with pytest.raises(BatchError, match="Item 1 cannot be sent, so none was") as caught:
            tower.publish_multiple([("news", 1), ("news", {1: "int key"}), ("news", 3)])
        assert caught.value.unsent == (0, 1, 2)
        with pytest.raises(BatchError, match="Item 0"):
            tower.publish_multiple(["news"])
        tower.publish("news", "fine")
        assert [i.content for i in board.drain()] == ["fine"]
        assert board.stats().missed_before == 0

    def test_periodic_publishing(self, tower: Publisher, board: Subscriber) -> None:
        board.subscribe("tick")
        run = tower.publish_periodic("tick", lambda n: {"n": n}, every=0.001, count=5)
        assert (run.sent, run.failed, run.stopped) == (5, 0, False)
        assert [i.content["n"] for i in board.drain()] == [0, 1, 2, 3, 4]

    def test_periodic_publishing_can_be_stopped(self, tower: Publisher, board: Subscriber) -> None:
        board.subscribe("tick")

        def make(n: int) -> int:
            if n == 2:
                tower.stop()
            return n

        assert tower.publish_periodic("tick", make, every=0.001).stopped
        assert [i.content for i in board.drain()] == [0, 1, 2]

    def test_statistics_add_up(
        self, lab: PubSubBroker, tower: Publisher, board: Subscriber
    ) -> None:
        board.subscribe("a", "b")
        tower.publish_multiple([("a", 1), ("b", 2), ("a", 3), ("c", 4)])
        board.drain()
        sent, seen = tower.stats(), board.stats()
        counted = (3 if supports(lab, "subscriber count") else 0, int(unheard_known(lab)))
        assert (sent.messages, sent.subscriptions, sent.unheard) == (4, *counted)
        assert (seen.messages, seen.handled, seen.lost) == (3, 3, 0)
        assert seen.channels["a"]["handled"] == 2
        assert seen.bytes == sum(sent.channels[c]["bytes"] for c in "ab")
        assert seen.latency is not None
        assert seen.latency.samples == 3

    def test_nothing_works_before_connect(self, lab: PubSubBroker) -> None:
        with pytest.raises(NotConnected, match="connect"):
            Publisher(lab).publish("news", 1)
        with pytest.raises(NotConnected, match="connect"):
            Subscriber(lab).subscribe("news")

    # --- in the background --------------------------------------------------------------------

    def test_listens_in_the_background(
        self, lab: PubSubBroker, tower: Publisher, board: Subscriber
    ) -> None:
        seen = []
        board.set_message_callback(lambda _, message: seen.append(message.content))
        board.subscribe("news")
        board.listen()
        board.subscribe("alerts")  # while it listens
        tower.publish_multiple([("news", 1), ("alerts", 2)])
        assert board.wait_for(2)
        board.unsubscribe("news")
        assert counts_to(lab, tower.publish("news", 3), 0)
        with pytest.raises(ConfigurationError, match="stop"):
            board.drain()
        assert board.stop()
        assert not board.listening
        assert as_sent(lab, seen) == [1, 2]
        assert [i.content for i in board.history()] == seen

    def test_a_handler_may_subscribe_publish_and_stop(
        self, tower: Publisher, board: Subscriber
    ) -> None:
        def handler(channel: str, _: Message) -> None:
            if channel == "start":
                board.subscribe("next")
                tower.publish("next", "go")
            else:
                board.stop()

        board.set_message_callback(handler)
        board.subscribe("start")
        board.listen()
        tower.publish("start", None)
        assert board.wait_for(2)
        assert board.stop()

    def test_disconnecting_leaves_no_thread(self, lab: PubSubBroker) -> None:
        before = set(threading.enumerate())
        board = Subscriber(lab, name="board").connect()
        board.subscribe("news")
        board.listen()
        assert set(threading.enumerate()) - before
        board.disconnect()
        board.disconnect()
        assert not set(threading.enumerate()) - before

    # --- numbers and traces -------------------------------------------------------------------

    def test_counts_lost_duplicate_and_late_messages(
        self, lab: PubSubBroker, board: Subscriber
    ) -> None:
        board.subscribe("count")

        def body(number: int) -> bytes:
            facts = {"message_id": f"tower/e/count/{number}", "epoch": "e", "seq": number}
            return Message.new("message", number, sender="tower", metadata=facts).encode()

        for number in (3, 4, 7, 5, 5, 8):
            lab.publish("count", body(number))
        board.drain()
        stats = board.stats()
        assert (stats.missed_before, stats.lost) == (2, 1)
        assert (stats.out_of_order, stats.duplicates) == (1, 1)
        lost = lab.trace.select("lost")
        assert [event.message_id for event in lost] == ["tower/e/count/5", "tower/e/count/6"]

    def test_a_publisher_that_starts_again_is_no_loss(
        self, lab: PubSubBroker, board: Subscriber
    ) -> None:
        board.subscribe("news")
        for _ in range(2):
            with Publisher(lab, sender="tower") as tower:
                tower.publish("news", 1)
                tower.publish("news", 2)
        board.drain()
        stats = board.stats()
        assert (stats.handled, stats.lost, stats.duplicates) == (4, 0, 0)

    def test_the_trace_tells_the_whole_story(
        self, lab: PubSubBroker, tower: Publisher, board: Subscriber
    ) -> None:
        board.subscribe("news")
        tower.publish("news", {"title": "snow"})
        board.drain()
        story = [(event.actor, str(event.action)) for event in lab.trace.select(channel="news")]
        assert story == [
            ("board", "subscribed"),
            ("tower", "sent"),
            ("broker", "accepted"),
            ("board", "delivered"),
        ]
        sent = lab.trace.select("sent")[0]
        delivered = lab.trace.select("delivered")[0]
        assert sent.message_id == delivered.message_id == f"{sent.message_id}"
        assert delivered.label == "snow"


def deterministic_story(lab: PubSubBroker) -> list[tuple]:
    """The same conversation; on a StepClock it must give the same trace to the last digit."""
    with Publisher(lab, sender="tower") as tower, Subscriber(lab, name="board") as board:
        board.subscribe("news")
        tower.publish_multiple([("news", n) for n in range(3)])
        board.drain()
    return [(e.time, e.actor, str(e.action), e.message_id) for e in lab.trace]


def step_options() -> dict:
    """Options of `connect` for a repeatable lab."""
    clock = StepClock()
    return {"clock": clock, "trace": Trace(clock)}
