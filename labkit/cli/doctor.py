"""`labkit doctor`: what is installed, which brokers answer, and what to do about each problem."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import secrets
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rich.table import Table
from rich.text import Text

import labkit
from labkit import servers
from labkit.broker import PubSubBroker, Received
from labkit.connection import BROKER_URL_VARIABLE, DEFAULT_REDIS_URL, NAMESPACE_VARIABLE
from labkit.consoles.screen import rich_console, safe
from labkit.errors import BrokerUnavailable, LabkitError
from labkit.options import redact

OLDEST_PYTHON = (3, 11)

PACKAGES = {
    "fakeredis": "2.40",
    "hiredis": "3.2",
    "lupa": "2.6",
    "msgspec": "0.20",
    "prompt_toolkit": "3.0",
    "redis": "8.0",
    "rich": "14",
    "ipykernel": "7",
    "jupyterlab": "4.5",
    "matplotlib": "3.10",
    "pandas": "2.3",
}
"""What the course cannot do without, and from which version on (as in pyproject.toml).

lupa comes with fakeredis[lua], and is what the scripts of queues and replies run in on the embedded
broker (as in environment.yml).
"""

ROUND_TRIPS = 5
ANSWER_WITHIN_S = 1.0


class State(StrEnum):
    """How a thing is."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


_STYLES = {State.OK: "green", State.NOTE: "yellow", State.PROBLEM: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: the thing.
        state: a problem keeps the course from running; a note does not.
        found: version, place, figures.
        todo: one sentence, or "".
    """

    what: str
    state: State
    found: str
    todo: str = ""


def run(options: argparse.Namespace) -> int:  # noqa: ARG001
    """Show the findings; 0 if the course can run."""
    parts = {
        "Installed": [_python(), _labkit(), *map(_package, PACKAGES)],
        "Servers on this machine": list(_server_binaries()),
        "Brokers that answer": list(_brokers()),
    }
    out = rich_console()
    for title, findings in parts.items():
        out.print(_table(title, findings))
    problems = [f for findings in parts.values() for f in findings if f.state is State.PROBLEM]
    if problems:
        names = ", ".join(finding.what for finding in problems)
        out.print(Text(f"Not ready for the course yet: {safe(names)}.", style="bold red"))
        return 1
    out.print(Text("Ready: the course can run.", style="bold green"))
    return 0


def _table(title: str, findings: list[Finding]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    table.add_column("what", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for finding in findings:
        state = Text(finding.state, style=_STYLES[finding.state])
        table.add_row(safe(finding.what), state, safe(finding.found), safe(finding.todo))
    return table


# --- installed -----------------------------------------------------------------------------------


def _python() -> Finding:
    oldest = ".".join(map(str, OLDEST_PYTHON))
    if sys.version_info < OLDEST_PYTHON:
        todo = f"Install Python {oldest} or newer, and make the environment anew with it."
        return Finding("Python", State.PROBLEM, platform.python_version(), todo)
    return Finding("Python", State.OK, f"{platform.python_version()} on {platform.system()}")


def _labkit() -> Finding:
    return Finding("labkit", State.OK, f"{labkit.__version__} in {Path(labkit.__file__).parent}")


def _package(name: str) -> Finding:
    least = PACKAGES[name]
    todo = f"pip install '{name}>={least}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, State.PROBLEM, "missing", todo)
    if _numbers(version) < _numbers(least):
        return Finding(name, State.PROBLEM, f"{version} is too old", todo)
    return Finding(name, State.OK, version)


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers at the beginning of a version, to compare: "3.0.52rc1" is (3, 0, 52)."""
    start = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, start[0].split("."))) if start else ()


# --- servers -------------------------------------------------------------------------------------


def _server_binaries() -> Iterator[Finding]:
    found = servers.find_all_redis()
    for binary in found:
        yield Finding(binary.name, State.OK, f"{binary.path} ({binary.source})")
    if not found:
        yield Finding("Redis or Valkey", State.NOTE, "none", servers.HOW_TO_INSTALL)


# --- brokers -------------------------------------------------------------------------------------


def _brokers() -> Iterator[Finding]:
    yield _try_broker("embedded (always there)", "embedded://", State.PROBLEM, "")
    given = os.environ.get(BROKER_URL_VARIABLE)
    if given and given != "auto":
        todo = f"Start that broker, correct {BROKER_URL_VARIABLE}, or unset it."
        yield _try_broker(BROKER_URL_VARIABLE, given, State.PROBLEM, todo)
    announced, warning = _announced()
    if warning:
        yield Finding("of 'labkit up'", State.NOTE, warning)
    if announced:
        yield _try_broker(
            "of 'labkit up'", announced, State.NOTE, "Restart 'labkit up' in its terminal."
        )
    elif not warning:
        todo = "Run 'labkit up' in another terminal if you want one for several terminals."
        yield Finding("of 'labkit up'", State.NOTE, "not running", todo)
    todo = "Nothing, unless you want Redis to run there all the time."
    yield _try_broker("Redis' usual place", DEFAULT_REDIS_URL, State.NOTE, todo)


def _announced() -> tuple[str | None, str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        url = servers.announced_url()
    return url, str(caught[-1].message) if caught else ""


def _try_broker(what: str, url: str, if_not: State, todo: str) -> Finding:
    where = redact(url)
    try:
        with labkit.connect(url, trace=False) as lab:
            space = f", {NAMESPACE_VARIABLE} {lab.namespace}" if lab.namespace else ""
            return Finding(
                what, State.OK, f"{lab.name} at {lab.url}{space}; a message takes {_took(lab)}"
            )
    except BrokerUnavailable as error:
        if "No broker answers" in str(error):
            return Finding(what, if_not, f"nobody answers at {where}", todo)
        return Finding(what, if_not, str(error), todo)
    except LabkitError as error:
        return Finding(what, if_not, f"{where}: {error}", todo)


def _took(lab: PubSubBroker) -> str:
    """The median time from publishing a message to having it."""
    channel = f"labkit.doctor.{secrets.token_hex(4)}"
    subscription = lab.open_subscription()
    try:
        subscription.add(channel)
        times = []
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter()
            lab.publish(channel, b"ping")
            if not _arrives(subscription.poll, began + ANSWER_WITHIN_S):
                raise BrokerUnavailable(f"{lab.name} at {lab.url} answers, but loses messages.")
            times.append(time.perf_counter() - began)
    finally:
        subscription.close()
    return f"{statistics.median(times) * 1e3:.2f} ms"


def _arrives(poll: Callable[[float], object], deadline: float) -> bool:
    """Whether the next message comes in time."""
    while (left := deadline - time.perf_counter()) > 0:
        if isinstance(poll(left), Received):
            return True
    return False
