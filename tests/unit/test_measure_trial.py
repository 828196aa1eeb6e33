"""Trials, on a simulated server whose truth is known, and on the embedded broker."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

import labkit
from labkit import Publisher, StepClock
from labkit.broker import Lab
from labkit.errors import BrokerUnavailable, ConfigurationError, NotSupported
from labkit.measure import (
    Closed,
    Constant,
    Measurements,
    Poisson,
    Replay,
    SimulatedServer,
    Stall,
    exponential,
    littles_law,
    trial,
)
from labkit.measure import body as bodies_of
from labkit.measure.bare_ends import Publishing
from labkit.measure.ends import Arrived, Failure
from labkit.measure.generator import Generator, Pace
from labkit.measure.lags import Lags
from labkit.measure.recorder import Recorder, Unfinished
from labkit.measure.tracker import Tracker

MS = 1_000_000


def only(measured: Measurements) -> dict[str, object]:
    [row] = measured.trials.to_dict("records")
    return {str(name): value for name, value in row.items()}


def simulated(server: SimulatedServer, **options: object) -> Measurements:
    return trial(server, warmup=0, **options)  # type: ignore[arg-type]


# --- the truth is known ---------------------------------------------------------------------------


def test_every_percentile_of_a_known_distribution_comes_out_exactly() -> None:
    server = SimulatedServer([n / 1_000 for n in range(1, 101)])  # 1 ms … 100 ms, in turn

    row = only(simulated(server, schedule=Constant(5), seconds=20))

    assert row["completed"] == 100
    assert row["service_p50_ms"] == row["response_p50_ms"] == 50
    assert row["service_p90_ms"] == 90
    assert row["service_p99_ms"] == 99
    assert row["service_max_ms"] == 100


def test_a_stall_is_in_the_response_times_of_all_who_waited_and_in_one_service_time() -> None:
    """1,000 requests every 10 ms, 1 ms service, one stall of 200 ms."""
    row = only(
        simulated(SimulatedServer(0.001), schedule=Constant(100), seconds=10, stall=Stall(5, 0.2))
    )

    assert row["service_p99_ms"] == 1
    assert row["service_max_ms"] == 201
    # the k-th to arrive after the stall began finds 200 - 10k ms of it left, and k to go first
    assert row["response_p99_ms"] == 201 - 10 * 9 == 111
    assert row["response_max_ms"] == 201
    assert row["valid"], row["why_invalid"]


def test_a_closed_client_hides_the_same_stall() -> None:
    row = only(simulated(SimulatedServer(0.001), seconds=10, stall=Stall(5, 0.2)))

    assert row["response_p99_ms"] == row["service_p99_ms"] == 1
    assert row["response_max_ms"] == 201


def test_the_tail_of_a_stall_grows_with_its_length_as_theory_says() -> None:
    """Of n arrivals in a stall of S the i-th waits S - i/rate, and i earlier ones go first."""
    rate, service_s = 200, 0.001
    for stall_s in (0.1, 0.3):
        measured = simulated(
            SimulatedServer(service_s), schedule=Constant(rate), seconds=5, stall=Stall(1, stall_s)
        )
        waited = measured.operations.query("response_ms > 1.5")["response_ms"]
        expected = [
            (stall_s - i / rate + (i + 1) * service_s) * 1e3 for i in range(round(stall_s * rate))
        ]

        for found, theory in zip(waited, expected, strict=False):
            assert found == pytest.approx(theory, abs=1e-3)


def test_waiting_explodes_near_full_utilisation_as_queueing_theory_says() -> None:
    """M/M/1: mean response = service / (1 - utilisation)."""
    for utilisation, seconds in ((0.5, 400), (0.8, 1_600)):
        measured = simulated(
            SimulatedServer(exponential(0.01, seed=5)),
            schedule=Poisson(utilisation * 100, seed=6),
            seconds=seconds,
        )
        assert measured.trials["valid"][0]  # waiting for a busy server is not the generator's lag
        mean_ms = measured.operations["response_ms"].mean()

        assert mean_ms == pytest.approx(10 / (1 - utilisation), rel=0.1)


def test_littles_law_holds_for_what_was_measured() -> None:
    measured = simulated(
        SimulatedServer(exponential(0.01, seed=1)), schedule=Poisson(70, seed=2), seconds=300
    )
    law = littles_law(measured)

    assert law.in_flight == pytest.approx(0.7 / 0.3, rel=0.15)
    assert law.ratio == pytest.approx(1, abs=0.01)
    with pytest.raises(ConfigurationError, match="no trial 7"):
        littles_law(measured, trial=7)


def test_a_batch_waits_until_it_is_full_and_the_first_one_pays() -> None:
    measured = simulated(SimulatedServer(0.0), schedule=Constant(100), batch=5, seconds=1)

    assert measured.operations["response_ms"].head(5).tolist() == [40, 30, 20, 10, 0]
    assert only(measured)["lag_p99_ms"] == 0  # waiting for its batch is not being late


def test_a_trial_is_the_same_each_time_on_a_simulated_server() -> None:
    runs = [
        simulated(
            SimulatedServer(exponential(0.002, seed=9)), schedule=Poisson(100, seed=9), seconds=5
        )
        for _ in range(2)
    ]

    assert runs[0].operations.equals(runs[1].operations)
    assert runs[0].series.equals(runs[1].series)


def test_a_recorded_day_is_measured_at_its_own_times() -> None:
    measured = simulated(SimulatedServer(0.001), schedule=Replay([0.0, 1.0, 1.5], 1.0), seconds=2)

    assert measured.operations["intended_ns"].tolist() == [0, 1_000 * MS, 1_500 * MS]
    assert only(measured)["schedule"] == "replay"


# --- nothing vanishes -----------------------------------------------------------------------------


def test_lost_operations_are_counted_exactly_and_weigh_the_time_out() -> None:
    server = SimulatedServer(0.001, lost=[3, 4, 50, 99])
    measured = simulated(server, schedule=Constant(10), seconds=10, timeout=1.5)
    row = only(measured)

    assert (row["sent"], row["completed"], row["lost"], row["unanswered"]) == (100, 96, 3, 1)
    assert row["service_p99_ms"] == 1_500
    gone = measured.operations.query("status != 'ok'")
    assert gone["number"].tolist() == [3, 4, 50, 99]
    assert gone["status"].tolist() == ["lost", "lost", "lost", "unanswered"]
    assert gone["done_ns"].tolist() == [-1] * 4
    assert (gone["response_ms"] >= 1_500).all()


def test_a_closed_client_gives_up_and_goes_on() -> None:
    row = only(simulated(SimulatedServer(0.01, lost=[5]), seconds=3, timeout=1))

    assert row["unanswered"] == 1
    assert row["completed"] == pytest.approx(200, abs=10)


def test_the_warm_up_is_kept_and_marked_and_not_counted() -> None:
    slow_start = [0.05] * 10 + [0.001] * 990
    measured = trial(
        SimulatedServer(slow_start), schedule=Constant(10), seconds=9, warmup=1.0, tick=0.5
    )
    row = only(measured)

    assert row["completed"] == 90
    assert row["service_max_ms"] == 1
    assert measured.operations["warmup"].sum() == 10
    assert measured.operations.query("warmup")["service_ms"].max() == 50
    assert measured.series["warmup"].tolist()[:3] == [True, True, False]
    assert measured.series.query("~warmup")["completed_per_s"].tolist() == [10.0] * 18


def test_a_long_trial_keeps_all_in_histograms_and_says_which_part_it_shows() -> None:
    measured = simulated(SimulatedServer(0.001), schedule=Constant(100), seconds=10, capacity=50)
    row, health = only(measured), measured.health.iloc[0]

    assert row["completed"] == 1_000
    assert row["throughput"] == 100
    assert len(measured.operations) == 50
    assert health["operations_fraction"] == 0.05
    assert health["percentiles"] == "histogram"
    assert measured.histograms[0].service.count == 1_000
    assert row["service_p99_ms"] == pytest.approx(1, rel=1 / 128)
    assert measured.series["completed_per_s"].sum() * 0.1 == 1_000


def test_p999_is_withheld_below_ten_thousand_samples_and_the_reason_given() -> None:
    few = simulated(SimulatedServer(0.0), schedule=Constant(999), seconds=10)
    many = simulated(SimulatedServer(0.0), schedule=Constant(1_000), seconds=10)

    assert math.isnan(float(only(few)["service_p999_ms"]))  # type: ignore[arg-type]
    assert "9,990 samples" in few.health["p999_note"][0]
    assert only(many)["service_p999_ms"] == 0
    assert many.health["p999_note"][0] == ""


def test_the_series_shows_what_is_under_way_during_a_stall() -> None:
    measured = simulated(
        SimulatedServer(0.001), schedule=Constant(100), seconds=3, stall=Stall(1.0, 0.5)
    )
    depth = measured.series.set_index(measured.series["t_s"].round(1))["depth"]

    assert depth[0.9] <= 1
    assert depth[1.4] == pytest.approx(40, abs=2)
    assert depth[2.5] <= 1


# --- the generator's own health -------------------------------------------------------------------


class SlowClient:
    """A near end that costs 3 ms of the generator's own time for each operation."""

    most_at_once = 100
    keeps_order = True
    trailer = bodies_of.trailer(100)

    def __init__(self, clock: StepClock, cost_s: float) -> None:
        self._clock = clock
        self._cost_s = cost_s

    def send(self, bodies: Sequence[bytes], arrived: Arrived) -> Failure | None:
        for body in bodies:
            self._clock.advance(self._cost_s)
            arrived(0, body)
        return None

    def collect(self, wait_s: float, arrived: Arrived) -> None:
        del arrived
        self._clock.advance(wait_s)

    def all_lost(self) -> bool:
        return False

    def close(self) -> None:
        pass


def driven(near: SlowClient, clock: StepClock, rate: float) -> tuple[Generator, Tracker]:
    tracker = Tracker(Recorder(timeout_ns=2_000 * MS), clock, clock.monotonic_ns())
    pace = Pace(Constant(rate), 2_000 * MS, 0, 1, 2_000 * MS)
    generator = Generator(pace, near, tracker, clock)
    generator.run()
    return generator, tracker


def test_a_generator_that_cannot_keep_up_is_found_out() -> None:
    clock = StepClock(tick=0)
    generator, tracker = driven(SlowClient(clock, 0.003), clock, rate=1_000)

    assert generator.lags.summary().own_p99_ms > 900
    assert tracker.send_errors > 0  # what was due and never left is told, too
    assert tracker.recorder.total == 2_000


def test_a_generator_that_keeps_up_is_not_accused() -> None:
    clock = StepClock(tick=0)
    generator, tracker = driven(SlowClient(clock, 0.0005), clock, rate=1_000)

    assert generator.lags.summary().own_p99_ms < 1
    assert tracker.send_errors == 0


def test_a_trial_beyond_the_generator_is_marked_invalid_with_the_reason() -> None:
    with labkit.connect() as lab:
        row = only(trial(lab, schedule=Constant(1_000_000), seconds=0.05, warmup=0, timeout=0.1))

    assert not row["valid"]
    assert "could not keep its schedule" in str(row["why_invalid"])


def test_what_a_stall_made_late_is_not_the_generators_fault() -> None:
    lags = Lags()
    lags.add(0, 0, 0)
    lags.held_up(0, 300 * MS)
    for intended in range(10, 300, 10):
        lags.add(intended * MS, (300 - intended) * MS, 300 * MS)
    lags.add(301 * MS, 0, 301 * MS)
    summary = lags.summary()

    assert summary.p99_ms == 290
    assert summary.own_p99_ms == 0
    assert summary.held_up_s == pytest.approx(0.3)


def test_the_excuse_ends_when_as_much_time_again_has_passed() -> None:
    lags = Lags()
    lags.held_up(0, 100 * MS)
    lags.add(150 * MS, 60 * MS, 210 * MS)

    assert lags.summary().own_p99_ms == 60


def test_negative_times_are_counted_and_make_a_trial_invalid() -> None:
    from labkit.measure import outcome as outcomes
    from labkit.measure.tables import tables
    from labkit.measure.trial_options import TrialOptions

    clock = StepClock(tick=0)
    recorder = Recorder()
    tracker = Tracker(recorder, clock, 0)
    for number in range(10):
        recorder.record(number, number, number, number + (-5 if number == 7 else 5))
    near = SlowClient(clock, 0)
    generator = Generator(Pace(Constant(1), 1, 0, 1, 1), near, tracker, clock)
    options = TrialOptions(
        pattern="pubsub",
        schedule=Constant(1),
        seconds=1,
        size=100,
        batch=1,
        subscribers=1,
        workers=1,
        publishers=1,
        timeout=1,
        warmup=0,
        stall=None,
        processes=False,
        work=0,
        lag_limit_ms=1,
        capacity=100,
        tick=0.1,
    )
    made = tables(outcomes.of_one_process(generator, tracker), options.setting("x", True))

    assert made.trial["implausible"] == 1
    assert "1 intervals are negative" in made.trial["why_invalid"]
    assert len(made.operations) == 10  # it is still there to look at


def test_a_broker_that_fails_until_the_end_is_named_and_a_short_outage_is_not() -> None:
    class Failing(SlowClient):
        fails = range(0)

        def send(self, bodies: Sequence[bytes], arrived: Arrived) -> Failure | None:
            if bodies_of.number_of(bodies[0]) in self.fails:
                return Failure(range(len(bodies)), BrokerUnavailable("Nobody answers."))
            return super().send(bodies, arrived)

    for fails, expected in ((range(100, 110), ""), (range(180, 200), "Nobody answers.")):
        clock = StepClock(tick=0)
        near = Failing(clock, 0.0)
        near.fails = fails
        generator, tracker = driven(near, clock, rate=100)

        assert generator.broke == expected
        assert tracker.send_errors == len(fails)
        assert tracker.recorder.total == 200


def test_a_seed_draws_the_arrivals_of_a_poisson_schedule() -> None:
    runs = [
        simulated(SimulatedServer(0.001), schedule=Poisson(50, seed=1), seconds=1, seed=seed)
        for seed in (None, 1, 2)
    ]
    first, same, other = (run.operations["intended_ns"].tolist() for run in runs)

    assert first == same != other


# --- what is loaded -------------------------------------------------------------------------------

LOADED = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"


def test_importing_it_loads_no_tables_and_a_recorder_none_either() -> None:
    code = f"from labkit.measure import Closed, Histogram, Recorder, Stall; {LOADED}"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert "labkit" in loaded
    assert not {"numpy", "pandas", "tqdm", "redis", "fakeredis"} & set(loaded)


def test_without_pandas_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['pandas'] = None; from labkit.measure import trial"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "pip install 'messaging-lab[notebooks]'" in run.stderr


def test_every_name_that_is_handed_on_can_be_had() -> None:
    from labkit import measure

    assert all(getattr(measure, name) is not None for name in measure.__all__)
    assert sorted(measure._HOMES) == sorted(measure.__all__)
    with pytest.raises(AttributeError, match="tryal"):
        measure.tryal  # noqa: B018


# --- arrivals -------------------------------------------------------------------------------------


@pytest.fixture
def tracker() -> Tracker:
    made = Tracker(Recorder(), StepClock(tick=0), 0, ends=2)
    for number in range(4):
        made.sent(number, 0, 0)
    return made


def arrive(tracker: Tracker, end: int, *numbers: int) -> None:
    for number in numbers:
        tracker.arrived(end, bodies_of.pack(number, 0, 0))


def test_a_message_for_two_is_done_when_both_have_it(tracker: Tracker) -> None:
    arrive(tracker, 0, 0, 1)
    arrive(tracker, 1, 0)

    assert tracker.ended == 1
    assert tracker.overtaken(2) is False


def test_duplicates_and_wrong_order_are_counted(tracker: Tracker) -> None:
    arrive(tracker, 0, 0, 2, 1, 1, 3)

    assert (tracker.duplicates, tracker.out_of_order) == (1, 1)


def test_what_comes_after_it_was_given_up_is_late_and_no_duplicate(tracker: Tracker) -> None:
    tracker.give_up_before(1)
    arrive(tracker, 0, 0)

    assert (tracker.late, tracker.duplicates) == (1, 0)


def test_what_both_have_overtaken_is_lost_and_the_rest_unanswered(tracker: Tracker) -> None:
    arrive(tracker, 0, 0, 2)
    arrive(tracker, 1, 0, 2)
    tracker.close(tracker.overtaken)
    numbers, _, _, done = tracker.recorder.columns()

    fates = dict(zip(numbers.tolist(), done.tolist(), strict=True))
    assert fates[1] == Unfinished.LOST
    assert fates[3] == Unfinished.UNANSWERED


# --- the embedded broker --------------------------------------------------------------------------


@pytest.fixture
def lab() -> Iterator[Lab]:
    with labkit.connect() as lab:
        yield lab


@pytest.mark.parametrize("pattern", ["pubsub", "queue", "rpc"])
@pytest.mark.parametrize("schedule", [Closed(2), Constant(200)])
def test_every_pattern_is_measured(lab: Lab, pattern: str, schedule: object) -> None:
    measured = trial(lab, pattern=pattern, schedule=schedule, seconds=0.1, warmup=0)  # type: ignore[arg-type]
    row = only(measured)

    assert row["pattern"] == pattern
    assert row["completed"] == row["sent"] > 0
    assert row["lost"] == row["duplicates"] == row["out_of_order"] == row["send_errors"] == 0
    assert (measured.operations["response_ms"] >= measured.operations["service_ms"]).all()
    assert row["broker"] == "embedded"
    assert row["embedded"] is True


def test_several_subscribers_and_batches_are_measured(lab: Lab) -> None:
    row = only(trial(lab, subscribers=3, batch=4, seconds=0.1, warmup=0))

    assert row["completed"] == row["sent"] > 0
    assert row["subscribers"] == 3


def test_an_injected_stall_stands_in_the_open_tail_and_hides_from_the_closed_client(
    lab: Lab,
) -> None:
    stall = Stall(at=0.1, seconds=0.2)
    closed = trial(lab, schedule=Closed(), seconds=0.5, warmup=0, stall=stall)
    open_ = trial(lab, schedule=Constant(500), seconds=0.5, warmup=0, stall=stall)

    assert (closed.operations["response_ms"] > 150).sum() == 1
    assert (open_.operations["response_ms"] > 100).sum() > 40
    assert open_.health["held_up_s"][0] > 0.15


def test_a_trial_leaves_nothing_behind_in_a_lab_that_is_used(lab: Lab) -> None:
    with Publisher(lab, sender="tower") as tower:
        trial(lab, seconds=0.05, warmup=0)

        assert tower.publish("news", 1).subscriptions == 0


def test_where_it_was_measured_is_kept_without_address_and_password(
    lab: Lab,
) -> None:
    found = trial(lab, seconds=0.05, warmup=0).environment

    assert found["broker"] == lab.name
    assert found["embedded"] is True
    assert {"python", "labkit", "redis_py", "hiredis", "cpu", "cores", "platform", "date"} <= set(
        found
    )


def test_only_publishers_themselves_count_who_hears_nothing() -> None:
    with labkit.connect() as lab:
        from labkit.measure.ends import Name

        near = Publishing(lab, Name("nobody"), 100)
        near.send([bodies_of.pack(0, 0, 0) + near.trailer] * 3, lambda *_: None)

        assert near.nobody_subscribed == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pattern": "gossip"}, "pubsub, queue, rpc"),
        ({"size": 10}, "24 or more"),
        ({"pattern": "rpc", "size": 30}, "address for the reply"),
        ({"seconds": 0}, "seconds"),
        ({"batch": 0}, "batch"),
        ({"warmup": -1}, "warmup"),
        ({"work": 0.1}, "processes=True"),
        ({"publishers": 2}, "processes=True"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(
    lab: Lab,
    options: dict[str, object],
    words: str,
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        trial(lab, **options)  # type: ignore[arg-type]


def test_processes_cannot_reach_the_embedded_broker(lab: Lab) -> None:
    with pytest.raises(NotSupported, match="Python in this process"):
        trial(lab, processes=True)
    with pytest.raises(ConfigurationError, match="simulated"):
        trial(SimulatedServer(), processes=True)


def test_a_stall_says_what_it_needs(lab: Lab) -> None:
    class Server:
        def pause(self) -> None: ...

        def resume(self) -> None: ...

    with pytest.raises(ConfigurationError, match=r"Stall\(at, seconds\) alone"):
        trial(lab, stall=Stall(0, 1, server=Server()))
    with pytest.raises(ConfigurationError, match="more than 0 s"):
        Stall(0, 0)
