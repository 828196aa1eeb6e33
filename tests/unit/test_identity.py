"""Ids and names: nobody is taken for somebody else, and nothing random is shown."""

from __future__ import annotations

import os

import pytest

import labkit
from labkit import StepClock, Worker, WorkQueue
from labkit.errors import ConfigurationError
from labkit.patterns.identity import Home, life_of, message_id


def test_a_message_id_tells_who_when_where_and_which() -> None:
    assert message_id("tower", "step.1", "news", 3) == "tower/step.1/news/3"


def test_a_lab_that_runs_again_on_its_own_clock_is_not_taken_for_its_first_run() -> None:
    first, second = (life_of("ada", StepClock()) for _ in range(2))
    assert first != second
    assert {life.rpartition("/")[0] for life in (first, second)} == {"ada"}


def test_a_worker_of_a_second_run_has_another_lease_and_the_same_name() -> None:
    leases = []
    for _ in range(2):
        with labkit.connect(clock=StepClock()) as lab:
            queue = WorkQueue(lab, "rebooking")
            queue.put("a task")
            worker = Worker(queue, lambda _: None, name="ada")
            worker.take()
            leases += [queue.tasks.leases().keys()]
            assert list(queue.leases()) == ["ada"]
    assert leases[0] != leases[1]


def test_a_home_lets_its_own_process_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home("Worker 'ada'")
    home.require()
    assert home.here
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert not home.here
    assert repr(home) == "<Worker 'ada': made in another process>"
    with pytest.raises(ConfigurationError, match=r"Worker 'ada' was made in another process; make"):
        home.require()
