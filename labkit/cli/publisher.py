"""`labkit publisher`: messages by the clock, from the command line, from a pipe, or the console."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

from rich.text import Text

from labkit.broker import PubSubBroker
from labkit.cli.options import INTERACTIVE, STANDARD_INPUT
from labkit.cli.where import open_shared, place
from labkit.consoles.commands import CommandError
from labkit.consoles.content import parse_content
from labkit.consoles.screen import rich_console, safe, say
from labkit.consoles.show import content_text, statistics
from labkit.consoles.signals import END_SIGNALS, as_interrupt, on_signals
from labkit.errors import BrokerRefused, BrokerUnavailable, ValidationError
from labkit.patterns.pubsub import Publisher
from labkit.patterns.signals import beside


def run(options: argparse.Namespace) -> int:
    """Publish, or open the console."""
    with (
        open_shared(options.url) as lab,
        Publisher(lab, sender=options.sender) as publisher,
    ):
        if options.channel == INTERACTIVE and not options.messages:
            return _console(publisher, lab)
        return _Plain(publisher, options).run(place(lab))


def _console(publisher: Publisher, lab: PubSubBroker) -> int:
    from labkit import consoles

    where = place(lab)
    return consoles.run(
        lambda repl: consoles.PublisherConsole(publisher, repl, where),
        greeting=f"Publisher {safe(publisher.sender)}, {where}.",
    )


class _Plain:
    """Publishing without a console; says each message, and the statistics at the end."""

    def __init__(self, publisher: Publisher, options: argparse.Namespace) -> None:
        self._publisher = publisher
        self._channel: str = options.channel
        self._every: float | None = options.every
        self._count: int | None = options.count
        self._from_pipe = options.messages == [STANDARD_INPUT]
        self._as_text: bool = options.text
        self._messages = [] if self._from_pipe else [self._content(m) for m in options.messages]
        self._out = rich_console()
        self._error = rich_console(sys.stderr)
        self._wrong = 0
        self._failed_before = 0
        self._ended = False

    def run(self, where: str) -> int:
        """Publish; 1 if something could not be published."""
        say(self._out, f"Publisher {safe(self._publisher.sender)}, {where}. Ctrl+C ends it.")
        by_the_clock = not self._messages or self._every is not None or self._count is not None
        if self._from_pipe or not by_the_clock:
            self._one_by_one()
        else:
            self._by_the_clock()
        self._out.print(statistics(self._publisher.stats()))
        return int(self._wrong > 0)

    def _one_by_one(self) -> None:
        """What was given, or what comes from the pipe, until Ctrl+C."""
        try:
            with as_interrupt():
                if self._from_pipe:
                    self._lines()
                for content in self._messages:
                    self._send(content)
        except KeyboardInterrupt:
            self._out.print()

    def _by_the_clock(self) -> None:
        """Until Ctrl+C, which lets the message that is on its way arrive first."""

        def end() -> None:
            self._ended = True
            self._publisher.stop()

        with on_signals((signal.SIGINT, *END_SIGNALS), beside(end)):
            done = self._publisher.publish_periodic(
                self._channel, self._next, every=self._every or 1.0, count=self._count
            )
        self._tell_failure()
        self._wrong += done.failed

    def _next(self, number: int) -> Any:
        """The content of one message of a periodic publishing."""
        if self._ended:  # before it had begun, which forgets an earlier stop()
            self._publisher.stop()
        self._tell_failure()
        if self._messages:
            content = self._messages[number % len(self._messages)]
        else:
            content = {"number": number + 1, "text": f"message {number + 1}"}
        self._say(content)
        return content

    def _lines(self) -> None:
        sent = 0
        for number, line in enumerate(sys.stdin, 1):
            if not line.strip():
                continue
            try:
                self._send(self._content(line.rstrip("\r\n")))
                sent += 1
            except (CommandError, ValidationError) as error:
                self._wrong += 1
                say(self._error, f"line {number}: {safe(str(error))}", "red")
            if sent == self._count:
                return

    def _send(self, content: Any) -> None:
        self._say(content)
        try:
            self._publisher.publish(self._channel, content)
        except (BrokerUnavailable, BrokerRefused):
            self._wrong += 1
            self._tell_failure()

    def _say(self, content: Any) -> None:
        line = Text.assemble((safe(self._channel), "bold cyan"), "  ", content_text(content))
        self._out.print(line, soft_wrap=True)

    def _tell_failure(self) -> None:
        stats = self._publisher.stats()
        if stats.failed > self._failed_before:
            self._failed_before = stats.failed
            say(self._error, f"Not published: {safe(stats.errors[-1].error)}", "red")

    def _content(self, text: str) -> Any:
        return text if self._as_text else parse_content(text)
