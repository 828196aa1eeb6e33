"""How much memory a server has in hand: what `ps` says of its processes."""

from __future__ import annotations

import subprocess

_ANSWERS_WITHIN_S = 10.0


def resident_mb(pid: int | None) -> float | None:
    """Resident memory of a process and all below it, in MB; None where `ps` cannot tell."""
    if pid is None:
        return None
    try:
        listing = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,rss="],
            capture_output=True,
            text=True,
            timeout=_ANSWERS_WITHIN_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [tuple(map(int, line.split())) for line in listing.splitlines()]
    family = {pid}
    while more := {child for child, parent, _ in rows if parent in family} - family:
        family |= more
    total_kib = sum(rss for one, _, rss in rows if one in family)
    return round(total_kib * 1024 / 1e6, 1) if total_kib else None
