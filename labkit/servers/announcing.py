"""How a terminal finds the broker that another terminal started: a note only this user can read.

The note holds the broker's password, so that it lies in a folder of this user alone, and one that
others can write to or read is not believed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import ConfigurationError, ServerError

RUNTIME_VARIABLE = "XDG_RUNTIME_DIR"

_PATTERN = "broker-*.json"
_MOST_BYTES = 65_536


@dataclass(frozen=True)
class _Note:
    path: Path
    url: str
    pid: int
    since_ns: int


@contextmanager
def announce(url: str) -> Iterator[None]:
    """Let this user's other programs find `url` by `announced_url()` while the block runs.

    Several may be announced at a time; the newest one counts.

    Raises:
        ServerError: the folder for such notes cannot be made or is not this user's alone.
    """
    if "://" not in url:
        raise ConfigurationError("announce() takes a URL such as redis://127.0.0.1:6379.")
    folder = _folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ServerError(f"{folder} cannot be made: {error.strerror}.") from None
    problem = _problem(folder.lstat(), stat.S_ISDIR)
    if problem:
        raise ServerError(
            f"{folder} {problem}, and a password is to be kept there. Remove it, or set "
            f"{RUNTIME_VARIABLE} to a folder of your own with mode 0700."
        )
    for note in _notes(folder):
        if not _alive(note.pid):
            note.path.unlink(missing_ok=True)
    pid = os.getpid()
    content = {"url": url, "pid": pid, "since_ns": time.time_ns()}
    path = folder / f"broker-{pid}-{secrets.token_hex(4)}.json"
    _write(path, json.dumps(content).encode())
    try:
        yield
    finally:
        if os.getpid() == pid:  # not in a fork
            path.unlink(missing_ok=True)


def announced_url() -> str | None:
    """The broker that was announced last and whose announcer is alive, or None.

    The URL may contain a password. What is not this user's alone is not believed, with a warning.
    """
    folder = _folder()
    try:
        status = folder.lstat()
    except OSError:
        return None
    problem = _problem(status, stat.S_ISDIR)
    if problem:
        _warn(folder, problem)
        return None
    living = [note for note in _notes(folder) if _alive(note.pid)]
    return max(living, key=lambda note: note.since_ns).url if living else None


def _folder() -> Path:
    given = os.environ.get(RUNTIME_VARIABLE)
    if given and Path(given).is_dir():
        return Path(given, "labkit")
    if os.name != "posix":
        return Path(tempfile.gettempdir(), "labkit")  # inside the user's profile
    usual = Path(f"/run/user/{os.getuid()}")  # a terminal without the variable meets one with it
    if usual.is_dir() and os.access(usual, os.W_OK):
        return usual / "labkit"
    return Path(tempfile.gettempdir(), f"labkit-{os.getuid()}")


def _problem(status: os.stat_result, is_kind: object) -> str | None:
    """What keeps us from believing in a file or folder, or None."""
    assert callable(is_kind)
    if not is_kind(status.st_mode):
        return "is not what it should be (a link?)"
    if os.name != "posix":
        return None
    if status.st_uid != os.getuid():
        return "belongs to another user"
    if stat.S_IMODE(status.st_mode) & 0o077:
        return f"is open to others (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def _notes(folder: Path) -> list[_Note]:
    return [note for path in sorted(folder.glob(_PATTERN)) if (note := _read(path)) is not None]


def _read(path: Path) -> _Note | None:
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None  # removed a moment ago, or a link
    with os.fdopen(handle, "rb") as file:
        problem = _problem(os.fstat(handle), stat.S_ISREG)
        if problem:
            _warn(path, problem)
            return None
        content = file.read(_MOST_BYTES)
    try:
        note = json.loads(content)
        return _Note(path, str(note["url"]), int(note["pid"]), int(note["since_ns"]))
    except (ValueError, KeyError, TypeError):
        return None


def _write(path: Path, content: bytes) -> None:
    """All or nothing: a reader sees no half of it."""
    draft = path.with_suffix(".tmp")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise ServerError(f"{path.parent} cannot be written to: {error.strerror}.") from None


def _warn(path: Path, problem: str) -> None:
    warnings.warn(f"{path} {problem}: what it says is ignored.", RuntimeWarning, stacklevel=3)


def _alive(pid: int) -> bool:
    """Whether a process of this user has that id."""
    if pid <= 0:
        return False
    if sys.platform == "win32":
        return _alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except OSError:  # none, or another user's, which did not write a note of ours
        return False
    return True


def _alive_on_windows(pid: int) -> bool:
    if sys.platform != "win32":
        return False
    import ctypes

    synchronize, still_running = 0x0010_0000, 0x102
    kernel = ctypes.windll.kernel32
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(kernel.OpenProcess(synchronize, False, pid))
    if not handle:
        return False
    try:
        return bool(kernel.WaitForSingleObject(handle, 0) == still_running)
    finally:
        kernel.CloseHandle(handle)
