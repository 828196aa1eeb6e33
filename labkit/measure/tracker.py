"""Which operations are under way, and what became of each: none vanishes, none counts twice."""

from __future__ import annotations

from collections.abc import Callable

from labkit.clock import Clock
from labkit.measure.body import number_of
from labkit.measure.recorder import NEVER_SENT, Recorder, Unfinished


class Tracker:
    """From sending to done, in one process.

    An operation that several subscribers are to get is done when the last of them has it.

    Attributes:
        duplicates: arrivals at an end that had the message already.
        out_of_order: arrivals at an end that had a later one already.
        late: arrivals of what had been given up.
        send_errors: operations that were not sent, or refused.
        arrivals: messages that came to an end of ours.
        ended: operations that are done, failed or given up.

    Args:
        recorder: where finished operations go.
        clock: whose monotonic time counts.
        start_ns: that clock's reading at the start.
        ends: how many subscribers each message is for.
        awaited: False: the end of an operation is seen in another process.
    """

    def __init__(
        self,
        recorder: Recorder,
        clock: Clock,
        start_ns: int,
        *,
        ends: int = 1,
        awaited: bool = True,
    ) -> None:
        self.recorder = recorder
        self.clock = clock
        self.start_ns = start_ns
        self.awaited = awaited
        self.duplicates = self.out_of_order = self.late = self.send_errors = 0
        self.sent_count = 0
        self.arrivals = self.ended = 0
        self.pending: dict[int, list[int]] = {}  # number: intended, sent, the ends still to come
        self._everybody = (1 << ends) - 1
        self._highest = [-1] * ends
        self._given_up: set[int] = set()

    def now(self) -> int:
        """Nanoseconds from the start."""
        return self.clock.monotonic_ns() - self.start_ns

    def sent(self, number: int, intended_ns: int, sent_ns: int) -> None:
        """It is on its way. Called before it leaves: it may be back before `send` is."""
        self.sent_count += 1
        self.pending[number] = [intended_ns, sent_ns, self._everybody]

    def handed_over(self, number: int) -> None:
        """The broker has it; where the end is seen elsewhere, that is all to be said here."""
        if not self.awaited and (entry := self.pending.pop(number, None)) is not None:
            self.recorder.record(number, entry[0], entry[1], int(Unfinished.UNANSWERED))
            self.ended += 1

    def failed(self, number: int) -> None:
        """It could not be sent."""
        if (entry := self.pending.pop(number, None)) is not None:
            self.send_errors += 1
            self.recorder.unfinished(number, entry[0], entry[1], Unfinished.ERROR)
            self.ended += 1

    def never_sent(self, number: int, intended_ns: int) -> None:
        """It was due, and its time never came."""
        self.send_errors += 1
        self.recorder.unfinished(number, intended_ns, NEVER_SENT, Unfinished.ERROR)

    def arrived(self, end: int, body: bytes) -> None:
        """This end has got this message, now."""
        done_ns = self.clock.monotonic_ns() - self.start_ns
        number = number_of(body)
        self.arrivals += 1
        entry = self.pending.get(number)
        bit = 1 << end
        if entry is None or not entry[2] & bit:
            if number in self._given_up:
                self.late += 1
            else:
                self.duplicates += 1
            return
        if number < self._highest[end]:
            self.out_of_order += 1
        else:
            self._highest[end] = number
        entry[2] &= ~bit
        if entry[2]:
            return
        del self.pending[number]
        self.recorder.record(number, entry[0], entry[1], done_ns)
        self.ended += 1

    def give_up_before(self, sent_ns: int) -> None:
        """Whatever was sent earlier counts as unanswered from now on."""
        while self.pending:
            number = next(iter(self.pending))
            if self.pending[number][1] >= sent_ns:
                return
            intended, sent, _ = self.pending.pop(number)
            self.recorder.unfinished(number, intended, sent, Unfinished.UNANSWERED)
            self._given_up.add(number)
            self.ended += 1

    def overtaken(self, number: int) -> bool:
        """Whether every end that it is still to reach has got a later one already."""
        missing = self.pending[number][2]
        ends = (high for end, high in enumerate(self._highest) if missing & (1 << end))
        return all(high > number for high in ends)

    def close(self, lost: Callable[[int], bool]) -> None:
        """The time is up: what is still under way is lost, or unanswered."""
        fates = [(number, lost(number)) for number in self.pending]  # all asked before any goes
        for number, gone in fates:
            intended, sent, _ = self.pending.pop(number)
            status = Unfinished.LOST if gone else Unfinished.UNANSWERED
            self.recorder.unfinished(number, intended, sent, status)
