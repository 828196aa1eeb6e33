"""The queues of one work queue: declare them, publish into them, count and empty them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from labkit.broker import Depth, Priority, QueueItem, QueueOptions
from labkit.brokers.rabbitmq.confirms import Batch, Fate, Outgoing
from labkit.brokers.rabbitmq.core import Core
from labkit.brokers.rabbitmq.known import Known
from labkit.brokers.rabbitmq.layout import BACK, DELAYS_MS, Layout
from labkit.brokers.rabbitmq.task_message import TaskMessage
from labkit.brokers.rabbitmq.words import unroutable
from labkit.errors import BatchError, BrokerRefused, BrokerUnavailable, QueueFull

_IN = (Fate.CONFIRMED,)  # of one that may be in, the id is free: twice is better than lost
_ID = "id "
_DELAY = "delay "


class Shelves:
    """Where the tasks of one work queue are."""

    def __init__(self, core: Core, name: str, options: QueueOptions) -> None:
        self.name = name
        self.options = options
        self.layout = Layout(core.namespace, name, options)
        self._core = core
        self._known = Known(core, self.layout.known)
        self._owed: set[str] = set()  # ids whose tasks are gone, and that could not be freed yet
        self._untold: list[tuple[str, dict[str, object]]] = []

    def declare(self) -> None:
        """Declare the queues of tasks and of dead letters, once for each connection."""
        layout = self.layout

        def all_of_them() -> None:
            arguments = layout.arguments
            queues = [(layout.dead, {}), *((queue, arguments) for queue in layout.queues)]
            for queue, with_these in queues:
                self._core.declare_queue(queue, with_these, shown=False)
            self._untold = queues

        self._core.once(f"queues {layout.queues[-1]} {layout.arguments}", all_of_them)

    def tell(self) -> None:
        """Show what was declared, now that something is done with it: a look in vain is silent."""
        untold, self._untold = self._untold, []
        for queue, arguments in untold:
            self._core.log("queue.declare", queue=queue, durable=True, arguments=arguments)

    def put(self, items: Sequence[QueueItem], in_flight: int) -> list[bool]:
        """Publish new tasks; False for each whose id is taken."""
        try:
            self.declare()
            accepted = self._not_taken(items)
            room = self._room(in_flight)
        except BrokerUnavailable as error:
            if len(items) == 1:
                raise BrokerUnavailable(str(error)) from None  # nothing has left
            raise BatchError(str(error), unsent=range(len(items))) from None
        self.tell()
        going = [index for index, ours in enumerate(accepted) if ours]
        over = [] if room is None else going[room:]
        going = going if room is None else going[:room]
        try:
            self._known.add([_ID + items[index].id for index in going if items[index].unique])
            batch = self._publish([(TaskMessage.new(items[i]), items[i].delay) for i in going])
        except BaseException as error:
            self.free([items[index].id for index in going if items[index].unique])
            if isinstance(error, BrokerUnavailable) and len(items) > 1:
                raise BatchError(str(error), unsent=range(len(items))) from None
            raise
        refused = [going[place] for place in batch.having(Fate.REFUSED)]
        out = [place for place, fate in zip(going, batch.fates, strict=True) if fate not in _IN]
        self.free([items[index].id for index in out if items[index].unique])
        duplicates = [index for index, ours in enumerate(accepted) if not ours]
        if batch.broken:
            self._broke(batch, going, over, duplicates, len(items))
        if over or refused:
            if len(items) == 1 or self.options.max_length is not None:
                raise self._full(going, sorted(over + refused), duplicates)
            raise BrokerRefused("RabbitMQ refused the tasks (basic.nack); its log says why.")
        return accepted

    def send(self, items: Sequence[Outgoing], renew: Callable[[], None] | None = None) -> Batch:
        """Publish; what comes back, because somebody has deleted a queue, goes once more.

        Args:
            items: to queues that `declare` declares, or `renew`.
            renew: declares what else there has to be.

        Raises:
            BrokerRefused: it comes back again.
        """
        batch = self._core.send(items)
        returned = batch.having(Fate.RETURNED)
        if not returned or batch.broken:
            return batch
        self._core.forget(f"queues {self.layout.queues[-1]} {self.layout.arguments}")
        self.declare()
        if renew is not None:
            renew()
        again = self._core.send([items[index] for index in returned])
        for index, fate in zip(returned, again.fates, strict=True):
            batch.fates[index] = fate
        batch.reason, batch.error = again.reason, again.error
        if again.having(Fate.RETURNED):
            raise BrokerRefused(unroutable(items[returned[0]].exchange, items[returned[0]].key))
        return batch

    def put_back(self, tasks: Sequence[TaskMessage], delay: float = 0.0) -> None:
        """Publish tasks again.

        Raises:
            BrokerRefused, BrokerUnavailable: one of them is not in, for certain or perhaps.
        """
        if not tasks:
            return
        self.declare()
        batch = self._publish([(task, delay) for task in tasks])
        if batch.broken:
            raise batch.failure(self._core.url)
        if batch.having(Fate.REFUSED):
            raise BrokerRefused(
                f"The queue {self.name!r} is full, and takes back nothing (basic.nack)."
            )

    def depth(self, in_flight: int) -> Depth:
        """How many tasks are where."""
        layout = self.layout
        self.declare()
        count = self._core.declare_queue
        ready = sum(count(queue, layout.arguments, shown=False) for queue in layout.queues)
        dead = count(layout.dead, {}, shown=False)
        return Depth(ready, in_flight, self._delayed(), dead)

    def purge(self) -> int:
        """Empty them all; returns how many there were."""
        self.declare()
        queues = [*self.layout.queues, *map(self.layout.level_queue, self._levels())]
        queues.append(self.layout.dead)
        count = 0
        for queue in queues:
            self._core.log("queue.purge", queue=queue)
            answer = self._core.call("queue_purge", queue)
            count += answer.method.message_count
        levels = self._levels()
        self._known.clear()
        self._known.add([f"{_DELAY}{level}" for level in levels])
        return count

    def free(self, ids: Sequence[str]) -> None:
        """These tasks are no longer in the queue; where the broker is away, it is told later."""
        if not ids and not self._owed:
            return
        self._owed.update(ids)
        with contextlib.suppress(BrokerUnavailable):
            self._pay()

    def _pay(self) -> None:
        owed = sorted(self._owed)
        self._known.remove([_ID + one for one in owed])
        self._owed.difference_update(owed)

    # --- inside -------------------------------------------------------------------------------

    def _not_taken(self, items: Sequence[QueueItem]) -> list[bool]:
        unique = [item.id for item in items if item.unique]
        if not unique:
            return [True] * len(items)
        if self._owed:
            self._pay()
        taken = dict(zip(unique, self._known.which([_ID + one for one in unique]), strict=True))
        accepted = []
        for item in items:
            accepted.append(not (item.unique and taken[item.id]))
            if item.unique:
                taken[item.id] = True  # also for its twin in this batch
        return accepted

    def _room(self, in_flight: int) -> int | None:
        most = self.options.max_length
        return None if most is None else max(0, most - self.depth(in_flight).unfinished)

    def _publish(self, tasks: Sequence[tuple[TaskMessage, float]]) -> Batch:
        def renew() -> None:
            for task, delay in tasks:
                if delay > 0:
                    self._core.forget(f"level {self.layout.level_queue(self.layout.level(delay))}")
                    self._outgoing(task, delay)

        return self.send([self._outgoing(*one) for one in tasks], renew)

    def _outgoing(self, task: TaskMessage, delay: float) -> Outgoing:
        if delay <= 0:
            return Outgoing("", self.layout.tasks[task.priority], task.body, task.properties())
        level = self.layout.level(delay)
        self._core.once(
            f"level {self.layout.level_queue(level)}", lambda: self._declare_level(level)
        )
        key = f"{level}.{task.word}"
        return Outgoing(self.layout.delay, key, task.body, task.properties())

    def _declare_level(self, level: int) -> None:
        layout, core = self.layout, self._core
        core.declare_exchange(layout.delay, "topic")
        core.declare_exchange(layout.due, "topic")
        for key, priority in zip(BACK, Priority, strict=True):
            core.bind(layout.tasks[priority], layout.due, key)
        queue = layout.level_queue(level)
        core.declare_queue(queue, layout.level_arguments(level))
        core.bind(queue, layout.delay, f"{level}.*")
        self._known.add([f"{_DELAY}{level}"])

    def _levels(self) -> list[int]:
        """The delays that anybody has used."""
        used = self._known.which([f"{_DELAY}{level}" for level in DELAYS_MS])
        return [level for level, there in zip(DELAYS_MS, used, strict=True) if there]

    def _delayed(self) -> int:
        layout = self.layout
        return sum(
            self._core.declare_queue(
                layout.level_queue(level), layout.level_arguments(level), shown=False
            )
            for level in self._levels()
        )

    def _broke(
        self,
        batch: Batch,
        going: Sequence[int],
        over: Sequence[int],
        duplicates: Sequence[int],
        total: int,
    ) -> None:
        failure = batch.failure(self._core.url)
        if total == 1:
            raise failure
        unsent = [going[place] for place in batch.having(Fate.UNSENT, Fate.REFUSED)]
        raise BatchError(
            str(failure),
            sent=[going[place] for place in batch.having(Fate.CONFIRMED)],
            unknown=[going[place] for place in batch.having(Fate.UNKNOWN)],
            unsent=sorted([*unsent, *over]),
            duplicates=duplicates,
        )

    def _full(
        self, going: Sequence[int], out: Sequence[int], duplicates: Sequence[int]
    ) -> QueueFull:
        most = self.options.max_length
        return QueueFull(
            f"The queue {self.name!r} holds {most} tasks and no more.",
            sent=[index for index in going if index not in out],
            unsent=out,
            duplicates=duplicates,
        )
