"""`labkit bench` and `labkit plot`: what is measured, told, kept and drawn."""

from __future__ import annotations

import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from labkit import servers
from labkit.cli import bench_options, bench_rows, bench_table, kept, main, plot, units
from labkit.measure import Histogram, Measurements, SimulatedServer, sweep

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60
SHORT = ["--broker", "embedded", "--duration", "50ms", "--warmup", "10ms"]
PNG = b"\x89PNG\r\n\x1a\n"
EMBEDDED_SENTENCE = "Measured on the embedded broker: its figures are of Python, not of Redis."


@pytest.fixture(autouse=True)
def _private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker of the developer's own; files go where the test is at home."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said on standard error by a command that cannot be done: one sentence."""
    assert main(arguments) == 1
    out, said = capsys.readouterr()
    assert out == ""
    assert said.startswith("labkit: ")
    assert said.count("\n") == 1
    return said


# --- help and units ------------------------------------------------------------------------------


def test_the_help_teaches_every_option_of_bench(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--help"])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "For questions about waiting the open load is the more honest one." in said
    assert "one trial does not tell chance from effect" in said
    assert "labkit bench rpc --rate 500,1k,2k --arrivals poisson" in said
    for option in (
        *("broker", "size", "rate", "arrivals", "clients", "batch", "subscribers", "workers"),
        *("work", "processes", "duration", "warmup", "repeats", "seed", "budget", "timeout"),
        *("out", "format", "json"),
    ):
        assert f"--{option}" in said


def test_the_help_explains_every_kind_of_picture(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plot", "--help"])
    said = capsys.readouterr().out
    for kind in bench_options.KINDS:
        assert re.search(rf"(?m)^  .*{kind}  +\w", said), kind


def test_help_loads_nothing_that_measures_or_draws() -> None:
    code = (
        "import sys; from labkit.cli import main\n"
        "try: main(['bench', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'matplotlib', 'rich', 'redis'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "octets"),
    [("64", 64), ("1k", 1_000), ("1.5kB", 1_500), ("2kib", 2_048), ("1mb", 1_000_000)],
)
def test_sizes_take_units(text: str, octets: int) -> None:
    assert units.size(text) == octets


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2ms", 0.002), ("250us", 0.000_25), ("5", 5), ("0.5s", 0.5), ("1min", 60)],
)
def test_durations_take_units(text: str, seconds: float) -> None:
    assert units.duration(text) == seconds


def test_rates_are_lists_in_which_nothing_is_twice() -> None:
    assert units.several(units.rate)("500, 1k,1000,.5") == [500.0, 1_000.0, 0.5]


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--size", "64q", "'64q' is not a size of 1 byte or more, such as 64, 1k"),
        ("--size", "0", "'0' is not a size"),
        ("--size", "1.5", "'1.5' is not a size"),
        ("--size", "64,,1k", "'' is not a size"),
        ("--size", "-1", "'-1' is not a size"),
        ("--size", "nan", "'nan' is not a size"),
        ("--rate", "0", "'0' is not a rate above 0 a second"),
        ("--rate", "1e3", "'1e3' is not a rate"),
        ("--clients", "1.5", "'1.5' is not a whole number from 1"),
        ("--clients", "0", "'0' is not a whole number from 1"),
        ("--duration", "0ms", "'0ms' is not a time such as 2ms"),
        ("--warmup", "5 hours", "'5 hours' is not a time"),
        ("--seed", "x", "invalid int value: 'x'"),
        ("--arrivals", "monthly", "invalid choice: 'monthly'"),
    ],
)
def test_what_is_no_number_of_its_kind_is_refused_with_an_example(
    option: str, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "pubsub", f"{option}={text}"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f"argument {option}: " in error
    assert said in error


# --- what does not go together -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pubsub", "--arrivals", "poisson"], "--arrivals needs --rate"),
        (["queue", "--subscribers", "2"], "--subscribers is for pubsub; queue has --workers"),
        (["pubsub", "--workers", "2"], "--workers is for queue and rpc"),
        (["queue", "--work", "2ms"], "--work needs --processes"),
        (["queue", "--format", "csv"], "give --out, too"),
        (["queue", "--processes"], "--processes needs a broker that other processes can reach"),
        (["queue", "--out", "x.csv", "--format", "parquet"], "does not fit to the name x.csv"),
        (["queue", "--broker", "embedded"], "Two of the brokers are called 'embedded'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(["bench", *arguments, *SHORT], capsys)


def test_a_broker_that_is_not_there_is_one_sentence_and_nothing_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "redis://:not-to-be-seen@127.0.0.1:1"
    said = refused(["bench", "pubsub", "--broker", url, "--out", "results"], capsys)
    assert "No broker answers at redis://:***@127.0.0.1:1" in said
    assert "not-to-be-seen" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["mine", "mine.csv"])
def test_what_is_somebody_elses_is_not_replaced(
    out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / out).write_text("my,own\n1,2\n")
    said = refused(["bench", "pubsub", *SHORT, "--out", out], capsys)
    assert "is there and holds no measurements; choose another --out." in said
    assert (tmp_path / out).read_text() == "my,own\n1,2\n"


@pytest.mark.parametrize(
    ("command", "package"), [("bench pubsub", "pandas"), ("plot x", "matplotlib")]
)
def test_without_the_extra_it_is_said_what_to_install(
    command: str, package: str, tmp_path: Path
) -> None:
    (tmp_path / "x").mkdir()
    if package == "matplotlib":
        assert main(["bench", "pubsub", *SHORT, "--repeats", "1", "--out", "y"]) == 0
        command = "plot y"
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from labkit.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"labkit: 'labkit {command.split()[0]}' needs {package}, which is not installed: "
        "pip install 'messaging-lab[notebooks]'.\n"
    )


# --- measuring and telling -----------------------------------------------------------------------


def test_the_table_tells_what_varied_and_where_it_was_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--size", "64,1k", "--clients", "1,2", "--repeats", "2"]
    assert main(["bench", "pubsub", *SHORT, *arguments]) == 0
    out, error = capsys.readouterr()
    assert error == ""
    assert "\x1b" not in out
    assert re.match(r"Measured on embedded \(fakeredis .*, \d+ cores?", out)
    assert "pubsub, closed loads, 1 subscriber, both ends in one process; 0.05 s each" in out
    assert re.search(r"load +bytes +done/s +spread +p50 ms +p99 ms +lost +valid", out)
    assert len(re.findall(r"(?m)^ ?[12] clients? +(?:64|1,000) .* 0 +2 of 2$", out)) == 4
    assert EMBEDDED_SENTENCE in out


@pytest.mark.parametrize("pattern", ["queue", "rpc"])
def test_an_open_load_tells_the_service_time_and_the_lag_too(
    pattern: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["bench", pattern, *SHORT, "--rate", "100", "--arrivals", "poisson", "--repeats", "1"])
    out = capsys.readouterr().out
    assert f"{pattern}, open load of 100/s, poisson arrivals, 100 bytes, 1 worker" in out
    assert re.search(r"(?m)^ +service +lag *$", out)


def test_json_is_the_trials_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "rpc", *SHORT, "--batch", "1,2", "--repeats", "1", "--json"]) == 0
    out, error = capsys.readouterr()
    assert error == ""
    told = json.loads(out)
    assert told["environment"]["embedded"] is True
    assert sorted(trial["batch"] for trial in told["trials"]) == [1, 2]
    assert all(trial["throughput"] > 0 for trial in told["trials"])
    assert {trial["rate"] for trial in told["trials"]} == {None}


def test_a_budget_that_is_too_small_is_told_and_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--repeats", "1", "--budget", "1ms", "--out", "results"]
    assert main(["bench", "pubsub", *SHORT, *arguments]) == 1
    assert "Out of time: 0 of 1 trials fitted into 0.001 s." in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


def test_a_real_broker_is_measured_by_processes_and_its_password_is_not_told(
    redis_server: servers.RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LABKIT_BROKER_URL", redis_server.url)
    monkeypatch.setenv("LABKIT_NAMESPACE", "test_cli_bench")
    arguments = ["--duration", "100ms", "--warmup", "0", "--repeats", "1", "--work", "1ms"]
    main(["bench", "queue", "--processes", *arguments])
    out, error = capsys.readouterr()
    assert error == ""
    assert re.match(r"Measured on Redis .* at redis://:\*\*\*@127\.0\.0\.1", out)
    assert "ends in processes of their own; 0.1 s each, without warm-up." in out
    assert EMBEDDED_SENTENCE not in out
    assert redis_server.password is not None
    assert redis_server.password not in out


def simulated(service: float, **settings: object) -> Measurements:
    """Deterministic: its time is a clock that is stepped."""
    return sweep(SimulatedServer(service), seconds=1.0, warmup=0.0, progress=False, **settings)  # type: ignore[arg-type]


def test_repeats_are_put_together_and_percentiles_are_not_averaged() -> None:
    quick, slow = simulated(0.001, repeats=1), simulated(0.003, repeats=1)
    both = Measurements(
        pd.concat([quick.trials, slow.trials.assign(trial=1, repeat=1)], ignore_index=True),
        quick.operations,
        quick.series,
        quick.health,
        histograms={0: quick.histograms[0], 1: slow.histograms[0]},
    )
    (row,) = bench_rows.rows(both)
    assert (row.count, row.valid) == (2, 2)
    assert row.throughput == both.trials["throughput"].median()
    merged = Histogram()
    merged.merge(quick.histograms[0].response)
    merged.merge(slow.histograms[0].response)
    assert row.response["p99"] == merged.percentile(0.99) / 1e6
    assert row.response["p50"] == pytest.approx(1.0, rel=0.02)  # 3 of 4 operations were quick
    assert math.isnan(row.response["p999"])


def test_p999_stands_in_the_table_only_where_it_is_known() -> None:
    few, many = simulated(0.001, repeats=2), simulated(0.0001, repeats=2)
    assert "p99.9" not in shown(few, 300)
    assert re.search(r"p99\.9 ms", shown(many, 300))
    assert any(
        "p99.9 is told from 10,000 operations on" in text for text in bench_table.remarks(few)
    )
    assert not any("p99.9" in text for text in bench_table.remarks(many))


def test_a_trial_that_is_not_valid_says_so_with_its_reason() -> None:
    measured = simulated(0.001, repeats=2, sizes=[64, 1_000])
    bad = (measured.trials["size_bytes"] == 64) & (measured.trials["repeat"] == 1)
    measured.trials.loc[bad, ["valid", "throughput"]] = [False, 1.0]
    measured.trials.loc[bad, "why_invalid"] = "too late; use processes=True"
    text = shown(measured, 300)
    assert re.search(r"(?m)^ +64 .*1 of 2$", text)
    assert re.search(r"(?m)^ *1,000 .*2 of 2$", text)
    told = list(bench_table.remarks(measured))
    assert "Not valid, and counted only where no other is: 1 of 4 trials." in told
    assert "- 64 bytes, repeat 2: too late; use --processes." in told
    valid = measured.valid[measured.valid["size_bytes"] == 64]
    assert bench_rows.rows(measured)[0].throughput == valid["throughput"].iloc[0]


def test_a_table_is_as_wide_as_the_terminal_or_says_what_had_no_room() -> None:
    measured = simulated(
        0.001, repeats=2, sizes=[64, 100_000], rates=[None, 500.0], clients=[1, 8], batches=[1, 10]
    )
    for width in (120, 80, 60):
        _, left_out = bench_table.table(measured, width)
        text = shown(measured, width)
        assert ("spread" in left_out) == (width < 80)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
    _, left_out = bench_table.table(measured, 40)
    assert "service p99 ms" in left_out
    assert "100,000" in shown(measured, 40)


def shown(measured: Measurements, width: int) -> str:
    table, _ = bench_table.table(measured, width)
    console = Console(width=max(width, table.width or 0), color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


# --- Ctrl+C --------------------------------------------------------------------------------------


@contextmanager
def terminal(*arguments: str) -> Iterator[Any]:
    """`labkit bench pubsub` in a terminal of its own, 100 columns wide."""
    pexpect = pytest.importorskip("pexpect")
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    run = pexpect.spawn(
        sys.executable,
        ["-m", "labkit", "bench", "pubsub", "--broker", "embedded", *arguments],
        env={**environment, "TERM": "xterm", "PYTHONPATH": str(ROOT)},
        dimensions=(40, 100),
        timeout=DEADLINE_S,
        encoding="utf-8",
    )
    run.logfile_read = io.StringIO()
    try:
        yield run
    finally:
        run.close(force=True)


def _to_its_end(run: Any) -> None:
    import pexpect

    run.expect(pexpect.EOF)
    run.wait()


def test_ctrl_c_keeps_what_is_done_and_shows_it(tmp_path: Path) -> None:
    arguments = ["--duration", "50ms", "--warmup", "0", "--repeats", "5000", "--out", "results"]
    with terminal(*arguments) as run:
        run.expect(r"5,000 trials on embedded .*Ctrl\+C\s+keeps\s+what\s+is\s+done")
        run.expect(r" ([3-9]|\d\d+)/5000")
        run.sendintr()
        run.expect("done/s")
        run.expect(r"Interrupted: (\d+) of 5000 trials are kept")
        told = int(run.match[1])
        run.expect("Kept in results")
        _to_its_end(run)
        assert run.exitstatus == 0
        assert run.logfile_read.getvalue().count("Interrupted") == 1
    measured = Measurements.load(tmp_path / "results")
    assert len(measured.trials) == told >= 3
    assert "Interrupted" in measured.notes[0]


def test_ctrl_c_before_anything_is_measured_is_no_success() -> None:
    with terminal("--warmup", "60", "--repeats", "1") as run:
        run.expect(" 0/1 ")
        run.sendintr()
        run.expect("Interrupted: ")
        _to_its_end(run)
        assert run.exitstatus == 130


# --- keeping and drawing -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything of a sweep over sizes."""
    folder = tmp_path_factory.mktemp("kept") / "sizes"
    out = ["--size", "64,1k", "--repeats", "2", "--out", str(folder)]
    assert main(["bench", "pubsub", *SHORT, *out]) == 0
    return folder


def test_what_is_kept_is_drawn_beside_it_with_its_alt_text(
    sizes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", str(sizes)]) == 0
    path, alt = capsys.readouterr().out.splitlines()
    assert Path(path) == sizes.with_name("sizes-size.png")
    assert Path(path).read_bytes().startswith(PNG)
    assert alt.startswith("Messages per second by size in bytes. ")


@pytest.mark.parametrize(
    "kind", [kind for kind in bench_options.KINDS if kind not in ("workers", "size")]
)
def test_every_kind_of_picture_is_drawn_where_one_says(
    kind: str, sizes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", str(sizes), "--kind", kind, "--out", "picture.png"]) == 0
    path, alt = capsys.readouterr().out.splitlines()
    assert path == "picture.png"
    assert (tmp_path / path).read_bytes().startswith(PNG)
    assert alt


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_one_file_holds_the_trials_and_can_be_drawn_and_replaced(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    arguments = ["bench", "queue", *SHORT, "--workers", "1,2", "--repeats", "1"]
    for _ in range(2):
        assert main([*arguments, "--out", f"t.{suffix}"]) == 0
    capsys.readouterr()
    assert list(tmp_path.iterdir()) == [tmp_path / f"t.{suffix}"]
    assert sorted(kept.read(f"t.{suffix}").trials["workers"]) == [1, 2]
    assert main(["plot", f"t.{suffix}"]) == 0
    assert capsys.readouterr().out.startswith("t-workers.png\n")
    said = refused(["plot", f"t.{suffix}", "--kind", "ecdf"], capsys)
    assert "measure with --out FOLDER, which keeps everything" in said


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "percentiles"),
        ({"sizes": [64, 100, 1_000], "batches": [1, 10]}, "size"),
        ({"batches": [1, 10]}, "batch"),
        ({"subscribers": [1, 2]}, "fan-out"),
        ({"pattern": "queue", "workers": [1, 2]}, "workers"),
        ({"rates": [100.0, 200.0]}, "load"),
        ({"clients": [1, 2]}, "load"),
    ],
)
def test_the_picture_fits_what_was_varied(settings: dict[str, object], kind: str) -> None:
    assert plot.fitting(simulated(0.01, repeats=1, **settings)) == kind


def test_two_brokers_along_a_setting_stand_side_by_side() -> None:
    both = [SimulatedServer(0.01, name="here"), SimulatedServer(0.02, name="there")]
    alone = sweep(brokers=both, warmup=0.0, repeats=1, progress=False)
    along = sweep(brokers=both, warmup=0.0, repeats=1, progress=False, sizes=[64, 100])
    assert (plot.fitting(alone), plot.fitting(along)) == ("percentiles", "brokers")
    assert re.search(r"(?m)^ *there +100 ", shown(along, 80))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing", None, "missing is not there. 'labkit bench PATTERN --out missing'"),
        ("notes.txt", "hello", "notes.txt holds no measurements that can be read"),
        ("other.csv", "a,b\n1,2\n", "other.csv holds no measurements that can be read"),
        ("empty.csv", "", "empty.csv holds no measurements that can be read"),
        ("binary.csv", "\0\0", "binary.csv holds no measurements that can be read"),
    ],
)
def test_a_missing_or_foreign_file_is_said_to_be_one(
    name: str,
    content: str | None,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert said in refused(["plot", name], capsys)


def test_parquet_without_pyarrow_is_said_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kept, "find_spec", lambda _name: None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    for arguments in (
        ["bench", "pubsub", *SHORT, "--out", "x.parquet"],
        ["bench", "pubsub", *SHORT, "--out", "x", "--format", "parquet"],
        ["plot", "t.parquet"],
    ):
        said = refused(arguments, capsys)
        assert "Parquet needs pyarrow, which is not installed: pip install 'messaging-lab" in said


def test_a_foreign_folder_is_said_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    assert "holds no measurements that can be read" in refused(["plot", "folder"], capsys)


def test_a_picture_is_a_png_and_goes_where_one_can_write(
    sizes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "a name that ends in .png" in refused(["plot", str(sizes), "--out", "x.jpg"], capsys)
    said = refused(["plot", str(sizes), "--out", "nowhere/x.png"], capsys)
    assert "could not be written to nowhere/x.png: No such file or directory" in said


def test_a_picture_without_its_figures_says_what_to_do(
    sizes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(["plot", str(sizes), "--kind", "workers"], capsys)
    assert "none of 4 trials has a number in 'workers'" in said
    assert "choose another --kind" in said
