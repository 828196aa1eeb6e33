"""Four families of messages, and the fields that each must have.

| family             | type              | required                                            |
|--------------------|-------------------|-----------------------------------------------------|
| event notification | user.created      | user_id, email                                      |
| system alert       | system.alert      | level, message, service                             |
| application log    | application.log   | level, message                                      |
| business event     | order.placed      | order_id, customer_id, total_amount, items          |

The constructors build a valid `Message`; `check` says what is wrong with one from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import msgspec

from labkit.clock import Clock
from labkit.errors import ValidationError
from labkit.message import Message, explain

Id = str | int
AlertLevel = Literal["critical", "warning", "info"]
LogLevel = Literal["debug", "info", "warning", "error"]
Amount = Annotated[float, msgspec.Meta(ge=0)]


class Family(StrEnum):
    """What a message is about, for those who decide what to do with it."""

    EVENT = "event notification"
    ALERT = "system alert"
    LOG = "application log"
    BUSINESS = "business event"


class UserEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Content of an event notification about a user, such as `user.created`."""

    user_id: Id
    email: str


class AlertDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator needs beyond the alert's sentence."""

    error_code: str | None = None
    retry_count: Annotated[int, msgspec.Meta(ge=0)] = 0


class SystemAlert(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a `system.alert`."""

    level: AlertLevel
    message: str
    service: str
    details: AlertDetails = AlertDetails()


class LogContext(msgspec.Struct, frozen=True, kw_only=True):
    """Where a logged action came from."""

    ip_address: str | None = None
    user_agent: str | None = None


class ApplicationLog(msgspec.Struct, frozen=True, kw_only=True):
    """Content of an `application.log`."""

    level: LogLevel
    message: str
    user_id: Id | None = None
    context: LogContext = LogContext()


class OrderItem(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an order."""

    product_id: Id
    quantity: Annotated[int, msgspec.Meta(ge=1)]
    price: Amount


class BusinessEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Content of a business event about an order, such as `order.placed`."""

    order_id: Id
    customer_id: Id
    total_amount: Amount
    items: Annotated[list[OrderItem], msgspec.Meta(min_length=1)]


Content = TypeVar("Content", bound=msgspec.Struct)

_SCHEMAS: tuple[tuple[str, Family, type[msgspec.Struct]], ...] = (
    ("system.alert", Family.ALERT, SystemAlert),
    ("application.log", Family.LOG, ApplicationLog),
    ("order", Family.BUSINESS, BusinessEvent),
    ("user", Family.EVENT, UserEvent),
)


def family_of(message: Message) -> Family:
    """The family, read off the type; what is none of the other three notifies of an event."""
    return next((family for family, _ in _rows(message)), Family.EVENT)


def _rows(message: Message) -> Iterator[tuple[Family, type[msgspec.Struct]]]:
    for name, family, schema in _SCHEMAS:
        if message.type == name or message.type.startswith(f"{name}."):
            yield family, schema


def read_as(message: Message, schema: type[Content]) -> Content:
    """The content as a typed struct.

    Raises:
        ValidationError: names the field that is missing or wrong, and what was expected.
    """
    try:
        return msgspec.convert(message.content, schema)
    except msgspec.ValidationError as error:
        field, problem = explain(str(error))
        name = f"content.{field}".rstrip(".")
        if "missing" in problem:
            raise ValidationError(name, "a value", "nothing") from None
        if wrong := re.search(r"invalid enum value (.+)", problem):
            raise ValidationError(name, _choices(schema, field), wrong[1]) from None
        raise ValidationError(name, problem.removeprefix("expected ")) from None


def _choices(schema: type[msgspec.Struct], field: str) -> str:
    """The values that a field may have: "critical, warning or info"."""
    hint = get_type_hints(schema).get(field)
    choices = [str(choice) for choice in get_args(hint)] or ["a value that the family knows"]
    return " or ".join([", ".join(choices[:-1]), choices[-1]] if choices[1:] else choices)


def check(message: Message) -> Family:
    """The message's family, once its required fields are seen to be there.

    Raises:
        ValidationError: names the field that is missing or wrong, and what was expected.
    """
    for _, schema in _rows(message):
        read_as(message, schema)
    return family_of(message)


def event_notification(
    type: str,
    *,
    user_id: Id,
    email: str,
    sender: str,
    source: str | None = None,
    version: str | None = None,
    timestamp: str | None = None,
    clock: Clock | None = None,
) -> Message:
    """Something happened to a user: `event_notification("user.created", user_id=7, …)`."""
    about = {"source": source, "version": version}
    metadata = {name: value for name, value in about.items() if value is not None}
    content = UserEvent(user_id=user_id, email=email)
    return _build(UserEvent, type, content, sender, metadata, timestamp, clock)


def system_alert(
    level: AlertLevel,
    message: str,
    *,
    service: str,
    sender: str,
    error_code: str | None = None,
    retry_count: int = 0,
    timestamp: str | None = None,
    clock: Clock | None = None,
    **facts: Any,
) -> Message:
    """Something needs an operator; critical ones have priority high.

    `facts` join the content: `system_alert("info", …, flight="B6 739")`.
    """
    details = AlertDetails(error_code=error_code, retry_count=retry_count)
    content = SystemAlert(level=level, message=message, service=service, details=details)
    priority = "high" if level == "critical" else "normal"
    metadata = {"priority": priority, "category": "alerts"}
    whole = {**_plain(content), **facts}
    return _build(SystemAlert, "system.alert", whole, sender, metadata, timestamp, clock)


def application_log(
    level: LogLevel,
    message: str,
    *,
    sender: str,
    user_id: Id | None = None,
    ip_address: str | None = None,
    user_agent: str | None = None,
    timestamp: str | None = None,
    clock: Clock | None = None,
) -> Message:
    """A line for the log of an application."""
    context = LogContext(ip_address=ip_address, user_agent=user_agent)
    content = ApplicationLog(level=level, message=message, user_id=user_id, context=context)
    metadata = {"category": "logs"}
    return _build(ApplicationLog, "application.log", content, sender, metadata, timestamp, clock)


def business_event(
    type: str,
    *,
    order_id: Id,
    customer_id: Id,
    total_amount: float,
    items: list[dict[str, Any]],
    sender: str,
    timestamp: str | None = None,
    clock: Clock | None = None,
) -> Message:
    """Something happened to an order: `business_event("order.placed", order_id=…, …)`."""
    content = {
        "order_id": order_id,
        "customer_id": customer_id,
        "total_amount": total_amount,
        "items": items,
    }
    return _build(BusinessEvent, type, content, sender, {}, timestamp, clock)


def _plain(content: msgspec.Struct | dict[str, Any]) -> Any:
    """Structs as dicts; what JSON cannot hold stays as it is, to be refused."""
    return msgspec.to_builtins(content, builtin_types=(bytes, bytearray, datetime, date))


def _build(
    schema: type[msgspec.Struct],
    type: str,
    content: msgspec.Struct | dict[str, Any],
    sender: str,
    metadata: dict[str, Any],
    timestamp: str | None,
    clock: Clock | None,
) -> Message:
    given = {"timestamp": timestamp} if clock is None else {"timestamp": timestamp, "clock": clock}
    message = Message.new(type, _plain(content), sender=sender, metadata=metadata, **given)
    read_as(message, schema)
    return message
