"""The checks of labs 03 and 04: solutions pass, stubs are known, wrong answers are told apart."""

from __future__ import annotations

from typing import Any

from labkit import RetryPolicy
from labkit.errors import NoResponder, RemoteError, RequestTimeout
from labkit.exercises import lab03, lab04
from labkit.exercises.grading import assert_grades


def stub(*_: Any) -> Any:
    return ...


class TestLab03:
    def test_make_policy(self) -> None:
        def policy(**changed: Any) -> Any:
            right = {"attempts": 5, "first": 1.0, "cap": 30.0, "give_up_on": (ValueError,)}
            return lambda: RetryPolicy(**(right | changed))

        assert_grades(
            lab03.check_make_policy,
            solution=policy(),
            also_right=[policy(first=0.2, give_up_on=ValueError, jitter=False)],
            stub=stub,
            wrong=[
                (lambda: 5, "not a RetryPolicy"),
                (policy(attempts=4), "4 attempts"),
                (policy(first=2.0), "2 seconds"),
                (policy(cap=60.0), "60 seconds"),
                (policy(first=1.0, cap=1.0), "cannot grow"),
                (policy(factor=1.0), "do not grow"),
                (policy(give_up_on=()), "no hope"),
                (policy(retry_on=(KeyError,)), "ConnectionError is not tried again"),
            ],
        )

    def test_make_handler(self) -> None:
        def solution(store, rebooked):
            def handler(task):
                flight = task.content["flight"]
                store.run(flight, lambda _: rebooked.append(flight))

            return handler

        def by_task(store, rebooked):
            return lambda task: store.run(
                task.id, lambda _: rebooked.append(task.content["flight"])
            )

        def own_memory(_, rebooked):
            def handler(task):
                if task.content["flight"] not in rebooked:
                    rebooked.append(task.content["flight"])

            return handler

        def whole_content(store, rebooked):
            return lambda task: store.run(
                task.content["flight"], lambda _: rebooked.append(task.content)
            )

        def one_key(store, rebooked):
            return lambda task: store.run(
                "rebooked", lambda _: rebooked.append(task.content["flight"])
            )

        def no_argument(store, rebooked):
            return lambda task: store.run("x", lambda: rebooked.append(task.content["flight"]))

        def mark_first(store, rebooked):
            def handler(task):
                flight = task.content["flight"]
                if not store.seen(flight):
                    store.run(flight, lambda _: None)
                    rebooked.append(flight)

            return handler

        def does_nothing(store, _):
            return lambda task: store.run(task.content["flight"], lambda _: None)

        assert_grades(
            lab03.check_make_handler,
            solution=solution,
            stub=stub,
            wrong=[
                (lambda store, _: store.run("x", lambda _: None), "no handler"),
                (by_task, "rebooked twice"),
                (own_memory, "store was not used"),
                (whole_content, "such as 'B6 1'"),
                (one_key, "['B6 1']"),
                (no_argument, "raised TypeError"),
                (mark_first, "never done"),
                (does_nothing, "Nothing was rebooked"),
            ],
        )

    def test_judge(self) -> None:
        def solution(depth, workers):
            if depth.dead:
                return "dead letters"
            if depth.unfinished and not workers:
                return "no workers"
            if depth.ready and not depth.in_flight:
                return "stuck"
            return "ok"

        def changed(**rules: Any) -> Any:
            def judge(depth, workers):
                if depth.dead and rules.get("dead", True):
                    return "dead letters"
                if rules.get("work", lambda d: d.unfinished)(depth) and not workers:
                    return "no workers"
                if rules.get("stuck", lambda d: d.ready and not d.in_flight)(depth):
                    return "stuck"
                return "ok"

            return judge

        assert_grades(
            lab03.check_judge,
            solution=solution,
            stub=stub,
            wrong=[
                (lambda depth, _: "ok" if not depth.ready else "stuck", "Tasks wait"),
                (lambda _depth, workers: "ok" if workers else "no workers", "Nothing to do"),
                (changed(work=lambda d: d.ready), "Four tasks are delayed"),
                (changed(work=lambda d: d.ready or d.delayed), "hands of workers that are gone"),
                (changed(stuck=lambda _: False), "none is in flight"),
                (
                    changed(stuck=lambda d: (d.ready or d.delayed) and not d.in_flight),
                    "two workers wait",
                ),
                (changed(dead=False), "dead letter"),
            ],
        )


class TestLab04:
    def test_ask_seats(self) -> None:
        def ask(agent, flight):
            return agent.request("seats", {"flight": flight}, timeout=0.5).content["free"]

        def catching(**words: str) -> Any:
            errors = {"closed": NoResponder, "unknown": RequestTimeout, "wrong": RemoteError}

            def ask_seats(agent, flight):
                try:
                    return ask(agent, flight)
                except Exception as error:
                    for name, word in words.items():
                        if isinstance(error, errors[name]):
                            return word
                    raise

            return ask_seats

        def whole_content(agent, flight):
            return agent.request("seats", {"flight": flight}, timeout=0.5).content

        def truth(agent, flight):
            return ask(agent, flight) or "unknown"

        def patient(agent, flight):
            try:
                return agent.request("seats", {"flight": flight}).content["free"]
            except NoResponder:
                return "closed"
            except RequestTimeout:
                return "unknown"
            except RemoteError:
                return "no such flight"

        words = {"closed": "closed", "unknown": "unknown", "wrong": "no such flight"}
        assert_grades(
            lab04.check_ask_seats,
            solution=catching(**words),
            stub=stub,
            wrong=[
                (whole_content, "{'free': 3}"),
                (truth, "instead of 0"),
                (ask, "raises RemoteError"),
                (catching(wrong="no such flight"), "raises NoResponder"),
                (catching(wrong="no such flight", closed="closed"), "raises RequestTimeout"),
                (catching(**words | {"closed": "unknown"}), "Nobody serves the desk, and you"),
                (patient, "waited"),
            ],
        )

    def test_sort_replies(self) -> None:
        def solution(waiting, arrived):
            answers = dict.fromkeys(waiting)
            seen = set()
            for key, content in arrived:
                if key in answers and key not in seen:
                    answers[key] = content
                    seen.add(key)
            return answers

        def last_wins(waiting, arrived):
            return dict.fromkeys(waiting) | {k: v for k, v in arrived if k in waiting}

        def by_content(waiting, arrived):
            answers = dict.fromkeys(waiting)
            for key, content in arrived:
                if key in answers and answers[key] is None:
                    answers[key] = content
            return answers

        assert_grades(
            lab04.check_sort_replies,
            solution=solution,
            stub=stub,
            wrong=[
                (lambda _, arrived: arrived, "a list, not a dict"),
                (lambda waiting, arrived: dict(zip(waiting, (c for _, c in arrived))), "order"),  # noqa: B905
                (lambda _, arrived: dict(arrived), "q9"),
                (lambda waiting, arrived: {k: v for k, v in arrived if k in waiting}, "missing"),
                (last_wins, "replaced the first"),
                (by_content, "null is an answer"),
            ],
        )

    def test_make_cashier(self) -> None:
        def cashier(*, key="payment_id", mark_first=False, again="charged", remember=True) -> Any:
            def make(charge_card):
                done: set[Any] = set()

                def handler(request):
                    if request.content[key] in done:
                        return again
                    if mark_first:
                        done.add(request.content[key])
                    charge_card(request.content["dollars"])
                    if remember:
                        done.add(request.content[key])
                    return "charged"

                return handler

            return make

        def by_correlation_id(charge_card):
            done = set()

            def handler(request):
                if request.metadata["correlation_id"] not in done:
                    charge_card(request.content["dollars"])
                    done.add(request.metadata["correlation_id"])
                return "charged"

            return handler

        assert_grades(
            lab04.check_make_cashier,
            solution=cashier(),
            stub=stub,
            wrong=[
                (lambda charge_card: charge_card(1), "no handler"),
                (lambda _: lambda _request: "charged", "Nobody was charged"),
                (cashier(again=None), "['charged', None]"),
                (cashier(key="dollars"), "P-8"),
                (cashier(mark_first=True), "P-9"),
                (by_correlation_id, "charged twice"),
            ],
        )
