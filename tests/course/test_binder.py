"""What Binder reads makes an image in which the labs find a real Redis.

No Docker is needed: repo2docker prints what it would do, and the two scripts run here as Binder
runs them, in a clean environment, as a user who owns nothing but their home.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
IN_CI = os.environ.get("CI") == "true"
NOT_IN_A_CLONE = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "report", ".ipynb_checkpoints"
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Binder's scripts are for Linux")

IN_A_KERNEL = """
import json, os, labkit, redis
from urllib.parse import urlsplit
lab = labkit.connect()
url = urlsplit(os.environ.get("LABKIT_BROKER_URL", ""))
try:
    redis.Redis(port=url.port or 1, socket_timeout=2).ping()
    stranger = "let in"
except redis.exceptions.AuthenticationError:
    stranger = "refused"
except redis.exceptions.RedisError:
    stranger = "nobody there"
print(json.dumps({"labkit": labkit.__file__, "broker": lab.name, "embedded": lab.embedded,
                  "stranger": stranger}))
lab.close()
"""

OPEN_A_KERNEL = """
import sys
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(startup_timeout=60, cwd="notebooks")
def show(message):
    if message["msg_type"] == "stream":
        print(message["content"]["text"], end="")
    if message["msg_type"] == "error":
        print("\\n".join(message["content"]["traceback"]))
try:
    client.execute_interactive(sys.argv[1], output_hook=show, timeout=60)
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
"""


@dataclass(frozen=True)
class Image:
    """What stands for Binder's container: a home with the course in it, and an environment.

    `user` is the number of the user who runs things there, or None for the one who runs the tests.
    `python` is where a Python lies that was linked to here, or None.
    """

    home: Path
    environment: Path
    user: int | None
    python: Path | None = None

    def run(
        self, *command: str, path: str = os.defpath, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; what it left running in the background is ended too."""
        identity: dict[str, Any] = {}
        if self.user is not None:
            identity = {"user": self.user, "group": self.user, "extra_groups": []}
        if self.python is not None:  # its library too
            variables["LD_LIBRARY_PATH"] = str(self.python / "lib")
        process = subprocess.Popen(
            command,
            cwd=self.home,
            env={
                "HOME": str(self.home),
                "LANG": "C.UTF-8",
                "PATH": os.pathsep.join(filter(None, [f"{self.environment}/bin", path])),
                **variables,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **identity,
        )
        try:
            output, _ = process.communicate(timeout=90)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        return subprocess.CompletedProcess(command, process.returncode, output, "")


def link_or_copy(source: str, target: str) -> None:
    """Fast, where both are on one disk. What is linked must not be handed over: it is shared."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def with_python(image: Image, folder: Path) -> tuple[Image, str]:
    """This very Python, where the image's user can start it: where it is, or linked to here."""
    base = getattr(sys, "_base_executable", sys.executable)
    if can_start(image, base):
        return image, base
    prefix = folder / "python"
    unneeded = shutil.ignore_patterns("site-packages", "test", "__pycache__", "share")
    shutil.copytree(
        sys.base_prefix, prefix, symlinks=True, copy_function=link_or_copy, ignore=unneeded
    )
    image = replace(image, python=prefix)
    linked = str(prefix / Path(os.path.realpath(base)).relative_to(sys.base_prefix))
    if can_start(image, linked):
        return image, linked
    reason = f"user number {image.user} may not start {base}, nor a copy of it"
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def can_start(image: Image, python: str) -> bool:
    show = "import ctypes, ssl, sys, venv; print(sys.version)"
    with suppress(OSError, subprocess.SubprocessError):
        return image.run(python, "-c", show).stdout == sys.version + "\n"
    return False


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The course, and an environment with its dependencies and without labkit.

    The dependencies are those of the running environment, by reference: nothing is fetched.
    """
    folder = Path(tempfile.mkdtemp(prefix="binder-"))  # not tmp_path: other users may not enter it
    folder.chmod(0o755)
    try:
        home = folder / "jovyan"
        shutil.copytree(ROOT, home, ignore=NOT_IN_A_CLONE)
        (home / "notebooks").mkdir(exist_ok=True)  # where JupyterLab starts the labs' kernels
        user = 65_534 if os.geteuid() == 0 else None  # nobody
        found = Image(home, folder / "environment", user)
        found.environment.mkdir()
        hand_over(folder, user)
        found, python = with_python(found, folder)
        made = found.run(python, "-m", "venv", "--without-pip", str(found.environment))
        assert made.returncode == 0, made.stdout
        borrow_packages(found, folder)
        yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def hand_over(folder: Path, user: int | None) -> None:
    if user is None:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, user, follow_symlinks=False)


def borrow_packages(image: Image, folder: Path) -> None:
    ours = Path(sysconfig.get_path("purelib"))
    probe = image.run("python", "-c", f"open({str(ours / 'redis' / '__init__.py')!r})")
    if probe.returncode:  # our packages are in a folder that the user may not enter
        theirs = folder / "packages"
        without_labkit = shutil.ignore_patterns("messaging_lab*", "_editable_impl*", "__pycache__")
        shutil.copytree(ours, theirs, copy_function=link_or_copy, ignore=without_labkit)
        ours = theirs
    (site,) = image.environment.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{ours}\n", encoding="utf-8")


@pytest.fixture(scope="module")
def built(image: Image) -> Image:
    """The image after postBuild."""
    done = image.run(str(image.home / "binder" / "postBuild"))
    assert done.returncode == 0, done.stdout
    return image


def kernel_says(output: str) -> dict[str, Any]:
    (line,) = [line for line in output.splitlines() if line.startswith("{")] or [output]
    return json.loads(line)


# The files


def test_binder_has_an_exact_copy_of_the_environment() -> None:
    copy = ROOT / "binder" / "environment.yml"
    assert copy.read_bytes() == (ROOT / "environment.yml").read_bytes()
    assert not copy.is_symlink()  # which Windows would check out as a text with a path in it


def test_binder_reads_one_folder() -> None:
    assert not (ROOT / ".binder").exists()  # both are an error to repo2docker


def test_repo2docker_would_install_redis_build_labkit_and_start_the_broker() -> None:
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    dockerfile = done.stdout + done.stderr
    assert done.returncode == 0, dockerfile
    assert re.search(r"apt-get install .*\bredis-server\b", dockerfile)
    assert re.search(r"env update .*--file \"binder/environment.yml\"", dockerfile)
    assert re.search(
        r"^USER \$\{NB_USER\}\n(?:#.*\n|RUN chmod.*\n|\n)*RUN ./binder/postBuild", dockerfile, re.M
    )
    assert re.search(r'R2D_ENTRYPOINT="\$\{REPO_DIR\}/binder/start"', dockerfile)


def test_the_scripts_fail_and_end_as_binder_needs() -> None:
    post_build = (ROOT / "binder" / "postBuild").read_text(encoding="utf-8")
    start = (ROOT / "binder" / "start").read_text(encoding="utf-8")
    assert "\nset -e\n" in post_build  # otherwise its errors are ignored
    assert start.rstrip().endswith('exec "$@"')  # otherwise JupyterLab never comes


# The scripts, run


def test_post_build_installs_labkit_as_a_user_without_rights(built: Image) -> None:
    (site,) = built.environment.glob("lib/python*/site-packages")
    owner = os.geteuid() if built.user is None else built.user
    assert (site / "labkit" / "__init__.py").stat().st_uid == owner
    settings = built.environment / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    notification = json.loads(settings.read_text(encoding="utf-8"))
    assert notification["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"


def test_post_build_reports_a_course_that_cannot_be_installed(image: Image) -> None:
    broken = image.home / "broken"
    shutil.copytree(image.home / "binder", broken / "binder")
    hand_over(broken, image.user)
    done = image.run("bash", "-c", "cd broken && ./binder/postBuild")
    assert done.returncode != 0


def test_after_start_a_kernel_finds_the_real_redis(built: Image) -> None:
    if shutil.which("redis-server") is None and not IN_CI:
        pytest.skip("no redis-server here")
    start = str(built.home / "binder" / "start")
    done = built.run(start, "python", "-c", OPEN_A_KERNEL, IN_A_KERNEL)
    assert done.returncode == 0, done.stdout
    said = kernel_says(done.stdout)
    assert said["broker"].startswith("Redis ")
    assert said["embedded"] is False
    assert said["stranger"] == "refused"
    assert said["labkit"].startswith(str(built.environment))
    assert "start: Redis answers on 127.0.0.1:" in done.stdout


def test_the_password_of_redis_is_in_no_list_of_processes(built: Image) -> None:
    if shutil.which("redis-server") is None and not IN_CI:
        pytest.skip("no redis-server here")
    look = (
        "import os, psutil; from urllib.parse import urlsplit\n"
        "secret = urlsplit(os.environ['LABKIT_BROKER_URL']).password\n"
        "seen = [p.info['cmdline'] for p in psutil.process_iter(['cmdline'])]\n"
        "print(len(secret) >= 32, any(secret in ' '.join(words or []) for words in seen))"
    )
    done = built.run(str(built.home / "binder" / "start"), "python", "-c", look)
    assert done.stdout.splitlines()[-1] == "True False", done.stdout


def test_without_redis_the_labs_get_the_embedded_broker(built: Image) -> None:
    start = str(built.home / "binder" / "start")
    done = built.run(start, "python", "-c", OPEN_A_KERNEL, IN_A_KERNEL, path="")
    assert done.returncode == 0, done.stdout
    assert "there is no redis-server here; the labs use the embedded broker" in done.stdout
    assert kernel_says(done.stdout)["embedded"] is True


def test_a_redis_that_does_not_start_keeps_nobody_from_the_labs(built: Image) -> None:
    fakes = built.home / "fakes"
    fakes.mkdir()
    fakes.chmod(0o755)
    fake = fakes / "redis-server"
    fake.write_text("#!/bin/sh\necho no memory left; exit 1\n", encoding="utf-8")
    fake.chmod(0o755)
    start = str(built.home / "binder" / "start")
    done = built.run(start, "echo", "JupyterLab", path=f"{fakes}:{os.defpath}")
    assert done.returncode == 0
    assert "Redis did not start; the labs use the embedded broker" in done.stdout
    assert "no memory left" in done.stdout
    assert done.stdout.splitlines()[-1] == "JupyterLab"


def test_start_leaves_a_broker_that_was_chosen_and_hands_arguments_on(built: Image) -> None:
    start = str(built.home / "binder" / "start")
    show = 'echo "$LABKIT_BROKER_URL|$1"; exit 7'
    done = built.run(
        start, "sh", "-c", show, "sh", "two words", LABKIT_BROKER_URL="redis://elsewhere:1"
    )
    assert done.stdout.splitlines()[-1] == "redis://elsewhere:1|two words"
    assert done.returncode == 7
