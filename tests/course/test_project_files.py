"""The files around the course agree with each other and are what their readers expect."""

from __future__ import annotations

import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from tools import make_constraints

ROOT = Path(__file__).resolve().parents[2]
CONDA_NAMES = {
    "redis": "redis-py",
    "matplotlib": "matplotlib-base",
    "confluent-kafka": "python-confluent-kafka",
}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))["project"]


# constraints.txt


def test_constraints_are_plain_exact_versions() -> None:
    lines = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    odd = [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+", line)]
    assert odd == []
    assert lines == sorted(set(lines), key=lambda line: line.split("==")[0])
    assert len(lines) > 100


def test_constraints_fit_what_the_project_asks_for() -> None:
    assert make_constraints.misfits(make_constraints.pins(text("constraints.txt"))) == []


def test_constraints_that_no_longer_fit_are_noticed() -> None:
    pinned = make_constraints.pins(text("constraints.txt")) | {"redis": "5.0.0"}
    del pinned["fakeredis"]
    assert make_constraints.misfits(pinned) == [
        "fakeredis has no line in constraints.txt",
        "redis==5.0.0 is not >=8.0",
    ]


# environment.yml


def conda_packages() -> dict[str, str]:
    lines = yaml.safe_load(text("environment.yml"))["dependencies"]
    pairs = [re.fullmatch(r"([a-z0-9_-]+)(.*)", line).groups() for line in lines]
    return dict(pairs)


def test_conda_installs_what_labkit_and_the_notebooks_need_from_the_same_version_on() -> None:
    listed = conda_packages()
    extras = project()["optional-dependencies"]
    wanted = (extras[name] for name in ("notebooks", "rabbitmq", "kafka"))
    for requirement in map(Requirement, chain(project()["dependencies"], *wanted)):
        name = CONDA_NAMES.get(requirement.name, requirement.name)
        assert listed.get(name) == str(requirement.specifier), name
    assert {"pip", "hatchling", "redis-server"} <= set(listed)


def test_conda_leaves_labkit_itself_to_pip() -> None:
    environment = yaml.safe_load(text("environment.yml"))
    assert not any(isinstance(line, dict) for line in environment["dependencies"])  # no pip: part
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert "do not resolve them" in re.sub(r"\n# ", " ", text("environment.yml"))


# compose.yaml


def test_compose_offers_redis_to_this_computer_only_with_a_password_and_a_health_check() -> None:
    services = yaml.safe_load(text("compose.yaml"))["services"]
    redis = services["redis"]
    assert re.fullmatch(r"redis:\d+", redis["image"])
    assert redis["ports"] == ["127.0.0.1:6379:6379"]
    assert "MESSAGING_LAB_PASSWORD:-" in redis["environment"]["PASSWORD"]
    assert '--requirepass "$$PASSWORD"' in redis["command"][-1]
    assert "redis-cli ping" in redis["healthcheck"]["test"][-1]
    for service in services.values():
        assert "healthcheck" in service
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_compose_tells_how_to_reach_it_with_its_default_password() -> None:
    password = re.search(r"MESSAGING_LAB_PASSWORD:-([^}]+)", text("compose.yaml")).group(1)
    assert f"LABKIT_BROKER_URL=redis://:{password}@127.0.0.1:6379" in text("compose.yaml")


# Licence, citation, changelog


def test_the_licence_says_what_is_under_which() -> None:
    licence = text("LICENSE")
    assert "Copyright (c) 2026 The Messaging Lab contributors" in licence
    assert "Permission is hereby granted, free of charge" in licence
    assert "https://creativecommons.org/licenses/by/4.0/legalcode" in licence
    assert project()["license"] == "MIT AND CC-BY-4.0"


def test_the_citation_has_what_the_format_demands_and_the_version_of_the_project() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["authors"] == [{"name": "The Messaging Lab contributors"}]
    assert citation["type"] in {"software", "dataset"}
    assert str(citation["version"]) == project()["version"]
    assert citation["license"] == project()["license"].split(" AND ")


def test_the_changelog_begins_with_the_version_of_the_project() -> None:
    first = re.search(r"^## (\S+)", text("CHANGELOG.md"), re.MULTILINE).group(1)
    assert first == project()["version"]


# Scripts


@pytest.mark.parametrize("name", [".ci/run", "binder/start", "binder/postBuild"])
def test_scripts_are_executable_and_bash_can_read_them(name: str) -> None:
    script = ROOT / name
    assert script.stat().st_mode & 0o111 == 0o111
    assert text(name).startswith("#!")
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_continuous_integration_stops_at_the_first_error_and_runs_all_tests() -> None:
    script = text(".ci/run")
    assert "set -euo pipefail" in script
    assert "CI=true" in script
    assert script.rstrip().endswith('exec "$python" lab.py test')


# All files


def shipped_files() -> list[Path]:
    """What a clone has: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git clone")
    return [ROOT / name for name in listed.decode().split("\0") if name]


def test_no_file_names_the_host_of_a_package_registry() -> None:
    names = [("py", "pi.org"), ("python", "hosted.org"), ("npm", "js.org"), ("anaconda", ".org")]
    hosts = re.compile("|".join(re.escape(a + b) for a, b in names).encode())
    found = [path for path in shipped_files() if path.is_file() and hosts.search(path.read_bytes())]
    assert [str(path.relative_to(ROOT)) for path in found] == []
