"""Results: tables that mean what they say, kept on the disk whole or not at all."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from labkit.errors import ConfigurationError, LabkitError
from labkit.measure import Constant, Measurements, SimulatedServer, intervals, sweep, trial
from labkit.measure.clocks import Agreement, compare, require
from labkit.measure.lags import Lags

TRIALS = [
    "trial",
    "broker",
    "embedded",
    "pattern",
    "schedule",
    "rate",
    "clients",
    "size_bytes",
    "batch",
    "subscribers",
    "workers",
    "repeat",
    "seconds",
    "sent",
    "completed",
    "lost",
    "duplicates",
    "out_of_order",
    "unanswered",
    "send_errors",
    "implausible",
    "throughput",
    "mb_per_s",
    "service_p50_ms",
    "service_p90_ms",
    "service_p99_ms",
    "service_p999_ms",
    "service_max_ms",
    "response_p50_ms",
    "response_p90_ms",
    "response_p99_ms",
    "response_p999_ms",
    "response_max_ms",
    "lag_p99_ms",
    "valid",
    "why_invalid",
    "interrupted",
]
OPERATIONS = [
    "trial",
    "number",
    "intended_ns",
    "sent_ns",
    "done_ns",
    "status",
    "service_ms",
    "response_ms",
    "warmup",
]
SERIES = ["trial", "t_s", "completed_per_s", "depth", "warmup"]


@pytest.fixture
def measured() -> Measurements:
    return sweep(
        SimulatedServer(0.001), rates=[None, 50], sizes=[100, 200], repeats=2, seconds=1, warmup=0
    )


def test_the_tables_have_the_columns_that_are_documented(measured: Measurements) -> None:
    assert list(measured.trials.columns) == TRIALS
    assert list(measured.operations.columns) == OPERATIONS
    assert list(measured.series.columns) == SERIES
    assert measured.trials["trial"].tolist() == list(range(8))
    assert measured.trials["trial"].tolist() == measured.health["trial"].tolist()
    assert measured.to_frame() is measured.trials


def test_results_without_a_trial_have_their_columns_too() -> None:
    empty = Measurements.of([])

    assert list(empty.trials.columns) == TRIALS
    assert "0 trials" in repr(empty)


def test_percentiles_can_be_had_from_the_operations_themselves(measured: Measurements) -> None:
    for _, row in measured.trials.iterrows():
        own = measured.operations.query("trial == @row.trial")

        assert len(own) == row["sent"]
        assert own["response_ms"].max() == row["response_max_ms"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_is_saved_is_loaded_as_it_was(
    measured: Measurements, tmp_path: Path, kind: str
) -> None:
    if kind == "parquet" and find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed")
    folder = tmp_path / "runs" / "monday"
    measured.save(folder, format=kind)  # type: ignore[arg-type]
    measured.save(folder, format=kind)  # type: ignore[arg-type]
    loaded = Measurements.load(folder)

    for name in ("trials", "operations", "series", "health"):
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(measured, name))
    assert loaded.histograms == measured.histograms
    assert loaded.environment == measured.environment
    assert [path.name for path in folder.parent.iterdir()] == ["monday"]  # nothing left beside it


def test_parquet_without_its_library_says_what_to_do(
    measured: Measurements, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labkit.measure import storage

    monkeypatch.setattr(storage, "find_spec", lambda _name: None)

    with pytest.raises(ConfigurationError, match='or save with format="csv"'):
        measured.save(tmp_path / "x", format="parquet")
    assert (measured.save(tmp_path / "x") / "trials.csv").is_file()


def test_a_folder_of_somebody_elses_is_not_replaced(measured: Measurements, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")

    with pytest.raises(ConfigurationError, match="holds no measurements"):
        measured.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


def test_loading_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(LabkitError, match="no measurements that can be read"):
        Measurements.load(tmp_path / "nothing")


SAVE_WHERE_THERE_IS_NO_ROOM = """
import sys
from pathlib import Path
from labkit.errors import LabkitError
from labkit.measure import Constant, Measurements, SimulatedServer, trial
whole = trial(SimulatedServer(0.001), schedule=Constant(1_000), seconds=5)
folder = Path(sys.argv[1]) / "runs"
small = trial(SimulatedServer(0.001), schedule=Constant(10), seconds=1)
small.save(folder, format="csv")
if sys.argv[2:]:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))
try:
    whole.save(folder, format="csv")
except LabkitError as error:
    print(error)
assert len(whole.operations) == 5_200  # still in memory
assert len(Measurements.load(folder).operations) == 12  # the old ones are whole
assert [path.name for path in Path(sys.argv[1]).iterdir()] == ["runs"]
"""


def test_a_full_disk_is_told_and_leaves_the_old_files_and_the_results(tmp_path: Path) -> None:
    """A file system of 256 KiB of its own, really full."""
    mounted = f'mount -t tmpfs -o size=256k tmpfs {tmp_path} && exec "$@"'
    run = subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "sh"),
            *(sys.executable, "-c", SAVE_WHERE_THERE_IS_NO_ROOM, str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    if "unshare" in run.stderr or "mount" in run.stderr:
        pytest.skip(f"no file system of one's own can be mounted here: {run.stderr.strip()[:80]}")

    assert run.returncode == 0, run.stderr
    assert "No space left on device" in run.stdout
    assert "still in memory" in run.stdout


def test_a_file_that_may_not_grow_is_told_as_well(tmp_path: Path) -> None:
    """The operating system refuses to write more than 64 KiB into one file."""
    run = subprocess.run(
        [sys.executable, "-c", SAVE_WHERE_THERE_IS_NO_ROOM, str(tmp_path), "limit"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert "File too large" in run.stdout


def test_a_notebook_shows_a_table_and_what_happened(measured: Measurements) -> None:
    html = Measurements(
        measured.trials,
        measured.operations,
        measured.series,
        measured.health,
        environment={"broker": "a <broker>"},
        notes=["Out of time: 8 of 9 trials fitted into 1 s."],
    )._repr_html_()

    assert "a &lt;broker&gt;" in html
    assert "8 of 9" in html
    assert html.count("<tr>") == 9


# --- sweeps ---------------------------------------------------------------------------------------


def test_a_sweep_measures_every_combination_as_often_as_asked(measured: Measurements) -> None:
    counts = measured.trials.groupby(["schedule", "size_bytes"])["repeat"].apply(sorted)

    assert counts.to_dict() == {
        (kind, size): [0, 1] for kind in ("closed", "constant") for size in (100, 200)
    }


def test_a_sweep_draws_its_order_and_draws_it_again_for_the_same_seed() -> None:
    def order(seed: int) -> list[int]:
        found = sweep(
            SimulatedServer(0.001),
            sizes=range(100, 107),
            repeats=1,
            seconds=0.01,
            warmup=0,
            seed=seed,
        )
        return found.trials["size_bytes"].tolist()

    assert order(1) == order(1) != order(2)
    assert order(1) != sorted(order(1))


def test_a_sweep_ends_when_its_time_is_up_and_says_what_is_missing() -> None:
    found = sweep(SimulatedServer(0.001), sizes=[100, 200], seconds=60, warmup=0, budget_s=59)

    assert len(found.trials) == 0
    assert found.notes == ("Out of time: 0 of 6 trials fitted into 59 s.",)


def test_a_sweep_shows_no_bar_where_a_notebook_would_store_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for progress in (None, False):
        sweep(SimulatedServer(0.001), repeats=1, seconds=0.1, progress=progress)
        assert capsys.readouterr().err == ""
    sweep(SimulatedServer(0.001), repeats=1, seconds=0.1, progress=True)
    assert "1/1" in capsys.readouterr().err


def test_a_sweep_over_patterns_counts_subscribers_for_one_and_workers_for_the_others() -> None:
    found = sweep(
        "embedded://",
        pattern=["pubsub", "queue"],
        subscribers=[1, 2],
        workers=[1, 3],
        repeats=1,
        seconds=0.05,
        warmup=0,
    ).trials

    assert sorted(found.query("pattern == 'pubsub'")["subscribers"]) == [1, 2]
    assert sorted(found.query("pattern == 'queue'")["workers"]) == [1, 3]
    assert set(found.query("pattern == 'pubsub'")["workers"]) == {0}


def test_several_brokers_are_told_apart() -> None:
    found = sweep(
        brokers=[SimulatedServer(0.001, name="quick"), SimulatedServer(0.01, name="slow")],
        repeats=2,
        seconds=0.5,
    )

    typical = found.trials.groupby("broker")["service_p50_ms"].median()
    assert typical.to_dict() == {"quick": 1, "slow": 10}
    assert {place["broker"] for place in found.environment["brokers"]} == {"quick", "slow"}


def test_a_sweep_that_cannot_work_is_refused_before_it_begins() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        sweep(SimulatedServer(), brokers=[SimulatedServer()])
    with pytest.raises(ConfigurationError, match="repeats"):
        sweep(SimulatedServer(), repeats=0)
    with pytest.raises(ConfigurationError, match="arrivals"):
        sweep(SimulatedServer(), arrivals="normal")  # type: ignore[arg-type]


# --- statistics -----------------------------------------------------------------------------------


def test_an_interval_lies_around_the_typical_value_and_is_the_same_for_the_same_seed() -> None:
    frame = pd.DataFrame({"size": [1] * 7 + [2], "ms": [9.0, 10, 10, 11, 10, 9, 40, 5]})
    found = intervals(frame, "size", "ms", seed=4)
    many, one = found.to_dict("records")

    assert (many["n"], many["value"]) == (7, 10)
    assert many["low"] <= 10 <= many["high"] <= 40
    assert (one["n"], one["value"]) == (1, 5)
    assert math.isnan(one["low"])
    assert found.equals(intervals(frame, "size", "ms", seed=4))


def test_more_repeats_make_the_interval_narrower() -> None:
    values = [float(n % 10) for n in range(400)]
    few, many = (
        intervals(pd.DataFrame({"of": 1, "ms": values[:n]}), ["of"], "ms", statistic="mean")
        for n in (10, 400)
    )

    assert (many["high"] - many["low"])[0] < (few["high"] - few["low"])[0] / 3


def test_the_interval_of_a_mean_is_that_of_the_textbook() -> None:
    values = [float(n % 10) for n in range(1_000)]  # standard deviation 2.872
    [row] = intervals(pd.DataFrame({"of": 1, "ms": values}), "of", "ms", statistic="mean").to_dict(
        "records"
    )

    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * 2.872 / math.sqrt(1_000), rel=0.1)


def test_intervals_keep_the_groups_without_a_rate() -> None:
    closed_and_open = sweep(SimulatedServer(0.001), rates=[None, 10], repeats=3, seconds=0.5).trials

    assert len(intervals(closed_and_open, ["schedule", "rate"], "response_p99_ms")) == 2


def test_intervals_name_a_column_that_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match="no column 'speed'"):
        intervals(pd.DataFrame({"a": [1]}), "a", "speed")


# --- clocks of processes --------------------------------------------------------------------------


def test_two_processes_that_read_one_clock_agree() -> None:
    ticking = iter(range(0, 10_000, 10))
    agreement = compare(lambda: next(ticking), lambda: next(ticking))

    assert agreement.agrees
    assert agreement.width_ns == 20
    require(agreement, "subscriber 0")


def test_a_clock_that_is_ahead_is_found_out_and_refused() -> None:
    ticking = iter(range(0, 10_000_000, 10))
    agreement = compare(lambda: next(ticking) + 5_000_000, lambda: next(ticking))

    assert not agreement.agrees
    with pytest.raises(LabkitError, match=r"5 to 5 ms ahead of ours.*processes=False"):
        require(agreement, "subscriber 0")


def test_a_clock_that_cannot_be_seen_closely_is_refused_too() -> None:
    with pytest.raises(LabkitError, match="can only be told from ours to 4 ms"):
        require(Agreement(-2_000_000, 2_000_000), "worker 1")


# --- schedule lag ---------------------------------------------------------------------------------


def test_lags_of_two_publishers_are_merged_and_not_averaged() -> None:
    calm, late = Lags(), Lags()
    for _ in range(99):
        calm.add(0, 0, 0)
    late.add(0, 50_000_000, 50_000_000)
    again = Lags.from_json(late.as_json())
    calm.merge(again)

    assert calm.summary().max_ms == 50
    assert calm.summary().p99_ms == 0


def test_nothing_scheduled_has_no_lag() -> None:
    measured = trial(SimulatedServer(0.001), seconds=0.1)

    assert math.isnan(measured.trials["lag_p99_ms"][0])
    assert measured.trials["valid"][0]
    assert trial(SimulatedServer(0), schedule=Constant(10), seconds=1).trials["valid"][0]
