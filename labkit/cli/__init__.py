"""The command `labkit`, also `python -m labkit`.

Each command's module is loaded when it is wanted: `labkit --help` needs nothing but Python.
"""

from labkit.cli.main import main

__all__ = ["main"]
