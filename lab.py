#!/usr/bin/env python3
"""Opens, tests and runs Messaging Lab. `python3 lab.py --help` says how.

Needs nothing but Python's own library, and is written so that every Python 3 can read it: an old
one then gets a sentence about its age, not a SyntaxError. What is installed goes into `.venv`
beside this file, in the versions of `constraints.txt`.

For developers: `LABKIT_PYTHON=/path/to/python` uses that environment as it is; nothing is made and
nothing is installed.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST_PYTHON = (3, 11)
FIRST_LAB = "notebooks/00-start-here.ipynb"
PYTHON_VARIABLE = "LABKIT_PYTHON"
STAMP = "lab-stamp.json"
COURSE = frozenset(["notebooks", "server", "kafka", "rabbitmq"])
TESTING = COURSE | {"dev"}
# Three processes also on two cores: most tests wait for servers.
CHECKS = ("ruff check .", "ruff format --check .", "mypy --strict", "pytest -n 3 --dist=worksteal")
INTERRUPTED = 130  # what shells report after Ctrl+C

HELP = """\
Messaging Lab: learn message queues by running them.

  python3 lab.py [OPTIONS]         open JupyterLab at lab 00; OPTIONS go to JupyterLab:
                                   --no-browser, --port=8899, …
  python3 lab.py run [LAB…]        execute the labs (all, or such as 00 02) without a browser and
                                   write one page of what happened, report/index.html;
                                   --solutions runs the solved ones
  python3 lab.py test [OPTIONS]    run all checks and tests; with OPTIONS only pytest, with these:
                                   -k publisher, tests/unit, …
  python3 lab.py test --latest     the same with the newest version of every package
  python3 lab.py --help            this

The first start makes .venv in this folder and installs into it, which takes a few minutes; later
ones take seconds. On Windows write 'py lab.py'. Ctrl+C stops.
Exit status: 0 if all is well, 1 if something failed, 2 if it could not start, 130 after Ctrl+C.
"""

NO_NETWORK_SIGNS = (
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "getaddrinfo failed",
    "Network is unreachable",
    "Connection refused",
    "Max retries exceeded",
)


class CannotStartError(Exception):
    """One sentence for the person at the terminal: what is missing and what to do."""


def main(arguments):
    """Do what the command line asks; returns the exit status."""
    command, options = split(arguments)
    if command == "help":
        say(HELP.rstrip())
        return 0
    require_python(sys.version_info)
    actions = {"open": open_lab, "run": run_labs, "test": run_tests}
    return actions[command](options)


def split(arguments):
    """The command and its own options: ("open" | "run" | "test" | "help", list)."""
    first = arguments[0] if arguments else ""
    if first in ("-h", "--help", "help"):
        return "help", []
    if first in ("run", "test"):
        return first, arguments[1:]
    if first and not first.startswith("-"):
        raise CannotStartError(
            f"lab.py has no command {first!r}; it has 'run' and 'test', and without a command it "
            "opens JupyterLab. See: python3 lab.py --help"
        )
    return "open", arguments


def require_python(version):
    """Refuse a Python that is too old."""
    if tuple(version[:2]) < OLDEST_PYTHON:
        raise CannotStartError(
            f"Messaging Lab needs Python {dotted(OLDEST_PYTHON)} or newer, and this is "
            f"{dotted(version[:3])} ({sys.executable}). Install a newer one (python.org, or your "
            "system's package manager) and name it: python3.12 lab.py"
        )


def dotted(version):
    return ".".join(str(number) for number in version)


# What people ask for --------------------------------------------------------------------------


def open_lab(options):
    """JupyterLab at lab 00, until it is stopped."""
    python = prepared(COURSE)
    say("Opening JupyterLab. Ctrl+C here stops it.")
    settings = [
        f"--ServerApp.root_dir={ROOT}",
        f"--LabApp.default_url=/lab/tree/{FIRST_LAB}",
        "--ServerApp.answer_yes=True",  # one Ctrl+C stops it, without a question
    ]
    if getattr(os, "geteuid", lambda: 1)() == 0:
        settings.append("--allow-root")  # a container, usually; it still needs the token
    return become([str(python), "-m", "jupyterlab", *settings, *options])


def run_labs(options):
    """All labs, headless, into one page."""
    return become([str(prepared(COURSE)), str(ROOT / "tools" / "run_labs.py"), *options])


def run_tests(options):
    """Style, types and tests; with options of its own, pytest alone."""
    latest = "--latest" in options
    options = [option for option in options if option != "--latest"]
    python = prepared(TESTING, latest=latest)
    if options:
        return become([str(python), "-m", "pytest", *options])
    results = [(step, *run_step([str(python), "-m", *step.split()])) for step in CHECKS]
    say()
    for step, status, seconds, last_line in results:
        say(f"{'FAILED' if status else 'passed':<8}{step:<22}{seconds:7.1f} s   {last_line}")
    return int(any(status for _, status, _, _ in results))


def run_step(command):
    """One check, shown while it runs: (exit status, seconds, last line)."""
    say(f"\n── {' '.join(command[2:])} ──")
    started = time.monotonic()
    status, lines = show(command)
    told = [line.strip("= ") for line in lines if line.strip()]
    return status, time.monotonic() - started, told[-1] if told else ""


# The environment ------------------------------------------------------------------------------


def prepared(extras, latest=False):
    """The Python that has what is needed, installed now unless it was before."""
    own = os.environ.get(PYTHON_VARIABLE)
    if own:
        if not Path(own).is_file():
            raise CannotStartError(f"{PYTHON_VARIABLE} names {own!r}, and there is no such file.")
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]  # labkit from this folder
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        return Path(own)
    folder = ROOT / (".venv-latest" if latest else ".venv")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = read_stamp(folder)
    if not latest and is_current(stamp, extras) and python.is_file():
        return python
    if must_remake(stamp) or not works(python):
        make_venv(folder)
        stamp = {}
    extras = frozenset(extras) | frozenset(stamp.get("extras", []))
    write_stamp(folder, extras, done=False)
    install(python, extras, latest)
    write_stamp(folder, extras, done=True)
    return python


def fingerprint():
    """Changes when what must be installed changes."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def read_stamp(folder):
    """What `write_stamp` left, or {}."""
    try:
        found = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_stamp(folder, extras, done):
    """Note what is (or, until `done`, is being) installed."""
    facts = {
        "done": done,
        "root": str(ROOT),
        "python": dotted(sys.version_info[:2]),
        "extras": sorted(extras),
        "fingerprint": fingerprint(),
    }
    draft = folder / (STAMP + ".new")
    draft.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    draft.replace(folder / STAMP)  # whole or not at all


def is_current(stamp, extras):
    """Whether nothing needs to be installed."""
    return (
        bool(stamp.get("done"))
        and not must_remake(stamp)
        and stamp.get("fingerprint") == fingerprint()
        and frozenset(extras) <= frozenset(stamp.get("extras", []))
    )


def must_remake(stamp):
    """Whether the environment was left half-made, in another folder or by another Python."""
    if not stamp:
        return False  # somebody made it by hand: install into it
    here = {"done": True, "root": str(ROOT), "python": dotted(sys.version_info[:2])}
    return any(stamp.get(fact) != value for fact, value in here.items())


def works(python):
    """Whether it is there, runs, and can install."""
    if not python.is_file():
        return False
    try:
        return subprocess.call([str(python), "-c", "import pip"], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def make_venv(folder):
    """A new, empty environment."""
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        raise CannotStartError(
            f"This Python ({sys.executable}) has no venv module. On Debian and Ubuntu: "
            f"sudo apt install python3-venv (or python{dotted(sys.version_info[:2])}-venv); "
            "elsewhere install Python whole, for example from python.org. Then try again."
        )
    say(f"Making {folder.name} …")
    # Not sys.executable: it may be the one in the folder that is about to be emptied.
    base = getattr(sys, "_base_executable", None) or sys.executable
    try:
        status, lines = show([base, "-m", "venv", "--clear", str(folder)], quiet=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as problem:
        status, lines = 1, [str(problem)]
    if status:
        reason = " ".join(line.strip() for line in lines) or f"exit status {status}"
        raise CannotStartError(
            f"{folder} could not be made: {reason} "
            "Check that the folder may be written to and the disk is not full, then try again."
        )


def install(python, extras, latest=False):
    """Put the course and what it needs into the environment."""
    say("Installing what the course needs; the first time takes a few minutes …")
    how = ["--upgrade", "--upgrade-strategy", "eager"] if latest else ["-c", "constraints.txt"]
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    course = f".[{','.join(sorted(extras))}]"
    environment = dict(os.environ)
    environment.setdefault("PIP_RETRIES", "2")  # without a network, say so soon
    if not latest:  # what builds the package is held to the same versions
        environment["PIP_CONSTRAINT"] = environment["PIP_BUILD_CONSTRAINT"] = "constraints.txt"
    command = [str(python), "-m", "pip", "install", *options, *how, "-e", course]
    status, lines = show(command, quiet=True, env=environment, each=show_download)
    if status == 0:
        settings = python.parent.parent / "share" / "jupyter" / "lab" / "settings"
        settings.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(ROOT / "binder" / "overrides.json"), str(settings))
        return
    told = "\n".join(lines)
    if any(sign in told for sign in NO_NETWORK_SIGNS):
        raise CannotStartError(
            "The packages could not be fetched: no connection to the package index. Check the "
            "network (behind a proxy set HTTPS_PROXY, for a mirror PIP_INDEX_URL), then start "
            "again; what was fetched is kept."
        )
    say("\n".join(lines[-15:]))
    raise CannotStartError(
        f"pip could not install the course (exit status {status}); its last lines are above. "
        f"Start again, or delete the folder {python.parent.parent.name} first for a fresh start."
    )


def show_download(line):
    """A sign of life for each package, not pip's every word."""
    words = line.split()
    if words and words[0] in ("Collecting", "Installing", "Building"):
        say("  " + line.strip()[:96])


# Running other programs -----------------------------------------------------------------------


def say(text=""):
    """Print at once, on any terminal: one that lacks a character gets a question mark."""
    try:
        print(text, flush=True)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        print(text.encode(encoding, "replace").decode(encoding), flush=True)


def show(command, quiet=False, env=None, each=None):
    """Run a program in the course's folder and show what it prints, unless `quiet`.

    Returns its exit status and its lines. `each` is called with every line.
    """
    environment = dict(os.environ if env is None else env)
    environment.update(PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8")
    process = subprocess.Popen(
        command,
        cwd=str(ROOT),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    lines = []
    try:
        for raw in process.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            lines.append(line)
            if not quiet:
                say(line)
            if each is not None:
                each(line)
        return process.wait(), lines
    except BaseException:
        stop(process)
        raise


def stop(process):
    """End a program: Ctrl+C reached it too, so first let it leave by itself."""
    for end in (lambda: None, process.terminate, process.kill):
        end()
        try:
            process.wait(timeout=10)
            return
        except subprocess.TimeoutExpired:
            continue


def become(command):
    """Turn into another program, in the course's folder; on Windows, wait for it instead."""
    os.chdir(str(ROOT))
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execv(command[0], command)  # its signals and its exit status are then ours
    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # it got the same Ctrl+C; its exit status is awaited


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except CannotStartError as problem:
        say(f"lab.py: {problem}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("\nStopped.")
        sys.exit(INTERRUPTED)
