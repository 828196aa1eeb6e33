"""`lab.py`, the one command of the course, as somebody at a terminal meets it."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("lab.py", "pyproject.toml", "constraints.txt", "binder/overrides.json")
posix = pytest.mark.skipif(os.name == "nt", reason="uses process groups")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What lab.py needs of the course, in a folder with a space in its name."""
    folder = tmp_path / "My Lab"
    for name in NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder.resolve()


@pytest.fixture
def lab(tree: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """lab.py of that folder, as a module; no environment of the developer's is in use."""
    monkeypatch.delenv("LABKIT_PYTHON", raising=False)
    spec = importlib.util.spec_from_file_location("lab_py", tree / "lab.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def installs(lab: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What lab.py makes and installs, noted instead of done."""
    done: list[str] = []

    def make(folder: Path) -> None:
        done.append(f"make {folder.name}")
        shutil.rmtree(folder, ignore_errors=True)
        python_in(folder).parent.mkdir(parents=True)
        python_in(folder).touch()

    def install(python: Path, extras: frozenset[str], latest: bool = False) -> None:  # noqa: ARG001
        done.append("install " + ",".join(sorted(extras)))

    monkeypatch.setattr(lab, "make_venv", make)
    monkeypatch.setattr(lab, "install", install)
    monkeypatch.setattr(lab, "works", lambda python: python.is_file())
    return done


def python_in(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def clean_environment(**variables: str) -> dict[str, str]:
    """Ours, without what would lead lab.py or pip elsewhere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LABKIT_", "PIP_", "PYTEST_", "JUPYTER_"))
    }
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **variables}


def ask(tree: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python lab.py …`, from another folder."""
    return subprocess.run(
        [sys.executable, str(tree / "lab.py"), *arguments],
        cwd=tree.parent,
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def pretend(tree: Path, circumstances: str) -> subprocess.CompletedProcess[str]:
    """`python lab.py` in a Python that was tampered with."""
    script = str(tree / "lab.py")
    code = f"import runpy, sys; sys.argv = [{script!r}]; {circumstances}; "
    code += f"runpy.run_path({script!r}, run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def wait_until(happened: Callable[[], bool], what: str, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


# What is said when it cannot start


def test_every_python_3_can_read_it() -> None:
    ast.parse((ROOT / "lab.py").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_an_old_python_gets_one_sentence(tree: Path) -> None:
    done = pretend(tree, "sys.version_info = (3, 8, 10, 'final', 0)")
    assert done.returncode == 2
    assert done.stdout.startswith("lab.py: Messaging Lab needs Python 3.11 or newer, and this is 3")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def test_real_old_pythons_get_it_too(tree: Path) -> None:
    names = [shutil.which(f"python3.{minor}") for minor in range(6, 11)]
    works = [
        name
        for name in names
        if name and not subprocess.call([name, "-c", ""], stderr=subprocess.DEVNULL)
    ]
    if not works:
        pytest.skip("no Python from 3.6 to 3.10 here")
    for name in works:
        done = subprocess.run([name, str(tree / "lab.py")], capture_output=True, check=False)
        assert done.returncode == 2, name
        assert b"needs Python 3.11 or newer" in done.stdout
        assert done.stderr == b""


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_its_venv_module_says_what_to_install(tree: Path, module: str) -> None:
    done = pretend(tree, f"sys.modules[{module!r}] = None")
    assert done.returncode == 2
    assert "has no venv module" in done.stdout
    assert "sudo apt install python3-venv" in done.stdout
    assert done.stderr == ""
    assert not (tree / ".venv").exists()


def test_without_a_network_it_says_so_and_tries_again_next_time(tree: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, and nobody listens
        index = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
        done = ask(tree, PIP_INDEX_URL=index, PIP_CONFIG_FILE=os.devnull, PIP_NO_CACHE_DIR="1")
    assert done.returncode == 2
    last = done.stdout.splitlines()[-1]
    assert last.startswith("lab.py: The packages could not be fetched: no connection")
    assert "Traceback" not in done.stdout + done.stderr
    stamp = json.loads((tree / ".venv" / "lab-stamp.json").read_text(encoding="utf-8"))
    assert stamp["done"] is False


@posix
def test_ctrl_c_while_installing_leaves_without_a_traceback(tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a package index that never answers
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        process = subprocess.Popen(
            [sys.executable, str(tree / "lab.py")],
            env=clean_environment(PIP_INDEX_URL=index, PIP_CONFIG_FILE=os.devnull),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        silent.settimeout(40)
        connection, _ = silent.accept()  # pip asks
        with connection:
            os.killpg(process.pid, signal.SIGINT)
            output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert output.splitlines()[-1] == "Stopped."
    assert "Traceback" not in output


def test_an_unknown_command_says_which_there_are(tree: Path) -> None:
    done = ask(tree, "tset")
    assert done.returncode == 2
    assert "no command 'tset'; it has 'run' and 'test'" in done.stdout


def test_help_names_the_commands_on_any_python(tree: Path) -> None:
    done = ask(tree, "--help", PYTHONIOENCODING="ascii")  # a terminal without "…"
    assert done.returncode == 0
    for line in ("lab.py run [LAB", "lab.py test [OPTIONS]", "test --latest", "--no-browser"):
        assert line in done.stdout


# When it installs


def test_the_first_start_installs_and_the_second_does_not(
    lab: ModuleType, tree: Path, installs: list[str]
) -> None:
    assert lab.prepared(lab.COURSE) == python_in(tree / ".venv")
    assert installs == ["make .venv", "install kafka,notebooks,rabbitmq,server"]
    lab.prepared(lab.COURSE)
    assert len(installs) == 2


def test_testing_adds_to_what_is_there_and_a_plain_start_keeps_it(
    lab: ModuleType, installs: list[str]
) -> None:
    lab.prepared(lab.COURSE)
    lab.prepared(lab.TESTING)
    assert installs[2:] == ["install dev,kafka,notebooks,rabbitmq,server"]
    lab.prepared(lab.COURSE)
    assert len(installs) == 3


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_into_the_same_environment(
    lab: ModuleType, tree: Path, installs: list[str], name: str
) -> None:
    lab.prepared(lab.TESTING)
    with (tree / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    lab.prepared(lab.COURSE)
    assert installs[2:] == [
        "install dev,kafka,notebooks,rabbitmq,server"
    ]  # what was there is kept up


def test_an_interrupted_installation_starts_afresh(
    lab: ModuleType, installs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(lab, "install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lab.prepared(lab.COURSE)
    lab.prepared(lab.COURSE)
    assert installs == ["make .venv", "make .venv", "install kafka,notebooks,rabbitmq,server"]


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_course_that_was_moved_gets_a_new_environment(
    lab: ModuleType, tree: Path, installs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.prepared(lab.COURSE)
    moved = tree.rename(tree.with_name("Moved"))
    monkeypatch.setattr(lab, "ROOT", moved)
    assert lab.prepared(lab.COURSE) == python_in(moved / ".venv")
    assert installs[2:] == ["make .venv", "install kafka,notebooks,rabbitmq,server"]


def test_another_python_gets_a_new_environment(
    lab: ModuleType, installs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.prepared(lab.COURSE)
    monkeypatch.setattr(lab.sys, "version_info", (3, 99, 0))
    lab.prepared(lab.COURSE)
    assert installs[2:] == ["make .venv", "install kafka,notebooks,rabbitmq,server"]


def test_an_environment_made_by_hand_is_installed_into(
    lab: ModuleType, tree: Path, installs: list[str]
) -> None:
    python = python_in(tree / ".venv")
    python.parent.mkdir(parents=True)
    python.touch()
    lab.prepared(lab.COURSE)
    assert installs == ["install kafka,notebooks,rabbitmq,server"]


@pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
def test_an_unreadable_stamp_is_no_stamp(
    lab: ModuleType, tree: Path, installs: list[str], content: str
) -> None:
    lab.prepared(lab.COURSE)
    (tree / ".venv" / lab.STAMP).write_text(content, encoding="utf-8")
    lab.prepared(lab.COURSE)
    assert installs[2:] == ["install kafka,notebooks,rabbitmq,server"]


def test_the_newest_versions_get_an_environment_of_their_own_each_time(
    lab: ModuleType, tree: Path, installs: list[str]
) -> None:
    assert lab.prepared(lab.TESTING, latest=True) == python_in(tree / ".venv-latest")
    lab.prepared(lab.TESTING, latest=True)
    assert [line.split()[0] for line in installs] == ["make", "install", "install"]
    assert not (tree / ".venv").exists()


def test_exact_versions_unless_the_newest_are_asked_for(
    lab: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[list[str], dict[str, str]]] = []

    def show(command: list[str], env: dict[str, str], **_: Any) -> tuple[int, list[str]]:
        calls.append((command, env))
        return 0, []

    monkeypatch.setattr(lab, "show", show)
    python = python_in(tree / ".venv")
    lab.install(python, lab.COURSE)
    lab.install(python, lab.TESTING, latest=True)
    (exact, exact_env), (newest, _) = calls
    assert exact[-4:] == ["-c", "constraints.txt", "-e", ".[kafka,notebooks,rabbitmq,server]"]
    assert exact_env["PIP_BUILD_CONSTRAINT"] == "constraints.txt"
    assert "constraints.txt" not in newest
    assert newest[-1] == ".[dev,kafka,notebooks,rabbitmq,server]"
    settings = tree / ".venv" / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    assert "fetchNews" in settings.read_text(encoding="utf-8")


def test_a_developers_own_environment_is_used_as_it_is(
    lab: ModuleType, tree: Path, installs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert lab.prepared(lab.TESTING) == Path(sys.executable)
    assert installs == []
    assert os.environ["PYTHONPATH"] == os.pathsep.join([str(tree), "elsewhere"])


def test_a_developers_environment_that_is_not_there_is_named(tree: Path) -> None:
    done = ask(tree, LABKIT_PYTHON="/no/such/python")
    assert done.returncode == 2
    assert "LABKIT_PYTHON names '/no/such/python'" in done.stdout


# What it runs


@pytest.fixture
def becomes(lab: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The programs that lab.py would turn into."""
    commands: list[list[str]] = []
    monkeypatch.setenv("LABKIT_PYTHON", sys.executable)
    monkeypatch.setattr(lab, "become", lambda command: commands.append(command) or 5)
    return commands


def test_options_go_to_jupyterlab(lab: ModuleType, tree: Path, becomes: list[list[str]]) -> None:
    assert lab.main(["--no-browser", "--port", "8899"]) == 5  # its exit status
    (command,) = becomes
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={tree}" in command
    assert "--LabApp.default_url=/lab/tree/notebooks/00-start-here.ipynb" in command
    assert command[-3:] == ["--no-browser", "--port", "8899"]


def test_labs_are_handed_to_the_runner(
    lab: ModuleType, tree: Path, becomes: list[list[str]]
) -> None:
    lab.main(["run", "00", "--solutions"])
    assert becomes == [[sys.executable, str(tree / "tools" / "run_labs.py"), "00", "--solutions"]]


def test_with_options_test_runs_pytest_alone(lab: ModuleType, becomes: list[list[str]]) -> None:
    lab.main(["test", "--latest", "tests/unit", "-k", "message"])
    assert becomes == [[sys.executable, "-m", "pytest", "tests/unit", "-k", "message"]]


def test_all_checks_run_although_one_fails_and_the_table_says_which(
    lab: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABKIT_PYTHON", sys.executable)
    monkeypatch.setattr(lab, "CHECKS", ("no_such_module", "calendar 2024 2"))
    assert lab.main(["test"]) == 1
    printed = capfd.readouterr().out
    assert "February 2024" in printed  # what a check prints is seen
    failed, passed = printed.splitlines()[-2:]
    assert failed.startswith("FAILED  no_such_module")
    assert failed.endswith("No module named no_such_module")
    assert passed.startswith("passed  calendar 2024 2")
    assert passed.endswith("26 27 28 29")


def test_style_types_and_tests_are_what_is_checked(lab: ModuleType) -> None:
    assert [check.split()[0] for check in lab.CHECKS] == ["ruff", "ruff", "mypy", "pytest"]


# The real thing


@pytest.fixture
def installed(tree: Path, lab: ModuleType) -> Path:
    """A course whose environment is ready: it borrows the packages of the running one."""
    folder = tree / ".venv"
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    packages = sysconfig.get_path("purelib")
    (site / "borrowed.pth").write_text(f"import site; site.addsitedir({packages!r})\n")
    shutil.rmtree(folder / "share", ignore_errors=True)
    (folder / "share").symlink_to(Path(sys.prefix) / "share")
    lab.write_stamp(folder, lab.COURSE, done=True)
    cells = [new_markdown_cell("# Start here"), new_code_cell("print('ready')")]
    (tree / "notebooks").mkdir()
    nbformat.write(new_notebook(cells=cells), tree / "notebooks" / "00-start-here.ipynb")
    return tree


@contextlib.contextmanager
def started(tree: Path, *options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(tree / "lab.py"), *options],
        cwd=tree.parent,
        env=clean_environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@posix
def test_a_second_start_serves_jupyterlab_at_lab_00_and_ctrl_c_leaves_nothing_behind(
    installed: Path, tmp_path: Path
) -> None:
    port, token, runtime = free_port(), "a-token-for-the-test", tmp_path / "runtime"
    address = f"http://127.0.0.1:{port}"

    def get(path: str, body: bytes | None = None) -> urllib.request.addinfourl | None:
        request = urllib.request.Request(address + path, body)
        request.add_header("Authorization", f"token {token}")
        try:
            return urllib.request.urlopen(request, timeout=10)
        except OSError:
            return None

    def kernels() -> list[psutil.Process]:
        every = psutil.process_iter(["cmdline"])
        return [p for p in every if str(runtime) in " ".join(p.info["cmdline"] or [])]

    settings = [f"--port={port}", "--port-retries=0", f"--IdentityProvider.token={token}"]
    folders = {
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    with started(installed, "--no-browser", *settings, **folders) as process:
        wait_until(lambda: get("/api") is not None, "JupyterLab answers")
        opened = get(f"/?token={token}")
        assert opened is not None
        assert opened.url.startswith(f"{address}/lab/tree/notebooks/00-start-here.ipynb")
        assert get("/api/contents/notebooks/00-start-here.ipynb") is not None
        assert get("/api/kernels", b"{}") is not None
        wait_until(lambda: bool(kernels()), "a kernel starts")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        output, _ = process.communicate(timeout=30)
        wait_until(lambda: not kernels(), "the kernel is gone")
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert "Installing" not in output
