"""Checks of lab 01: describe a message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labkit import Message, families
from labkit.broker import Lab
from labkit.errors import ValidationError
from labkit.exercises.framework import Wrong, exercise

_STAMP = "2013-03-08T15:00:00.000Z"


@exercise(
    "1.1",
    "Write an alert",
    expects="function",
    correct="Type, level, text, service and sender are where an operator will look for them.",
)
def check_write_alert(write_alert: Callable[[], Any], _lab: Lab) -> None:
    """The right family first, then field by field."""
    message = write_alert()
    if not isinstance(message, Message):
        raise Wrong(
            f"The function returned a {type(message).__name__}, not a Message.",
            "Return what families.system_alert(…) returns.",
        )
    if message.type != "system.alert":
        raise Wrong(
            f"The message has the type {message.type!r}.",
            "A warning to an operator is a system alert: families.system_alert(…).",
        )
    try:
        content = families.read_as(message, families.SystemAlert)
    except ValidationError as error:
        raise Wrong(
            f"The alert is not complete: {error}",
            'families.system_alert("warning", text, service=…, sender=…) fills in every field.',
        ) from None
    if content.level != "warning":
        raise Wrong(
            f"The level is {content.level!r}.",
            'The first argument of system_alert is the level: "warning".',
        )
    if content.service != "runway-4L":
        raise Wrong(
            f"The service is {content.service!r}.", 'Say which service it is about: "runway-4L".'
        )
    if message.sender != "ground":
        raise Wrong(f"The sender is {message.sender!r}.", 'Say who sends it: sender="ground".')
    if content.message != "Braking action poor":
        raise Wrong(
            f"The alert says {content.message!r}.",
            'The second argument of system_alert is the text: "Braking action poor".',
        )


@exercise(
    "1.2",
    "Choose the channel",
    expects="function",
    correct="Whoever wants only critical alerts can now subscribe to exactly those.",
)
def check_channel_for(channel_for: Callable[[Message], Any], _lab: Lab) -> None:
    """Alerts and logs by level, the rest by type."""
    for level in ("critical", "info"):
        alert = families.system_alert(level, "snow", service="s", sender="s", timestamp=_STAMP)
        got = channel_for(alert)
        if got == "system.alert":
            raise Wrong(
                "An alert went to 'system.alert', whatever its level.",
                'For the type "system.alert", return "alerts." and the level in the content.',
            )
        if got == "alerts.critical" and level == "info":
            raise Wrong(
                "An alert with the level info went to 'alerts.critical'.",
                'Take the level from the message: message.content["level"].',
            )
        if got != f"alerts.{level}":
            raise Wrong(
                f"A {level} alert went to {got!r} instead of 'alerts.{level}'.",
                'channels.by_level("alerts", message.content["level"]) builds the name.',
            )
    log = families.application_log("error", "no seat map", sender="s", timestamp=_STAMP)
    got = channel_for(log)
    if got == "application.log":
        raise Wrong(
            "A log went to 'application.log', whatever its level.",
            'Logs are a family of their own: the type is "application.log". Treat it like alerts.',
        )
    if got != "logs.error":
        raise Wrong(
            f"A log with the level error went to {got!r} instead of 'logs.error'.",
            'channels.by_level("logs", message.content["level"]) builds the name.',
        )
    for kind in ("flight.departed", "order.placed", "user.created"):
        event = Message.new(kind, {"level": "ignored"}, sender="s", timestamp=_STAMP)
        if (got := channel_for(event)) != kind:
            raise Wrong(
                f"A {kind} whose content happens to have a level, too, went to {got!r}.",
                "Everything that is neither alert nor log goes to its own type: message.type.",
            )


@exercise(
    "1.3",
    "Read old and new",
    expects="function",
    correct="Old messages, new messages and rubbish: your reader survives all three.",
)
def check_read_delay(read_delay: Callable[[bytes], Any], _lab: Lab) -> None:
    """New, old, neither, not a dict, not a message."""

    def body(content: Any) -> bytes:
        return Message.new("flight.departed", content, sender="tower", timestamp=_STAMP).encode()

    if (got := read_delay(body({"flight": "B6 35", "delay_minutes": 143}))) != 143:
        raise Wrong(
            f"For a version 2 message with delay_minutes 143 you return {got!r}.",
            'Message.decode(body).content["delay_minutes"] is the number.',
        )
    if (got := _try(read_delay, body({"flight": "UA 1124", "delay": 225}))) != 225:
        raise Wrong(
            f"For a version 1 message with delay 225 you {_said(got)}.",
            'If there is no "delay_minutes", look for "delay": dict.get takes a second argument.',
        )
    if (got := _try(read_delay, body({"delay_minutes": 0, "delay": 7}))) != 0:
        raise Wrong(
            f"With delay_minutes 0 and an old delay 7 you {_said(got)}: 0 is a value, too.",
            "Ask whether the field is there (in, or get with a default), not whether it is true.",
        )
    if (got := _try(read_delay, body({"flight": "AA 1"}))) != 0:
        raise Wrong(
            f"For a flight without any delay you {_said(got)} instead of returning 0.",
            "Give the last dict.get a default: 0.",
        )
    for rubbish in (b"hello?", b'{"type": "t"}', b"\xff\xfe", b""):
        if (got := _try(read_delay, rubbish)) is not None:
            raise Wrong(
                f"For the bytes {rubbish!r} you {_said(got)} instead of returning None.",
                "Catch labkit.errors.DecodeError around Message.decode, and return None there.",
            )
    if (got := _try(read_delay, body("a text, not a dict"))) not in (0, None):
        raise Wrong(
            f"For a message whose content is a text you {_said(got)} instead of returning 0.",
            "Content can be any JSON: ask isinstance(content, dict) before you call get.",
        )


def _said(got: Any) -> str:
    """What the student's function did, as part of a sentence."""
    if isinstance(got, Exception):
        return f"raise {type(got).__name__}"
    return f"return {got!r}"


def _try(read_delay: Callable[[bytes], Any], body: bytes) -> Any:
    """What the student's function returns or raises; it should never raise."""
    try:
        return read_delay(body)
    except Exception as error:
        return error
