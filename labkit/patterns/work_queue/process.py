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
from typing import Any, TextIO

from labkit.errors import describe
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches us, too; the parent decides
    setup = json.loads(sys.stdin.readline() or "{}")
    halt, drain = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: halt.set())
    threading.Thread(target=_listen, args=(halt, drain), daemon=True).start()
    try:
        worker = _worker(setup, wire)
    except BaseException as error:
        wire.send("error", describe(error))
        return
    worker.start()
    wire.send("ready")
    while not halt.wait(REPORT_EVERY_S) and worker.running:
        wire.send("stats", worker.stats().as_json())
    try:
        worker.stop(drain.is_set(), setup["stop_timeout"])
    except Exception as error:
        wire.send("error", describe(error))
    wire.send("stats", worker.stats().as_json())
    wire.send("end")


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


def _listen(halt: threading.Event, drain: threading.Event) -> None:
    """Orders from the parent; the end of them is the end of it."""
    for line in sys.stdin:
        if line.strip() == "drain":
            drain.set()
        halt.set()
    halt.set()
    threading.Event().wait(ORPHAN_ENDS_WITHIN_S)
    os._exit(1)


if __name__ == "__main__":
    main()
