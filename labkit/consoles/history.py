"""Where the consoles remember what was typed: a file that only this user can read."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def state_folder() -> Path:
    """Where labkit keeps what outlives a session, for this user."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "labkit"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "labkit"


def history_file(console: str) -> Path | None:
    """The file for one console, made if it is not there; None where none can be kept.

    Messages stand in it, so that nobody else may read it: mode 0600, and no link is followed.
    """
    try:
        folder = state_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{console}.history"
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        handle = os.open(path, flags, 0o600)
        try:
            if hasattr(os, "fchmod"):
                os.fchmod(handle, 0o600)  # one that was made by hand, or by a backup
        finally:
            os.close(handle)
    except (OSError, RuntimeError):  # read-only, not ours, or no home at all
        return None
    return path
