"""The stored notebooks are what their sources give, keep the rules, and run the same again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.servers import RedisServer

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


def nbval(folder: str, **environment: str) -> str:
    """Strict nbval over the notebooks of one folder: every output is compared."""
    return run(
        *("-m", "pytest", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=120"),
        *("--nbval-sanitize-with=tools/nbval_sanitize.cfg", "-p", "no:cacheprovider", "-q"),
        *sorted((ROOT / folder).glob("*.ipynb")),
        **environment,
    )


@pytest.mark.timeout(600)
def test_notebooks_are_what_their_sources_give() -> None:
    run("tools/build_notebooks.py", "--check")


def test_notebooks_keep_the_rules() -> None:
    said = run("tools/check_notebooks.py")
    assert "0 findings" in said
    compared = int(said.rsplit("(", 1)[1].split(" %")[0])
    assert compared >= 85


@pytest.mark.timeout(600)
@pytest.mark.parametrize("folder", ["notebooks", "notebooks/solutions"])
def test_notebooks_run_the_same_on_the_embedded_broker(folder: str) -> None:
    nbval(folder)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("folder", ["notebooks", "notebooks/solutions"])
def test_notebooks_run_the_same_on_a_real_redis(folder: str, redis_server: RedisServer) -> None:
    nbval(folder, LABKIT_BROKER_URL=redis_server.url)


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
