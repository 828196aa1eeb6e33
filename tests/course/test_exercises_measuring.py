"""The checks of lab 05: solutions pass, stubs are known, wrong answers are told apart."""

from __future__ import annotations

from typing import Any

import numpy

from labkit.exercises import lab05
from labkit.exercises.grading import assert_grades
from labkit.measure import Closed, Constant, Histogram, Poisson, trial


def stub(*_: Any) -> Any:
    return ...


def merged(histograms: Any, quantile: float = 0.99) -> float:
    everything = Histogram()
    for histogram in histograms:
        everything.merge(histogram)
    return everything.percentile(quantile)


def test_response_times() -> None:
    def by(choose: Any) -> Any:
        return lambda rows, timeout: [choose(*row, timeout) for row in rows]

    assert_grades(
        lab05.check_response_times,
        solution=by(lambda due, _, done, limit: limit if done is None else done - due),
        stub=stub,
        wrong=[
            (lambda rows, _: {row[0]: row[2] for row in rows}, "dict"),
            (lambda rows, _: [r[2] - r[0] for r in rows if r[2] is not None], "3 response times"),
            (by(lambda due, _, done, __: done - due), "stops your function"),
            (by(lambda _, sent, done, limit: limit if done is None else done - sent), "service"),
            (by(lambda due, _, done, __: None if done is None else done - due), "cannot count"),
            (by(lambda due, _, done, limit: limit - due if done is None else done - due), "480"),
            (by(lambda due, _, done, limit: limit if done is None else due - done), "is right"),
        ],
    )


def test_joint_p99() -> None:
    def into_the_first(histograms: Any) -> float:
        first, *rest = histograms
        for histogram in rest:
            first.merge(histogram)
        return float(first.percentile(0.99) / 1e6)

    assert_grades(
        lab05.check_joint_p99,
        solution=lambda histograms: merged(histograms) / 1e6,
        stub=stub,
        wrong=[
            (lambda _: "500", "str"),
            (into_the_first, "has grown"),
            (lambda hs: sum(h.percentile(0.99) for h in hs) / len(hs) / 1e6, "mean of the three"),
            (
                lambda hs: sum(h.percentile(0.99) * h.count for h in hs) / 1010 / 1e6,
                "weighted by their counts",
            ),
            (lambda hs: max(h.percentile(0.99) for h in hs) / 1e6, "Now 995 requests"),
            (merged, "would be minutes"),
            (lambda histograms: merged(histograms, 0.9) / 1e6, "Of 1,010 requests"),
            (lambda hs: 500.0 if len(hs) == 3 else 1.0, "ten requests of 2 ms"),
        ],
    )


def test_holds() -> None:
    def judged(schedule: Any, figure: str = "response_p99_ms", limit: float = 20) -> Any:
        def holds(target: Any, stall: Any = None) -> bool:
            run = trial(target, schedule=schedule, seconds=10, warmup=0.5, stall=stall)
            return bool(run.trials[figure].iloc[0] <= limit)

        return holds

    def no_stall(target: Any, _stall: Any = None) -> bool:
        return bool(judged(Poisson(500, seed=1))(target))

    assert_grades(
        lab05.check_holds,
        solution=judged(Poisson(500, seed=1)),
        also_right=[judged(Constant(500))],
        stub=stub,
        wrong=[
            (judged(Closed(1)), "can do 333 a second"),
            (no_stall, "three in a hundred"),
            (judged(Constant(500), figure="service_p99_ms"), "three in a hundred"),
            (judged(Constant(500), limit=0.020), "You say False"),
            (lambda *_: 18.5, "True or False"),
            (lambda *_: numpy.bool_(True), "A numpy bool"),
        ],
    )
