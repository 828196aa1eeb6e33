"""Labs that need a real server: which they are, and whether a run had to go on without it.

Their set-up cell is tagged, as in `# %% name="setup" tags=["needs-rabbitmq"]`. Where the server is
missing, it says so in a line that begins with `SKIPPED`, and the cells that follow do nothing.
"""

from __future__ import annotations

import os

from nbformat import NotebookNode

SKIPPED = "The rest of this notebook is skipped."
TAG = "needs-"


def needs(notebook: NotebookNode) -> frozenset[str]:
    """The servers without which a notebook is skipped: {"rabbitmq"}."""
    tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])]
    return frozenset(tag.removeprefix(TAG) for tag in tags if tag.startswith(TAG))


def skipped(notebook: NotebookNode) -> str | None:
    """What an executed notebook said that was missing; None if it ran whole."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for line in output.get("text", "").splitlines():
                if line.startswith(SKIPPED):
                    return str(line.removeprefix(SKIPPED).strip())
    return None


def must_be_there() -> bool:
    """In continuous integration every server must be there."""
    return os.environ.get("CI") == "true"
