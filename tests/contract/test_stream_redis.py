"""Streams on the embedded broker, on Debian's Redis and on Valkey: the same promises."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import missing
from contract.pubsub_contract import step_options
from contract.stream_contract import (
    KEY,
    StreamContract,
    contents,
    deterministic_story,
    fill,
    poll_all,
)

import labkit
from labkit import EventStream, NewEvent, Projection
from labkit.broker import Position
from labkit.errors import BrokerRefused, ConfigurationError, TrimRefused
from labkit.patterns.event_stream import Group
from labkit.servers import RedisServer


class RedisStreams(StreamContract):
    """What only Redis promises."""

    def test_the_stream_has_the_name_that_one_gave_it(self, lab: Any, stream: EventStream) -> None:
        stream.append("a", key=KEY)
        [(_, fields)] = lab.native.xrange(f"{lab.namespace}flight-events")
        assert sorted(fields) == [b"body", b"key", b"revision"]
        assert (fields[b"key"], fields[b"revision"]) == (KEY.encode(), b"1")

    def test_foreign_fields_are_shown(self, lab: Any, stream: EventStream) -> None:
        name = f"{lab.namespace}flight-events"
        lab.native.xadd(name, {"temperature": "21", b"\xff": b"\x00"})
        lab.native.xadd(name, {"body": b"{", "key": b"\xff", "revision": b"x"})
        lab.native.xadd(name, {"key": b"\xff", "revision": b"x", "body": b"{"})
        lab.native.xadd(name, {"key": "K", "gate": "5", "body": b"{"})
        first, second, third, fourth = stream.read().unreadable
        assert "no body, but temperature=b'21'" in str(first)
        assert first.more == {"temperature": b"21", "\\xff": b"\x00"}
        assert (second.key, second.body) == (third.key, third.body) == ("\\xff", b"{")
        assert (fourth.key, fourth.body, fourth.more) == ("K", b"{", {"gate": b"5"})

    def test_what_was_pending_and_is_trimmed_is_told(
        self, lab: Any, stream: EventStream, group: Group
    ) -> None:
        dead = group.join("ada")
        poll_all(dead, 6)
        stream.trim(keep=2, force=True)
        with group.join("ada") as ada:
            assert contents(poll_all(ada, 2)) == [4, 5]
            assert ada.stats().destroyed == 4
            assert ada.commit() == 2
        assert group.lag() == 0
        assert lab.trace.count("lost", actor="ada") == 4

    def test_what_is_destroyed_is_told_to_who_claims_it(
        self, stream: EventStream, group: Group
    ) -> None:
        poll_all(group.join("dead"), 6)
        stream.trim(keep=0, force=True)
        with group.join("bob") as bob:
            assert bob.claim_stale(0.0) == []
            assert bob.stats().destroyed == 6
        assert group.lag() == 0
        assert stream.trim(keep=0).entries == 0

    def test_a_trim_that_loses_a_race_is_refused(
        self, stream: EventStream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An event is given to a member between the question and the act."""
        fill(stream, range(6))
        stream.group("boards")
        from labkit.broker import Doomed

        real = stream.log.doomed
        answers = [Doomed(5, {}, {})]
        monkeypatch.setattr(
            stream.log, "doomed", lambda cursor: answers.pop() if answers else real(cursor)
        )
        with pytest.raises(TrimRefused) as caught:
            stream.trim(keep=1)
        assert caught.value.unread == {"boards": 5}
        assert len(stream) == 6

    def test_a_member_that_reads_again_holds_each_event_once(self, group: Group) -> None:
        ada = group.join("ada")
        assert len(poll_all(ada, 6)) == 6
        group.rewind()
        assert len(poll_all(ada, 6)) == 6
        assert ada.commit() == 6
        assert ada.stats().late == 0

    def test_nobody_ends_what_another_has_though_the_numbers_agree(self, group: Group) -> None:
        ada, bob = group.join("ada"), group.join("bob")
        of_ada, of_bob = ada.poll(3), bob.poll(3)
        assert ada.acknowledge(of_bob[:2]) == 0
        assert group.state().pending == {"ada": 3, "bob": 3}
        assert contents(bob.claim_stale(0, count=1)) == [0]
        assert bob.commit(of_bob[0]) == 2  # what he claimed and his own first
        assert ada.commit() == 2
        assert ada.stats().late == 2 + 1
        assert group.state().pending == {"ada": 0, "bob": 2}
        assert ada.acknowledge(of_ada) == 0

    def test_a_long_batch_is_one_for_whoever_polls(self, stream: EventStream) -> None:
        stream.append_many(range(1000))
        with stream.group("boards").join("ada") as ada:
            assert contents(ada.poll(300)) == list(range(300))
            assert ada.commit() == 300
            assert contents(ada.poll(900)) == list(range(300, 1000))
            assert ada.stats().messages == 1000
            assert ada.commit() == 700
            assert ada.poll(500) == []

    def test_a_group_that_the_broker_forgot_begins_again_and_says_so(
        self, lab: Any, group: Group
    ) -> None:
        with group.join("ada") as ada:
            poll_all(ada, 6)
            lab.native.xgroup_destroy(f"{lab.namespace}flight-events", "boards")
            with pytest.raises(ConfigurationError, match="no group 'boards'"):
                group.lag()
            assert ada.commit() == 0
            assert contents(poll_all(ada, 6)) == list(range(6))
            assert ada.stats().forgotten == 1
            assert ada.commit() == 6

    def test_lag_does_not_count_what_was_trimmed_unread(
        self, stream: EventStream, group: Group
    ) -> None:
        """Redis' own count does, for ever."""
        with group.join("ada") as ada:
            ada.poll(1)
            stream.trim(keep=0, force=True)
            fill(stream, range(3))
            assert contents(ada.poll(1)) == [0]
            [place] = group.state().places
            assert (place.unread, place.pending, place.lag) == (2, 2, 4)

    def test_a_member_leaves_no_trace_unless_it_holds_something(self, group: Group) -> None:
        ada, bob = group.join("ada"), group.join("bob")
        ada.poll(2)
        ada.close()
        bob.close()
        assert group.state().pending == {"ada": 2}

    def test_names_of_keys_are_any_text(self, stream: EventStream) -> None:
        for key in ("*", "naïve ✈", "a\nb", "-1"):
            stream.append(key, key=key)
        assert [event.key for event in stream.read()] == ["*", "naïve ✈", "a\nb", "-1"]

    def test_a_position_of_another_broker_is_refused(self, stream: EventStream) -> None:
        fill(stream, range(2))
        for place in (Position("57", 2), Position("57")):
            with pytest.raises(ConfigurationError, match="no position of a Redis stream"):
                stream.read(place)
        with pytest.raises(ConfigurationError, match="no order"):
            sorted([Position("57", 2), Position("57", 1)])

    def test_a_key_of_another_kind_is_refused_in_words(self, lab: Any, stream: EventStream) -> None:
        lab.native.set(f"{lab.namespace}flight-events", "text")
        with pytest.raises(BrokerRefused, match="WRONGTYPE"):
            stream.append(1)
        with pytest.raises(BrokerRefused, match="WRONGTYPE"):
            stream.read()

    def test_a_projection_tells_what_was_trimmed_before_it(self, stream: EventStream) -> None:
        fill(stream, range(10))
        early = Projection(0, lambda state, event: state + event.content)
        early.rebuild(stream)
        stream.trim(keep=4)
        assert early.catch_up(stream) == 0
        assert early.missed == 0
        late = Projection(0, lambda state, event: state + event.content)
        assert late.rebuild(stream) == 6 + 7 + 8 + 9
        assert late.missed == late.stats().missed == 6
        assert "6 events were trimmed before it" in repr(late)
        fill(stream, range(3))
        stream.trim(keep=1)
        early.catch_up(stream)
        assert early.missed == 2

    def test_large_events_go_in_smaller_batches(self, stream: EventStream) -> None:
        stream.append_many(["x" * 900_000 for _ in range(12)])
        assert [len(event.content) for event in stream.read()] == [900_000] * 12

    def test_many_pending_entries_are_looked_at_in_pages(self, stream: EventStream) -> None:
        fill(stream, range(1300))
        group = stream.group("boards")
        dead = group.join("dead")
        assert len(dead.poll(1300)) == 1300
        with group.join("bob") as bob:
            assert len(bob.claim_stale(0.0, 2000)) == 1300
            assert bob.commit() == 1300
        assert group.lag() == 0


class TestEmbedded(RedisStreams):
    @pytest.fixture
    def lab(self) -> Iterator[Any]:
        with labkit.connect() as lab:
            yield lab


class TestEmbeddedWithAClockOfItsOwn(RedisStreams):
    @pytest.fixture
    def lab(self) -> Iterator[Any]:
        with labkit.connect(**step_options()) as lab:
            yield lab


class TestRedis(RedisStreams):
    @pytest.fixture
    def lab(self, redis_server: RedisServer) -> Iterator[Any]:
        with labkit.connect(redis_server.url, namespace=f"{secrets.token_hex(4)}:") as lab:
            yield lab


class TestValkey(RedisStreams):
    @pytest.fixture
    def lab(self, valkey_server: RedisServer) -> Iterator[Any]:
        with labkit.connect(valkey_server.url, namespace=f"{secrets.token_hex(4)}:") as lab:
            yield lab


def test_a_lesson_runs_the_same_on_every_broker(
    redis_server: RedisServer, valkey_server: RedisServer
) -> None:
    stories = []
    for url in ("embedded://", redis_server.url, valkey_server.url):
        space = "lesson:" if url == "embedded://" else f"lesson-{secrets.token_hex(4)}:"
        with labkit.connect(url, namespace=space, **step_options()) as lab:
            stories.append([line.replace(space, "") for line in deterministic_story(lab)])
    assert len(stories[0]) >= 20
    assert "1362718800000-0" in stories[0][0]
    assert stories[1] == stories[0]
    assert stories[2] == stories[0]


def test_positions_follow_a_clock_of_a_lesson_and_never_run_backwards(
    redis_server: RedisServer,
) -> None:
    space = f"{secrets.token_hex(4)}:"
    with labkit.connect(redis_server.url, namespace=space) as lab:
        real = EventStream(lab, "s").append(1).position
    with labkit.connect(redis_server.url, namespace=space, **step_options()) as lab:
        stepped = [EventStream(lab, "s").append(n).position for n in (2, 3)]
        assert real < stepped[0] < stepped[1]
        assert contents(EventStream(lab, "s").read()) == [1, 2, 3]


# --- a peer that we did not write -----------------------------------------------------------------


@pytest.fixture
def cli(redis_server: RedisServer) -> Any:
    path = shutil.which("redis-cli")
    if path is None:
        missing("redis-cli")

    def run(*arguments: str) -> list[str]:
        done = subprocess.run(
            [str(path), "-h", "127.0.0.1", "-p", str(redis_server.port), *arguments],
            capture_output=True,
            text=True,
            check=True,
            env={"REDISCLI_AUTH": redis_server.password or ""},
        )
        return done.stdout.splitlines()

    return run


def test_redis_cli_reads_what_we_append(redis_server: RedisServer, cli: Any) -> None:
    space = f"{secrets.token_hex(4)}:"
    with labkit.connect(redis_server.url, namespace=space) as lab:
        stream = EventStream(lab, "s")
        done = stream.append({"flight": KEY}, key=KEY, type="flight.departed")
        stream.append_many([NewEvent(n) for n in range(2)])
        lines = cli("XRANGE", f"{space}s", "-", "+")
        assert lines[:6] == [str(done.position), "key", KEY, "revision", "1", "body"]
        assert json.loads(lines[6])["content"] == {"flight": KEY}
        group = stream.group("boards")
        given = cli(
            "XREADGROUP", "GROUP", "boards", "cli", "COUNT", "1", "STREAMS", f"{space}s", ">"
        )
        assert given[1] == str(done.position)
        assert group.state().pending == {"cli": 1}
        assert cli("XACK", f"{space}s", "boards", str(done.position)) == ["1"]
        with group.join("ada") as ada:
            assert contents(poll_all(ada, 2)) == [0, 1]


def test_we_read_what_redis_cli_adds(redis_server: RedisServer, cli: Any) -> None:
    space = f"{secrets.token_hex(4)}:"
    envelope = {
        "type": "flight.departed",
        "content": {"flight": "B6 35"},
        "timestamp": "2013-03-08T05:00:00.000Z",
        "sender": "someone else",
        "metadata": {},
    }
    with labkit.connect(redis_server.url, namespace=space) as lab:
        stream = EventStream(lab, "s")
        [where] = cli("XADD", f"{space}s", "*", "body", json.dumps(envelope))
        cli("XADD", f"{space}s", "*", "temperature", "21")
        cli("XADD", f"{space}s", "*", "key", "B6 35", "body", json.dumps(envelope), "by", "hand")
        events = stream.read()
        assert str(events[0].position) == where
        assert [event.label for event in events] == ["B6 35 departed"] * 2
        assert [event.key for event in events] == [None, "B6 35"]
        [bad] = events.unreadable
        assert "temperature=b'21'" in str(bad)
