"""Sends operations when they are due, and watches whether it keeps its own schedule.

A generator that is late measures itself. So it notes how late each operation left (the *schedule
lag*), and whose fault that was: while one call to the broker takes `HOLD_UP_NS` or more, and until
what became due meanwhile is sent, the broker holds it up. That is a finding; any other lag is the
generator's own, and too much of it makes a trial invalid.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from labkit.clock import Clock
from labkit.errors import BrokerUnavailable, LabkitError
from labkit.measure import body as bodies_of
from labkit.measure.ends import LOOK_S, NearEnd
from labkit.measure.lags import Lags
from labkit.measure.schedules import Closed, OpenSchedule, Schedule
from labkit.measure.stalls import Stall
from labkit.measure.tracker import Tracker

SPIN_NS = 200_000
"""Before an operation is due, the last so many nanoseconds are not slept: sleeping is coarser."""

HOLD_UP_NS = 10_000_000
"""A call that takes longer, for each message in it, is the broker's doing and not the client's."""

CATCH_UP_S = 1.0
"""What is due when the time is up may still go out for so long; the rest counts as not sent."""

BROKER_GONE_S = 2.0
"""After so long with nothing but errors a trial is over; a shorter outage is measured through."""


@dataclass(slots=True)
class Pace:
    """How a trial is driven.

    Attributes:
        schedule: when operations are due.
        total_ns: length with warm-up.
        warmup_ns: length of the warm-up.
        batch: operations in one call.
        timeout_ns: what is not done after this is given up.
        stall: a stall to inject here (not one of a real server).
        base: added to each number.
        stop: ends it early.
    """

    schedule: Schedule
    total_ns: int
    warmup_ns: int
    batch: int
    timeout_ns: int
    stall: Stall | None = None
    base: int = 0
    stop: threading.Event = field(default_factory=threading.Event)


class Generator:
    """Drives one near end by one schedule.

    Attributes:
        lags: how late operations left.
        ended_ns: when it stopped sending, from the start.
        broke: why the broker counts as gone; "" if it does not.
        interrupted: Ctrl+C, or told to stop.
    """

    def __init__(self, pace: Pace, near: NearEnd, tracker: Tracker, clock: Clock) -> None:
        self.lags = Lags(pace.warmup_ns)
        self.ended_ns = 0
        self.broke = ""
        self.interrupted = False
        self._pace = pace
        self._near = near
        self._tracker = tracker
        self._clock = clock
        self._next = pace.base
        self._failing_since: int | None = None
        self._last_error = ""
        gc.collect()  # not while the clock runs

    @property
    def last_number(self) -> int:
        """The number of the last operation; one before the first if there was none."""
        return self._next - 1

    def run(self) -> None:
        """Until the time is up and everything is done or given up, or until told to stop."""
        schedule = self._pace.schedule
        try:
            with _no_collections():
                while self._tracker.now() < 0 and self._goes_on():
                    self._wait_until(0)
                if isinstance(schedule, Closed):
                    self._run_closed(schedule.clients)
                else:
                    self._run_open(schedule)
                self.ended_ns = self._tracker.now()
                self._wait_for_the_rest()
        except KeyboardInterrupt:
            self.interrupted = True
            self.ended_ns = self.ended_ns or self._tracker.now()
        except LabkitError as error:  # the broker answers, and says no
            self.broke = str(error)
            self.ended_ns = self.ended_ns or self._tracker.now()
        if self._failing_since is not None:  # and it had not come back when the time was up
            self.broke = self.broke or self._last_error
        self.interrupted = self.interrupted or self._pace.stop.is_set()
        all_lost = bool(self._tracker.pending) and self._near.all_lost()
        self._tracker.close(lambda number: all_lost or self._is_gone(number))

    def _run_open(self, schedule: OpenSchedule) -> None:
        pace, tracker, most = self._pace, self._tracker, self._near.most_at_once
        now_ns = tracker.now
        times = schedule.intended(pace.total_ns)
        due = next(times, None)
        last_call = pace.total_ns + min(pace.timeout_ns, round(CATCH_UP_S * 1e9))
        waiting: list[int] = []
        while (due is not None or waiting) and self._goes_on():
            now = now_ns()
            while due is not None and due <= now and len(waiting) < max(most, pace.batch):
                waiting.append(due)
                due = next(times, None)
            if len(waiting) >= pace.batch or (waiting and due is None):
                self._send_due(waiting)
                waiting = []
                if pace.batch > 1 or tracker.pending:
                    self._collect(0.0)
            elif due is not None:
                self._wait_until(due)
            if now > last_call:
                break
        if not self.broke and not pace.stop.is_set():
            self._not_sent(waiting, due, times)

    def _send_due(self, waiting: list[int]) -> None:
        """All that is due, in one call; each is late by the time since its batch was full."""
        batch, count = self._pace.batch, len(waiting)
        sent = self._tracker.now()
        for position, intended in enumerate(waiting):
            full = intended
            if batch > 1:
                full = waiting[min(position - position % batch + batch, count) - 1]
            self.lags.add(intended, sent - full, sent)
        self._send(waiting, sent)

    def _run_closed(self, clients: int) -> None:
        pace, tracker = self._pace, self._tracker
        batch = pace.batch
        free, counted = clients, 0
        while tracker.now() < pace.total_ns and self._goes_on():
            while free:
                sent = tracker.now()
                if sent >= pace.total_ns:
                    return
                self._send([sent] * batch, sent)
                free -= 1
                if not tracker.awaited:
                    break
            if tracker.pending:
                left = max(0, pace.total_ns - tracker.now()) / 1e9
                self._collect(min(left, LOOK_S))
                tracker.give_up_before(tracker.now() - pace.timeout_ns)
            batches = (tracker.ended - counted) // batch
            free += batches
            counted += batches * batch

    def _send(self, intended: list[int], sent_ns: int) -> None:
        tracker, start = self._tracker, self._tracker.start_ns
        first = self._next
        self._next += len(intended)
        bodies = []
        for number, due in enumerate(intended, first):
            tracker.sent(number, due, sent_ns)
            header = bodies_of.pack(number, start + due, start + sent_ns)
            bodies.append(header + self._near.trailer)
        self._stand_still()
        failed = self._near.send(bodies, tracker.arrived)
        now = tracker.now()
        if now - sent_ns > HOLD_UP_NS * len(intended):
            self.lags.held_up(sent_ns, now)
        if failed is not None:
            for position in failed.positions:
                tracker.failed(first + position)
            self._note_failure(now, failed.error)
        else:
            self._failing_since = None
        if not tracker.awaited:
            for number in range(first, self._next):
                tracker.handed_over(number)

    def _collect(self, wait_s: float) -> None:
        before, arrivals = self._tracker.now(), self._tracker.arrivals
        self._stand_still()
        try:
            self._near.collect(wait_s, self._tracker.arrived)
        except BrokerUnavailable as error:
            self._note_failure(self._tracker.now(), error)
        now = self._tracker.now()
        messages = max(1, self._tracker.arrivals - arrivals)
        if now - before - wait_s * 1e9 > HOLD_UP_NS * messages:
            self.lags.held_up(before, now)

    def _wait_until(self, due: int) -> None:
        """Sleep, or wait for what is to come back, until shortly before; then spin."""
        left = due - self._tracker.now()
        spin = 0 if self._clock.manual else SPIN_NS
        early_s = min(max(0, left - spin) / 1e9, LOOK_S)
        if self._tracker.pending:
            self._collect(early_s)
        elif early_s:
            self._clock.wait(early_s)

    def _stand_still(self) -> None:
        """Here a call that falls into an injected stall waits for the end of it."""
        stall = self._pace.stall
        if stall is None:
            return
        now = self._tracker.now()
        rest = stall.ends_ns(now, self._pace.warmup_ns) - now
        if rest > 0:
            self._clock.wait(rest / 1e9)

    def _goes_on(self) -> bool:
        return not self.broke and not self._pace.stop.is_set()

    def _note_failure(self, now: int, error: LabkitError) -> None:
        self._last_error = str(error)
        if self._failing_since is None:
            self._failing_since = now
        elif now - self._failing_since > BROKER_GONE_S * 1e9:
            self.broke = self._last_error

    def _not_sent(self, waiting: list[int], due: int | None, times: Iterator[int]) -> None:
        """What was due and never left: it counts, with all its lag."""
        now = self._tracker.now()
        rest = [*waiting, *([] if due is None else [due])]
        for intended in (*rest, *times):
            self._tracker.never_sent(self._next, intended)
            self.lags.add(intended, max(0, now - intended), now)
            self._next += 1

    def _wait_for_the_rest(self) -> None:
        tracker = self._tracker
        deadline = tracker.now() + self._pace.timeout_ns
        while tracker.pending and not self.broke and not self._pace.stop.is_set():
            left = deadline - tracker.now()
            if left <= 0 or all(self._is_gone(number) for number in tracker.pending):
                return
            self._collect(min(left / 1e9, LOOK_S))
            if self._clock.manual:
                self._clock.wait(min(left / 1e9, LOOK_S))

    def _is_gone(self, number: int) -> bool:
        """Overtaken, where nothing overtakes."""
        return self._near.keeps_order and self._tracker.overtaken(number)


@contextmanager
def _no_collections() -> Iterator[None]:
    """The garbage collector's pauses would be measured as the broker's."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
