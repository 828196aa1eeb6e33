"""Four families of messages: what each must have, and who is told what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from labkit import Message, StepClock, families
from labkit.errors import ValidationError
from labkit.families import Family

ITEM = {"product_id": "p-1", "quantity": 2, "price": 9.5}
STAMP = "2024-01-01T12:00:00.000Z"

Make = Callable[..., Message]


def user_event(**changed: Any) -> Message:
    given = {"user_id": 7, "email": "ada@example.org", "sender": "users", "timestamp": STAMP}
    return families.event_notification(**{"type": "user.created", **given, **changed})


def alert(**changed: Any) -> Message:
    given = {"service": "db", "sender": "watch", "timestamp": STAMP}
    return families.system_alert(
        **{"level": "critical", "message": "disk full", **given, **changed}
    )


def log_line(**changed: Any) -> Message:
    given = {"level": "error", "message": "no such page", "sender": "web", "timestamp": STAMP}
    return families.application_log(**{**given, **changed})


def order(**changed: Any) -> Message:
    given = {"order_id": "o-1", "customer_id": 7, "total_amount": 19.0, "items": [ITEM]}
    return families.business_event(
        **{"type": "order.placed", "sender": "shop", "timestamp": STAMP, **given, **changed}
    )


def foreign(type: str, content: Any) -> Message:
    """A message that somebody else built."""
    return Message.new(type, content, sender="elsewhere")


# --- what the constructors build ----------------------------------------------------------------


def test_an_event_notification_says_who_and_from_where() -> None:
    message = user_event(source="web", version="1.0")

    assert message.type == "user.created"
    assert message.content == {"user_id": 7, "email": "ada@example.org"}
    assert message.metadata == {"source": "web", "version": "1.0"}
    assert (message.sender, message.timestamp) == ("users", STAMP)
    assert user_event().metadata == {}


def test_a_system_alert_says_how_bad_it_is() -> None:
    message = alert(error_code="E28", retry_count=3, flight="B6 739")

    assert message.type == "system.alert"
    assert message.content == {
        "level": "critical",
        "message": "disk full",
        "service": "db",
        "details": {"error_code": "E28", "retry_count": 3},
        "flight": "B6 739",
    }
    assert message.metadata == {"priority": "high", "category": "alerts"}


@pytest.mark.parametrize(
    ("level", "priority"), [("critical", "high"), ("warning", "normal"), ("info", "normal")]
)
def test_only_critical_alerts_have_high_priority(level: str, priority: str) -> None:
    assert alert(level=level).metadata["priority"] == priority


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_a_log_line_says_where_it_came_from(level: str) -> None:
    message = log_line(level=level, user_id="u-7", ip_address="127.0.0.1", user_agent="curl")

    assert message.type == "application.log"
    assert message.content == {
        "level": level,
        "message": "no such page",
        "user_id": "u-7",
        "context": {"ip_address": "127.0.0.1", "user_agent": "curl"},
    }
    assert message.metadata == {"category": "logs"}


def test_a_business_event_has_an_order() -> None:
    message = order()

    assert message.type == "order.placed"
    assert message.content == {
        "order_id": "o-1",
        "customer_id": 7,
        "total_amount": 19.0,
        "items": [ITEM],
    }


@pytest.mark.parametrize("make", [user_event, alert, log_line, order])
def test_what_a_constructor_builds_travels(make: Make) -> None:
    message = make()

    arrived = Message.decode(message.encode())

    assert arrived == message
    assert families.check(arrived) is families.family_of(message)
    assert list(json.loads(message.encode())) == list(families.Message.__struct_fields__)


@pytest.mark.parametrize("make", [user_event, alert, log_line, order])
def test_they_are_stamped_by_the_clock_they_are_given(make: Make) -> None:
    clock = StepClock("2013-03-08T05:00:00Z")

    assert make(timestamp=None, clock=clock).timestamp == "2013-03-08T05:00:00.000Z"


# --- what is refused, and what is said ----------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "changed", "field", "words"),
    [
        (user_event, {"email": None}, "content.email", "str"),
        (user_event, {"email": b"ada"}, "content.email", "str"),
        (user_event, {"user_id": 1.5}, "content.user_id", "int | str"),
        (user_event, {"sender": ""}, "sender", "non-empty"),
        (user_event, {"timestamp": "now"}, "timestamp", "ISO-8601"),
        (user_event, {"type": "account.closed", "email": None}, "content.email", "str"),
        (alert, {"level": "catastrophic"}, "content.level", "critical"),
        (alert, {"level": "error"}, "content.level", "warning"),
        (alert, {"message": 3}, "content.message", "str"),
        (alert, {"service": None}, "content.service", "str"),
        (alert, {"retry_count": -1}, "content.details.retry_count", ">= 0"),
        (log_line, {"level": "critical"}, "content.level", "debug"),
        (log_line, {"message": None}, "content.message", "str"),
        (log_line, {"user_id": 1.5}, "content.user_id", "int"),
        (log_line, {"ip_address": 127}, "content.context.ip_address", "str"),
        (order, {"order_id": None}, "content.order_id", "int | str"),
        (order, {"customer_id": []}, "content.customer_id", "int | str"),
        (order, {"total_amount": -1}, "content.total_amount", ">= 0"),
        (order, {"total_amount": "19"}, "content.total_amount", "float"),
        (order, {"items": []}, "content.items", ">= 1"),
        (order, {"items": "p-1"}, "content.items", "array"),
        (order, {"items": [{**ITEM, "quantity": 0}]}, "content.items[0].quantity", ">= 1"),
        (order, {"items": [ITEM, {**ITEM, "price": "9"}]}, "content.items[1].price", "float"),
        (order, {"type": "refund.made", "total_amount": -1}, "content.total_amount", ">= 0"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected(
    make: Make, changed: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        make(**changed)

    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field}: expected ")
    assert words in refused.value.expected


CONTENTS: dict[str, Make] = {
    "user.created": user_event,
    "system.alert": alert,
    "application.log": log_line,
    "order.placed": order,
}
REQUIRED = {
    "user.created": ["user_id", "email"],
    "system.alert": ["level", "message", "service"],
    "application.log": ["level", "message"],
    "order.placed": ["order_id", "customer_id", "total_amount", "items"],
}


@pytest.mark.parametrize(
    ("type", "field"), [(type, field) for type, fields in REQUIRED.items() for field in fields]
)
def test_a_required_field_that_is_missing_is_named(type: str, field: str) -> None:
    content = dict(CONTENTS[type]().content)
    del content[field]

    with pytest.raises(ValidationError, match="got nothing") as refused:
        families.check(foreign(type, content))

    assert refused.value.field == f"content.{field}"


@pytest.mark.parametrize("type", REQUIRED)
def test_the_required_fields_are_enough(type: str) -> None:
    whole = CONTENTS[type]().content

    families.check(foreign(type, {field: whole[field] for field in REQUIRED[type]}))


def test_a_field_missing_inside_a_list_is_found_there() -> None:
    content = {**order().content, "items": [ITEM, {"quantity": 1, "price": 2.0}]}

    with pytest.raises(ValidationError, match="got nothing") as refused:
        families.check(foreign("order.placed", content))

    assert refused.value.field == "content.items[1].product_id"


@pytest.mark.parametrize(
    ("content", "got"), [("hello", "str"), ([1], "array"), (None, "null"), (3, "int")]
)
def test_content_that_is_no_object_is_called_so(content: Any, got: str) -> None:
    with pytest.raises(ValidationError) as refused:
        families.check(foreign("user.created", content))

    assert refused.value.field == "content"
    assert "object" in refused.value.expected
    assert f"got `{got}`" in str(refused.value)


def test_more_than_the_required_fields_is_welcome() -> None:
    families.check(foreign("user.created", {"user_id": 1, "email": "a@b.c", "plan": "free"}))


# --- who belongs where --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "family"),
    [
        ("user.created", Family.EVENT),
        ("user.deleted", Family.EVENT),
        ("flight.departed", Family.EVENT),
        ("hello", Family.EVENT),
        ("system.alert", Family.ALERT),
        ("application.log", Family.LOG),
        ("order.placed", Family.BUSINESS),
        ("order.cancelled", Family.BUSINESS),
        ("orders", Family.EVENT),
        ("system.alertness", Family.EVENT),
        ("application.logout", Family.EVENT),
    ],
)
def test_the_family_is_read_off_the_type(type: str, family: Family) -> None:
    assert families.family_of(foreign(type, {})) is family


@pytest.mark.parametrize("type", ["application.logout", "system.alertness", "flight.departed"])
def test_a_type_of_no_family_needs_no_fields(type: str) -> None:
    assert families.check(foreign(type, {"anything": True})) is Family.EVENT


def test_content_is_read_as_a_typed_struct() -> None:
    content = families.read_as(alert(error_code="E28"), families.SystemAlert)

    assert content.level == "critical"
    assert content.details.error_code == "E28"
    assert isinstance(content, msgspec.Struct)
    with pytest.raises(AttributeError):
        content.level = "info"  # type: ignore[misc]
