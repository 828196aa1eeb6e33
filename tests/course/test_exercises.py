"""Every check takes the solution, knows the untouched stub, and tells wrong answers apart."""

from __future__ import annotations

from typing import Any

import pytest

from labkit import Message, Publisher, Subscriber, channels, families
from labkit.errors import DecodeError
from labkit.exercises import lab00, lab01, lab02
from labkit.exercises.grading import assert_grades


def stub(*_: Any) -> Any:
    return ...


class TestLab00:
    def test_announce(self) -> None:
        def solution(lab, channel, text):
            with Publisher(lab, sender="desk") as desk:
                return desk.publish(channel, text)

        def forgets_to_return(lab, channel, text):
            solution(lab, channel, text)

        def another_sender(lab, channel, text):
            return Publisher(lab, sender="tower").connect().publish(channel, text)

        def fixed_channel(lab, _, text):
            return Publisher(lab, sender="desk").connect().publish("channel", text)

        def fixed_text(lab, channel, _):
            return Publisher(lab, sender="desk").connect().publish(channel, "text")

        def twice(lab, channel, text):
            solution(lab, channel, text)
            return solution(lab, channel, text)

        def not_connected(lab, channel, text):
            return Publisher(lab, sender="desk").publish(channel, text)

        def only_makes_it(lab, *_):
            return Publisher(lab, sender="desk")

        assert_grades(
            lab00.check_announce,
            solution=solution,
            stub=stub,
            wrong=[
                (forgets_to_return, "returned None"),
                (another_sender, "'tower'"),
                (fixed_channel, "'channel'"),
                (fixed_text, "'text'"),
                (twice, "2 messages"),
                (not_connected, "NotConnected"),
                (only_makes_it, "No message of a Publisher"),
                ("desk", "function"),
            ],
        )

    def test_hear_the_alert(self) -> None:
        def solution(lab, text):
            with Subscriber(lab, name="desk") as desk, Publisher(lab, sender="tower") as tower:
                desk.subscribe("alerts")
                tower.publish("alerts", text)
                return [incoming.content for incoming in desk.drain()]

        def too_late(lab, text):
            with Subscriber(lab, name="desk") as desk, Publisher(lab, sender="tower") as tower:
                tower.publish("alerts", text)
                desk.subscribe("alerts")
                return [incoming.content for incoming in desk.drain()]

        def never_drains(lab, text):
            with Subscriber(lab, name="desk") as desk, Publisher(lab, sender="tower") as tower:
                desk.subscribe("alerts")
                tower.publish("alerts", text)
                return [text]

        def whole_messages(lab, text):
            with Subscriber(lab, name="desk") as desk, Publisher(lab, sender="tower") as tower:
                desk.subscribe("alerts")
                tower.publish("alerts", text)
                return desk.drain()

        def drains_twice(lab, text):
            with Subscriber(lab, name="desk") as desk, Publisher(lab, sender="tower") as tower:
                desk.subscribe("alerts")
                tower.publish("alerts", text)
                desk.drain()
                return [incoming.content for incoming in desk.drain()]

        def another_channel(lab, text):
            with Subscriber(lab, name="desk") as desk, Publisher(lab, sender="tower") as tower:
                desk.subscribe("alert")
                tower.publish("alerts", text)
                return [incoming.content for incoming in desk.drain()]

        def only_listens(lab, text):
            with Subscriber(lab, name="desk") as desk:
                desk.subscribe("alerts")
                return [text]

        def only_talks(lab, text):
            with Publisher(lab, sender="tower") as tower:
                tower.publish("alerts", text)
                return [text]

        assert_grades(
            lab00.check_hear_the_alert,
            solution=solution,
            stub=stub,
            wrong=[
                (too_late, "before the desk had subscribed"),
                (never_drains, "never took it"),
                (whole_messages, "the function returned"),
                (drains_twice, "an empty list"),
                (another_channel, "'alert'"),
                (only_listens, "Nothing was published"),
                (only_talks, "Nobody subscribed"),
            ],
        )


class TestLab01:
    def test_write_alert(self) -> None:
        def alert(
            level="warning", text="Braking action poor", service="runway-4L", sender="ground"
        ):
            return lambda: families.system_alert(level, text, service=service, sender=sender)

        def by_hand():
            return Message.new("system.alert", {"level": "warning"}, sender="ground")

        assert_grades(
            lab01.check_write_alert,
            solution=alert(),
            stub=stub,
            wrong=[
                (lambda: {"level": "warning"}, "a dict, not a Message"),
                (alert(level="critical"), "'critical'"),
                (alert(service="runway"), "'runway'"),
                (alert(sender="tower"), "'tower'"),
                (alert(text="poor"), "'poor'"),
                (by_hand, "content.message"),
                (lambda: Message.new("warning", "x", sender="ground"), "'warning'"),
                (lambda: families.system_alert("terrible", "x", service="s", sender="s"), "level"),
            ],
        )

    def test_channel_for(self) -> None:
        def solution(message):
            family = families.family_of(message)
            if family is families.Family.ALERT:
                return channels.by_level("alerts", message.content["level"])
            if family is families.Family.LOG:
                return channels.by_level("logs", message.content["level"])
            return message.type

        def always_critical(message):
            return "alerts.critical" if message.type == "system.alert" else message.type

        def forgets_logs(message):
            if message.type == "system.alert":
                return f"alerts.{message.content['level']}"
            return message.type

        def wrong_prefix(message):
            prefix = {"system.alert": "alerts.", "application.log": "log."}.get(message.type)
            return prefix + message.content["level"] if prefix else message.type

        def level_everywhere(message):
            kind = "logs" if message.type == "application.log" else "alerts"
            return f"{kind}.{message.content['level']}"

        assert_grades(
            lab01.check_channel_for,
            solution=solution,
            stub=stub,
            wrong=[
                (lambda message: message.type, "'system.alert'"),
                (always_critical, "level info"),
                (forgets_logs, "'application.log'"),
                (wrong_prefix, "'log.error'"),
                (level_everywhere, "flight.departed"),
                (lambda message: f"alert.{message.content['level']}", "'alerts.critical'"),
            ],
        )

    def test_read_delay(self) -> None:
        def solution(body):
            try:
                content = Message.decode(body).content
            except DecodeError:
                return None
            if not isinstance(content, dict):
                return 0
            return content.get("delay_minutes", content.get("delay", 0))

        def content(body):
            return Message.decode(body).content

        def only_new(body):
            return content(body)["delay_minutes"]

        def no_default(body):
            found = content(body)
            return found["delay_minutes"] if "delay_minutes" in found else found["delay"]

        def truth(body):
            found = content(body)
            return found.get("delay_minutes") or found.get("delay", 0)

        def trusting(body):
            found = content(body)
            return found.get("delay_minutes", found.get("delay", 0))

        def no_dict(body):
            try:
                return trusting(body)
            except DecodeError:
                return None

        assert_grades(
            lab01.check_read_delay,
            solution=solution,
            stub=stub,
            wrong=[
                (content, "143"),
                (only_new, "225"),
                (no_default, "without any delay"),
                (truth, "0 is a value"),
                (trusting, "hello?"),
                (no_dict, "content is a text"),
            ],
        )


class TestLab02:
    def test_subscribe_board(self) -> None:
        def solution(board):
            board.psubscribe("flights.*")
            board.subscribe("alerts.critical")

        def by_names(board):
            board.subscribe("flights.JFK", "flights.LGA", "flights.EWR", "alerts.critical")

        def pattern_as_name(board):
            board.subscribe("flights.*")

        def no_alerts(board):
            board.psubscribe("flights.*")

        def too_wide(board):
            board.psubscribe("flights.*", "alerts.*")

        def twice(board):
            solution(board)
            board.psubscribe("*.critical")

        assert_grades(
            lab02.check_subscribe_board,
            solution=solution,
            stub=stub,
            wrong=[
                (pattern_as_name, "nothing at all"),
                (by_names, "opened today"),
                (no_alerts, "did not get alerts.critical"),
                (too_wide, "also got"),
                (twice, "more than once"),
            ],
        )

    def test_count_cancelled(self) -> None:
        def counting(key, **route):
            def count_cancelled(board):
                counts: dict[str, int] = {}

                def count(_, message):
                    found = key(message)
                    counts[found] = counts.get(found, 0) + 1

                board.route(handler=count, **route)
                return counts

            return count_cancelled

        def origin(message):
            return message.content["origin"]

        def not_registered(_):
            return {}

        def no_start(board):
            counts: dict[str, int] = {}

            def count(_, message):
                counts[message.content["origin"]] += 1

            board.route(type="flight.cancelled", handler=count)
            return counts

        def one_argument(board):
            counts: dict[str, int] = {}
            board.route(type="flight.cancelled", handler=lambda message: counts.update(message))
            return counts

        def returns_nothing(board):
            board.route(type="flight.cancelled", handler=lambda *_: None)

        cancelled = {"type": "flight.cancelled"}
        assert_grades(
            lab02.check_count_cancelled,
            solution=counting(origin, **cancelled),
            stub=stub,
            wrong=[
                (not_registered, "Nothing was counted"),
                (no_start, "KeyError"),
                (returns_nothing, "NoneType"),
                (one_argument, "could not be called"),
                (counting(lambda m: m.content["carrier"], **cancelled), "not by airport"),
                (counting(origin, channel="flights.*"), "180 flights"),
            ],
        )

    def test_never_handled(self) -> None:
        names = ("missed_before", "lost", "dropped", "unreadable")

        def summing(*counted):
            return lambda stats: sum(getattr(stats, name) for name in counted)

        assert_grades(
            lab02.check_never_handled,
            solution=summing(*names),
            also_right=[
                lambda s: s.messages - s.handled - s.filtered + s.missed_before + s.lost,
            ],
            stub=stub,
            wrong=[
                (summing(*names, "gaps"), "gaps"),
                (summing(*names, "callback_errors"), "handler failed"),
                (summing(*names, "filtered"), "its own filter"),
                (summing(*names, "duplicates"), "duplicates"),
                (summing(*names[1:]), "before it subscribed"),
                (summing("missed_before", "dropped", "unreadable"), "lost on the way"),
                (summing("missed_before", "lost", "unreadable"), "buffer dropped"),
                (summing("missed_before", "lost", "dropped"), "could not read"),
                (lambda stats: stats.handled, "handled all of 10"),
                (lambda stats: max(getattr(stats, name) for name in names), "all of them"),
            ],
        )


@pytest.mark.parametrize("answer", [None, ...])
def test_nothing_written_is_not_an_answer(answer: object) -> None:
    assert not lab00.check_announce(answer).attempted
