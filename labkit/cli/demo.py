"""`labkit demo`: the stormy day through a broker, with a table kept from what arrives."""

from __future__ import annotations

import argparse
import threading
from collections import Counter, deque
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

import labkit
from labkit.cli.where import place
from labkit.consoles.screen import rich_console, safe, say, shorten
from labkit.consoles.show import statistics
from labkit.consoles.signals import as_interrupt
from labkit.data import replay, stormy_day
from labkit.data.flights import NEW_YORK
from labkit.message import Message
from labkit.patterns.pubsub import Publisher, Subscriber

AIRPORTS = ("EWR", "JFK", "LGA")
COLUMNS = ("scheduled", "departed", "delayed", "cancelled", "arrived")
DELAYED_FROM = 15
"""Minutes: what the Bureau of Transportation Statistics counts as late."""

ALERTS_SHOWN = 5
LONGEST_ALERT = 100
FRAMES_PER_S = 8
LAST_WITHIN_S = 5.0
"""How long the last message may take to arrive."""

_ALERT_STYLES = {"critical": "bold red", "warning": "yellow", "info": "dim"}


def run(options: argparse.Namespace) -> int:
    """Play the day; 0 also if it was cut short."""
    day = stormy_day()
    speed = options.speed or (day[-1].time - day[0].time).total_seconds() / options.seconds
    end = day[0].time + timedelta(seconds=options.seconds * speed)
    played = [happening for happening in day if happening.time <= end]
    board, out = Board(), rich_console()
    with (
        labkit.connect(options.url or "auto", trace=False) as lab,
        Subscriber(lab, name="board") as subscriber,
        Publisher(lab, sender="tower") as publisher,
    ):
        subscriber.set_message_callback(board.hear)
        subscriber.psubscribe("flights.*", "alerts.*")
        say(out, f"8 March 2013 in New York, {speed:,.0f} times as fast as life; {place(lab)}.")
        try:
            with as_interrupt(), _live(board, out):
                subscriber.listen()
                replay(played, publisher.publish, speed=speed)
                subscriber.wait_for(len(played), timeout=LAST_WITHIN_S)
        except KeyboardInterrupt:
            out.print("Ended early.")
        subscriber.stop()
        if not out.is_terminal:
            out.print(board.table())
        out.print(statistics(publisher.stats()))
        out.print(statistics(subscriber.stats()))
    return 0


def _live(board: Board, out: RichConsole) -> AbstractContextManager[object]:
    """The table, redrawn while the block runs; nothing where there is no terminal."""
    if not out.is_terminal:
        return nullcontext()
    return Live(get_renderable=board.table, console=out, refresh_per_second=FRAMES_PER_S)


class Board:
    """What the messages say, as they arrive; written by one thread and shown by another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._alerts: deque[Text] = deque(maxlen=ALERTS_SHOWN)
        self._now = "before the day"

    def hear(self, channel: str, message: Message) -> None:
        """Take in one message: a subscriber's callback. Others may send here too, anything."""
        if message.type == "system.alert":
            line = _alert_line(message)
            with self._lock:
                self._alerts.append(line)
            return
        airport = channel.rpartition(".")[2]
        columns = [message.type.rpartition(".")[2]]
        if message.type == "flight.departed" and message.content["delay_minutes"] >= DELAYED_FROM:
            columns.append("delayed")
        with self._lock:
            self._now = _local_time(message)
            self._counts.update((airport, column) for column in columns)

    def count(self, airport: str, column: str) -> int:
        """One number of the table."""
        with self._lock:
            return self._counts[airport, column]

    def table(self) -> RenderableType:
        """The counts per airport, and the last alerts."""
        with self._lock:
            counts, alerts, now = self._counts.copy(), list(self._alerts), self._now
        table = Table(
            title=f"New York, {now}",
            title_justify="left",
            caption=f"delayed: left {DELAYED_FROM} minutes late or more",
            caption_justify="left",
            header_style="bold",
        )
        table.add_column("airport")
        for column in COLUMNS:
            table.add_column(column, justify="right")
        for airport in AIRPORTS:
            table.add_row(airport, *(f"{counts[airport, column]:,}" for column in COLUMNS))
        table.add_section()
        sums = (sum(counts[airport, column] for airport in AIRPORTS) for column in COLUMNS)
        table.add_row("all", *(f"{number:,}" for number in sums), style="bold")
        blank = [Text("")] * (ALERTS_SHOWN - len(alerts))  # the picture keeps its height
        return Group(table, Text("The last alerts", style="bold"), *alerts, *blank)


def _alert_line(message: Message) -> Text:
    level, text = str(message.content["level"]), str(message.content["message"])
    shown = safe(shorten(f"{_local_time(message)}  {level:<8}  {text}", LONGEST_ALERT))
    return Text(shown, style=_ALERT_STYLES.get(level, ""), no_wrap=True, overflow="ellipsis")


def _local_time(message: Message) -> str:
    return f"{message.time.astimezone(NEW_YORK):%H:%M}"
