"""Measured figures in words: three significant digits, with their unit."""

from __future__ import annotations

import math

_KIB = 1024
_SECONDS_FROM_MS = 10_000.0
_PLAIN = (1e-4, 1e7)
"""Between these a number is written out; beyond them with its power of ten."""


def number(value: float, digits: int = 3) -> str:
    """`0.125`, `12,300`, `1.2e9`: a number with so many significant digits."""
    if not math.isfinite(value):
        return "unknown"
    rounded = float(f"{value:.{digits}g}")
    if rounded and not _PLAIN[0] <= abs(rounded) < _PLAIN[1]:
        mantissa, _, power = f"{rounded:.{digits - 1}e}".partition("e")
        return f"{float(mantissa):g}e{int(power)}"
    return f"{rounded:,.10g}"


def per_second(value: float) -> str:
    """`12,300/s`."""
    return f"{number(value)}/s"


def milliseconds(value: float) -> str:
    """A latency, in ms as on the axes: `0.42 ms`, `3.1 ms`, `850 ms`; from 10 s on in seconds."""
    if value >= _SECONDS_FROM_MS:
        return f"{number(value / 1000)} s"
    return f"{number(value, 2 if value < 99.5 else 3)} ms"


def times(ratio: float) -> str:
    """`8.3 times`, `120 times`."""
    return f"{number(ratio, 2)} times"


def size(octets: float) -> str:
    """`100 B`, `1 kB`, `64 KiB`, `2 MB`: in the unit that leaves a whole number."""
    for base, units in ((1000, ("kB", "MB", "GB")), (_KIB, ("KiB", "MiB", "GiB"))):
        for power in (3, 2, 1):
            if octets >= base**power and octets % base**power == 0:
                return f"{number(octets / base**power, 4)} {units[power - 1]}"
    return f"{octets:,.10g} B"


def percent(share: float) -> str:
    """A share from 0 to 1 in percent: `99.9 %`; never 0 % or 100 % for what is only nearly so."""
    if 0 < share < 0.0001:
        return "under 0.01 %"
    if 0.9999 < share < 1:
        return "over 99.99 %"
    rounded = round(share * 100, 2 if share < 0.01 or share > 0.99 else 1)
    return f"{rounded:g} %"


def percentile_name(q: float) -> str:
    """`p50`, `p99.9`."""
    return f"p{round(q * 100, 6):g}"
