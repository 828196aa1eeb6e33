"""Channel names, and patterns that match exactly as a real Redis matches them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from labkit import channels
from labkit.errors import ValidationError
from labkit.servers import RedisServer

# --- names ----------------------------------------------------------------------------------------


def test_four_conventions_build_names() -> None:
    assert channels.by_service("user-service") == "user-service.events"
    assert channels.by_event("order", "placed") == "order.placed"
    assert channels.by_level("alerts", "critical") == "alerts.critical"
    assert channels.by_environment("prod", "alerts") == "prod.alerts"
    assert channels.by_environment("prod", "order.placed") == "prod.order.placed"


HELPERS: list[Callable[[str], str]] = [
    channels.by_service,
    lambda part: channels.by_event(part, "placed"),
    lambda part: channels.by_event("order", part),
    lambda part: channels.by_level(part, "critical"),
    lambda part: channels.by_level("alerts", part),
    lambda part: channels.by_environment(part, "alerts"),
    lambda part: channels.by_environment("prod", part),
]


@pytest.mark.parametrize("build", HELPERS)
@pytest.mark.parametrize(
    "part", ["", " ", "two words", "a*", "a[b]", "a?", ".a", "a.", "a..b", "a\n", "é", "a/b", "\\"]
)
def test_a_name_that_cannot_be_is_refused_with_the_culprit(
    build: Callable[[str], str], part: str
) -> None:
    with pytest.raises(ValidationError, match=re.escape(repr(part))) as refused:
        build(part)

    assert refused.value.field == "channel"
    assert "letters, digits" in str(refused.value)


@pytest.mark.parametrize("part", [None, 3, b"alerts", ["alerts"]])
def test_a_name_that_is_no_text_is_refused(part: object) -> None:
    with pytest.raises(ValidationError, match=re.escape(repr(part))):
        channels.by_service(part)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("flights.*", True), ("flights.?FK", True), ("flights.[JL]", True), ("flights.JFK", False)],
)
def test_a_pattern_is_told_from_a_name(name: str, pattern: bool) -> None:
    assert channels.is_pattern(name) is pattern


# --- patterns, as the course teaches them ---------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("flights.*", ["flights.JFK", "flights.", "flights.JFK.gate"], ["flights", "xflights.JFK"]),
        ("flights.?GA", ["flights.LGA"], ["flights.GA", "flights.LLGA"]),
        ("flights.[JL]*", ["flights.JFK", "flights.LGA"], ["flights.EWR"]),
        ("flights.[^JL]*", ["flights.EWR"], ["flights.JFK"]),
        ("log.[a-c]", ["log.a", "log.c"], ["log.d", "log.A"]),
        ("log.[c-a]", ["log.b"], ["log.d"]),
        (r"a\*", ["a*"], ["ab", r"a\*"]),
        ("*", ["anything", "a.b.c", "é"], [""]),
    ],
)
def test_a_pattern_matches(pattern: str, fits: list[str], fits_not: list[str]) -> None:
    assert [name for name in fits if not channels.matches(pattern, name)] == []
    assert [name for name in fits_not if channels.matches(pattern, name)] == []


def test_a_pattern_that_would_take_forever_is_decided_at_once() -> None:
    """Naive matching of this one takes longer than the universe has existed."""
    assert not channels.matches("*a" * 30 + "b", "a" * 200)


@pytest.mark.parametrize("stars", [10, 999, 1000, 1001, 1002, 2000])
def test_many_stars_are_decided_as_redis_decides(stars: int, ask_redis: AskRedis) -> None:
    for pattern in ("*a" * stars, "*a" * stars + "*"):
        for text in ("a" * (stars + 5), "a" * (stars - 1), "a" * stars + "b"):
            assert channels.matches(pattern, text) is ask_redis(pattern, text), (stars, text[-2:])


# --- the same, against a real server --------------------------------------------------------------

AskRedis = Callable[[str, str], bool]


@pytest.fixture(scope="module")
def ask_redis(redis_server: RedisServer) -> Iterator[AskRedis]:
    """Whether Redis delivers what is published on a channel to who subscribed to a pattern.

    Subscribes and publishes for real, with nothing in front of the names: `*` is one of them.
    """
    import redis

    pool = redis.ConnectionPool.from_url(redis_server.url, protocol=2)
    listener, publisher = pool.get_connection(), pool.get_connection()

    def ask(pattern: str, channel: str) -> bool:
        listener.send_command("PSUBSCRIBE", pattern.encode())
        listener.read_response()
        publisher.send_command("PUBLISH", channel.encode(), b"?")
        heard = int(publisher.read_response())
        if heard:
            kind, _, where, _ = listener.read_response()
            assert (kind, where) == (b"pmessage", channel.encode())
        listener.send_command("PUNSUBSCRIBE", pattern.encode())
        listener.read_response()
        return bool(heard)

    yield ask
    pool.disconnect()


# Few letters, so that patterns often match; é and ß share their first byte, ÿ and 語 have others.
LETTERS = "abcz.é語"
SPECIAL = "*?[]^-\\"
CHANNEL = st.text(LETTERS + SPECIAL, max_size=8)
BRACKET = st.builds(
    lambda start, inside, end: start + inside + end,
    st.sampled_from(["[", "[^"]),
    st.text("abcz.é語*?[^-\\", max_size=5),
    st.sampled_from(["]", "]", "]", ""]),
)
PATTERN = st.lists(
    st.sampled_from(LETTERS) | st.sampled_from(["*", "?", "\\", "-", "^", "]", "**"]) | BRACKET,
    max_size=6,
).map("".join) | st.text(LETTERS + SPECIAL, max_size=10)


def loosened(channel: str, data: st.DataObject) -> str:
    """A pattern that is likely to match: the channel with some of it made vague."""
    pieces = []
    for letter in channel:
        choices = [letter, letter, "?", "*", f"[{letter}]", f"\\{letter}", "[a-z]"]
        pieces.append(data.draw(st.sampled_from(choices)))
    return "".join(pieces)


SETTINGS = settings(max_examples=600, deadline=None)


@given(PATTERN, CHANNEL)
@example("", "")
@example("", "a")
@example("*", "")
@example("*", "a")
@example("**", "")
@example("**", "a")
@example("***a", "ba")
@example("?", "")
@example("?", "é")
@example("??", "é")
@example("[", "")
@example("[", "[")
@example("[", "a")
@example("[^", "a")
@example("[^", "^")
@example("[]", "]")
@example("[]", "a")
@example("[^]", "a")
@example("[^]", "]")
@example("[]a]", "a")
@example("[a", "a")
@example("[a", "b")
@example("a[", "a")
@example("a[", "a[")
@example("a[", "ab")
@example("[a*", "a")
@example("[z-a]", "m")
@example("[a-]", "-")
@example("[a-]", "a")
@example("[-a]", "-")
@example("[a-", "b")
@example("[a-c", "b")
@example("[^a-c]", "b")
@example("[\\", "\\")
@example("[\\]", "]")
@example("[\\]]", "]")
@example("[\\^]", "^")
@example("[a\\-c]", "b")
@example("[a\\-c]", "-")
@example("[é]", "é")
@example("[a-é]", "b")
@example("[é-a]", "\x05")
@example("[^é]?", "é")
@example("\\", "\\")
@example("\\", "")
@example("a\\", "a\\")
@example("a\\", "a")
@example("\\\\", "\\")
@example("\\a", "a")
@example("\\*", "*")
@example("\\*", "a")
@example("a*", "a")
@example("a**", "a")
@example("*a*b*", "ab")
@example("*a*b", "aab")
@example("a*\\", "a\\")
@example("*[", "a[")
@SETTINGS
def test_patterns_match_as_in_redis(ask_redis: AskRedis, pattern: str, channel: str) -> None:
    assert channels.matches(pattern, channel) is ask_redis(pattern, channel)


@given(CHANNEL, st.data())
@SETTINGS
def test_patterns_that_nearly_match_do_as_in_redis(
    ask_redis: AskRedis, channel: str, data: st.DataObject
) -> None:
    pattern = loosened(channel, data)
    other = data.draw(st.just(channel) | st.text(LETTERS + SPECIAL, max_size=len(channel) + 1))

    assert channels.matches(pattern, other) is ask_redis(pattern, other)


# --- escape ---------------------------------------------------------------------------------------


@given(st.text(LETTERS + SPECIAL + " \n\x00\U0001f6eb", min_size=1, max_size=8), st.data())
@example("flights.[JFK]*\\", None)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_escaped_name_matches_itself_and_nothing_else(
    ask_redis: AskRedis, name: str, data: st.DataObject | None
) -> None:
    pattern = channels.escape(name)

    assert channels.matches(pattern, name)
    assert ask_redis(pattern, name)
    if data is None:
        return
    other = data.draw(CHANNEL | st.just(name + "a") | st.just(name[1:]) | st.just("a" + name[1:]))
    assert channels.matches(pattern, other) is (other == name)
    assert ask_redis(pattern, other) is (other == name)


def test_an_escaped_name_still_reads() -> None:
    assert channels.escape("flights.JFK") == "flights.JFK"
