"""What every broker promises of a stream. A broker's tests subclass `StreamContract`.

Where a broker has no such thing, its capabilities say so, and asking for it raises `NotSupported`.
Order is only asserted within one key: a broker may have partitions.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from helpers import eventually

from labkit import Event, EventStream, Message, NewEvent, Projection
from labkit.broker import NewEntry, Position, StreamBroker, Support
from labkit.errors import (
    BatchError,
    ConfigurationError,
    Conflict,
    MessageTooLarge,
    NotConnected,
    NotSupported,
    PoisonEvent,
    TrimRefused,
    ValidationError,
)
from labkit.patterns.event_stream import Group

KEY = "B6 739"


def contents(events: Iterable[Event]) -> list[Any]:
    return [event.content for event in events]


def supports(lab: StreamBroker, name: str) -> bool:
    return lab.capabilities[name].support is not Support.ABSENT


def poll_all(member: Any, count: int) -> list[Event]:
    """Poll until so many events have come."""
    found: list[Event] = []
    eventually(lambda: found.extend(member.poll(timeout=0.5)) or len(found) >= count)
    return found


def fill(stream: EventStream, numbers: Iterable[int]) -> None:
    stream.append_many([NewEvent(n, key=KEY) for n in numbers])


class StreamContract:
    """Fixtures to be given: `lab`, a new and empty place on a broker."""

    quiet_s = 0.3  # after so long without an event, none is on its way

    def settle(self, group: Group, *members: Any) -> None:
        """Where members have to be given partitions first: until each has some."""

    @pytest.fixture
    def stream(self, lab: StreamBroker) -> EventStream:
        return EventStream(lab, "flight-events", sender="tower")

    @pytest.fixture
    def group(self, stream: EventStream) -> Group:
        fill(stream, range(6))
        return stream.group("boards")

    # --- appending and reading -------------------------------------------------------------------

    def test_what_is_appended_is_read_and_stays(self, stream: EventStream) -> None:
        done = stream.append({"flight": KEY}, key=KEY, type="flight.departed", metadata={"a": 1})
        for _ in range(2):
            [event] = stream.read()
            assert event.position == done.position
            assert event.content == {"flight": KEY}
            assert (event.type, event.key, event.message.sender) == (
                "flight.departed",
                KEY,
                "tower",
            )
            assert event.message.metadata["a"] == 1
            assert event.label == "B6 739 departed"
            assert KEY in repr(event)
        assert len(stream) == 1

    def test_a_ready_message_goes_in_with_its_own_time(self, stream: EventStream) -> None:
        when = "2013-03-08T12:00:00.000Z"
        message = Message("flight.cancelled", 7, when, "someone", {"priority": "high"})
        stream.append(message, key=KEY)
        [event] = stream.read()
        assert (event.message.timestamp, event.message.sender) == (when, "someone")
        assert event.message.metadata["priority"] == "high"
        with pytest.raises(ConfigurationError, match="ready Message"):
            stream.append(message, type="other")

    def test_many_are_appended_in_order_over_several_round_trips(self, stream: EventStream) -> None:
        done = stream.append_many([NewEvent(n, key=KEY) for n in range(1201)])
        assert len({str(answer.position) for answer in done}) == 1201
        events = stream.read()
        assert contents(events) == list(range(1201))
        assert [e.position for e in events] == [d.position for d in done]
        assert [e.position for e in events] == sorted(e.position for e in events)

    def test_nothing_to_append_is_fine(self, stream: EventStream) -> None:
        assert stream.append_many([]) == []
        assert stream.read() == []
        assert stream.positions().groups == ()

    def test_events_of_many_keys_keep_their_order_within_each(self, stream: EventStream) -> None:
        stream.append_many([NewEvent(n, key=f"k{n % 7}") for n in range(210)])
        by_key = defaultdict(list)
        for event in stream.read():
            by_key[event.key].append(event.content)
        assert by_key == {f"k{k}": list(range(k, 210, 7)) for k in range(7)}

    def test_a_stream_can_be_read_from_any_position_to_any_other(self, stream: EventStream) -> None:
        fill(stream, range(10))
        events = stream.read()
        assert contents(stream.read(events[3])) == list(range(3, 10))
        assert contents(stream.read(events[3].position, events[5].position)) == [3, 4, 5]
        assert contents(stream.read(str(events[8].position))) == [8, 9]
        assert contents(stream.read(count=2)) == [0, 1]
        assert contents(stream.read("last")) == [9]
        assert stream.read("end") == []
        assert stream.read(count=0) == []
        cursor = {events[6].position.partition: events[6].position}
        assert contents(stream.read(cursor)) == [7, 8, 9]

    def test_a_stream_can_be_read_by_key(self, stream: EventStream) -> None:
        stream.append_many([NewEvent(n, key=f"k{n % 3}") for n in range(9)])
        assert contents(stream.read(key="k1")) == [1, 4, 7]
        assert contents(stream.read(key="k1", count=2)) == [1, 4]

    def test_a_stream_can_be_read_from_a_time(self, lab: Any, stream: EventStream) -> None:
        if not supports(lab, "read from a time"):
            with pytest.raises(NotSupported):
                stream.read(datetime.now(UTC))
            return
        fill(stream, range(3))
        assert contents(stream.read(datetime(2000, 1, 1, tzinfo=UTC))) == [0, 1, 2]
        assert stream.read(datetime.now(UTC) + timedelta(days=365)) == []
        assert stream.read(end=datetime(2000, 1, 1, tzinfo=UTC)) == []

    def test_positions_are_printed_and_parsed(self, stream: EventStream) -> None:
        done = stream.append(1, key=KEY)
        assert Position.parse(str(done.position)) == done.position
        later = stream.append(2, key=KEY)
        assert done.position < later.position
        assert later.position >= done.position

    @pytest.mark.parametrize("place", ["", "yesterday", "1:2:3", None, 7])
    def test_what_is_no_place_is_refused(self, stream: EventStream, place: Any) -> None:
        with pytest.raises(ConfigurationError, match="no place in a stream"):
            stream.read(place)

    def test_reading_ends_at_what_was_there_when_it_began(self, stream: EventStream) -> None:
        fill(stream, range(3))
        seen = []
        for event in stream.scan(batch=1):
            seen.append(event.content if isinstance(event, Event) else None)
            stream.append("more", key=KEY)
        assert seen == [0, 1, 2]

    def test_what_cannot_be_written_down_is_not_appended(self, stream: EventStream) -> None:
        with pytest.raises(ValidationError):
            stream.append({"a": object()})
        with pytest.raises(BatchError, match="Event 1 cannot be appended, so none was"):
            stream.append_many([1, {"b": (1, 2)}])
        for key in ("", 5, "\ud800"):
            with pytest.raises(ConfigurationError, match="key"):
                stream.append(1, key=key)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="version"):
            stream.append(1, version=0)
        small = EventStream(stream.lab, "small", max_bytes=200)
        with pytest.raises(MessageTooLarge):
            small.append("x" * 500)
        assert len(stream) == len(small) == 0

    def test_streams_do_not_meet(self, lab: StreamBroker, stream: EventStream) -> None:
        EventStream(lab, "other").append(1)
        assert stream.read() == []

    def test_a_stream_can_be_deleted(self, lab: StreamBroker, stream: EventStream) -> None:
        fill(stream, range(6))
        if not supports(lab, "stream deletion"):
            with pytest.raises(NotSupported):
                stream.delete()
            return
        stream.group("boards")
        assert stream.delete() == 6
        assert len(stream) == 0
        assert len(stream.positions()) == 0
        stream.append("new", key=KEY)
        assert contents(stream.read()) == ["new"]

    @pytest.mark.parametrize("name", ["", "a{b}", 3])
    def test_bad_names_are_refused(self, lab: StreamBroker, name: Any) -> None:
        with pytest.raises(ConfigurationError, match="name"):
            EventStream(lab, name)

    # --- expected revisions ----------------------------------------------------------------------

    def test_an_append_to_a_key_that_has_moved_on_is_refused(
        self, lab: StreamBroker, stream: EventStream
    ) -> None:
        if not supports(lab, "expected revision"):
            with pytest.raises(NotSupported):
                stream.append(1, key=KEY, expected=0)
            return
        assert stream.append("scheduled", key=KEY, expected=0).revision == 1
        stream.append("noise", key="UA 1")
        assert stream.append("departed", key=KEY).revision == 2  # those count, too
        with pytest.raises(Conflict, match="expected at revision 1 and is at 2") as caught:
            stream.append("cancelled", key=KEY, expected=1)
        assert (caught.value.key, caught.value.expected, caught.value.actual) == (KEY, 1, 2)
        with pytest.raises(Conflict):
            stream.append_many([NewEvent(1, key=KEY), NewEvent(2, key=KEY)], expected=3)
        stream.append_many([NewEvent("a", key=KEY), NewEvent("b", key=KEY)], expected=2)
        assert stream.revision(KEY) == 4
        assert [(e.content, e.revision) for e in stream.read(key=KEY)] == [
            ("scheduled", 1),
            ("departed", 2),
            ("a", 3),
            ("b", 4),
        ]
        assert stream.stats().conflicts == 3
        assert lab.trace.count("conflict") == 3

    def test_an_expected_revision_needs_one_key(
        self, lab: StreamBroker, stream: EventStream
    ) -> None:
        if not supports(lab, "expected revision"):
            pytest.skip("the broker has no expected revisions")
        with pytest.raises(ConfigurationError, match="key"):
            stream.append(1, expected=0)
        with pytest.raises(ConfigurationError, match="key"):
            stream.append_many([NewEvent(1, key="a"), NewEvent(1, key="b")], expected=0)
        for expected in (-1, True, 1.5):
            with pytest.raises(ConfigurationError, match="expected is how many"):
                stream.append(1, key="a", expected=expected)  # type: ignore[arg-type]
        assert len(stream) == 0

    def test_of_many_who_append_at_once_one_wins_each_revision(
        self, lab: StreamBroker, stream: EventStream
    ) -> None:
        if not supports(lab, "expected revision"):
            pytest.skip("the broker has no expected revisions")

        def count_up(_: int) -> int:
            lost, done = 0, 0
            while done < 20:
                try:
                    stream.append(done, key=KEY, expected=stream.revision(KEY))
                    done += 1
                except Conflict:
                    lost += 1
            return lost

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(count_up, range(4)))
        assert [e.revision for e in stream.read()] == list(range(1, 81))

    # --- following -------------------------------------------------------------------------------

    def test_following_yields_what_comes(self, stream: EventStream) -> None:
        stream.append("old", key=KEY)
        follower = stream.follow(timeout=10.0)
        stream.append("new", key=KEY)
        assert next(follower).content == "new"
        writer = threading.Thread(target=lambda: fill(stream, range(20)))
        writer.start()
        assert [next(follower).content for _ in range(20)] == list(range(20))
        writer.join()
        assert "Follower" in repr(follower)

    def test_following_ends_when_nothing_comes_or_when_it_is_stopped(
        self, stream: EventStream
    ) -> None:
        fill(stream, range(3))
        assert contents(stream.follow("first", timeout=self.quiet_s)) == [0, 1, 2]
        follower = stream.follow()
        thread = threading.Thread(target=lambda: list(follower))
        thread.start()
        follower.stop()
        thread.join(10)
        assert not thread.is_alive()

    def test_a_follower_says_where_it_is_so_that_another_can_go_on(
        self, stream: EventStream
    ) -> None:
        fill(stream, range(5))
        first = stream.follow("first", timeout=5.0)
        assert [next(first).content, next(first).content] == [0, 1]
        assert contents(stream.follow(first.cursor, timeout=self.quiet_s)) == [2, 3, 4]

    # --- groups ----------------------------------------------------------------------------------

    def test_each_group_reads_all_for_itself(self, stream: EventStream, group: Group) -> None:
        other = stream.group("apps")
        with group.join("ada") as ada, other.join("ada") as app:
            assert contents(poll_all(ada, 6)) == contents(poll_all(app, 6)) == list(range(6))

    def test_members_share_and_no_event_goes_to_two(self, stream: EventStream) -> None:
        stream.append("first", key="k")
        group = stream.group("boards", "end")
        seen: Counter[int] = Counter()
        with group.join("ada") as ada, group.join("bob") as bob:
            self.settle(group, ada, bob)
            stream.append_many([NewEvent(n, key=f"k{n % 16}") for n in range(300)])

            def step() -> bool:
                for member in (ada, bob):
                    seen.update(contents(member.poll(20, timeout=0.05)))
                    member.commit()
                return sum(seen.values()) >= 300

            eventually(step)
            assert seen == Counter(range(300))
            assert group.lag() == 0
            eventually(lambda: set(group.state().pending) >= {"ada", "bob"})

    def test_a_group_begins_at_the_first_event_unless_told(self, stream: EventStream) -> None:
        fill(stream, range(3))
        with stream.group("late", "end").join("eve") as eve:
            assert eve.poll(timeout=0.2) == []
            stream.append("new", key=KEY)
            assert contents(poll_all(eve, 1)) == ["new"]
        where = stream.read()[2]
        with stream.group("from here", where).join("eve") as eve:
            assert contents(poll_all(eve, 2)) == [2, "new"]

    def test_lag_falls_with_commits_alone(self, group: Group) -> None:
        with group.join("ada") as ada:
            assert group.lag() == 6
            events = poll_all(ada, 6)
            assert group.lag() == 6
            assert ada.commit(events[1]) == 2
            assert group.lag() == 4
            [place] = [p for p in group.state().places if p.committed]
            assert place.committed == events[1].position
            assert ada.commit() == 4
            assert ada.commit() == 0
            assert group.lag() == 0
            assert ada.stats().committed == 6

    def test_what_is_not_committed_comes_again_to_who_takes_up_the_name(self, group: Group) -> None:
        ada = group.join("ada")
        events = poll_all(ada, 6)
        ada.commit(events[3])
        ada.close()
        with group.join("ada") as again:
            assert contents(poll_all(again, 2)) == [4, 5]
            assert again.commit() == 2
        assert group.lag() == 0

    def test_a_poll_does_not_give_the_same_again_while_the_member_lives(self, group: Group) -> None:
        with group.join("ada") as ada:
            poll_all(ada, 6)
            assert ada.poll(timeout=0.1) == []

    def test_a_member_that_died_is_replaced(self, lab: StreamBroker, group: Group) -> None:
        dead = group.join("dead")
        assert len(poll_all(dead, 6)) == 6
        with group.join("bob") as bob:
            if not supports(lab, "claim of stale entries"):
                with pytest.raises(NotSupported):
                    bob.claim_stale(0.0)
                dead.close()
                assert contents(poll_all(bob, 6)) == list(range(6))
                return
            assert bob.claim_stale(3600.0) == []
            assert contents(bob.claim_stale(0.0, count=2)) == [0, 1]
            assert {(row.member, row.attempt) for row in group.owners()} == {
                ("bob", 2),
                ("dead", 1),
            }
            claimed = bob.claim_stale(0.0)
            assert contents(claimed) == [2, 3, 4, 5]
            assert {event.attempt for event in claimed} == {2}
            assert dead.commit() == 0  # too late: another has them, and they stay with it
            assert bob.commit() == 6
            assert dead.stats().late == 6
            assert bob.stats().claimed == bob.stats().redelivered == 6
        assert group.lag() == 0
        assert lab.trace.count("claimed") == lab.trace.count("late ack") == 6

    def test_a_member_that_crashes_says_nothing_and_keeps_what_it_has(
        self, lab: StreamBroker, group: Group
    ) -> None:
        ada = group.join("ada")
        events = poll_all(ada, 6)
        if not supports(lab, "claim of stale entries"):
            with pytest.raises(NotSupported, match="cannot fall silent alone"):
                ada.crash()
            assert ada.commit() == 6
            ada.close()
            return
        ada.commit(events[1])
        ada.crash()
        ada.crash()
        for call in (ada.poll, ada.commit, lambda: ada.claim_stale(0), lambda: ada.acknowledge([])):
            with pytest.raises(NotConnected, match="'ada' has crashed"):
                call()
        ada.close()
        assert ada.crashed
        assert "crashed" in repr(ada)
        assert group.state().pending == {"ada": 4}
        with group.join("bob") as bob, group.join("ada") as again:
            assert contents(bob.claim_stale(0.0, count=1)) == [2]
            assert [(e.content, e.attempt) for e in again.poll()] == [(3, 2), (4, 2), (5, 2)]
            assert (again.commit(), bob.commit()) == (3, 1)
        assert lab.trace.count("crashed", actor="ada") == 1

    def test_what_a_crashed_member_still_works_on_is_not_committed(
        self, lab: StreamBroker, group: Group
    ) -> None:
        if not supports(lab, "claim of stale entries"):
            pytest.skip("a member on this broker cannot fall silent alone")
        ada, seen = group.join("ada"), []

        def handler(event: Event) -> None:
            seen.append(event.content)
            if event.content == 3:
                ada.crash()

        assert ada.run(handler, count=2, timeout=5.0) == 4
        assert seen == [0, 1, 2, 3]
        assert group.state().pending == {"ada": 2}
        assert group.lag() == 4

    def test_one_event_can_be_acknowledged_alone(self, lab: StreamBroker, group: Group) -> None:
        with group.join("ada") as ada:
            events = poll_all(ada, 6)
            if not supports(lab, "acknowledge one by one"):
                with pytest.raises(NotSupported):
                    ada.acknowledge(events[3])
                return
            assert ada.acknowledge(events[3]) == 1
            assert ada.acknowledge([events[5], events[0]]) == 2
            assert ada.acknowledge(events[3]) == 0  # it was before
            assert group.lag() == 3
            assert contents(e for e in events if e.position in held(group)) == [1, 2, 4]
            assert ada.commit() == 3

    def test_a_group_can_read_again_or_skip(self, group: Group) -> None:
        with group.join("ada") as ada:
            poll_all(ada, 6)
            ada.commit()
        group.rewind()
        assert group.lag() == 6
        with group.join("ada") as ada:
            assert contents(poll_all(ada, 6)) == list(range(6))
        group.rewind("end")
        assert group.lag() == 0

    def test_a_handler_that_fails_leaves_its_batch_uncommitted(self, group: Group) -> None:
        seen: list[int] = []
        stop = threading.Event()

        def handler(event: Event) -> None:
            seen.append(event.content)
            if event.content == 4 and seen.count(4) == 1:
                raise OSError("no line")
            if event.content == 5:
                stop.set()

        with group.join("ada") as ada, pytest.raises(OSError, match="no line"):
            ada.run(handler, timeout=30.0)
        before = ada.stats().committed  # batches that had come before that of event 4
        assert before <= 4
        with group.join("ada") as ada:
            assert ada.run(handler, timeout=30.0, stop=stop) == 6 - before
        assert seen == [0, 1, 2, 3, 4, *range(before, 6)]
        assert group.lag() == 0

    def test_running_stops_when_told(self, group: Group) -> None:
        stop = threading.Event()
        with group.join("ada") as ada:
            thread = threading.Thread(
                target=lambda: ada.run(lambda _: None, timeout=None, stop=stop)
            )
            thread.start()
            eventually(lambda: group.lag() == 0)
            stop.set()
            thread.join(10)
            assert not thread.is_alive()

    def test_a_member_that_left_cannot_poll(self, group: Group) -> None:
        ada = group.join("ada")
        ada.close()
        ada.close()
        with pytest.raises(NotConnected, match="join"):
            ada.poll()

    def test_latency_is_measured_for_what_was_appended_here(self, group: Group) -> None:
        with group.join("ada") as ada:
            poll_all(ada, 6)
            latency = ada.stats().latency
        assert latency is not None
        assert latency.samples == 6

    # --- what is no event ------------------------------------------------------------------------

    def test_what_is_no_event_is_counted_and_ends_nothing(
        self, lab: StreamBroker, stream: EventStream
    ) -> None:
        stream.append("good", key=KEY)
        stream.log.append([NewEntry(b"\xff\x00rubbish", KEY)])
        stream.append("better", key=KEY)
        events = stream.read()
        assert contents(events) == ["good", "better"]
        [bad] = events.unreadable
        assert bad.body == b"\xff\x00rubbish"
        assert str(bad.position) in str(bad)
        assert events[0].position < bad.position < events[1].position
        assert stream.stats().unreadable == 1
        assert stream.stats().decode_errors == (bad,)
        assert contents(stream.follow("first", timeout=self.quiet_s)) == ["good", "better"]
        group = stream.group("boards")
        with group.join("ada") as ada:
            assert contents(poll_all(ada, 2)) == ["good", "better"]
            assert ada.commit() == 3
            assert ada.stats().unreadable == 1
        assert group.lag() == 0
        assert lab.trace.count("unreadable", actor="ada") == 1

    def test_what_is_no_event_is_not_left_uncommitted(self, stream: EventStream) -> None:
        stream.log.append([NewEntry(b"rubbish", KEY)])
        group = stream.group("boards")
        with group.join("ada") as ada:
            eventually(lambda: ada.run(lambda _: None) == 0 and ada.stats().unreadable == 1)
            assert ada.stats().committed == 1
        assert group.lag() == 0

    # --- trimming --------------------------------------------------------------------------------

    def test_trimming_says_what_it_would_destroy_and_refuses(
        self, lab: StreamBroker, stream: EventStream, group: Group
    ) -> None:
        if not supports(lab, "trim"):
            with pytest.raises(NotSupported):
                stream.trim(keep=1)
            return
        events = stream.read()
        with group.join("ada") as ada:
            poll_all(ada, 6)
            ada.commit(events[1])
            stream.group("apps")
            with pytest.raises(TrimRefused, match=r"'apps' has not read.*'boards' has not comm"):
                stream.trim(keep=2)
            with pytest.raises(TrimRefused) as caught:
                stream.trim(before=events[3])
            assert caught.value.unread == {"apps": 3}
            assert caught.value.pending.get("boards") in (1, None)
            assert len(stream) == 6
            stream.group("apps").delete()
            assert stream.trim(before=events[2]).entries == 2  # all done
            gone = stream.trim(keep=1, force=True)
            assert gone.entries == 3
            assert contents(stream.read()) == [5]
            assert lab.trace.count("trimmed") == 2
            assert stream.stats().trimmed == 5

    def test_trimming_nothing_and_everything(self, lab: StreamBroker, stream: EventStream) -> None:
        if not supports(lab, "trim"):
            pytest.skip("the broker cannot trim")
        assert stream.trim(keep=5).entries == 0
        fill(stream, range(3))
        assert stream.trim(keep=5).entries == 0
        assert stream.trim(keep=0).entries == 3
        assert stream.read() == []
        stream.append("new", key=KEY)
        assert contents(stream.read()) == ["new"]
        for wrong in ({}, {"keep": 1, "before": "1-0"}, {"keep": -1}):
            with pytest.raises(ConfigurationError):
                stream.trim(**wrong)  # type: ignore[arg-type]

    # --- tables and statistics -------------------------------------------------------------------

    def test_positions_are_a_table(self, stream: EventStream, group: Group) -> None:
        with group.join("ada") as ada:
            poll_all(ada, 6)
            table = stream.positions()
            assert sum(place.lag for place in table["boards"].places) == 6
            assert len(table) == 1
            with pytest.raises(KeyError, match="boards"):
                table["bords"]
            frame = table.to_frame()
            assert set(frame["group"]) == {"boards"}
            assert frame["lag"].sum() == 6
            assert "ada" in frame["members"][0]
            assert "boards" in table._repr_html_()
            assert "lag 6" in repr(table)
            assert "ada" in repr(group.owners())
            assert "ada" in group.owners()._repr_html_()
            assert set(group.owners().to_frame()["member"]) == {"ada"}

    def test_events_are_a_table(self, stream: EventStream) -> None:
        assert repr(stream.read()) == "no events"
        fill(stream, range(70))
        events = stream.read()
        assert len(events.to_frame()) == 70
        assert "70 events, the first 60 shown" in events._repr_html_()
        assert "70 events in all" in repr(events)

    def test_appends_and_reads_are_counted_and_traced(
        self, lab: StreamBroker, stream: EventStream
    ) -> None:
        fill(stream, range(3))
        stream.read()
        stats = stream.stats()
        assert (stats.messages, stats.read) == (3, 3)
        assert stats.bytes > 0
        assert lab.trace.count("sent") == lab.trace.count("accepted") == 3
        assert lab.trace.count("read") == 1

    # --- projections -----------------------------------------------------------------------------

    def test_a_projection_is_rebuilt_and_catches_up(self, stream: EventStream) -> None:
        fill(stream, range(5))
        total = Projection(0, lambda state, event: state + event.content)
        assert total.rebuild(stream) == 10
        fill(stream, [10, 20])
        assert total.catch_up(stream) == 2
        assert total.state == 40
        assert total.catch_up(stream) == 0
        assert total.rebuild(stream) == 40

    def test_a_poison_event_stops_a_projection_until_it_is_skipped(
        self, stream: EventStream
    ) -> None:
        fill(stream, [1, 2])
        poison = stream.append("three", key=KEY)
        fill(stream, [4])
        total = Projection(0, lambda state, event: state + event.content)
        for _ in range(2):
            with pytest.raises(PoisonEvent) as caught:
                total.catch_up(stream)
            assert caught.value.position == str(poison.position)
            assert total.state == 3
        total.skip(poison.position)
        assert total.catch_up(stream) == 1
        assert total.state == 7


def held(group: Group) -> set[Position | None]:
    return {row.position for row in group.owners()}


def deterministic_story(lab: Any) -> list[str]:
    """What a notebook would show; the same on every broker of a kind."""
    stream = EventStream(lab, "flight-events", sender="tower")
    stream.append({"flight": KEY}, type="flight.scheduled", key=KEY)
    stream.append_many([NewEvent(n, key=f"k{n % 2}") for n in range(5)])
    shown: list[object] = [stream.read(), stream.read("last"), stream.read()._repr_html_()]
    follower = stream.follow("first", timeout=0.0)
    shown.append([event.label for event in follower])
    group = stream.group("boards")
    with group.join("ada") as ada, group.join("bob") as bob:
        shown += [ada.poll(2), bob.poll(3), group.owners(), stream.positions()]
        shown += [ada.commit(), bob.claim_stale(0.0), stream.positions()._repr_html_()]
        try:
            stream.trim(keep=1)
        except TrimRefused as error:
            shown.append(str(error))
        shown += [bob.run(lambda _: None), ada.stats(), bob.stats(), group.lag()]
    try:
        stream.append(1, key=KEY, expected=0)
    except Conflict as error:
        shown.append(str(error))
    total = Projection(dict, count_types)
    shown += [total.rebuild(stream), total, total.snapshot().to_json(), stream.trim(keep=2)]
    shown += [stream.positions(), stream.stats(), lab.trace, lab.trace._repr_html_()]
    return [repr(item) for item in shown] + [str(lab.commands(100))]


def count_types(state: dict[str, int], event: Event) -> None:
    state[event.type] = state.get(event.type, 0) + 1
