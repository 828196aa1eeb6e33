"""The checks of lab 07: solutions pass, stubs are known, wrong answers are told apart."""

from __future__ import annotations

from typing import Any

from labkit.errors import Conflict
from labkit.exercises import lab07
from labkit.exercises.grading import assert_grades


def stub(*_: Any) -> Any:
    return ...


class TestApplyDelay:
    def test_it_is_graded(self) -> None:
        def solution(carriers, event):
            if event.type != "flight.departed":
                return
            row = carriers.setdefault(event.content["carrier"], {"departed": 0, "minutes": 0})
            row["departed"] += 1
            row["minutes"] += max(0, event.content["delay_minutes"])

        def returned(carriers, event):
            if event.type != "flight.departed":
                return carriers
            name, late = event.content["carrier"], max(0, event.content["delay_minutes"])
            row = carriers.get(name, {"departed": 0, "minutes": 0})
            new = {"departed": row["departed"] + 1, "minutes": row["minutes"] + late}
            return {**carriers, name: new}

        def adding(kinds=("departed",), least=0, early=True, name="carrier", start=None):
            def apply(carriers, event):
                minutes = event.content.get("delay_minutes", 0)
                if event.type.removeprefix("flight.") not in kinds or (minutes < 0 and not early):
                    return
                row = carriers.setdefault(
                    event.content[name], dict(start or {"departed": 0, "minutes": 0})
                )
                row["departed"] += 1
                row["minutes"] += max(least, minutes)

            return apply

        def no_row(carriers, event):
            carriers[event.content["carrier"]]["departed"] += 1

        def only_minutes(carriers, event):
            if event.type == "flight.departed":
                name = event.content["carrier"]
                carriers[name] = carriers.get(name, 0) + max(0, event.content["delay_minutes"])

        def forgets_the_row(carriers, event):
            if event.type == "flight.departed":
                row = carriers.get(event.content["carrier"], {"departed": 0, "minutes": 0})
                row["departed"] += 1

        def beside():
            rows: dict[str, Any] = {}

            def apply(carriers, event):
                solution(rows, event)
                carriers.update(rows)

            return apply

        assert_grades(
            lab07.check_apply_delay,
            solution=solution,
            also_right=[returned],
            stub=stub,
            wrong=[
                (no_row, "KeyError"),
                (lambda _c, event: [event.key], "['DL 4'], no dict"),
                (lambda _c, event: str(event.missing), "AttributeError: 'Event'"),
                (forgets_the_row, "still empty"),
                (adding(kinds=("departed", "cancelled")), "Envoy has a row"),
                (only_minutes, "The rows are {'JetBlue': 70"),
                (adding(name="flight"), "'B6 1', 'B6 2', 'DL 4'"),
                (adding(kinds=("departed", "arrived")), "counts twice"),
                (adding(kinds=("departed", "delayed")), "145 minutes"),
                (adding(least=-99), "66 minutes"),
                (adding(early=False), "left early is missing"),
                (adding(start={"departed": 0, "minutes": 1}), "The state is"),
                (beside(), "A rebuild gives another"),
            ],
        )


class TestMakeParts:
    def test_it_is_graded(self) -> None:
        def parts(
            *,
            in_apply=False,
            appends=True,
            mark="id",
            own=False,
            first=False,
            every_type=False,
            mails=True,
        ):
            def make_parts(send, mailed):
                marks = set() if own else mailed

                def apply(cancelled, event):
                    if event.type == "flight.cancelled":
                        if appends:
                            cancelled.append(event.key)
                        if in_apply:
                            send(event.key)

                def react(event):
                    if not mails or (event.type != "flight.cancelled" and not every_type):
                        return
                    key = None if mark is None else getattr(event, mark)
                    if key in marks:
                        return
                    if first:
                        marks.add(key)
                    send(event.key)
                    if mark is not None:
                        marks.add(key)

                return apply, react

            return make_parts

        def marks_events(send, mailed):
            apply, _ = parts()(send, mailed)

            def react(event):
                if event.type == "flight.cancelled" and event not in mailed:
                    send(event.key)
                    mailed.add(event)

            return apply, react

        assert_grades(
            lab07.check_make_parts,
            solution=parts(),
            stub=stub,
            wrong=[
                (lambda send, _: send, "not two functions"),
                (parts(in_apply=True), "Two rebuilds sent 6 mails"),
                (parts(appends=False), "the state is []"),
                (parts(mails=False), "nobody got a mail"),
                (parts(every_type=True), "was not cancelled"),
                (parts(mark="key"), "mailed once"),
                (parts(mark=None), "a second time, and 3 mails"),
                (marks_events, "cannot put the event itself into a set: unhashable type"),
                (parts(own=True), "After a restart"),
                (parts(first=True), "never got a mail"),
            ],
        )


class TestDepart:
    def test_it_is_graded(self) -> None:
        may = ("flight.scheduled", "flight.delayed")

        def refuse(flight, history):
            if not history:
                raise ValueError(f"{flight} cannot depart: nobody has scheduled it")
            if history[-1].type not in may:
                raise ValueError(f"{flight} cannot depart: {history[-1].type}")

        def append(stream, flight, minutes, expected):
            content = {"delay_minutes": minutes}
            stream.append(content, key=flight, type="flight.departed", expected=expected)

        def solution(stream, flight, minutes):
            while True:
                history = stream.read(key=flight)
                refuse(flight, history)
                try:
                    return append(stream, flight, minutes, len(history))
                except Conflict:
                    continue

        def recursive(stream, flight, minutes):
            seen = stream.revision(flight)
            refuse(flight, stream.read(key=flight))
            try:
                append(stream, flight, minutes, seen)
            except Conflict:
                recursive(stream, flight, minutes)

        def asks_after_the_look(stream, flight, minutes):
            refuse(flight, stream.read(key=flight))
            append(stream, flight, minutes, stream.revision(flight))

        def once(stream, flight, minutes):
            history = stream.read(key=flight)
            refuse(flight, history)
            append(stream, flight, minutes, len(history))

        def unasked(stream, flight, minutes):
            refuse(flight, stream.read(key=flight))
            append(stream, flight, minutes, None)

        def without_deciding_again(stream, flight, minutes):
            history = stream.read(key=flight)
            refuse(flight, history)
            try:
                append(stream, flight, minutes, len(history))
            except Conflict as error:
                append(stream, flight, minutes, error.actual)

        def gives_up(stream, flight, minutes):
            try:
                once(stream, flight, minutes)
            except Conflict:
                raise ValueError(f"{flight} cannot depart: somebody was quicker") from None

        def swallows(stream, flight, minutes):
            try:
                once(stream, flight, minutes)
            except Conflict:
                return

        def silent(stream, flight, minutes):
            history = stream.read(key=flight)
            if history and history[-1].type in may:
                append(stream, flight, minutes, len(history))

        def wordless(stream, flight, minutes):
            history = stream.read(key=flight)
            if not history or history[-1].type not in may:
                raise ValueError
            append(stream, flight, minutes, len(history))

        def blind(stream, flight, minutes):
            append(stream, flight, minutes, stream.revision(flight))

        def of_the_last(stream, flight, minutes):
            history = stream.read(key=flight)
            if history[-1].type not in may:
                raise ValueError(f"{flight} cannot depart")
            append(stream, flight, minutes, len(history))

        def only_scheduled(stream, flight, minutes):
            history = stream.read(key=flight)
            if not history or history[-1].type != "flight.scheduled":
                raise ValueError(f"{flight} cannot depart")
            append(stream, flight, minutes, len(history))

        def whole_stream(stream, flight, minutes):
            refuse(flight, stream.read(key=flight))
            append(stream, flight, minutes, 0)

        def no_minutes(stream, flight, _):
            refuse(flight, stream.read(key=flight))
            stream.append({}, key=flight, type="flight.departed")

        def other_type(stream, flight, minutes):
            refuse(flight, stream.read(key=flight))
            stream.append({"delay_minutes": minutes}, key=flight)

        def nothing(stream, flight, _):
            refuse(flight, stream.read(key=flight))

        assert_grades(
            lab07.check_depart,
            solution=solution,
            also_right=[recursive],
            stub=stub,
            wrong=[
                (nothing, "nothing was appended"),
                (other_type, "scheduled, delayed, event"),
                (no_minutes, "says {}"),
                (whole_stream, "is a conflict"),
                (only_scheduled, "you refuse its departure: OK 1"),
                (blind, "depart that nobody has scheduled"),
                (of_the_last, "IndexError"),
                (wordless, "do not say why"),
                (silent, "hears nothing"),
                (unasked, "somebody cancelled RACE 1"),
                (asks_after_the_look, "somebody cancelled RACE 1"),
                (without_deciding_again, "after the Conflict you append"),
                (once, "raises Conflict"),
                (gives_up, "you refuse its departure: RACE 2"),
                (swallows, "its events are now: scheduled, delayed"),
            ],
        )
