"""The envelope: what may go in, what comes out, and what is said about the rest."""

import json
import math
import tracemalloc
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from labkit import Message, StepClock
from labkit.errors import PREVIEW_BYTES, DecodeError, LabkitError, MessageTooLarge, ValidationError
from labkit.message import DEFAULT_MAX_BYTES, MAX_DEPTH, format_timestamp

FIELDS = ["type", "content", "timestamp", "sender", "metadata"]
STAMP = "2024-01-01T12:00:00.000Z"
DEEP = b"[" * 100_000


def a_message(content: Any = None, **given: Any) -> Message:
    return Message.new("user.created", content, sender="user-service", timestamp=STAMP, **given)


def body_with(content: bytes) -> bytes:
    return (
        b'{"type":"a.b","content":' + content + b',"timestamp":"' + STAMP.encode() + b'",'
        b'"sender":"s","metadata":{}}'
    )


def nested(levels: int, kind: type = list) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


# --- what a message is ------------------------------------------------------------------------


def test_in_json_it_has_exactly_five_fields() -> None:
    message = a_message({"user_id": 7}, metadata={"priority": "high"})

    assert json.loads(message.encode()) == {
        "type": "user.created",
        "content": {"user_id": 7},
        "timestamp": STAMP,
        "sender": "user-service",
        "metadata": {"priority": "high"},
    }
    assert list(json.loads(message.encode())) == FIELDS
    assert list(json.loads(a_message().encode())) == FIELDS, "empty ones are not left out"


def test_it_cannot_be_changed() -> None:
    message = a_message({"user_id": 7})

    for field in FIELDS:
        with pytest.raises(AttributeError):
            setattr(message, field, "other")


def test_more_metadata_makes_a_copy() -> None:
    message = a_message(metadata={"priority": "high", "version": 1})

    longer = message.with_metadata(version=2, message_id="m-1")

    assert longer.metadata == {"priority": "high", "version": 2, "message_id": "m-1"}
    assert longer.id == "m-1"
    assert message.metadata == {"priority": "high", "version": 1}
    assert message.id is None


def test_messages_do_not_share_their_empty_metadata() -> None:
    first, second = a_message(), a_message()

    first.metadata["priority"] = "high"

    assert second.metadata == {}


@pytest.mark.parametrize(
    ("type", "content", "label"),
    [
        ("flight.departed", {"flight": "B6 739"}, "B6 739 departed"),
        ("order.placed", {"order_id": 12, "items": []}, "12 placed"),
        ("chat", "hello", "hello"),
        ("user.created", {"colour": "red"}, "user.created"),
        ("user.created", [1, 2], "user.created"),
        ("note", {"title": "Minutes"}, "Minutes"),
    ],
)
def test_its_label_is_what_a_person_would_say(type: str, content: object, label: str) -> None:
    assert Message.new(type, content, sender="s").label == label


def test_readable_json_is_the_same_message() -> None:
    message = a_message({"name": "Zoë"})

    assert Message.decode(message.to_json().encode()) == message
    assert '\n  "content": {\n    "name": "Zoë"' in message.to_json()


def test_a_notebook_shows_markup_as_text() -> None:
    html = a_message("<script>alert(1)</script>")._repr_html_()

    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


# --- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "stamp"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (0.0004, "1970-01-01T00:00:00.000Z"),
        (0.0006, "1970-01-01T00:00:00.001Z"),
        (1.9996, "1970-01-01T00:00:02.000Z"),
        (-0.001, "1969-12-31T23:59:59.999Z"),
        (1704110400.123, "2024-01-01T12:00:00.123Z"),
        (1735689599.9999, "2025-01-01T00:00:00.000Z"),
    ],
)
def test_timestamps_are_utc_with_milliseconds_rounded_to_the_nearest(
    seconds: float, stamp: str
) -> None:
    assert format_timestamp(seconds) == stamp


def test_a_new_message_is_stamped_by_its_clock() -> None:
    clock = StepClock("2013-03-08T05:00:00Z", tick=0.25)

    stamps = [Message.new("a", None, sender="s", clock=clock).timestamp for _ in range(3)]

    assert stamps == [
        "2013-03-08T05:00:00.000Z",
        "2013-03-08T05:00:00.250Z",
        "2013-03-08T05:00:00.500Z",
    ]


def test_without_a_clock_it_is_stamped_with_the_present() -> None:
    before = datetime.now(UTC).timestamp()

    stamped = Message.new("a", None, sender="s").time

    assert stamped.tzinfo is UTC
    assert before - 0.001 <= stamped.timestamp() <= datetime.now(UTC).timestamp() + 0.001


@pytest.mark.parametrize(
    "stamp",
    [
        "",
        "yesterday",
        "2024-01-01",
        "2024-01-01T12:00:00Z",
        "2024-01-01T12:00:00.000",
        "2024-01-01T12:00:00.000+00:00",
        "2024-01-01T12:00:00.000000Z",
        "2024-01-01 12:00:00.000Z",
        "2024-01-01T12:00:00.000z",
        "2024-13-01T12:00:00.000Z",
        "2023-02-29T12:00:00.000Z",
        "2024-01-01T24:00:00.000Z",
        "2024-01-01T12:00:60.000Z",
        "0000-01-01T12:00:00.000Z",
        "2024-01-01T12:00:00.000Z\n",
        "٢٠٢٤-01-01T12:00:00.000Z",
        1704110400,
        datetime(2024, 1, 1, tzinfo=UTC),
        None,
    ],
)
def test_any_other_timestamp_is_refused_with_an_example(stamp: Any) -> None:
    with pytest.raises(ValidationError, match=r"2024-01-01T12:00:00\.000Z") as refused:
        Message("a", None, stamp, "s", {})

    assert refused.value.field == "timestamp"


# --- what is refused, and what is said ----------------------------------------------------------


@dataclass
class Refused:
    """A message that must not be, the field to blame, and what has to be said."""

    field: str
    words: str
    type: Any = "a.b"
    content: Any = None
    sender: Any = "s"
    metadata: Any = None


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "case",
    [
        Refused("type", "a non-empty str, got str ''", type=""),
        Refused("type", "a non-empty str, got int 3", type=3),
        Refused("type", "a non-empty str, got NoneType", type=None),
        Refused("sender", "a non-empty str, got str ''", sender=""),
        Refused("sender", "a non-empty str, got bytes", sender=b"tower"),
        Refused("metadata", "a dict, got list", metadata=["high"]),
        Refused("metadata", "a dict, got str", metadata="high"),
        Refused("metadata.n", "finite number", metadata={"n": math.inf}),
        Refused("metadata", "str keys", metadata={1: "one"}),
        Refused("content", "finite number", content=math.nan),
        Refused("content[1]", "finite number", content=[0.5, -math.inf]),
        Refused("content", "JSON has no tuples", content=(1, 2)),
        Refused("content.route[0]", "JSON has no tuples", content={"route": [("JFK", "PSE")]}),
        Refused("content", "key 7", content={7: "seven"}),
        Refused("content", "key None", content={None: 1}),
        Refused("content.a", "key (1, 2)", content={"a": {(1, 2): 3}}),
        Refused("content.raw", "got bytes b'x'", content={"raw": b"x"}),
        Refused("content.when", "got datetime", content={"when": datetime(2024, 1, 1, tzinfo=UTC)}),
        Refused("content", "got set", content={1, 2}),
        Refused("content", "got object", content=object()),
        Refused("content", "got Text 'x'", content=Text("x")),
        Refused("content", "got complex", content=1j),
        Refused("content", "at most 100 levels", content=nested(MAX_DEPTH + 1)),
        Refused("content", "at most 100 levels", content=nested(MAX_DEPTH + 1, dict)),
        Refused("content", "at most 100 levels", content=nested(50_000)),
        Refused("metadata", "at most 100 levels", metadata={"a": nested(MAX_DEPTH)}),
    ],
    ids=lambda case: f"{case.field}: {case.words}",
)
def test_what_cannot_be_a_message_is_refused_with_field_and_expectation(case: Refused) -> None:
    with pytest.raises(ValidationError) as refused:
        Message.new(case.type, case.content, sender=case.sender, metadata=case.metadata)

    assert refused.value.field == case.field
    assert str(refused.value).startswith(f"{case.field}: expected ")
    assert case.words in str(refused.value)
    assert len(str(refused.value)) < 200, "a sentence, not a dump"
    assert isinstance(refused.value, LabkitError)


def test_the_deepest_nesting_allowed_travels() -> None:
    message = a_message(nested(MAX_DEPTH), metadata={"a": nested(MAX_DEPTH - 1)})

    assert Message.decode(message.encode()) == message


@pytest.mark.parametrize(
    ("field", "words", "message"),
    [
        ("content", "Unicode", lambda: a_message("\ud800")),
        ("content.names[1]", "Unicode", lambda: a_message({"names": ["Zoë", "\udc80"]})),
        ("content.a", "Unicode", lambda: a_message({"a": {"\udfff": 1}})),
        ("metadata.note", "Unicode", lambda: a_message(metadata={"note": "\ud83d"})),
        ("type", "Unicode", lambda: Message.new("\ud800", None, sender="s")),
        ("sender", "Unicode", lambda: Message.new("a", None, sender="\ud800")),
        ("content", "digits", lambda: a_message(10**5000)),
        ("content.n[0]", "digits", lambda: a_message({"n": [-(10**5000)]})),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_half_characters_and_endless_numbers_are_refused_where_they_are(
    field: str, words: str, message: Any
) -> None:
    """On the way in or at the latest when it is encoded: checking all text twice would cost."""
    with pytest.raises(ValidationError) as refused:
        message().encode()

    assert refused.value.field == field
    assert words in str(refused.value)
    assert len(str(refused.value)) < 200


# --- size ---------------------------------------------------------------------------------------


def test_a_message_over_one_mebibyte_is_refused_with_its_size() -> None:
    message = a_message("x" * DEFAULT_MAX_BYTES)

    with pytest.raises(MessageTooLarge, match="at most 1,048,576 bytes") as refused:
        message.encode()

    assert refused.value.limit == 1_048_576 == DEFAULT_MAX_BYTES
    assert refused.value.size == len(message.encode(max_bytes=2 * DEFAULT_MAX_BYTES))
    assert "max_bytes" in str(refused.value), "what to do about it"


def test_the_limit_is_settable_to_the_byte() -> None:
    message = a_message("é")
    size = len(message.encode())

    assert Message.decode(message.encode(max_bytes=size), max_bytes=size) == message
    with pytest.raises(MessageTooLarge) as refused:
        message.encode(max_bytes=size - 1)
    assert (refused.value.size, refused.value.limit) == (size, size - 1)
    with pytest.raises(DecodeError, match=f"larger than the limit of {size - 1} bytes"):
        Message.decode(message.encode(), max_bytes=size - 1)


# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "truncated"),
        (b"hello", "malformed"),
        (b"{", "truncated"),
        (b"[]", "xpected `object`, got `array`"),
        (b"null", "xpected `object`, got `null`"),
        (b"\xef\xbb\xbf{}", "malformed"),
        (b"\xff\xfe", "malformed"),
        (body_with(b"1") + b"{}", "malformed"),
        (body_with(b"NaN"), "malformed"),
        (body_with(b"1e400"), "content: number out of range"),
        (body_with(b"1" * 5000), "content: integer value out of range"),
        (body_with(b'"\xff"'), "utf-8"),
        (body_with(b'"\\ud800"'), "surrogate"),
        (body_with(DEEP), f"nested deeper than {MAX_DEPTH} levels"),
        (body_with(b'{"a":' * 50_000), f"nested deeper than {MAX_DEPTH} levels"),
        (body_with(b"[" * 101 + b"]" * 101), "content: expected nesting of at most 100 levels"),
        (body_with(b"1").replace(b'"s"', b"3"), "sender: expected `str`, got `int`"),
        (body_with(b"1").replace(b'"a.b"', b'""'), "type: expected a non-empty str"),
        (body_with(b"1").replace(b"{}", b"[]"), "metadata: expected `object`, got `array`"),
        (body_with(b"1").replace(b"2024-01", b"2024-13"), "timestamp: expected ISO-8601 in UTC"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:30]),
)
def test_what_is_not_a_message_is_told_with_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        Message.decode(body)

    assert reason in refused.value.reason


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_named(field: str) -> None:
    fields = json.loads(a_message().encode())
    del fields[field]

    with pytest.raises(DecodeError, match="missing") as refused:
        Message.decode(json.dumps(fields).encode())

    assert refused.value.reason.startswith(f"{field}: ")


def test_an_unknown_field_is_named() -> None:
    fields = {**json.loads(a_message().encode()), "priority": "high"}

    with pytest.raises(DecodeError, match="not one of the five fields") as refused:
        Message.decode(json.dumps(fields).encode())

    assert refused.value.reason.startswith("priority: ")


def test_an_unreadable_body_becomes_a_record_to_inspect() -> None:
    body = bytes(range(200))

    with pytest.raises(DecodeError) as refused:
        Message.decode(body, channel="flights.JFK")

    record = refused.value
    assert record.channel == "flights.JFK"
    assert record.size == 200
    assert record.preview == body[:PREVIEW_BYTES]
    assert record.reason
    for part in ("flights.JFK", "200 bytes", record.reason, r"\x00\x01\x02"):
        assert part in str(record)
    assert len(str(record)) < 600


def test_a_short_unreadable_body_is_kept_whole() -> None:
    with pytest.raises(DecodeError) as refused:
        Message.decode(b"hello")

    assert (refused.value.preview, refused.value.size) == (b"hello", 5)
    assert refused.value.channel is None
    assert "…" not in str(refused.value)


# --- properties ---------------------------------------------------------------------------------

TEXT = st.text(max_size=12)
NAMES = st.text(min_size=1, max_size=12)
NUMBERS = st.integers() | st.integers(-(2**70), 2**70) | st.integers(-(10**400), 10**400)
SCALARS = (
    st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
MOMENTS = st.datetimes(timezones=st.just(UTC)).map(
    lambda moment: moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
)
MESSAGES = st.builds(Message, NAMES, JSON, MOMENTS, NAMES, st.dictionaries(TEXT, JSON, max_size=3))


@given(MESSAGES)
@example(a_message([2**63, -(2**63) - 1, 10**4299, 0.1, -0.0, 5e-324, 1e308, True, None]))
@example(a_message({"": {"\x00": "\u2028\U0001f6eb", "\ufeff": '"\\/'}}))
def test_every_message_arrives_as_it_was_sent(message: Message) -> None:
    arrived = Message.decode(message.encode())

    assert arrived == message
    assert repr(arrived) == repr(message), "1, 1.0 and True are told apart"


def read_or_none(body: bytes) -> Message | None:
    """The message, or None; anything but a DecodeError fails the test."""
    refused: DecodeError
    try:
        return Message.decode(body, channel="c")
    except DecodeError as error:
        refused = error
    assert (refused.size, refused.channel) == (len(body), "c")
    assert refused.reason
    assert str(refused)
    return None


@given(st.binary(max_size=200))
@example(b"")
@example(DEEP)
@example(b'{"a":' * 50_000)
def test_bytes_of_any_kind_are_read_or_told_apart(body: bytes) -> None:
    read_or_none(body)


@given(MESSAGES.map(lambda message: message.encode()), st.data())
def test_damaged_messages_are_read_or_told_apart(body: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 8)))
    damage = data.draw(st.binary(max_size=4) | st.sampled_from([b"NaN", b"[[", b"\\ud800", b"}"]))

    message = read_or_none(body[:start] + damage + body[end:])

    assert message is None or Message.decode(message.encode()) == message


WILD = st.recursive(
    SCALARS
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=3)
    | st.sampled_from([nested(98), nested(99), nested(100), nested(101), nested(300)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
STAMPS = st.sampled_from([STAMP, "2024-02-30T12:00:00.000Z", "2024-01-01T12:00:00Z", "now"])


@given(
    st.fixed_dictionaries(
        {"type": WILD | NAMES, "content": WILD, "timestamp": STAMPS, "sender": WILD | NAMES},
        optional={"metadata": WILD | st.just({}), "extra": WILD},
    ),
    st.booleans(),
)
def test_nothing_is_read_that_could_not_have_been_sent(fields: dict[str, Any], ascii: bool) -> None:
    body = json.dumps(fields, ensure_ascii=ascii).encode("utf-8", "surrogatepass")

    message = read_or_none(body)

    if message is not None:
        again = Message(**{name: getattr(message, name) for name in FIELDS})
        assert again.encode() == message.encode()
        assert set(fields) == set(FIELDS)


def test_time_stamps_of_strangers_are_not_kept() -> None:
    def read(stamp: str) -> None:
        body = json.dumps(
            {"type": "t", "content": 1, "timestamp": stamp, "sender": "s", "metadata": {}}
        )
        with pytest.raises(DecodeError):
            Message.decode(body.encode())

    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(50):
            read(f"{number}" + "x" * 100_000)
        assert tracemalloc.get_traced_memory()[0] - before < 1_000_000
    finally:
        tracemalloc.stop()
