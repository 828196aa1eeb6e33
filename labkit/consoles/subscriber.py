"""The subscriber's console."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from labkit import channels
from labkit._words import plural
from labkit.consoles.commands import Command, CommandError
from labkit.consoles.content import RULE, parse_content
from labkit.consoles.core import Repl
from labkit.consoles.screen import safe
from labkit.consoles.show import message_line, statistics
from labkit.message import Message
from labkit.patterns.pubsub import Subscriber

_CHANNELS_KEPT = 1_000
"""Channel names remembered for completion: a broker may have any number."""

_ELSEWHERE = dict.fromkeys(
    ("pub", "batch", "periodic"),
    "Publishers have it: type 'labkit publisher interactive' in another terminal.",
)


class SubscriberConsole:
    """Commands for a connected subscriber.

    Args:
        subscriber: listens; the caller disconnects it.
        repl: shows the answers.
        place: what to call the broker in the status line.
    """

    name = "subscriber"
    elsewhere: Mapping[str, str] = _ELSEWHERE

    def __init__(self, subscriber: Subscriber, repl: Repl, place: str = "") -> None:
        self._subscriber = subscriber
        self._repl = repl
        self._place = place
        self._subscribed: list[str] = []
        self._seen: dict[str, None] = {}
        subscriber.set_message_callback(self._show)
        self.commands: Sequence[Command] = (
            Command(
                "sub <channel…>",
                "Subscribe to channels, and to patterns such as flights.*",
                self._sub,
                "A name with *, ? or [ is a pattern: * stands for any characters, dots too.\n"
                "Example: sub news alerts.critical flights.*",
            ),
            Command(
                "unsub <channel…>",
                "Give up channels and patterns, as 'sub' took them.",
                self._unsub,
            ),
            Command(
                "listen",
                "Show messages as they arrive, while you go on typing.",
                self._listen,
                "What arrived since 'sub' comes first. From a pipe, the console shows what has "
                "arrived by the end of the input, and leaves.",
            ),
            Command(
                "stop",
                "Stop showing messages; they wait until you listen again.",
                self._stop,
                "The subscription stays, and messages collect. 'unsub' ends it.",
            ),
            Command(
                "inject <channel> <message>",
                "Handle a message as if it had arrived, without the broker.",
                self._inject,
                RULE,
            ),
            Command(
                "stats", "Show what arrived, what was lost, and how long it took.", self._stats
            ),
        )

    @property
    def status(self) -> str:
        """Who listens where to what, and how it goes."""
        stats = self._subscriber.stats()
        parts = [self._subscriber.name, self._place, self._state(), f"{stats.handled:,} shown"]
        if stats.gaps or stats.lost:
            parts.append(f"{plural(stats.gaps, 'gap')}, {stats.lost:,} lost")
        return " · ".join(parts)

    def channels(self) -> Iterable[str]:
        """Channels subscribed to, and those on which something arrived."""
        return (*self._subscribed, *list(self._seen))

    def interrupt(self) -> bool:
        """Stop listening, if it was."""
        if not self._subscriber.listening:
            return False
        self._subscriber.stop()
        self._repl.say("Stopped listening. Messages wait until 'listen'; 'unsub' ends that.")
        return True

    def finish(self, *, wait: bool) -> None:
        """Stop listening; `wait` shows everything that was published before now."""
        was_listening = self._subscriber.listening
        self._subscriber.stop()
        if wait and was_listening:
            self._subscriber.drain()

    def _sub(self, *names: str) -> None:
        plain, patterns = _sorted_out(names)
        if plain:
            self._subscriber.subscribe(*plain)
            self._add(plain)
        if patterns:
            self._subscriber.psubscribe(*patterns)
            self._add(patterns)
        hint = "" if self._subscriber.listening else " 'listen' shows what arrives."
        self._repl.say(f"Subscribed to {_named(names)}.{hint}")

    def _unsub(self, *names: str) -> None:
        unknown = [name for name in names if name not in self._subscribed]
        if unknown:
            now = f"to {_named(self._subscribed)}" if self._subscribed else "to nothing"
            raise CommandError(f"Not subscribed to {_named(unknown)}, but {now}.")
        plain, patterns = _sorted_out(names)
        if plain:
            self._subscriber.unsubscribe(*plain)
        if patterns:
            self._subscriber.punsubscribe(*patterns)
        self._subscribed = [name for name in self._subscribed if name not in names]
        self._repl.say(f"No longer subscribed to {_named(names)}.")

    def _listen(self) -> None:
        if self._subscriber.listening:
            raise CommandError("Listening already. 'stop' ends it.")
        if not self._subscribed:
            raise CommandError("Subscribed to nothing yet: 'sub <channel…>' first.")
        self._repl.say(f"Listening to {_named(self._subscribed)}. 'stop' or Ctrl+C ends it.")
        self._subscriber.listen()

    def _stop(self) -> None:
        if not self.interrupt():
            raise CommandError("Not listening.")

    def _inject(self, channel: str, message: str) -> None:
        self._subscriber.inject(channel, parse_content(message))

    def _stats(self) -> None:
        self._repl.screen.show(statistics(self._subscriber.stats()))
        self._repl.say(f"Now {self._state()}.")

    def _show(self, channel: str, message: Message) -> None:
        """Runs in the listener's thread: hands the line to the screen, and goes on."""
        if len(self._seen) < _CHANNELS_KEPT:
            self._seen[channel] = None
        self._repl.screen.show(message_line(channel, message))

    def _state(self) -> str:
        if not self._subscriber.connected:
            return "without a connection, trying to come back"
        if not self._subscribed:
            return "subscribed to nothing"
        verb = "listening to" if self._subscriber.listening else "subscribed to"
        return f"{verb} {_named(self._subscribed)}"

    def _add(self, names: Iterable[str]) -> None:
        self._subscribed += [name for name in names if name not in self._subscribed]


def _sorted_out(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Plain names, and patterns."""
    patterns = [name for name in names if channels.is_pattern(name)]
    return [name for name in names if not channels.is_pattern(name)], patterns


def _named(names: Iterable[str]) -> str:
    return safe(", ".join(names))
