"""`labkit subscriber`: shows what arrives, or opens the console."""

from __future__ import annotations

import argparse
import sys

from labkit import channels
from labkit.broker import PubSubBroker
from labkit.cli.options import INTERACTIVE
from labkit.cli.where import open_shared, place
from labkit.consoles.screen import rich_console, safe, say
from labkit.consoles.show import message_line, statistics
from labkit.consoles.signals import as_interrupt
from labkit.patterns.pubsub import Subscriber

EVERYTHING = "*"

_LOOK_S = 0.5
"""How long one wait for a message lasts."""


def run(options: argparse.Namespace) -> int:
    """Listen, or open the console."""
    with (
        open_shared(options.url) as lab,
        Subscriber(lab, name=options.name) as subscriber,
    ):
        if options.channels == [INTERACTIVE]:
            return _console(subscriber, lab)
        return _plain(subscriber, options.channels or [EVERYTHING], options.count, place(lab))


def _console(subscriber: Subscriber, lab: PubSubBroker) -> int:
    from labkit import consoles

    where = place(lab)
    return consoles.run(
        lambda repl: consoles.SubscriberConsole(subscriber, repl, where),
        greeting=f"Subscriber {safe(subscriber.name)}, {where}.",
    )


def _plain(subscriber: Subscriber, names: list[str], count: int | None, where: str) -> int:
    out, error = rich_console(), rich_console(sys.stderr)
    shown = 0
    was_connected = True
    try:
        with as_interrupt():
            _subscribe(subscriber, names)
            listened = safe(", ".join(names))
            say(out, f"Listening to {listened}, {where}. Ctrl+C ends it.")
            while count is None or shown < count:
                left = None if count is None else count - shown
                for incoming in subscriber.drain(left, timeout=_LOOK_S):
                    out.print(message_line(incoming.channel, incoming.message), soft_wrap=True)
                    shown += 1
                if subscriber.connected != was_connected:
                    was_connected = subscriber.connected
                    say(error, "Connected again." if was_connected else "Connection lost; waiting.")
    except KeyboardInterrupt:
        out.print()
    out.print(statistics(subscriber.stats()))
    return 0


def _subscribe(subscriber: Subscriber, names: list[str]) -> None:
    plain = [name for name in names if not channels.is_pattern(name)]
    patterns = [name for name in names if channels.is_pattern(name)]
    if plain:
        subscriber.subscribe(*plain)
    if patterns:
        subscriber.psubscribe(*patterns)
