"""From the words on the command line to the function that does it, and from errors to words."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from textwrap import fill

import labkit
from labkit.cli.options import build_parser
from labkit.errors import LabkitError

_INTERRUPTED = 130
"""What a shell expects after Ctrl+C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Errors are one sentence on standard error."""
    _be_tolerant()
    parser = build_parser(labkit.__version__)
    options = parser.parse_args(argv)
    if options.command is None:
        parser.print_help()
        return 2
    try:
        return _run(options)
    except LabkitError as error:
        return _complain(str(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "labkit":
            raise
        return _complain(
            f"The package {package!r} is missing. Install what labkit needs: "
            "pip install messaging-lab"
        )
    except BrokenPipeError:  # `labkit subscriber | head`: nobody reads any more
        _forget_output()
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    command = import_module(f"labkit.cli.{options.command}")
    status: int = command.run(options)
    sys.stdout.flush()
    return status


def _complain(text: str) -> int:
    said = f"labkit: {text}"
    with suppress(OSError, ValueError):  # no terminal: one line, whole, as programs want it
        width = os.get_terminal_size(sys.stderr.fileno()).columns
        said = "\n".join(_wrapped(line, width) for line in said.splitlines())
    with suppress(OSError):
        print(said, file=sys.stderr)
    return 1


def _wrapped(line: str, width: int) -> str:
    """No word is broken: addresses and commands can still be copied."""
    return fill(line, width, break_long_words=False, break_on_hyphens=False)


def _be_tolerant() -> None:
    """What the terminal's encoding cannot show is escaped: no message must end the program."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """Let Python end in peace with something left to write and nobody to read it."""
    with suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
