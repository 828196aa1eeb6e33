"""`labkit up`: a broker for several terminals, until Ctrl+C."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import threading
from contextlib import suppress

from labkit import servers
from labkit.connection import BROKER_URL_VARIABLE
from labkit.consoles.history import state_folder
from labkit.consoles.signals import END_SIGNALS, on_signals
from labkit.errors import ConfigurationError, ServerError
from labkit.options import redact
from labkit.patterns.signals import beside

_LOOK_S = 0.5
"""How often to see whether the server is still there."""

Server = servers.RedisServer | servers.FakeServerHandle


def run(options: argparse.Namespace) -> int:
    """Start, tell, wait, stop. What ends this process ends the server first."""
    ended = threading.Event()
    another = servers.announced_url()
    with on_signals((signal.SIGINT, *END_SIGNALS), beside(ended.set)):
        server, name = _start(options)
        try:
            with servers.announce(server.url):
                _say(_told(server, name, another))
                while server.running and not ended.wait(_LOOK_S):
                    pass
        finally:
            died = not server.running
            server.stop()
        if died:
            raise ServerError(f"{name} ended by itself.{_last_words(server)}")
        _say(f"\nStopped {name}; nothing is left running.")
    return 0


def _start(options: argparse.Namespace) -> tuple[Server, str]:
    binary = None if options.fake else servers.find_redis()
    if binary is None:
        if options.append_only:
            raise ConfigurationError(f"--append-only needs a real server. {servers.HOW_TO_INSTALL}")
        return servers.start_fake(options.port), "fakeredis (a stand-in, not to be measured)"
    folder = state_folder() / "append-only" if options.append_only else None
    server = servers.start_redis(
        binary, port=options.port, append_only=options.append_only, folder=folder
    )
    kept = "" if folder is None else f", which keeps its data in {folder}"
    return server, f"{binary.name}{kept}"


def _told(server: Server, name: str, another: str | None) -> str:
    export = f"export {BROKER_URL_VARIABLE}={shlex.quote(server.url)}"
    windows = f"set {BROKER_URL_VARIABLE}={server.url}"
    secret = "" if redact(server.url) == server.url else " (with its password: for you alone)"
    instead = f" (no longer the one at {redact(another)})" if another else ""
    return f"""\
{name} runs at {redact(server.url)}; only this machine can reach it.

Your other terminals find it by themselves{instead}:
  labkit subscriber interactive
  labkit publisher interactive
  labkit doctor
Notebooks and other programs are told by a variable{secret}:
  {windows if os.name == "nt" else export}
  {f"(Windows: {windows})" if os.name != "nt" else f"(elsewhere: {export})"}

Ctrl+C stops it."""


def _last_words(server: Server) -> str:
    if isinstance(server, servers.FakeServerHandle):
        return ""
    tail = server.log_tail(5)
    return f" The last lines of its log:\n{tail}" if tail else ""


def _say(text: str) -> None:
    with suppress(OSError):  # the terminal may be what was closed
        print(text, flush=True)
