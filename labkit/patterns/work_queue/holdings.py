"""What a worker holds, and what it still has to tell the broker.

Nothing here is forgotten because a connection broke: an end that the broker could not be told of is
owed, and told before the next task is taken. If the worker dies first, its lease runs out.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labkit.broker import Delivery, Interruptible
from labkit.errors import BrokerRefused, BrokerUnavailable, DecodeError
from labkit.message import Message
from labkit.patterns.identity import life_of
from labkit.patterns.work_queue.arguments import clean_text
from labkit.patterns.work_queue.heart import Heart
from labkit.patterns.work_queue.ledger import WorkerLedger
from labkit.patterns.work_queue.queue import WorkQueue
from labkit.patterns.work_queue.task import Ending, Outcome, Task

ACK_WITHIN_S = 0.05
"""So long may a finished task wait to be acknowledged together with others."""


@dataclass(slots=True)
class _Debt:
    """An end that the broker has not confirmed."""

    task: Task
    tell: Callable[[], bool]
    ending: Ending
    detail: str
    delay: float | None
    unsure: bool  # it may have been told


class Holdings:
    """The tasks of one worker: waiting, in work, kept by a handler, done, owed."""

    def __init__(
        self, queue: WorkQueue, worker: str, ledger: WorkerLedger, *, by_hand: bool
    ) -> None:
        self.by_hand = by_hand
        self.dead = False  # from then on nobody is told anything, and nothing is taken
        self.identity = life_of(worker, queue.lab.clock)  # never a predecessor's lease
        self.waiting: deque[Task] = deque()
        self.working: Task | None = None
        self.kept: set[Task] = set()
        self._worker = worker
        self._queue = queue
        self._tasks = queue.tasks
        self._ledger = ledger
        self._arrived: list[Delivery] = []  # nobody has looked at them yet
        self._done: list[Task] = []
        self._done_since = 0.0
        self._unsure: set[Task] = set()
        self._debts: deque[_Debt] = deque()
        self._lock = threading.Lock()  # the heart acknowledges, too, and a crash comes at any time
        self._manual_clock = queue.lab.clock.manual
        self._heart = Heart(worker, queue.options.lease, self._beat, self._holds_any, self._note)

    def fill(self, count: int, timeout: float) -> None:
        """Tell what is owed, acknowledge what is done, take `count` more: one round trip."""
        if self.dead:
            return
        if self._arrived:  # Ctrl+C came between the broker's answer and us
            self._take_in()
            return
        self._pay()
        done = self._swap_done()
        found: list[Delivery] = []
        if done or timeout <= 0:
            try:
                deliveries = [task.delivery for task in done]
                acked, found = self._tasks.ack_and_take(deliveries, self.identity, count)
            except BaseException as error:
                self._still_done(done, error)
                raise
            self._acked(done, acked)
        if not found and timeout > 0:
            found = self._tasks.take(self.identity, count, timeout)
        self._arrived += found
        if self._arrived:
            self._take_in()

    @property
    def interruptible(self) -> bool:
        """Whether another thread can end a wait for tasks."""
        return isinstance(self._tasks, Interruptible)

    def interrupt(self) -> None:
        """End a wait for tasks, if that can be done."""
        if isinstance(self._tasks, Interruptible):
            self._tasks.interrupt(self.identity)

    def begin(self) -> Task | None:
        """The next task that waits, in work from now on; None for a worker that has died."""
        with self._lock:
            if self.dead or not self.waiting:
                return None
            self.working = self.waiting.popleft()
            return self.working

    def finish(self, task: Task) -> None:
        """It is done; acknowledge it with the next ones."""
        with self._lock:
            if self.dead:
                task.outcome = Outcome(task.id, Ending.CRASHED, task.attempt)
                return
            task.outcome = Outcome(task.id, Ending.DONE, task.attempt)
            if not self._done:
                self._done_since = time.monotonic()
            self._done.append(task)

    def flush_if_due(self) -> None:
        """Acknowledge what has waited for company long enough."""
        if self._done and time.monotonic() - self._done_since > ACK_WITHIN_S:
            self.flush()

    def flush(self) -> None:
        """Tell the broker all that it does not know yet."""
        if self.dead:
            return
        self._pay()
        done = self._swap_done()
        if not done:
            return
        try:
            acked = self._tasks.ack([task.delivery for task in done])
        except BaseException as error:
            self._still_done(done, error)
            raise
        self._acked(done, acked)

    # --- ends ---------------------------------------------------------------------------------

    def settle_ack(self, task: Task, ending: Ending = Ending.DONE) -> bool:
        """It is done, or at its beginning; acknowledge it now."""
        return self._settle(task, lambda: self._tasks.ack([task.delivery])[0], ending)

    def keep(self, task: Task) -> None:
        """The handler has it, and will tell how it ended."""
        task.outcome = Outcome(task.id, Ending.HELD, task.attempt)
        self.kept.add(task)

    def settle_nack(self, task: Task, delay: float, error: str, *, owe: bool = False) -> bool:
        """Try it again."""
        error = clean_text(error)
        detail = f"in {delay:g} s: {error}" if delay else error
        tell = lambda: self._tasks.retry(task.delivery, delay, error)  # noqa: E731
        return self._settle(task, tell, Ending.RETRYING, detail, delay, owe=owe)

    def settle_reject(self, task: Task, reason: str, error: str = "", *, owe: bool = False) -> bool:
        """To the dead letters."""
        reason, error = clean_text(reason), clean_text(error)
        detail = f"{reason}: {error}" if error else reason
        tell = lambda: self._tasks.bury(task.delivery, reason, error)  # noqa: E731
        return self._settle(task, tell, Ending.DEAD, detail, owe=owe)

    def prolong(self, seconds: float) -> None:
        """The lease runs so long from now."""
        self._tasks.renew(self.identity, seconds)

    def give_back(self) -> None:
        """Acknowledge what is done, and return what was not begun."""
        if self.dead:
            return
        self.flush()
        if not self.waiting:
            return
        tasks = list(self.waiting)
        returned = self._tasks.release([task.delivery for task in tasks])
        self.waiting.clear()
        for task, ours in zip(tasks, returned, strict=True):
            self._part(task, ours, Ending.RETURNED)

    def leave(self) -> None:
        """Give back, and end the lease: what a handler kept is for others at once."""
        try:
            self.give_back()
            self._tasks.leave(self.identity)
        finally:
            self.kept.clear()
            self._heart.stop()

    def crash(self) -> list[Task]:
        """Tell nobody anything any more; what it held at that moment."""
        with self._lock:
            self.dead = True
            working = [] if self.working is None else [self.working]
            held = [*self._done, *working, *self.kept, *self.waiting]
        self._heart.stop()
        return held

    # --- inside -------------------------------------------------------------------------------

    def _take_in(self) -> None:
        tasks = [self._read(delivery) for delivery in self._arrived]
        with self._lock:
            if self.dead:  # while it waited: as an answer that comes to a killed process
                return
            self.waiting.extend(tasks)
            self._arrived.clear()
            self._ledger.taken(tasks)
            if not self._manual_clock:
                self._heart.start()

    def _read(self, delivery: Delivery) -> Task:
        decoded: Message | DecodeError
        try:
            decoded = Message.decode(
                delivery.body, channel=self._queue.name, max_bytes=self._queue.max_bytes
            )
        except DecodeError as error:
            decoded = error
        return Task(delivery, decoded, self._worker, self)

    def _settle(
        self,
        task: Task,
        tell: Callable[[], bool],
        ending: Ending,
        detail: str = "",
        delay: float | None = None,
        *,
        owe: bool = False,
    ) -> bool:
        if self.dead:
            task.outcome = Outcome(task.id, Ending.CRASHED, task.attempt)
            return False
        try:
            ours = tell()
        except (BrokerUnavailable, BrokerRefused) as error:
            unsure = getattr(error, "sent", False)
            if owe:
                self._debts.append(_Debt(task, tell, ending, detail, delay, unsure))
            elif unsure:
                self._unsure.add(task)
            raise
        self._part(task, ours, ending, detail, delay)
        return ours

    def _pay(self) -> None:
        while self._debts and not self.dead:
            debt = self._debts[0]
            try:
                ours = debt.tell()
            except (BrokerUnavailable, BrokerRefused) as error:
                debt.unsure = debt.unsure or getattr(error, "sent", False)
                raise
            self._debts.popleft()
            if debt.unsure:
                self._unsure.add(debt.task)
            self._part(debt.task, ours, debt.ending, debt.detail, debt.delay)

    def _swap_done(self) -> list[Task]:
        with self._lock:
            done, self._done = self._done, []
        return done

    def _still_done(self, done: list[Task], error: BaseException) -> None:
        with self._lock:
            self._done = done + self._done
        if getattr(error, "sent", True):
            self._unsure.update(done)

    def _acked(self, done: Sequence[Task], acked: Sequence[bool]) -> None:
        if not self._unsure and all(acked):  # the usual case: as `finish` has written it down
            if done:
                self._ledger.all_done(done)
            return
        for task, ours in zip(done, acked, strict=True):
            self._part(task, ours, Ending.DONE)

    def _part(
        self, task: Task, ours: bool, ending: Ending, detail: str = "", delay: float | None = None
    ) -> None:
        """The broker has answered: the task is no longer ours, and was not if it was too late."""
        unsure = task in self._unsure
        self._unsure.discard(task)
        self.kept.discard(task)
        what = ending if ours else Ending.LATE
        shown = detail if ours else f"was {ending}"
        task.outcome = Outcome(task.id, what, task.attempt, shown, delay if ours else None)
        self._ledger.ended(task, what, shown, unsure=unsure)

    def _holds_any(self) -> bool:
        return bool(self.waiting or self.working or self.kept or self._done or self._debts)

    def _note(self, error: Exception) -> None:
        self._ledger.raised(None, error)

    def _beat(self) -> None:
        self._tasks.renew(self.identity)
        if self._done and time.monotonic() - self._done_since > ACK_WITHIN_S:
            done = self._swap_done()
            try:
                acked = self._tasks.ack([task.delivery for task in done])
            except BaseException as error:
                self._still_done(done, error)
                raise
            self._acked(done, acked)
