"""The consoles: type a command, see what it does. One for publishing, one for subscribing.

`core` has what both share, and no terminal in it; `publisher` and `subscriber` have their commands;
`screen` is the only one that writes; `terminal` reads from a person or from a pipe.
"""

from labkit.consoles.commands import Command
from labkit.consoles.core import Console, Repl
from labkit.consoles.publisher import PublisherConsole
from labkit.consoles.screen import Screen
from labkit.consoles.subscriber import SubscriberConsole
from labkit.consoles.terminal import run

__all__ = ["Command", "Console", "PublisherConsole", "Repl", "Screen", "SubscriberConsole", "run"]
