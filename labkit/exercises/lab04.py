"""Checks of lab 04: ask and get an answer."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from labkit import Message, Requester, Responder
from labkit.broker import Lab
from labkit.connection import EMBEDDED_URL, connect
from labkit.exercises.framework import Wrong, exercise

_PATIENCE_S = 1.5
"""Well above the half second that was asked for, and below the default of two."""


@exercise(
    "4.1",
    "Four endings",
    expects="function",
    correct="A number, closed, unknown, no such flight: the caller can act on each of them.",
)
def check_ask_seats(ask_seats: Callable[[Requester, str], Any], _lab: Lab) -> None:
    """One desk that answers, one that fails, one that is silent, and none at all."""
    free = {"US 2130": 3, "DL 1174": 0}
    with connect(EMBEDDED_URL) as live, Requester(live, name="agent") as agent:
        with Responder(live, "seats", lambda r: {"free": free[r.content["flight"]]}) as desk:
            desk.start()
            if (got := ask_seats(agent, "US 2130")) != 3:
                raise Wrong(
                    f"Three seats are free on US 2130, and you return {got!r}.",
                    "The reply's content is a dict: which key holds the number?",
                    'agent.request("seats", {"flight": flight}, timeout=0.5).content["free"]',
                )
            if (got := ask_seats(agent, "DL 1174")) != 0:
                raise Wrong(
                    f"No seat is free on DL 1174, and you return {got!r} instead of 0.",
                    "0 is an answer: do not test whether it is true.",
                )
            _expect(ask_seats, agent, "XX 1", "no such flight", "RemoteError", "The desk fails")
        _expect(ask_seats, agent, "US 2130", "closed", "NoResponder", "Nobody serves the desk")
        silent = threading.Event()
        with Responder(live, "seats", lambda _: silent.wait(3)) as desk:
            desk.start()
            began = time.monotonic()
            _expect(ask_seats, agent, "US 2130", "unknown", "RequestTimeout", "No answer comes")
            took = time.monotonic() - began
            silent.set()
    if took > _PATIENCE_S:
        raise Wrong(
            f"The passenger waited {took:.1f} seconds for nothing.",
            "Give the request its time-out: half a second.",
            'agent.request("seats", {"flight": flight}, timeout=0.5)',
        )


def _expect(
    ask_seats: Callable[[Requester, str], Any],
    agent: Requester,
    flight: str,
    word: str,
    error: str,
    situation: str,
) -> None:
    try:
        got = ask_seats(agent, flight)
    except Exception as raised:
        raise Wrong(
            f"{situation}, and your function raises {type(raised).__name__}.",
            f"Catch labkit.errors.{error}, and return {word!r} there.",
        ) from None
    if got != word:
        raise Wrong(
            f"{situation}, and you return {got!r} instead of {word!r}.",
            f"That is labkit.errors.{error}; give each of the three errors an except of its own.",
        )


@exercise(
    "4.2",
    "Sort the answers",
    expects="function",
    correct="By id, not by order: late, double and strange replies confuse nobody.",
)
def check_sort_replies(
    sort_replies: Callable[[list[str], list[tuple[str, Any]]], Any], _lab: Lab
) -> None:
    """In order, out of order, missing, strange, double."""

    def ask(waiting: list[str], arrived: list[tuple[str, Any]]) -> Any:
        got = sort_replies(list(waiting), list(arrived))
        if not isinstance(got, dict):
            raise Wrong(
                f"The function returned a {type(got).__name__}, not a dict.",
                "Return a dict from id to content.",
            )
        return got

    got = ask(["q1", "q2"], [("q2", 5), ("q1", 3)])
    if got == {"q1": 5, "q2": 3}:
        raise Wrong(
            "You took the answers in the order in which they came.",
            "Look at the id in each pair, not at its place.",
        )
    if got != {"q1": 3, "q2": 5}:
        raise Wrong(
            f"For two questions and their two answers you return {got!r}.",
            "answers[correlation_id] = content, for each pair that arrived.",
        )
    got = ask(["q1", "q2"], [("q9", 1), ("q2", 5)])
    if "q9" in got:
        raise Wrong(
            "You kept an answer to q9, which nobody had asked.",
            "Take an answer only if its id is among those that wait.",
        )
    if "q1" not in got:
        raise Wrong(
            "The unanswered question q1 is missing from the dict.",
            "Begin with dict.fromkeys(waiting): every question, with None.",
        )
    if ask(["q2"], [("q2", 5), ("q2", 6)]) != {"q2": 5}:
        raise Wrong(
            "The second answer to q2 replaced the first.",
            "Remember which ids have been answered, and leave those alone.",
        )
    if ask(["q2"], [("q2", None), ("q2", 6)]) != {"q2": None}:
        raise Wrong(
            "The first answer to q2 was None (null is an answer, too), and you took the second.",
            "Remember the answered ids in a set: the content cannot tell you.",
        )


@exercise(
    "4.3",
    "Charge once",
    expects="function",
    correct="Asking twice is harmless now: that is called idempotent.",
)
def check_make_cashier(make_cashier: Callable[[Callable[[float], None]], Any], _lab: Lab) -> None:
    """The same payment twice, another one, and a charge that fails at first."""
    charges: list[float] = []

    numbers = itertools.count(1)

    def ask(handler: Any, payment_id: str, dollars: float) -> Any:
        content = {"payment_id": payment_id, "dollars": dollars}
        facts = {"correlation_id": f"c/{next(numbers)}", "message_id": f"agent/{next(numbers)}"}
        return handler(Message.new("request", content, sender="agent", metadata=facts))

    handler = make_cashier(charges.append)
    if not callable(handler):
        raise Wrong(
            f"The function returned {handler!r}, which is no handler.",
            "Define handler(request) inside, and return it, without brackets.",
        )
    answers = [ask(handler, "P-7", 80), ask(handler, "P-7", 80)]
    if not charges:
        raise Wrong("Nobody was charged.", "Call charge_card(request.content['dollars']).")
    if charges == [80, 80]:
        raise Wrong(
            "The payment P-7 was charged twice.",
            "Each asking has a correlation id of its own; what stays the same is the payment_id. "
            "Keep a set of those that are done, outside of the handler.",
        )
    if answers != ["charged", "charged"]:
        raise Wrong(
            f"The answers were {answers!r}.",
            'The one who asks again wants to hear that it is done: return "charged" every time.',
        )
    ask(handler, "P-8", 80)
    if charges != [80, 80]:
        raise Wrong(
            "Another payment, P-8, of the same amount was not charged.",
            "Remember the payment_id, not the amount or that something was charged.",
        )
    attempts: list[float] = []

    def fails_first(dollars: float) -> None:
        attempts.append(dollars)
        if len(attempts) == 1:
            raise ConnectionError("the card company does not answer")

    handler = make_cashier(fails_first)
    for _ in range(2):
        try:
            ask(handler, "P-9", 40)
        except ConnectionError:
            continue
    if len(attempts) == 1:
        raise Wrong(
            "When charging fails, P-9 counts as done, and asking again does not charge it.",
            "Charge first, and add the id to the set only when that has worked.",
        )
