"""The picture of jobs on several brokers: what it says, and what it refuses."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from matplotlib.text import Text

from labkit import plots
from labkit.errors import ConfigurationError
from labkit.plots.jobs import STAND_IN_NOTE

COLUMNS = [
    *("broker", "job", "real", "support", "lost", "twice", "reordered"),
    *("throughput", "p50_ms", "p99_ms"),
]
ROWS: list[tuple[Any, ...]] = [
    ("embedded", "seats", False, "emulated", 0, 0, 0, 900.0, 0.1, 0.2),
    ("Redis", "seats", True, "emulated", 0, 0, 0, 5_000.0, 0.5, 2.0),
    ("RabbitMQ", "seats", True, "native", 0, 1, 0, 1_500.0, 0.7, 9.0),
    ("Redis", "replay", True, "native", 0, 0, 0, 90_000.0, 0.2, 1.0),
    ("RabbitMQ", "replay", True, "absent", None, None, None, None, None, None),
]


def frame(rows: list[tuple[Any, ...]] = ROWS) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


def texts(figure: plots.LabFigure, gid: str) -> list[str]:
    return [one.get_text() for one in figure.findobj(Text) if one.get_gid() == gid]


def test_the_title_tells_losses_the_span_of_servers_and_what_is_absent() -> None:
    figure = plots.jobs(frame())
    assert figure.headline == (
        "2 jobs on 3 brokers: nothing lost; p99 from 1 ms (replay, Redis) to 9 ms (seats, "
        "RabbitMQ); no replay on RabbitMQ"
    )


def test_the_alt_text_has_every_figure() -> None:
    alt = plots.jobs(frame()).alt_text
    assert "seats on embedded (a stand-in), emulated: p50 0.1 ms, p99 0.2 ms, 900/s" in alt
    assert "seats on RabbitMQ, native: p50 0.7 ms, p99 9 ms, 1,500/s, 0 lost, 1 twice" in alt
    assert "replay on RabbitMQ: absent." in alt


def test_a_stand_in_is_hollow_and_said_to_be_one() -> None:
    figure = plots.jobs(frame())
    assert STAND_IN_NOTE in texts(figure, "note")
    assert STAND_IN_NOTE not in texts(plots.jobs(frame(ROWS[1:])), "note")
    assert texts(figure, "absent") == ["absent"]
    assert "Redis, emulated" in texts(figure, "broker")


def test_a_loss_is_in_the_title() -> None:
    lost = [*ROWS[1:3], ("Redis", "fan-out", True, "native", 7, 0, 0, 10.0, 1.0, 2.0)]
    assert "Redis lost 7 (fan-out)" in plots.jobs(frame(lost)).headline


def test_one_broker_alone_can_be_drawn() -> None:
    alone = plots.jobs(frame(ROWS[:1]))
    assert alone.headline == "1 job on 1 broker: nothing lost"


def test_words_do_not_leave_the_picture_or_meet_in_the_head() -> None:
    long = [("A broker with a very long name indeed", *row[1:]) for row in ROWS[1:2]]
    figure = plots.jobs(frame([*ROWS, *long]))
    figure.canvas.draw()
    boxes = [t.get_window_extent() for t in figure.findobj(Text) if t.get_gid() == "panel"]
    boxes.sort(key=lambda box: box.x0)
    assert all(one.x1 + 10 < other.x0 for one, other in pairwise(boxes))
    for text in figure.findobj(Text):
        if text.get_text():
            assert text.get_window_extent().x1 <= 1_000


def test_what_cannot_be_drawn_is_refused_in_words() -> None:
    with pytest.raises(ConfigurationError, match="no column 'p99_ms'"):
        plots.jobs(frame().drop(columns="p99_ms"))
    with pytest.raises(ConfigurationError, match="no row"):
        plots.jobs(frame([]))
    with pytest.raises(ConfigurationError, match="not list"):
        plots.jobs([1])
