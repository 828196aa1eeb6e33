"""Who may know whom: imports point downwards only, and `import labkit` costs next to nothing."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

import labkit

PACKAGE = Path(labkit.__file__).parent
CLIENT_LIBRARIES = ("redis", "hiredis", "fakeredis", "pika", "confluent_kafka")
HEAVY = (
    *CLIENT_LIBRARIES,
    *("pandas", "numpy", "matplotlib", "IPython", "ipywidgets", "tqdm", "rich", "prompt_toolkit"),
    *("grpc", "starlette", "uvicorn", "websockets"),
)


def parts(*names: str) -> set[str]:
    return {f"labkit.{name}" for name in names}


GROUND = parts(
    *(
        "errors",
        "message",
        "envelopes",
        "trace",
        "data",
        "clock",
        "channels",
        "families",
        "backoff",
        "_html",
        "_json",
        "_words",
        "topology",
        "_topic_keys",
    )
)
CONTRACT = GROUND | parts("broker")
STANDING = CONTRACT | parts("connection", "options", "patterns", "measure", "plots", "servers")
PEOPLE = parts("exercises", "consoles", "bridges", "cli", "__main__")

# What each part may import of labkit, besides itself.
ALLOWED: dict[str, set[str]] = {
    **dict.fromkeys(GROUND, GROUND),
    "labkit.broker": GROUND,
    # "auto" looks for a server, and starts one: the one look upwards, and a lazy one.
    "labkit.connection": CONTRACT | {"labkit.options", "labkit.servers"},
    "labkit.options": GROUND,
    "labkit.brokers": CONTRACT | {"labkit.options"},
    "labkit.patterns": CONTRACT,
    "labkit.measure": STANDING,
    "labkit.plots": STANDING,
    "labkit.servers": STANDING,
    "labkit.experiments": STANDING | {"labkit.brokers"},  # an experiment may be of one broker
    **dict.fromkeys(PEOPLE, STANDING | PEOPLE | {"labkit.experiments"}),
}


# --- what is loaded -------------------------------------------------------------------------------


def loaded_after(code: str) -> set[str]:
    """Top-level modules and labkit's own that a fresh interpreter has loaded after `code`."""
    path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys; print(json.dumps(list(sys.modules)))"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    names: list[str] = json.loads(run.stdout.splitlines()[-1])
    return {name.partition(".")[0] for name in names} | {n for n in names if "labkit" in n}


def test_import_labkit_loads_nothing_heavy() -> None:
    loaded = loaded_after("import labkit")

    assert "labkit" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "code",
    [
        "from labkit import Message, StepClock, Trace, channels, families; "
        "Message.decode(Message.new('a', 1, sender='s').encode())",
        "from labkit import connect, Publisher, Subscriber",
        "from labkit.data import stormy_day; stormy_day(limit=1)",
        "import labkit.servers",
        "import labkit.exercises",
    ],
)
def test_names_that_need_nothing_heavy_load_nothing_heavy(code: str) -> None:
    assert loaded_after(code).isdisjoint(HEAVY)


def test_working_with_a_broker_loads_no_frames_pictures_or_notebooks() -> None:
    loaded = loaded_after(
        "import labkit\n"
        "with labkit.connect() as lab, labkit.Subscriber(lab) as board:\n"
        "    board.subscribe('news'); board.inject('news', 1)\n"
        "    repr(board.stats()), board.stats()._repr_html_(), lab.trace._repr_html_()\n"
    )

    assert "fakeredis" in loaded
    assert loaded.isdisjoint({"pandas", "matplotlib", "IPython", "ipywidgets", "pika"})


def test_every_public_name_can_be_had_and_an_unknown_one_is_named() -> None:
    for name in labkit.__all__:
        assert getattr(labkit, name) is not None
    assert set(labkit.__all__) <= set(dir(labkit))
    with pytest.raises(AttributeError, match="Publischer"):
        labkit.Publischer  # noqa: B018


# --- who imports whom -----------------------------------------------------------------------------


@lru_cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["labkit", *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def part_of(module: str) -> str:
    """The part of labkit a module belongs to: labkit.brokers for labkit.brokers.redis.client."""
    return ".".join(module.split(".")[:2])


def imports(module: str) -> Iterator[str]:
    """Every module that `module` imports, wherever the statement stands."""
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [base])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield home(alias.name) if base == "labkit" else base if is_name(whole) else whole


def is_name(dotted: str) -> bool:
    return dotted not in modules()


def home(name: str) -> str:
    """Where a name that `labkit` hands on comes from; also a way to look upwards."""
    known: dict[str, str] = labkit._HOMES
    return known.get(name, f"labkit.{name}" if f"labkit.{name}" in modules() else "labkit")


MODULES = sorted(set(modules()) - {"labkit"})


def test_the_parts_are_those_that_the_plan_knows() -> None:
    assert {part_of(module) for module in MODULES} <= set(ALLOWED)
    assert {"labkit.errors", "labkit.broker", "labkit.connection"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards_only(module: str) -> None:
    own = part_of(module)

    wrong = {
        imported
        for imported in imports(module)
        if imported.partition(".")[0] == "labkit"
        and imported != "labkit"
        and part_of(imported) != own
        and part_of(imported) not in ALLOWED[own]
    }

    assert wrong == set()


@pytest.mark.parametrize(
    "module",
    [m for m in MODULES if part_of(m) in CONTRACT | {"labkit.connection", "labkit.patterns"}],
)
def test_only_the_floor_of_the_brokers_knows_a_client_library(module: str) -> None:
    assert {imported.partition(".")[0] for imported in imports(module)}.isdisjoint(CLIENT_LIBRARIES)


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("labkit.brokers.redis")])
def test_a_broker_knows_one_client_library(module: str) -> None:
    foreign = set(CLIENT_LIBRARIES) - {"redis", "hiredis", "fakeredis"}

    assert {imported.partition(".")[0] for imported in imports(module)}.isdisjoint(foreign)


def test_nothing_but_connect_looks_up_a_broker_by_its_module() -> None:
    """`import_module("labkit.brokers…")` would be an import that the tests above do not see."""
    naming = [
        module
        for module in MODULES
        if not module.startswith("labkit.brokers")
        for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith("labkit.brokers")
    ]

    assert set(naming) == {"labkit.connection"}


def test_the_tests_own_reading_of_imports_sees_all_kinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(
        "import redis.client\n"
        "from labkit import Publisher, families, servers\n"
        "from labkit.brokers import redis as broker\n"
        "from labkit.trace import Trace\n"
        "from . import cli\n"
        "from .patterns.pubsub import Publisher\n"
        "def later():\n    from labkit.plots import show\n"
    )
    monkeypatch.setitem(modules(), "labkit.sample", sample)

    assert set(imports("labkit.sample")) == {
        "redis.client",
        "labkit.patterns.pubsub",
        "labkit.families",
        "labkit.servers",
        "labkit.brokers.redis",
        "labkit.trace",
        "labkit.cli",
        "labkit.plots.show",
    }
