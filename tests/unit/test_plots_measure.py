"""Pictures of measurements: they state what the frames say, and every word can be read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache

import numpy
import pandas
import pytest
from matplotlib.artist import Artist
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from labkit.errors import ConfigurationError
from labkit.measure import Measurements
from labkit.plots import (
    LabFigure,
    ecdf,
    fan_out,
    latency_against_load,
    open_and_closed,
    over_time,
    percentiles,
    quoted,
    side_by_side,
    throughput_against_batch,
    throughput_against_size,
    throughput_against_workers,
)
from labkit.plots._intervals import estimate
from labkit.plots.style import PAPER, SMALL, WIDTH

NAN = float("nan")
EMBEDDED = "Measured on the embedded broker: figures of Python, not of Redis."
Draw = Callable[..., LabFigure]


# --- frames such as a measurement gives ----------------------------------------------------------


def trial(number: int, **of: object) -> dict[str, object]:
    """One row; what is not said is ordinary."""
    row: dict[str, object] = {
        "trial": number, "broker": "redis", "embedded": False, "pattern": "pubsub",
        "schedule": "constant", "rate": 1000.0, "clients": 1, "size_bytes": 100, "batch": 1,
        "subscribers": 1, "workers": 1, "repeat": 0, "seconds": 10.0, "sent": 10_000,
        "completed": 10_000, "lost": 0, "duplicates": 0, "out_of_order": 0, "unanswered": 0,
        "send_errors": 0, "implausible": 0, "throughput": 1000.0, "mb_per_s": 0.1,
        "lag_p99_ms": 0.1, "valid": True, "why_invalid": "", "interrupted": False,
    }  # fmt: skip
    for clock in ("service", "response"):
        for name, ms in {"p50": 0.5, "p90": 0.9, "p99": 1.5, "p999": 4.0, "max": 9.0}.items():
            row[f"{clock}_{name}_ms"] = ms
    return row | of


def trials(*rows: dict[str, object]) -> pandas.DataFrame:
    return pandas.DataFrame(list(rows))


def sweep(
    setting: str,
    values: list[float],
    figure: Callable[[float], float],
    *,
    brokers: tuple[str, ...] = ("redis",),
    repeats: int = 5,
    **columns: Callable[[float], float],
) -> pandas.DataFrame:
    """Repeats that scatter by a few per cent around `figure` of the setting."""
    dice = numpy.random.default_rng(3)
    rows = []
    for slower, broker in enumerate(brokers):
        for value, repeat in itertools.product(values, range(repeats)):
            done = figure(value) / (1 + slower) * float(numpy.exp(0.02 * dice.standard_normal()))
            of = {name: make(value) for name, make in columns.items()}
            rows.append(trial(len(rows), broker=broker, embedded=broker == "embedded",
                              repeat=repeat, throughput=done, **{setting: value} | of))  # fmt: skip
    frame = trials(*rows)
    return frame.assign(mb_per_s=frame["throughput"] * frame["size_bytes"] / 1e6)


SIZES = [10.0, 100.0, 1000.0, 100_000.0, 1_000_000.0]


def by_size(**kwargs: object) -> pandas.DataFrame:
    return sweep("size_bytes", SIZES, lambda v: 20_000 / (1 + v / 20_000), **kwargs)  # type: ignore[arg-type]


def by_load(**kwargs: object) -> pandas.DataFrame:
    """Flat up to 600 per second, then a queue that grows."""
    rates = [100.0, 200.0, 400.0, 600.0, 800.0, 1000.0]
    return sweep("rate", rates, lambda r: min(r, 900.0),
                 response_p99_ms=lambda r: 2.0 if r <= 600 else r / 10,
                 response_p50_ms=lambda r: 0.5 if r <= 600 else r / 40, **kwargs)  # type: ignore[arg-type]  # fmt: skip


def crowded() -> pandas.DataFrame:
    """Rates so near one another that their ticks have no room, and two knees side by side."""
    rates = [100.0, 5_000.0, 5_010.0, 5_020.0, 5_030.0]
    frame = sweep("rate", rates, lambda r: r, brokers=("redis", "redis behind a proxy"), repeats=2)
    frame["throughput"] = frame["rate"]
    behind = frame["broker"] != "redis"
    runs_away = frame["rate"] > 5_015.0 - 10 * behind
    return frame.assign(response_p99_ms=numpy.where(runs_away, 900.0, 1.0))


def operations(
    count: int, *, number: int = 0, middle: float = 0.5, stall_ms: float = 0.0, lost: int = 0
) -> pandas.DataFrame:
    """One every ms; a stall makes those that were due meanwhile wait; the last ones are lost."""
    dice = numpy.random.default_rng(5)
    service = middle * numpy.exp(0.4 * dice.standard_normal(count))
    response = service.copy()
    if stall_ms:
        start = count // 2
        service[start] = response[start] = stall_ms
        for i in range(start + 1, min(count, start + int(stall_ms))):
            response[i] += stall_ms - (i - start)
    status = numpy.array(["ok"] * (count - lost) + ["lost"] * lost)
    gone = status == "lost"
    intended = numpy.arange(count, dtype=numpy.int64) * 1_000_000
    return pandas.DataFrame({
        "trial": number, "number": numpy.arange(count), "intended_ns": intended,
        "sent_ns": intended, "done_ns": numpy.where(gone, -1, intended + 1_000_000),
        "status": status, "service_ms": numpy.where(gone, NAN, service),
        "response_ms": numpy.where(gone, NAN, response), "warmup": numpy.zeros(count, dtype=bool),
    })  # fmt: skip


def moments(number: int = 0, *, seconds: int = 30, depth: bool = True) -> pandas.DataFrame:
    """800 a second of 1,000 that come; the first five seconds are warm-up."""
    t = numpy.arange(1, seconds + 1, dtype=float)
    return pandas.DataFrame({
        "trial": number, "t_s": t, "completed_per_s": numpy.where(t < 4, 200 * t, 800.0),
        "depth": 200 * t if depth else NAN, "warmup": t <= 5,
    })  # fmt: skip


CLAIMS = [
    ("Redis Pub/Sub latency", 5, 50, 0.4, "ms"),
    ("Redis Pub/Sub", 50_000, NAN, 25_000, "messages/s"),
    ("a round trip", NAN, 2, 1.1, "ms"),
    ("RabbitMQ, persistent", 4_000, 10_000, 7_000, "messages/s"),
    ("nobody tried this one", 100, 200, NAN, "messages/s"),
]


def named(figure: Figure, gid: str) -> list[Artist]:
    """The artists whose name begins with `gid`."""
    return figure.findobj(lambda artist: (artist.get_gid() or "").startswith(gid))


def texts(figure: Figure, gid: str = "") -> list[str]:
    found = figure.findobj(Text)
    return [t.get_text() for t in found if (t.get_gid() or "").startswith(gid) and t.get_text()]


def assert_legible(figure: Figure) -> None:
    """No text covers another or leaves the picture, and none is too small."""
    figure.draw_without_rendering()
    found = [t for t in figure.findobj(Text) if t.get_gid() and t.get_text().strip()]
    boxes = [(t, t.get_window_extent()) for t in found]
    height = figure.get_figheight() * figure.dpi
    assert figure.get_figwidth() * figure.dpi == WIDTH
    for text, box in boxes:
        assert text.get_fontsize() >= SMALL, text
        assert box.x0 >= 0, text
        assert box.x1 <= WIDTH, text
        assert box.y0 >= 0, text
        assert box.y1 <= height, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, f"{one.get_text()!r} covers {other.get_text()!r}"


THREE = trials(
    trial(0),
    trial(1, broker="embedded", embedded=True),
    trial(2, broker="rabbitmq", valid=False, why_invalid="the generator was late"),
)
OF_THREE = pandas.concat(
    [operations(12_000), operations(3_000, number=1, middle=2.0), operations(500, number=2)]
)
LONG = "a broker with a name that nobody would ever give to a broker, $x_1$ 日本 and more of it"

FIGURES: dict[str, Callable[[], LabFigure]] = {
    "percentiles": lambda: percentiles(operations(20_000, stall_ms=150)),
    "percentiles of three": lambda: percentiles(OF_THREE, trials=THREE),
    "percentiles, 30 points": lambda: percentiles(operations(30)),
    "percentiles, 3 points": lambda: percentiles(operations(3)),
    "percentiles, 1 point": lambda: percentiles(operations(1)),
    "ecdf": lambda: ecdf(operations(5_000, lost=100)),
    "ecdf of three": lambda: ecdf(OF_THREE, trials=THREE),
    "ecdf, 30 points": lambda: ecdf(operations(30)),
    "ecdf, 3 points": lambda: ecdf(operations(3)),
    "load": lambda: latency_against_load(by_load()),
    "load of three": lambda: latency_against_load(by_load(brokers=("redis", "embedded", "kafka"))),
    "load, crowded": lambda: latency_against_load(crowded()),
    "load, 3 trials": lambda: latency_against_load(by_load(repeats=1).head(3)),
    "load, 1 trial": lambda: latency_against_load(by_load().head(1)),
    "closed load": lambda: latency_against_load(by_load().assign(rate=NAN, schedule="closed")),
    "size": lambda: throughput_against_size(by_size(brokers=("redis", "embedded"))),
    "size, 1 trial": lambda: throughput_against_size(by_size().head(1)),
    "size, long name": lambda: throughput_against_size(
        by_size(brokers=(LONG, LONG + "!", "redis"))
    ),
    "batch": lambda: throughput_against_batch(
        sweep("batch", [1, 10, 100], lambda v: 5_000 * v**0.5)
    ),
    "fan-out": lambda: fan_out(sweep("subscribers", [1, 2, 4, 8, 64], lambda v: 9_000 / v**0.5)),
    "workers": lambda: throughput_against_workers(
        sweep("workers", [1, 2, 4, 8], lambda v: 100 * v)
    ),
    "workers, 30 values": lambda: throughput_against_workers(
        sweep("workers", list(range(1, 31)), lambda v: 100 * v, repeats=2)
    ),
    "over time": lambda: over_time(moments()),
    "over time, two": lambda: over_time(pandas.concat([moments(), moments(1)]), trials=THREE),
    "over time, 3 points": lambda: over_time(moments(seconds=3, depth=False)),
    "open and closed": lambda: open_and_closed(operations(9_000), operations(9_000, stall_ms=200)),
    "open and closed, 3 points": lambda: open_and_closed(operations(3), operations(3)),
    "side by side": lambda: side_by_side(by_size(brokers=("redis", "embedded", "rabbitmq"))),
    "side by side, one": lambda: side_by_side(by_size(repeats=1).head(1)),
    "quoted": lambda: quoted(CLAIMS),
    "quoted, one": lambda: quoted(CLAIMS[:1]),
}


@cache
def drawn(name: str) -> LabFigure:
    return FIGURES[name]()


@pytest.mark.parametrize("name", FIGURES)
def test_every_word_can_be_read(name: str) -> None:
    assert_legible(drawn(name))


@pytest.mark.parametrize("name", FIGURES)
def test_every_picture_says_in_words_what_it_shows(name: str) -> None:
    figure = drawn(name)

    assert " ".join(texts(figure, "title")) == figure.headline
    assert len(figure.alt_text) > 40
    assert "nan" not in figure.headline + figure.alt_text
    assert "inf" not in figure.headline + figure.alt_text


@pytest.mark.parametrize("name", FIGURES)
def test_axes_are_named(name: str) -> None:
    assert len(texts(drawn(name), "axis")) >= (1 if name.startswith("quoted") else 2)


@pytest.mark.parametrize("name", ["load of three", "percentiles of three", "quoted"])
def test_the_same_frame_gives_the_same_picture(name: str) -> None:
    assert FIGURES[name]().to_png() == FIGURES[name]().to_png()


# --- what is embedded, and what is invalid --------------------------------------------------------

ON_TRIALS: dict[str, Callable[[pandas.DataFrame], LabFigure]] = {
    "load": latency_against_load,
    "size": throughput_against_size,
    "batch": throughput_against_batch,
    "fan-out": fan_out,
    "workers": throughput_against_workers,
    "side by side": side_by_side,
}


@pytest.mark.parametrize("name", ON_TRIALS)
def test_figures_of_the_embedded_broker_are_marked_as_such(name: str) -> None:
    plain, partly, embedded = by_load(repeats=2), by_load(repeats=2), by_load(repeats=2)
    partly.loc[3, "embedded"] = True
    embedded["embedded"] = True

    notes = [texts(ON_TRIALS[name](frame), "note") for frame in (plain, partly, embedded)]
    assert [EMBEDDED in note for note in notes] == [False, False, True]
    assert ["What was measured on the embedded" in "".join(note) for note in notes] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("name", ON_TRIALS)
def test_invalid_trials_are_hollow_crossed_and_called_so(name: str) -> None:
    frame = by_load(repeats=3)
    frame.loc[[4, 5], "valid"] = False
    frame.loc[[4, 5], "why_invalid"] = "the generator was 40 ms late"
    figure = ON_TRIALS[name](frame)
    marks = named(figure, "invalid mark")

    assert len(marks) >= 2
    assert {to_hex(mark.get_markerfacecolor()) for mark in marks} == {PAPER}  # type: ignore[attr-defined]
    assert len(named(figure, "invalid cross")) >= 2 * len(marks)
    assert "invalid: drawn, not counted" in texts(figure, "legend")
    assert any("2 trials of 18 invalid" in note and "40 ms late" in note
               for note in texts(figure, "note"))  # fmt: skip
    assert_legible(figure)


@pytest.mark.parametrize("name", ON_TRIALS)
def test_nothing_is_concluded_from_invalid_trials(name: str) -> None:
    figure = ON_TRIALS[name](by_load(repeats=2).assign(valid=False, why_invalid="too late"))

    assert figure.headline == "No valid trial among 12: nothing can be concluded"
    assert not named(figure, "mark")
    assert_legible(figure)


def test_invalid_repeats_do_not_move_the_median() -> None:
    frame = by_load(repeats=3)
    spoilt = pandas.concat([frame, frame.assign(throughput=9.9, response_p99_ms=9e9, valid=False)])

    assert latency_against_load(spoilt).headline == latency_against_load(frame).headline


def test_curves_of_invalid_trials_are_hollow_and_not_compared() -> None:
    figure = percentiles(OF_THREE, trials=THREE)

    assert "rabbitmq, invalid" in texts(figure, "series")
    assert named(figure, "invalid mark")
    assert "rabbitmq" not in figure.headline
    assert percentiles(operations(99).assign(valid=False)).headline.startswith("No valid trial")


# --- percentiles ----------------------------------------------------------------------------------


def test_the_title_gives_the_percentiles_that_so_many_operations_support() -> None:
    known = operations(10_000).assign(response_ms=numpy.arange(1, 10_001) / 100)

    assert percentiles(known).headline == (
        "50 % within 50 ms, 99 % within 99 ms and 99.9 % within 99.9 ms"
    )
    assert "p99.9 99.9 ms" in percentiles(known).alt_text


def test_p999_is_withheld_below_ten_thousand_operations() -> None:
    enough, few = percentiles(operations(10_000)), percentiles(operations(9_999))

    assert "99.9 %" in enough.headline
    assert "99.9 %" not in few.headline
    assert "p99.9" not in few.alt_text
    assert texts(few, "span word") == ["withheld: 9,999 samples are too few"]
    assert texts(enough, "span word") == []


def test_the_tail_is_stretched_so_that_each_nine_takes_as_much_room() -> None:
    ticks = {
        t.get_text(): t.get_position()[0] for t in named(percentiles(operations(10_000)), "tick")
    }  # type: ignore[attr-defined]

    assert ticks["99 %"] - ticks["90 %"] == pytest.approx(ticks["99.9 %"] - ticks["99 %"])


def test_a_few_operations_are_drawn_one_by_one() -> None:
    figure = percentiles(operations(3))

    assert "too few for percentiles" in figure.headline
    assert len(named(figure, "mark")) == 3


def test_the_warm_up_is_left_out_of_latencies() -> None:
    slow = operations(1_000).assign(response_ms=1_000.0, warmup=True)
    figure = percentiles(pandas.concat([slow, operations(1_000)]))

    assert "longest 1,000 ms" not in figure.alt_text
    assert "1,000 operations" in figure.alt_text


def test_repeats_are_put_together_and_not_averaged() -> None:
    fast, slow = (
        operations(1_000, number=n).assign(response_ms=ms) for n, ms in ((0, 1.0), (1, 9.0))
    )
    figure = percentiles(pandas.concat([fast, slow]), trials=trials(trial(0), trial(1, repeat=1)))

    assert figure.headline == "redis: 50 % within 1 ms and 99 % within 9 ms"


def test_series_are_named_by_what_differs_between_their_trials() -> None:
    known = trials(trial(0, size_bytes=100), trial(1, size_bytes=65_536))
    figure = percentiles(pandas.concat([operations(200), operations(200, number=1)]), trials=known)

    assert set(texts(figure, "series")) == {"100 B", "64 KiB"}


def test_what_never_came_back_counts_with_the_time_out_at_least() -> None:
    frame = operations(2_000, lost=100)
    frame.loc[frame["status"] == "lost", "response_ms"] = 5_000.0
    figure = percentiles(frame)

    assert "99 % not within 5,000 ms" in figure.headline
    assert "p99 at least 5,000 ms" in figure.alt_text
    assert any("100 of 2,000 operations never came back" in note for note in texts(figure, "note"))


def test_what_never_came_back_keeps_the_shares_under_one_hundred_per_cent() -> None:
    figure = ecdf(operations(1_000, lost=100))
    heights = named(figure, "curve")[0].get_ydata()  # type: ignore[attr-defined]
    ticks = {t.get_text(): t.get_position()[1] for t in named(figure, "tick")}  # type: ignore[attr-defined]

    assert "10 % never came back" in figure.headline
    assert "900 of 1,000 operations came back" in figure.alt_text
    assert min(heights) == pytest.approx(ticks["90"], abs=6)


def test_the_two_loops_tell_different_stories_of_the_same_stall() -> None:
    closed = operations(9_000).assign(response_ms=NAN)
    figure = open_and_closed(closed, operations(9_000, stall_ms=200))

    assert figure.headline.startswith("The closed loop says p99 1.")
    assert "from the intended moments it is 1" in figure.headline
    assert set(texts(figure, "series")) == {
        "closed loop", "open loop, service", "open loop, response"
    }  # fmt: skip


def test_two_loops_that_agree_are_said_to() -> None:
    figure = open_and_closed(operations(9_000), operations(9_000))

    assert figure.headline == "Both loops agree up to p99: nothing stalled"


# --- load, size, batch, subscribers, workers ------------------------------------------------------


def test_the_knee_lies_before_the_first_rate_at_which_latency_runs_away() -> None:
    figure = latency_against_load(by_load())

    assert figure.headline == "The knee lies between 600 and 800/s: p99 goes from 2 ms to 80 ms"
    assert texts(figure, "span word") == ["knee"]
    assert any("over 3 times that of the lowest rate" in note for note in texts(figure, "note"))
    assert "Knee of redis: between 600 and 800/s." in figure.alt_text


def test_a_rate_that_is_not_reached_is_past_the_knee_too() -> None:
    figure = latency_against_load(by_load().assign(response_p99_ms=2.0))

    assert figure.headline.startswith("The knee lies between 800 and 1,000/s")


def test_where_latency_stays_flat_there_is_no_knee() -> None:
    figure = latency_against_load(by_load().query("rate <= 600"))

    assert figure.headline == "No knee up to 600/s: p99 2 ms at 100/s, 2 ms at 600/s"
    assert not texts(figure, "span word")


def test_a_closed_loop_has_no_knee() -> None:
    figure = latency_against_load(by_load().assign(rate=NAN, schedule="closed"))

    assert "knee" not in figure.headline
    assert any("no knee is looked for" in note for note in texts(figure, "note"))


def test_trials_that_are_left_out_are_counted() -> None:
    frame = by_load()
    frame.loc[[0, 1], "rate"] = NAN

    assert "2 trials without these figures left out." in texts(latency_against_load(frame), "note")


def test_size_has_two_panels_and_not_two_axes() -> None:
    figure = throughput_against_size(by_size())

    assert figure.headline.startswith("From 10 B to 1 MB, messages/s fall from 19,800 to 392")
    assert "MB/s, at 1 MB" in figure.headline
    assert texts(figure, "axis")[:2] == [
        "throughput (messages/s), log scale", "volume (MB/s), log scale"
    ]  # fmt: skip
    assert len(named(figure, "curve:redis")) == 2


def test_batches_that_gain_and_batches_that_do_not() -> None:
    gain = sweep("batch", [1, 10, 100], lambda v: 5_000 * v**0.5,
                 response_p99_ms=lambda v: 1.0 + v / 4)  # fmt: skip
    none = sweep("batch", [1, 10, 100], lambda _: 5_000)

    assert throughput_against_batch(gain).headline == (
        "Batches of 100 complete 10 times as many as batches of 1; p99 from 1.2 ms to 26 ms"
    )
    assert throughput_against_batch(none).headline.startswith("Batches bring no gain that shows")


def test_fan_out_counts_each_subscriber_that_got_a_message() -> None:
    frame = sweep("subscribers", [1, 10], lambda _: 1_000, repeats=1)
    frame["throughput"] = 1_000.0
    figure = fan_out(pandas.concat([frame, frame.assign(subscribers=0, pattern="queue")]))

    assert figure.headline.startswith(
        "From 1 to 10 subscribers, deliveries/s rise from 1,000 to 10,000"
    )
    assert "2 trials without these figures left out." in texts(figure, "note")


def test_more_workers_are_compared_with_what_would_be_in_proportion() -> None:
    figure = throughput_against_workers(sweep("workers", [1, 2, 4, 8], lambda v: 100 * v**0.8))
    slower = throughput_against_workers(sweep("workers", [1, 2, 4, 8], lambda v: 900 / v**0.3))

    assert figure.headline == "8 workers complete 5.3 times what 1 does"
    assert "in proportion" in texts(figure, "tag")
    assert slower.headline.startswith("More workers are slower: ")


def test_repeats_are_points_and_their_interval_is_a_bar() -> None:
    figure = throughput_against_workers(sweep("workers", [1, 2, 4], lambda v: 100 * v))
    once = throughput_against_workers(sweep("workers", [1, 2, 4], lambda v: 100 * v, repeats=1))

    assert len(named(figure, "repeat")) == 15
    assert len(named(figure, "interval")) == 3 + 1  # and one in the legend
    assert not named(once, "interval")


def test_an_interval_of_repeats_is_repeatable_and_holds_the_median() -> None:
    values = (10.0, 11.0, 12.0, 13.0, 30.0)
    found = estimate(values)

    assert found.middle == 12
    assert found.interval is not None
    assert found.interval[0] <= 12 <= found.interval[1]
    assert found == estimate(values)
    assert estimate((7.0,)).interval is None


def test_intervals_that_overlap_show_no_difference() -> None:
    noisy = trials(*(trial(i, workers=w, throughput=t) for i, (w, t) in enumerate(
        [(1, 80.0), (1, 100.0), (1, 130.0), (2, 85.0), (2, 110.0), (2, 125.0)])))  # fmt: skip

    assert (
        throughput_against_workers(noisy).headline == "More workers than 1 bring no gain that shows"
    )


def test_each_broker_looks_the_same_in_every_picture() -> None:
    def colour(figure: LabFigure, name: str) -> str:
        return str(named(figure, f"curve:{name}")[0].get_color())  # type: ignore[attr-defined]

    both = throughput_against_size(by_size(brokers=("redis", "embedded")))
    alone = throughput_against_workers(sweep("workers", [1, 2], lambda v: v, brokers=("embedded",)))

    assert colour(both, "embedded") == colour(alone, "embedded") != colour(both, "redis")


def test_every_series_has_a_second_cue_beside_its_colour() -> None:
    figure = throughput_against_size(by_size(brokers=("redis", "embedded", "rabbitmq", "kafka")))
    lines = named(figure, "curve:")

    assert len({str(line.get_linestyle()) + str(line._dash_pattern) for line in lines}) == 4  # type: ignore[attr-defined]
    assert len({str(m.get_marker()) for m in named(figure, "mark")}) == 4  # type: ignore[attr-defined]


def test_a_broker_that_nobody_knows_takes_no_look_of_another() -> None:
    figure = throughput_against_size(by_size(brokers=("abroker", "redis", "zbroker")))

    assert len({line.get_color() for line in named(figure, "curve:")}) == 3  # type: ignore[attr-defined]


# --- over time, side by side, quoted --------------------------------------------------------------


def test_a_queue_that_grows_is_said_to_and_the_warm_up_is_shaded() -> None:
    figure = over_time(moments())

    assert figure.headline == "800/s completed after the warm-up, and the backlog grew to 6,000"
    assert texts(figure, "span word") == ["warm-up"]
    assert len(named(figure, "span")) >= 2
    assert "6,000 at the end" in figure.alt_text


def test_without_a_queue_the_second_panel_is_not_drawn() -> None:
    figure = over_time(moments(depth=False))

    assert "backlog" not in figure.headline
    assert "No depth was recorded." in texts(figure, "note")


def test_panels_share_their_axes() -> None:
    figure = side_by_side(by_size(brokers=("redis", "embedded")))
    line = {n: named(figure, f"curve:{n}")[0].get_ydata() for n in ("redis", "embedded")}  # type: ignore[attr-defined]

    assert texts(figure, "panel") == ["redis", "embedded"]
    assert all(a < b for a, b in zip(line["redis"], line["embedded"], strict=True))  # y runs down
    assert figure.headline.startswith("At best, throughput: redis 19,800/s")


def test_a_series_looks_the_same_in_all_panels() -> None:
    frame = by_size(brokers=("redis", "kafka"))
    both = pandas.concat([frame.assign(clients=1), frame.assign(clients=8)])
    figure = side_by_side(both[(both["broker"] == "redis") | (both["clients"] == 8)])

    assert {"1 client", "8 clients"} <= set(texts(figure, "legend"))
    assert len({line.get_color() for line in named(figure, "curve:8 clients")}) == 1  # type: ignore[attr-defined]


def test_quoted_figures_are_held_against_what_was_measured() -> None:
    figure = quoted(CLAIMS)

    assert figure.headline == (
        "2 of 4 quoted figures hold here; farthest off: "
        "Redis Pub/Sub latency, 12 times less than said"
    )
    assert (
        "Redis Pub/Sub: said over 50,000 messages/s, measured 25,000: 2 times less"
        in figure.alt_text
    )
    assert len(named(figure, "measured")) == 4
    assert "not measured" in texts(figure, "verdict")
    assert texts(figure, "axis") == ["ms, log scale", "messages/s, log scale"]


def test_quoted_figures_come_from_a_frame_too() -> None:
    columns = ["claim", "low", "high", "measured", "unit"]
    frame = pandas.DataFrame(CLAIMS, columns=columns).assign(embedded=True)

    assert quoted(frame).headline == quoted(CLAIMS).headline
    assert EMBEDDED in texts(quoted(frame), "note")


# --- straight from a measurement ------------------------------------------------------------------


def measured() -> Measurements:
    rows = trials(trial(0, broker="embedded", embedded=True))
    return Measurements(rows, operations(500), moments(), rows[["trial"]])


@pytest.mark.parametrize("draw", [percentiles, ecdf, over_time, throughput_against_size])
def test_what_a_trial_returned_can_be_drawn_as_it_is(draw: Draw) -> None:
    assert EMBEDDED in texts(draw(measured()), "note")


def test_what_two_trials_returned_can_be_laid_over_one_another() -> None:
    assert EMBEDDED in texts(open_and_closed(measured(), measured()), "note")


# --- frames that say little, or too much ----------------------------------------------------------

ON_OPERATIONS: dict[str, Draw] = {"percentiles": percentiles, "ecdf": ecdf}


@pytest.mark.parametrize("name", ON_TRIALS)
def test_trials_without_figures_are_refused_in_words(name: str) -> None:
    draw = ON_TRIALS[name]
    with pytest.raises(ConfigurationError, match=r"has no trial\. Measure first"):
        draw(by_load().head(0))
    with pytest.raises(ConfigurationError, match="Nothing to draw: none of 30 trials has a number"):
        draw(by_load().assign(throughput=NAN, mb_per_s=NAN, response_p99_ms=NAN,
                              response_p90_ms=NAN, response_p50_ms=NAN))  # fmt: skip
    with pytest.raises(ConfigurationError, match="has no column"):
        draw(by_load()[["trial", "broker"]])
    with pytest.raises(ConfigurationError, match="a row for each trial; not list"):
        draw([1, 2])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ON_OPERATIONS)
def test_operations_without_latencies_are_refused_in_words(name: str) -> None:
    draw = ON_OPERATIONS[name]
    with pytest.raises(ConfigurationError, match="has no operation"):
        draw(operations(0))
    with pytest.raises(ConfigurationError, match="none of 9 operations came back"):
        draw(operations(9, lost=9))
    with pytest.raises(ConfigurationError, match="all 9 operations belong to the warm-up"):
        draw(operations(9).assign(warmup=True))
    with pytest.raises(ConfigurationError, match="no column 'response_ms'"):
        draw(operations(9)[["trial", "status"]])
    with pytest.raises(ConfigurationError, match="'response' or 'service', not 'lag'"):
        draw(operations(9), clock="lag")


def test_other_frames_that_say_nothing_are_refused_in_words() -> None:
    with pytest.raises(ConfigurationError, match="has no moment"):
        over_time(moments(seconds=0))
    with pytest.raises(ConfigurationError, match="Nothing to draw"):
        over_time(moments().assign(completed_per_s=NAN))
    with pytest.raises(ConfigurationError, match="Nothing to draw"):
        quoted([])
    with pytest.raises(ConfigurationError, match="needs a lower or an upper end above 0"):
        quoted([("impossible", 5, 2, 3, "ms")])
    with pytest.raises(ConfigurationError, match="has no operation"):
        open_and_closed(operations(9), operations(0))


def test_too_many_series_are_refused_in_words() -> None:
    crowd = by_size(brokers=tuple(f"broker {i}" for i in range(9)), repeats=1)

    with pytest.raises(ConfigurationError, match="9 series are too many for one picture"):
        throughput_against_size(crowd)
    with pytest.raises(ConfigurationError, match="9 panels are too narrow"):
        side_by_side(crowd)
    with pytest.raises(ConfigurationError, match="by 'colour'"):
        throughput_against_size(crowd, by="colour")


@pytest.mark.parametrize("name", ON_TRIALS)
@pytest.mark.parametrize("figure", [0.0, -5.0, 1e-9, 1e15, math.inf])
def test_impossible_and_enormous_figures_are_drawn_or_refused_in_words(
    name: str, figure: float
) -> None:
    frame = by_load(repeats=2)
    for column in ("throughput", "mb_per_s", "response_p99_ms", "response_p50_ms"):
        frame.loc[frame.index % 3 == 0, column] = figure

    assert_legible(ON_TRIALS[name](frame))


@pytest.mark.parametrize("figure", [0.0, 1e-6, 1e9])
@pytest.mark.parametrize("draw", [percentiles, ecdf])
def test_enormous_latencies_can_be_drawn(draw: Draw, figure: float) -> None:
    frame = operations(400)
    frame.loc[frame.index % 7 == 0, "response_ms"] = figure

    assert_legible(draw(frame))
    assert_legible(draw(frame.assign(response_ms=figure)))
