"""The stored notebooks are what their sources give, keep the rules, and run the same again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import missing

from labkit.servers import KafkaServer, RedisServer, find_kafka, find_rabbitmq, find_redis
from tools import run_labs
from tools.notebooks.needs import needs

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str | Path, **environment: str) -> str:
    """Run Python in the repository; fail with what it printed."""
    outside = {k: v for k, v in os.environ.items() if not k.startswith("LABKIT_")}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=outside | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def notebooks(folder: str, needing: frozenset[str] = frozenset()) -> list[Path]:
    """The notebooks of a folder that need these servers."""
    found = sorted((ROOT / folder).glob("*.ipynb"))
    return [path for path in found if needs(nbformat.read(path, as_version=4)) == needing]


def nbval(paths: list[Path], **environment: str) -> str:
    """Strict nbval: every output is compared."""
    return run(
        *("-m", "pytest", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=120"),
        *("--nbval-sanitize-with=tools/nbval_sanitize.cfg", "-p", "no:cacheprovider", "-q"),
        *paths,
        **environment,
    )


@pytest.mark.timeout(600)
def test_notebooks_are_what_their_sources_give() -> None:
    run("tools/build_notebooks.py", "--check", "--no-execute")  # their outputs: nbval, below


def test_notebooks_keep_the_rules() -> None:
    said = run("tools/check_notebooks.py")
    assert "0 findings" in said
    compared = int(said.rsplit("(", 1)[1].split(" %")[0])
    assert compared >= 85


@pytest.mark.timeout(600)
@pytest.mark.parametrize("folder", ["notebooks", "notebooks/solutions"])
def test_notebooks_run_the_same_on_the_embedded_broker(folder: str) -> None:
    """Lab 11 takes what is at hand; here, the embedded broker alone."""
    nbval(notebooks(folder), LABKIT_BROKERS="redis+embedded")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("folder", ["notebooks", "notebooks/solutions"])
def test_notebooks_run_the_same_on_a_real_redis(folder: str, redis_server: RedisServer) -> None:
    """All but those with brokers of their own: 05 and 11 have several, 10 is about Kafka."""
    found = [path for path in notebooks(folder) if path.name[:2] not in ("05", "10", "11")]
    nbval(found, LABKIT_BROKER_URL=redis_server.url)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("folder", ["notebooks", "notebooks/solutions"])
def test_the_rabbitmq_lab_runs_the_same_on_a_node_of_its_own(folder: str) -> None:
    pytest.importorskip("pika", reason="pika is not installed")
    if find_rabbitmq() is None:
        missing("rabbitmq-server")
    found = notebooks(folder, frozenset({"rabbitmq"}))
    assert found
    nbval(found)


def test_the_rabbitmq_lab_is_skipped_in_a_sentence_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody listens at that address, so every cell must cope."""
    monkeypatch.setenv("LABKIT_BROKER_URL", "amqp://127.0.0.1:1")
    monkeypatch.delenv("CI", raising=False)
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "09-route-with-rabbitmq.ipynb", tmp_path / "notebooks")
    assert run_labs.main(["09"], tmp_path) == 0
    said = capsys.readouterr().out
    assert "skipped: No RabbitMQ answers" in said
    assert "0 passed, 1 skipped, 0 failed" in said
    monkeypatch.setenv("CI", "true")
    assert run_labs.main(["09"], tmp_path) == 1


def test_the_kafka_lab_is_skipped_in_a_sentence_without_its_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kernel cannot import confluent-kafka, so every cell must cope."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['confluent_kafka'] = None\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "10-stream-with-kafka.ipynb", tmp_path / "notebooks")
    assert run_labs.main(["10"], tmp_path) == 0
    said = capsys.readouterr().out
    assert "skipped: Install confluent-kafka" in said
    assert "0 passed, 1 skipped, 0 failed" in said


@pytest.mark.timeout(600)
def test_the_kafka_lab_runs_the_same_on_a_real_kafka(kafka_server: KafkaServer) -> None:
    """The student's notebook, then the solved one, on one server."""
    both = [
        ROOT / folder / "10-stream-with-kafka.ipynb"
        for folder in ("notebooks", "notebooks/solutions")
    ]
    nbval(both, LABKIT_BROKER_URL=kafka_server.url)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("folder", ["notebooks", "notebooks/solutions"])
def test_the_choosing_lab_runs_the_same_with_every_broker(folder: str) -> None:
    """Redis, RabbitMQ and Kafka, each on a server that the lab starts."""
    for package in ("pika", "confluent_kafka"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    for what, found in {
        "redis-server": find_redis(),
        "rabbitmq-server": find_rabbitmq(),
        "Kafka (python tools/fetch_kafka.py, and Java 17)": find_kafka(),
    }.items():
        if found is None:
            missing(what)
    nbval([ROOT / folder / "11-choose-a-broker.ipynb"])


def test_a_changed_output_is_noticed(tmp_path: Path) -> None:
    """The comparison itself must be able to fail."""
    notebook = (ROOT / "notebooks" / "00-start-here.ipynb").read_text(encoding="utf-8")
    changed = tmp_path / "changed.ipynb"
    changed.write_text(notebook.replace("subscriptions=0", "subscriptions=7"), encoding="utf-8")
    assert changed.read_text(encoding="utf-8") != notebook
    with pytest.raises(AssertionError, match="subscriptions=7"):
        run(
            *("-m", "pytest", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", "-q"),
            "--nbval-sanitize-with=tools/nbval_sanitize.cfg",
            changed,
        )
