"""What can be written after `labkit`, and the help that teaches it."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from labkit.cli import bench_options

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

DEFAULT_CHANNEL = "news"
INTERACTIVE = "interactive"
STANDARD_INPUT = "-"

_ABOUT = "Learn message queues by running them: brokers, publishers and subscribers."
_FIRST_STEPS = """\
first steps, each in a terminal of its own:
  labkit up                       a broker that your other terminals find by themselves
  labkit subscriber interactive   type: sub news, then: listen
  labkit publisher interactive    type: pub news hello

'labkit doctor' helps when something does not work; 'labkit COMMAND --help' tells more.
"""
_DOCTOR = """\
Shows what is installed, which servers this machine has and which brokers answer, and says what to
do about each problem. Exit status 0: the course can run.
"""
_UP = """\
Runs a broker for several terminals until Ctrl+C: a real Redis or Valkey if this machine has one,
else a stand-in written in Python. Only this machine can reach it. Your other terminals find it by
themselves; programs and notebooks are told by LABKIT_BROKER_URL.
"""
_PUBLISHER = """\
Publishes until Ctrl+C, then shows what it published.
"""
_PUBLISHER_EXAMPLES = """\
examples:
  labkit publisher                            a numbered message a second to the channel news
  labkit publisher flights.JFK --every 0.2    five a second to flights.JFK
  labkit publisher news hello '{"n": 1}'      these two messages, and done
  labkit publisher news tick --every 1        the same message every second
  tail -f log | labkit publisher logs - --text      each line of the standard input
  labkit publisher interactive                the console: type 'help'
  printf 'pub news hello\\n' | labkit publisher interactive

A message is text or JSON: {"flight": "B6 739"}, [1, 2], "text", 42, true, false, null.
"""
_SUBSCRIBER = """\
Shows what it hears until Ctrl+C, then what it counted.
"""
_SUBSCRIBER_EXAMPLES = """\
examples:
  labkit subscriber                           everything
  labkit subscriber news 'flights.*'          a channel and a pattern (in quotes, for the shell)
  labkit subscriber news --count 10           leave after ten messages
  labkit subscriber interactive               the console: type 'help'
  printf 'sub news\\nlisten\\n' | labkit subscriber interactive
"""
_DEMO = """\
Plays 8 March 2013, a snow day in New York: 979 departures from three airports go through a broker
as messages, while a table is kept from what arrives. Listen in another terminal:
labkit subscriber 'alerts.*'
"""
_URL = (
    "the broker, such as redis://127.0.0.1:6379. Default: LABKIT_BROKER_URL, else that of "
    "'labkit up', else redis://127.0.0.1:6379. Put one with a password into LABKIT_BROKER_URL: "
    "others can see your command line"
)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Examples as they stand, and room for the names of the options."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)
        self._action_max_length = 16  # argparse forgets that the commands are indented further


def build_parser(version: str) -> argparse.ArgumentParser:
    """The whole command line; every command names the module in labkit.cli that does it."""
    parser = argparse.ArgumentParser(
        prog="labkit",
        description=_ABOUT,
        epilog=_FIRST_STEPS,
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"labkit {version}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add(commands, "doctor", "what is installed, which brokers answer, what to do", _DOCTOR)
    _add_up(commands)
    _add_publisher(commands)
    _add_subscriber(commands)
    _add_demo(commands)
    _add_bench(commands)
    _add_plot(commands)
    return parser


def _add_up(commands: Commands) -> None:
    parser = _add(commands, "up", "a broker for several terminals, until Ctrl+C", _UP)
    parser.add_argument("--port", type=_port, metavar="N", help="default: a free one")
    parser.add_argument(
        "--fake", action="store_true", help="the stand-in, even if there is a real one"
    )
    parser.add_argument(
        "--append-only",
        action="store_true",
        help="keep the data for the next 'labkit up --append-only' (real server only)",
    )


def _add_publisher(commands: Commands) -> None:
    parser = _add(
        commands,
        "publisher",
        "publish messages, or open the console",
        _PUBLISHER,
        _PUBLISHER_EXAMPLES,
    )
    parser.add_argument("--url", help=_URL)
    parser.add_argument("--sender", metavar="NAME", help="the name in the messages")
    parser.add_argument("--every", type=_seconds, metavar="S", help="seconds between two messages")
    parser.add_argument("--count", type=_count, metavar="N", help="leave after so many messages")
    parser.add_argument("--text", action="store_true", help="messages are text, never JSON")
    parser.add_argument(
        "channel",
        nargs="?",
        default=DEFAULT_CHANNEL,
        metavar="channel|interactive",
        help=f"default: {DEFAULT_CHANNEL}",
    )
    parser.add_argument(
        "messages", nargs="*", metavar="message", help="'-': each line of the standard input"
    )


def _add_subscriber(commands: Commands) -> None:
    parser = _add(
        commands,
        "subscriber",
        "show what arrives, or open the console",
        _SUBSCRIBER,
        _SUBSCRIBER_EXAMPLES,
    )
    parser.add_argument("--url", help=_URL)
    parser.add_argument("--name", help="who is listening, for the statistics")
    parser.add_argument("--count", type=_count, metavar="N", help="leave after so many messages")
    parser.add_argument(
        "channels",
        nargs="*",
        metavar="channel|interactive",
        help="channels, and patterns with *, ? or [; default: all",
    )


def _add_demo(commands: Commands) -> None:
    parser = _add(commands, "demo", "a stormy day in ten seconds, with a live table", _DEMO)
    parser.add_argument(
        "--url", help="default: the broker that is there, else one for the demo alone"
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=10.0, metavar="S", help="how long; default: 10"
    )
    parser.add_argument(
        "--speed",
        type=_seconds,
        metavar="X",
        help="how many times as fast as life; default: the whole day in the time that there is",
    )


def _add_bench(commands: Commands) -> None:
    about, examples = bench_options.BENCH, bench_options.BENCH_EXAMPLES
    parser = _add(
        commands, "bench", "measure a broker, and say how far to trust it", about, examples
    )
    bench_options.add_bench(parser)


def _add_plot(commands: Commands) -> None:
    about, examples = bench_options.PLOT, bench_options.PLOT_EXAMPLES
    parser = _add(commands, "plot", "a picture of what 'labkit bench' measured", about, examples)
    bench_options.add_plot(parser)


def _add(
    commands: Commands, name: str, summary: str, about: str, examples: str | None = None
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=about,
        epilog=examples,
        formatter_class=_Help,
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65_535:
        raise ValueError
    return value


# argparse puts these names into "invalid … value".
_seconds.__name__ = "number above 0"
_count.__name__ = "whole number above 0"
_port.__name__ = "port (1 to 65535)"
