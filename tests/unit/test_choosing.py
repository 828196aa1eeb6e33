"""The engine of lab 11 on the embedded broker: what it counts, what it says, what it cleans up."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import labkit
from labkit.broker import Capability, Support
from labkit.errors import ConfigurationError, ServerError
from labkit.experiments.choosing import Brokers, Comparison, at_hand, compare, jobs, open_brokers
from labkit.experiments.choosing.commands import commands_of_a_task
from labkit.experiments.choosing.guide import Evidence, Guide, Sentence, guide, look_up
from labkit.experiments.choosing.job_table import JobTable
from labkit.experiments.choosing.lines import adapter_lines, code_lines
from labkit.experiments.choosing.notes import Notes
from labkit.experiments.choosing.poison import poison
from labkit.experiments.choosing.restart import kill_servers
from labkit.experiments.choosing.results import COUNTS


@pytest.fixture
def brokers() -> Iterator[Brokers]:
    with open_brokers("redis+embedded") as found:
        yield found


@pytest.fixture(scope="module")
def run() -> Comparison:
    """What one run has seen; the broker is closed."""
    with open_brokers("redis+embedded") as found:
        return compare(found)


def two_servers(run: Comparison) -> Comparison:
    """What a run with two servers might have seen: "Fast", and "Late", which has no streams."""
    known = run._capabilities["embedded"]
    none = Capability("stream", Support.ABSENT, "It forgets.")
    frames = []
    for name, factor in (("Fast", 1.0), ("Late", 10.0)):
        frame = run.figures.assign(broker=name, real=True)
        for column in ("p50_ms", "p99_ms", "back_after_s"):
            frame[column] = frame[column] * factor
        frames.append(frame)
    figures = pd.concat(frames, ignore_index=True)
    absent = (figures.broker == "Late") & (figures.job == "replay")
    figures.loc[absent, [*COUNTS, "throughput", "p50_ms", "p99_ms"]] = pd.NA
    figures.loc[absent, ["support", "why"]] = ["absent", none.why]
    rows = [
        run.brokers.assign(broker=n, real=True, busy_mb=m)
        for n, m in (("Fast", 9.5), ("Late", 90.0))
    ]
    return Comparison(
        figures,
        pd.concat(rows, ignore_index=True),
        run.jobs,
        {"Fast": known, "Late": {**known, "stream": none}},
    )


# --- which brokers are at hand --------------------------------------------------------------------


def test_the_variable_says_which_brokers_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(at_hand.BROKERS_VARIABLE, "redis+embedded")
    with open_brokers() as found:
        assert found.names == ["embedded"]
        assert found.real == []
        assert found[0].memory_mb() is None


def test_an_unknown_broker_is_refused_before_anything_is_started() -> None:
    with pytest.raises(ConfigurationError, match="'pulsar' is no broker; there are: redis"):
        open_brokers("redis+embedded, pulsar")


def test_what_is_missing_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_server() -> None:
        raise ServerError("No Redis here. Install redis-server.")

    monkeypatch.delenv(at_hand.BROKERS_VARIABLE, raising=False)
    monkeypatch.setitem(at_hand._START, "redis", no_server)
    monkeypatch.setattr(at_hand, "find_spec", lambda _: None)

    with open_brokers() as found:
        assert found.names == ["embedded"]
        assert found.missing["Redis"] == "No Redis here. Install redis-server."
        assert "pip install" in found.missing["RabbitMQ"]
        assert "confluent-kafka" in found.missing["Kafka"]
        assert "Redis: not here, No Redis here." in repr(found)
        assert "Install redis-server" in found._repr_html_()


def test_without_any_broker_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_hand, "find_spec", lambda _: None)
    with pytest.raises(ServerError, match=r"No broker is at hand\. .*pip install"):
        open_brokers("rabbitmq")


def test_opening_again_closes_what_was_open() -> None:
    first = open_brokers("redis+embedded")
    with open_brokers("redis+embedded"), pytest.raises(labkit.errors.NotConnected):
        first[0].lab.ping()
    first.close()


def test_if_one_cannot_be_connected_all_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def connect(url: str, **_: object) -> object:
        if url.startswith("kafka"):
            raise RuntimeError("a bug")
        opened.append(labkit.connect(url))
        return opened[-1]

    monkeypatch.setattr(at_hand, "connect", connect)
    with pytest.raises(RuntimeError):
        open_brokers("redis+embedded,kafka+embedded")
    with pytest.raises(labkit.errors.NotConnected):
        opened[0].ping()


# --- notes ----------------------------------------------------------------------------------------


def test_notes_count_what_is_lost_comes_twice_and_comes_late() -> None:
    notes = Notes()
    notes.burst("abcde")
    for number, key in ((0, "x"), (2, "x"), (1, "y"), (2, "x"), (4, "y")):
        notes.arrived(number, key=key)

    assert (notes.sent, notes.lost, notes.duplicated) == (5, 1, 1)
    assert notes.reordered() == 1  # 1 came after 2
    assert notes.reordered(within_keys=True) == 0  # not within its key
    assert notes.throughput != notes.throughput  # nothing was timed


def test_what_a_killed_worker_had_in_hand_is_lost_until_somebody_does_it() -> None:
    notes = Notes()
    notes.burst("abc")
    notes.killed([0, 1])
    notes.arrived(2)
    assert (notes.lost, notes.back_after_s) == (1, None)

    notes.arrived(1)

    assert (notes.lost, notes.duplicated) == (0, 1)
    assert notes.back_after_s is not None
    assert 0 <= notes.back_after_s < 10


def test_each_reader_should_get_everything() -> None:
    notes = Notes(readers=2)
    notes.burst("ab")
    notes.arrived(0, "board")
    notes.arrived(1, "board")
    notes.arrived(1, "app")

    assert (notes.sent, notes.lost, notes.duplicated, notes.reordered()) == (4, 1, 0, 0)


def test_a_latency_counts_from_when_a_message_was_due_without_the_warm_up() -> None:
    notes = Notes()
    for number, _ in notes.paced(range(23), rate=1_000.0):
        notes.arrived(number)

    assert len(notes.latencies_ms) == 3
    assert all(0 <= one < 1_000 for one in notes.latencies_ms)


# --- the four jobs --------------------------------------------------------------------------------


def test_on_the_embedded_broker_nothing_is_lost_and_one_task_is_begun_twice(
    run: Comparison,
) -> None:
    figures = run.to_frame().set_index("job")

    assert list(figures.index) == ["fan-out", "rebooking", "seats", "replay"]
    assert dict(figures.lost) == dict.fromkeys(figures.index, 0)
    assert dict(figures.twice) == {"fan-out": 0, "rebooking": 1, "seats": 0, "replay": 0}
    assert dict(figures.reordered) == dict.fromkeys(figures.index, 0)
    assert figures.sent["fan-out"] == 3 * (979 + jobs.PACED)
    assert figures.sent["rebooking"] == 180 + jobs.PACED + jobs.KILLED_TASKS
    assert figures.back_after_s["rebooking"] > jobs.LEASE_S / 2
    assert (figures.p50_ms <= figures.p99_ms).all()
    assert figures.samples["seats"] == 100


def test_a_run_says_what_was_emulated_and_what_it_took(run: Comparison) -> None:
    figures = run.figures.set_index("job")
    assert figures.support["seats"] == "emulated"
    assert "leases" in figures.emulated["rebooking"]
    assert "partitions" in figures.absent["replay"]
    [broker] = run.brokers.to_dict("records")
    assert broker["idle_mb"] is None
    assert broker["adapter_lines"] == adapter_lines("redis") > 1_000
    assert (run.jobs.lines > 10).all()
    assert run.capabilities().loc["stream", "embedded"] == "native"
    assert "fan-out on embedded: native, 0" in repr(run)
    assert "back after a kill" in run._repr_html_()


def test_a_job_whose_capability_is_absent_has_no_figures(brokers: Brokers) -> None:
    impossible = replace(jobs.JOBS[3], capability="partitions")

    row = compare(brokers, [impossible]).figures.iloc[0]

    assert (row.support, pd.isna(row.lost), pd.isna(row.throughput)) == ("absent", True, True)
    assert "A stream is one log with one order" in row.why


def test_code_lines_leaves_out_what_is_no_code() -> None:
    assert code_lines('    def f(x):\n        """Doc."""\n\n        # why\n        return x\n') == 2


# --- poison, kills, a table -----------------------------------------------------------------------


def test_of_ten_messages_a_log_does_two_and_a_queue_nine(brokers: Brokers) -> None:
    [row] = poison(brokers)
    assert (row.log_done, row.log_tries, row.queue_done, row.queue_dead) == (2, 3, 9, 1)


def test_what_lives_in_this_program_is_not_killed(brokers: Brokers) -> None:
    left = kill_servers(brokers)
    assert left == []
    assert list(left.to_frame().columns)[:2] == ["broker", "default"]
    assert "skipped" in left._repr_html_()


def test_the_commands_of_a_task_are_the_brokers_own(brokers: Brokers) -> None:
    commands = commands_of_a_task(brokers)
    assert any("XADD" in line for line in commands["embedded"])


def test_a_table_loses_no_job_and_shows_who_is_late(tmp_path: Path) -> None:
    table = JobTable(tmp_path / "jobs.db")
    table.put("a", "b", "c")
    first = table.take()
    assert first is not None
    table.done(first[0])
    table.take()
    table.close()  # the program dies with b in hand

    again = JobTable(tmp_path / "jobs.db")
    assert again.states() == {"begun": 1, "done": 1, "waiting": 1}
    assert again.begun() == [(2, "b")]
    again.give_back(2)
    assert [job and job[1] for job in (again.take(), again.take(), again.take())] == [
        "b",
        "c",
        None,
    ]
    again.close()
    with pytest.raises(sqlite3.ProgrammingError):
        again.states()


# --- the guide ------------------------------------------------------------------------------------


def test_every_sentence_rests_on_something_in_the_run(run: Comparison) -> None:
    for one in (run, two_servers(run)):
        advice = guide(one)
        assert len(advice) >= 7
        assert advice.unfounded(one) == []
        assert all(evidence.value is not None for s in advice for evidence in s.rests_on)


def test_no_number_stands_in_a_sentence_that_is_not_in_its_evidence(run: Comparison) -> None:
    both = two_servers(run)
    for sentence in guide(both):
        known = sentence.basis + " ".join(
            both.capability(e.broker, e.name).why for e in sentence.rests_on if not e.job
        )
        for figure in re.findall(r"\d[\d,.]*\d|\d", re.sub("p50 to p99", "", sentence.text)):
            assert figure in known, sentence


def test_the_guide_says_who_is_first_and_who_lacks_it(run: Comparison) -> None:
    by_need = {one.need: one.text for one in guide(two_servers(run))}
    assert by_need["to read it again"] == ("Take Fast: native. Absent on Late (It forgets).")
    assert by_need["a small machine"] == (
        "After the work the server held 9.5 MB on Fast and 90 MB on Late."
    )


def test_speed_decides_only_where_the_spans_do_not_overlap(run: Comparison) -> None:
    both = two_servers(run)

    def answer(slow: tuple[float, float]) -> str:
        figures = both.figures.copy()
        for name, span in {"Fast": (1.0, 2.0), "Late": slow}.items():
            here = (figures.broker == name) & (figures.job == "seats")
            figures.loc[here, ["p50_ms", "p99_ms"]] = span
        return next(
            one.text for one in guide(replace(both, figures=figures)) if one.need == "an answer"
        )

    told = "From p50 to p99 it took 1 ms to 2 ms on Fast and"
    assert answer((3.0, 9.0)) == (
        f"{told} 3 ms to 9 ms on Late. Take Fast: its span ends before the others begin."
    )
    assert answer((1.5, 9.0)) == (
        f"{told} 1.5 ms to 9 ms on Late. The spans overlap: speed does not decide."
    )


def test_figures_of_a_stand_in_are_no_advice(run: Comparison) -> None:
    needs = {one.need for one in guide(run)}
    assert needs.isdisjoint({"an answer", "many hear it at once", "a small machine"})


def test_a_loss_is_said_first(run: Comparison) -> None:
    figures = run.figures.copy()
    figures.loc[figures.job == "seats", "lost"] = 3
    worse = replace(run, figures=figures)
    assert guide(worse)[0].text == "embedded lost 3 of the seats."


def test_a_sentence_without_ground_is_found(run: Comparison) -> None:
    right = Evidence("embedded", "seats", "lost", 0)
    made_up = [
        Sentence("x", "It is fast.", ()),
        Sentence("x", "It lost 7.", (replace(right, value=7),)),
        Sentence("x", "No such broker.", (replace(right, broker="Pulsar"),)),
        Sentence("x", "No such capability.", (Evidence("embedded", "", "magic", "native"),)),
    ]
    assert look_up(run, right) == 0
    assert Guide([*made_up, Sentence("x", "Fine.", (right,))]).unfounded(run) == made_up
    assert "seats, lost: embedded 0" in guide(run)._repr_html_()
    assert list(guide(run).to_frame().columns) == ["need", "text", "rests_on"]
