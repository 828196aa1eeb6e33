"""A worker in a process of its own: what runs there.

The parent hands over what is needed on standard input, which nobody else can read, as one line of
JSON; then it writes orders. When it ends, whatever ends it, that pipe does, too, and so do we. We
answer in lines of JSON on what was standard output; a handler's own prints go to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from typing import Any, TextIO

from labkit.errors import describe
from labkit.patterns.signals import beside
from labkit.patterns.work_queue.member import BUSY_EXIT
from labkit.patterns.work_queue.naming import resolve
from labkit.patterns.work_queue.queue import WorkQueue
from labkit.patterns.work_queue.retry import RetryPolicy
from labkit.patterns.work_queue.worker import Worker
from labkit.trace import Trace

REPORT_EVERY_S = 0.2
ORPHAN_ENDS_WITHIN_S = 5.0
"""How long a handler may go on after the parent has died."""


class Wire:
    """Lines to the parent; whoever cannot write to it has none any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, kind: str, *facts: Any) -> None:
        """One line."""
        line = json.dumps([kind, *facts])
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()


@dataclass
class Ending:
    """How we are to end, once `now` is set."""

    timeout: float
    drain: bool = False
    now: threading.Event = field(default_factory=threading.Event)


class WiredTrace(Trace):
    """Hands each event to the parent at once, so that a kill takes none of them."""

    def __init__(self, wire: Wire, *, enabled: bool) -> None:
        super().__init__(enabled=enabled, capacity=1)
        self._wire = wire

    def record(self, actor: str, action: Any, *, at: float | None = None, **facts: Any) -> None:
        """To the parent."""
        if self.enabled:
            moment = self._clock.now() if at is None else at
            self._wire.send("trace", actor, str(action), moment, facts)


def main() -> None:
    """Work until the parent says stop, or is gone."""
    wire = Wire(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    orders = os.fdopen(os.dup(0))  # not inherited: a handler's own children would read them
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches us, too; the parent decides
    setup = json.loads(orders.readline() or "{}")
    end = Ending(timeout=setup["stop_timeout"])
    signal.signal(signal.SIGTERM, beside(end.now.set))
    threading.Thread(target=_listen, args=(orders, end), daemon=True).start()
    try:
        worker = _worker(setup, wire)
    except BaseException as error:
        wire.send("error", describe(error))
        return
    worker.start()
    wire.send("ready")
    while not end.now.wait(REPORT_EVERY_S) and worker.running:
        wire.send("stats", worker.stats().as_json())
    ended = True
    try:
        ended = worker.stop(end.drain, end.timeout)
    except Exception as error:
        wire.send("error", describe(error))
    wire.send("stats", worker.stats().as_json())
    wire.send("end")
    if not ended:  # the handler's thread dies with us
        sys.exit(BUSY_EXIT)


def _worker(setup: dict[str, Any], wire: Wire) -> Worker:
    sys.path[:] = setup["path"]
    trace = WiredTrace(wire, enabled=setup["trace"])
    lab = resolve(setup["opener"])(**setup["arguments"], trace=trace)
    queue = WorkQueue(lab, **setup["queue"])
    policy = dict(setup["retry"])
    for name in ("retry_on", "give_up_on"):
        policy[name] = tuple(map(resolve, policy[name]))
    handler = resolve(setup["handler"])
    return Worker(queue, handler, retry=RetryPolicy(**policy), **setup["worker"])


def _listen(orders: TextIO, end: Ending) -> None:
    """Orders from the parent, "drain 10" or "stop 10"; the end of them is the end of it."""
    for line in orders:
        what, _, seconds = line.strip().partition(" ")
        end.drain, end.timeout = what == "drain", float(seconds)
        end.now.set()
    end.now.set()
    threading.Event().wait(ORPHAN_ENDS_WITHIN_S)
    os._exit(1)


if __name__ == "__main__":
    main()
