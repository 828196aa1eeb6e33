"""Checks of lab 03: share work in a queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labkit import OnceStore, RetryPolicy, Worker, WorkQueue
from labkit.broker import Depth, Lab
from labkit.exercises.framework import Wrong, exercise


@exercise(
    "3.1",
    "Whom to retry",
    expects="function",
    correct="What may be cured is tried five times; what cannot be is looked at by somebody.",
)
def check_make_policy(make_policy: Callable[[], Any], _lab: Lab) -> None:
    """The policy's numbers, then what a worker makes of it."""
    policy = make_policy()
    if not isinstance(policy, RetryPolicy):
        raise Wrong(
            f"The function returned a {type(policy).__name__}, not a RetryPolicy.",
            "Return RetryPolicy(attempts=…, …).",
        )
    if policy.attempts != 5:
        raise Wrong(
            f"The policy allows {policy.attempts} attempts.",
            "Five attempts in all: the first one counts.",
        )
    if policy.first > 1:
        raise Wrong(
            f"The first pause may last {policy.first:g} seconds.",
            "first=… is the bound of the first pause, in seconds.",
        )
    if policy.factor <= 1:
        raise Wrong(
            f"With factor {policy.factor:g} the pauses do not grow.",
            "Leave factor alone: by default each bound is twice the last.",
        )
    if policy.cap > 30:
        raise Wrong(
            f"A pause may grow to {policy.cap:g} seconds.", "cap=… bounds every pause: 30 seconds."
        )
    if policy.cap < 2:
        raise Wrong(
            f"No pause is longer than {policy.cap:g} seconds: they cannot grow.",
            "Leave room between first and cap, or a broken airline is called all the time.",
        )
    for error in (ConnectionError("airline"), TimeoutError("airline"), RuntimeError("?")):
        if not policy.cures(error):
            raise Wrong(
                f"A {type(error).__name__} is not tried again.",
                "Name only what is hopeless: give_up_on=(ValueError,), and leave retry_on alone.",
            )
    if policy.cures(ValueError("no such flight")):
        raise Wrong(
            "A ValueError is tried again, five times, with no hope.",
            "Which argument names the exceptions that no attempt can cure?",
            "give_up_on=(ValueError,)",
        )


@exercise(
    "3.2",
    "One rebooking for each flight",
    expects="function",
    correct="Delivered twice, done once: the key is the flight, not the delivery.",
)
def check_make_handler(make_handler: Callable[[OnceStore, list[str]], Any], lab: Lab) -> None:
    """Two tasks for one flight, one for another; then a list that fails once."""
    rebooked: list[str] = []
    with OnceStore() as store:
        handler = make_handler(store, rebooked)
        if not callable(handler):
            raise Wrong(
                f"The function returned {handler!r}, which is no handler.",
                "Define handler(task) inside, and return it, without brackets.",
            )
        queue = WorkQueue(lab, "rebooking")
        queue.put_many([{"flight": "B6 1"}, {"flight": "B6 1"}, {"flight": "AA 2"}])
        with Worker(queue, handler, retry=RetryPolicy(attempts=1)) as worker:
            worker.run()
            errors = worker.stats().errors
        if errors:
            raise Wrong(
                f"The handler raised {errors[-1].error}",
                "The key is a str, the flight; the effect gets one argument, the database: "
                "lambda db: rebooked.append(flight).",
            )
        if not rebooked:
            raise Wrong("Nothing was rebooked.", "The effect must append: rebooked.append(flight).")
        if not all(isinstance(flight, str) for flight in rebooked):
            raise Wrong(
                f"Rebooked should hold flights such as 'B6 1', and holds {rebooked[0]!r}.",
                'The flight is in the content: task.content["flight"].',
            )
        if store.count() == 0:
            raise Wrong(
                "The store was not used: whatever your handler remembers is gone after a restart.",
                "Let the store remember: store.run(flight, effect).",
            )
        if rebooked == ["B6 1", "B6 1", "AA 2"]:
            raise Wrong(
                "B6 1 was rebooked twice.",
                "Is the key the flight (every task has an id of its own), and does the append "
                "happen inside of the effect?",
            )
        if sorted(rebooked) != ["AA 2", "B6 1"]:
            raise Wrong(
                f"Rebooked were {rebooked!r}.",
                'One key for each flight: task.content["flight"].',
            )
    _check_failure(make_handler, lab)


def _check_failure(make_handler: Callable[[OnceStore, Any], Any], lab: Lab) -> None:
    class FailsFirst(list[str]):
        failed = False

        def append(self, flight: str) -> None:
            if not self.failed:
                self.failed = True
                raise ConnectionError("airline does not answer")
            super().append(flight)

    rebooked = FailsFirst()
    with OnceStore() as store:
        queue = WorkQueue(lab, "rebooking after a failure")
        queue.put({"flight": "UA 3"})
        policy = RetryPolicy(attempts=2, first=0.001, cap=0.001)
        with Worker(queue, make_handler(store, rebooked), retry=policy) as worker:
            worker.run()
            lab.clock.wait(1)
            worker.run()
    if not rebooked:
        raise Wrong(
            "A rebooking that failed the first time was never done.",
            "Let the exception out of the handler, and do the work inside of the effect: then no "
            "mark is set, and the task is tried again.",
        )


@exercise(
    "3.3",
    "Is the queue all right?",
    expects="function",
    correct="Four words that an operator can act on, the worst one first.",
)
def check_judge(judge: Callable[[Depth, int], Any], _lab: Lab) -> None:
    """The order of the questions matters."""
    cases = [
        (Depth(3, 2, 0, 0), 2, "ok", "Tasks wait and two are being done", "Not every wait is bad."),
        (Depth(0, 0, 0, 0), 0, "ok", "Nothing to do and nobody there", "No tasks need no workers."),
        (
            Depth(5, 0, 0, 0),
            0,
            "no workers",
            "Five tasks are ready and nobody works",
            "Ask for workers before you ask whether it is stuck.",
        ),
        (
            Depth(0, 0, 4, 0),
            0,
            "no workers",
            "Four tasks are delayed and nobody works",
            "Delayed tasks will need somebody, too: look at depth.unfinished.",
        ),
        (
            Depth(0, 2, 0, 0),
            0,
            "no workers",
            "Two tasks are in the hands of workers that are gone",
            "Tasks in flight are not done: look at depth.unfinished.",
        ),
        (
            Depth(5, 0, 0, 0),
            2,
            "stuck",
            "Five tasks are ready, two workers live, none is in flight",
            "depth.ready and not depth.in_flight, with workers: nobody takes them.",
        ),
        (
            Depth(0, 0, 3, 0),
            2,
            "ok",
            "Three tasks are delayed, and two workers wait for them",
            "Delayed tasks are not ready yet; that is not stuck.",
        ),
        (
            Depth(5, 0, 0, 1),
            0,
            "dead letters",
            "There is a dead letter, and nobody works either",
            "Dead letters first: each is a passenger who waits.",
        ),
    ]
    for depth, workers, word, situation, hint in cases:
        got = judge(depth, workers)
        if got != word:
            raise Wrong(f"{situation}: {got!r} instead of {word!r}.", hint)
