"""The publisher's console."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labkit.broker import Receipt
from labkit.consoles.commands import Command, CommandError
from labkit.consoles.content import RULE, parse_content
from labkit.consoles.core import Repl
from labkit.consoles.screen import safe
from labkit.consoles.show import statistics
from labkit.errors import LabkitError
from labkit.patterns.pubsub import PeriodicRun, Publisher

_ELSEWHERE = dict.fromkeys(
    ("sub", "unsub", "listen", "inject"),
    "Subscribers have it: type 'labkit subscriber interactive' in another terminal.",
)


class PublisherConsole:
    """Commands for a connected publisher.

    Args:
        publisher: publishes; the caller disconnects it.
        repl: reads further lines, and shows the answers.
        place: what to call the broker in the status line.
    """

    name = "publisher"
    elsewhere: Mapping[str, str] = _ELSEWHERE

    def __init__(self, publisher: Publisher, repl: Repl, place: str = "") -> None:
        self._publisher = publisher
        self._repl = repl
        self._place = place
        self._channels: set[str] = set()
        self._periodic: _Periodic | None = None
        self.commands: Sequence[Command] = (
            Command("pub <channel> <message>", "Publish one message.", self._pub, RULE),
            Command(
                "batch",
                "Publish many at once: '<channel> <message>' on each line, then an empty line.",
                self._batch,
                "All lines travel together, in one round trip (a pipeline), and in order. A wrong "
                "line is refused and the others stay. Ctrl+C gives the whole batch up.",
            ),
            Command(
                "periodic <channel> <interval> <count> [message]",
                "Publish a message every <interval> seconds, <count> times, in the background.",
                self._run_periodic,
                "Without a message you are asked for one. 'stop' or Ctrl+C ends it; 'stats' shows "
                "how far it is. From a pipe, the console waits for it at the end of the input.\n"
                "Example: periodic news 0.5 10 still here",
            ),
            Command("stop", "End a periodic publishing.", self._stop),
            Command("stats", "Show what was published: counts, bytes, errors.", self._stats),
        )

    @property
    def status(self) -> str:
        """Who publishes where, and what is going on."""
        stats = self._publisher.stats()
        running = self._running
        going_on = f" · {running.progress}" if running else ""
        return f"{self._publisher.sender} · {self._place} · {stats.messages:,} published{going_on}"

    def channels(self) -> Iterable[str]:
        """Channels published to so far."""
        return tuple(self._channels)

    def interrupt(self) -> bool:
        """End a periodic publishing, if there is one."""
        running = self._running
        if running is None:
            return False
        self._publisher.stop()
        running.join()
        return True

    def finish(self, *, wait: bool) -> None:
        """Wait for a periodic publishing, or end it."""
        running = self._running
        if wait and running is not None:
            running.join()
        self.interrupt()

    @property
    def _running(self) -> _Periodic | None:
        return self._periodic if self._periodic is not None and self._periodic.running else None

    def _pub(self, channel: str, message: str) -> None:
        receipt = self._publisher.publish(channel, parse_content(message))
        self._channels.add(channel)
        self._repl.say(f"Published to {safe(channel)}: {_reached(receipt)}.")

    def _batch(self) -> None:
        items: list[tuple[str, Any]] = []
        while line := (self._repl.ask("batch> ") or "").strip():
            channel, _, text = line.partition(" ")
            try:
                if not text.strip():
                    raise CommandError(f"A line of a batch is '<channel> <message>', got {line!r}.")
                items.append((channel, parse_content(text)))
            except CommandError as error:
                self._repl.complain(f"{error} (Refused: not part of the batch.)")
        if not items:
            self._repl.say("An empty batch: nothing was published.")
            return
        receipts = self._publisher.publish_multiple(items)
        self._channels.update(channel for channel, _ in items)
        unheard = sum(receipt.subscriptions == 0 for receipt in receipts)
        heard = f", {unheard} of them to nobody" if unheard else ""
        self._repl.say(f"Published {_messages(len(receipts))} in one batch{heard}.")

    def _run_periodic(
        self, channel: str, interval: str, count: str, message: str | None = None
    ) -> None:
        every, times = _number(float, interval, "interval"), _number(int, count, "count")
        if self._running:
            raise CommandError("A periodic publishing is going on. 'stop' ends it.")
        text = message if message is not None else self._repl.ask("message> ")
        if text is None or not text.strip():
            raise CommandError("A periodic publishing needs a message; nothing was started.")
        self._channels.add(channel)
        self._periodic = _Periodic(
            self._publisher, self._repl, channel, parse_content(text), every, times
        )
        self._repl.say(
            f"Publishing to {safe(channel)} every {every:g} s, {times:,} times. 'stop' ends it."
        )
        self._periodic.start()

    def _stop(self) -> None:
        if not self.interrupt():
            raise CommandError("Nothing is going on that could be stopped.")

    def _stats(self) -> None:
        self._repl.screen.show(statistics(self._publisher.stats()))
        running = self._running
        if running is not None:
            self._repl.say(f"Going on: {running.progress}.")


class _Periodic:
    """One periodic publishing, in a thread of its own; it tells how it went when it is over."""

    def __init__(
        self,
        publisher: Publisher,
        repl: Repl,
        channel: str,
        content: Any,
        every: float,
        count: int,
    ) -> None:
        self._publisher = publisher
        self._repl = repl
        self._channel = channel
        self._content = content
        self._every = every
        self._count = count
        self._made = 0
        self._under_way = threading.Event()
        self._thread = threading.Thread(target=self._run, name="labkit periodic", daemon=True)

    def start(self) -> None:
        """Start, and return when `Publisher.stop()` would end it."""
        self._thread.start()
        self._under_way.wait()

    @property
    def running(self) -> bool:
        """Whether it is still going on."""
        return self._thread.is_alive()

    @property
    def progress(self) -> str:
        """How far it is."""
        return f"periodic to {safe(self._channel)}: {self._made:,} of {self._count:,}"

    def join(self) -> None:
        """Wait for its end."""
        while self._thread.is_alive():
            self._thread.join(0.2)  # in slices, so that Ctrl+C comes through on Windows

    def _run(self) -> None:
        try:
            done = self._publisher.publish_periodic(
                self._channel, self._make, every=self._every, count=self._count
            )
        except LabkitError as error:
            self._repl.complain(str(error), about_line=False)
        else:
            self._tell(done)
        finally:
            self._under_way.set()

    def _make(self, number: int) -> Any:
        self._made = number + 1
        self._under_way.set()
        return self._content

    def _tell(self, done: PeriodicRun) -> None:
        text = (
            f"{'Stopped' if done.stopped else 'Done'}: {done.sent:,} of {self._count:,} published"
        )
        self._repl.say(f"{text} to {safe(self._channel)}.")
        if done.failed:
            self._repl.complain(
                f"{done.failed:,} could not be published; 'stats' shows why.", about_line=False
            )


def _reached(receipt: Receipt) -> str:
    reached = receipt.subscriptions
    if reached is None:
        return "the broker has it"
    if not reached:
        return "nobody is subscribed, so nobody will ever see it"
    return f"written to {reached:,} subscription{'' if reached == 1 else 's'}"


def _messages(count: int) -> str:
    return f"{count:,} message{'' if count == 1 else 's'}"


def _number(kind: type[int] | type[float], text: str, what: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        example = "0.5" if kind is float else "10"
        raise CommandError(f"The {what} is a number above 0, such as {example}, got {text!r}.")
    return value
