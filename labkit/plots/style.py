"""One look for all pictures: colours, type, sizes, and which channel looks how.

Nothing here touches matplotlib's global settings. Colours are the set of Okabe and Ito (2008,
"Color Universal Design"), which colour-blind readers can tell apart; a line style and a marker go
with each, so that colour is never the only cue.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Literal, ParamSpec, TypeVar

from matplotlib import rc_context
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, findfont, get_font

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Slant = Literal["normal", "italic"]

DPI = 100
WIDTH = 1000
"""Pixels: every picture is as wide as a notebook's column."""

MARGIN = 16
SMALL, NORMAL, TITLE = 9.0, 10.0, 13.0
"""Type sizes in points; nothing is ever smaller than SMALL."""

INK = "#1b1f24"
GREY = "#6b7280"
GRID = "#e5e7eb"
PAPER = "#ffffff"
LOSS = "#D55E00"
"""Loss, death and gaps, and nothing else."""
LOSS_INK = "#a34700"
"""LOSS, dark enough for small type."""
SHADE = "#fbeee6"

COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES: tuple[tuple[float, ...] | None, ...] = (None, (5.0, 2.0), (6.0, 2.0, 1.4, 2.0), (1.6, 1.6))
MARKERS = ("o", "s", "^", "D", "v", "P")

SANS = "DejaVu Sans"
MONO = "DejaVu Sans Mono"

STYLE: dict[str, object] = {
    "axes.unicode_minus": False,
    "font.family": [SANS],
    "agg.path.chunksize": 0,
    "hatch.color": PAPER,
    "hatch.linewidth": 1.2,
    "lines.antialiased": True,
    "lines.dash_joinstyle": "round",
    "lines.scale_dashes": True,
    "lines.solid_joinstyle": "round",
    "patch.antialiased": True,
    "path.effects": [],
    "path.simplify": True,
    "path.simplify_threshold": 1 / 9,
    "path.sketch": None,
    "path.snap": True,
    "savefig.bbox": None,
    "savefig.dpi": "figure",
    "savefig.edgecolor": "auto",
    "savefig.facecolor": "auto",
    "savefig.transparent": False,
    "text.antialiased": True,
    "text.hinting": "force_autohint",
    "text.usetex": False,
}
"""What a picture is drawn with, whatever the reader's own settings are."""


def in_style(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Draw in our style: the reader's settings are put aside, and back afterwards."""

    @wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with rc_context(STYLE):  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return drawn


@dataclass(frozen=True, slots=True)
class Look:
    """How a channel is drawn: two cues beside its colour."""

    colour: str
    dashes: tuple[float, ...] | None
    marker: str


_seen: dict[str, int] = {}
_workers: dict[str, int] = {}
_lock = threading.Lock()


def look_of(channel: str) -> Look:
    """The look of a channel: the same one in every picture of this process.

    Channels take the looks in the order in which they are first drawn. The first six differ in
    colour and marker, and 24 are different in colour or line style.
    """
    with _lock:
        number = _seen.setdefault(channel, len(_seen))
    return series_look(number)


_BROKERS = {
    "redis": Look("#0072B2", None, "o"),
    "embedded": Look("#009E73", (5.0, 2.0), "s"),
    "rabbitmq": Look("#CC79A7", (6.0, 2.0, 1.4, 2.0), "^"),
    "kafka": Look("#000000", (1.6, 1.6), "D"),
    "mqtt": Look("#E69F00", (9.0, 2.5), "v"),
}


def broker_look(name: str) -> Look | None:
    """The look of a broker that labkit knows: always the same; None for others."""
    return _BROKERS.get(name.lower())


def series_look(number: int) -> Look:
    """The look of the series number so-and-so of one picture, from 0.

    The first six differ in colour and marker, the first twelve in colour or line style.
    """
    position, turn = number % len(COLOURS), number // len(COLOURS)
    return Look(
        COLOURS[position],
        DASHES[(position + turn) % len(DASHES)],
        MARKERS[(position + turn) % len(MARKERS)],
    )


def lighter(colour: str, share: float = 0.5) -> str:
    """A colour mixed with white paper: `share` is how much of the paper."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(c + (255 - c) * share):02x}" for c in parts)


def worker_colour(name: str) -> str:
    """The colour of a worker: the same one in every picture of this process, five in all.

    Workers take them in the order in which they are first drawn. Their bands carry their names.
    """
    with _lock:
        return COLOURS[_workers.setdefault(name, len(_workers)) % (len(COLOURS) - 1)]


def forget_looks() -> None:
    """Let the next channel, and the next worker, take the first look again."""
    with _lock:
        _seen.clear()
        _workers.clear()


def ink_on(colour: str) -> str:
    """The ink, dark or white, that reads best on a colour (contrast as in WCAG 2.2)."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return PAPER if 1.05 / (luminance + 0.05) >= 4.5 else INK


def font(
    size: float, *, weight: str = "normal", slant: Slant = "normal", mono: bool = False
) -> FontProperties:
    """A font that ships with matplotlib, so that pictures are the same on every machine."""
    return FontProperties(family=MONO if mono else SANS, size=size, weight=weight, style=slant)


def line_height(size: float) -> float:
    """Pixels from one line to the next, for type of `size` points."""
    return size * DPI / 72 * 1.25


@lru_cache(maxsize=8192)
def text_width(text: str, size: float, weight: str = "normal", mono: bool = False) -> float:
    """Pixels that one line of text takes, as Agg draws it."""
    if not text:
        return 0.0
    properties = font(size, weight=weight, mono=mono)
    measured: tuple[float, float, float] = _renderer().get_text_width_height_descent(  # type: ignore[no-untyped-call]
        text, properties, ismath=False
    )
    return measured[0]


@lru_cache(maxsize=1)
def _renderer() -> RendererAgg:
    return RendererAgg(8, 8, DPI)  # type: ignore[no-untyped-call]


def legible(text: str) -> str:
    """`text` on one line, with a visible � for what the fonts of the picture cannot draw."""
    known = _glyphs()
    return "".join(c if ord(c) in known else "\N{REPLACEMENT CHARACTER}" for c in _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split()) if any(c.isspace() and c != " " for c in text) else text


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    maps = [
        set(get_font(findfont(font(NORMAL, mono=mono))).get_charmap()) for mono in (False, True)
    ]
    return frozenset(maps[0] & maps[1])


def elide(
    text: str, width: float, size: float, *, weight: str = "normal", mono: bool = False
) -> str:
    """`text`, cut to `width` pixels with a visible … if it is longer."""
    if text_width(text, size, weight, mono) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = text_width(text[:middle].rstrip() + "…", size, weight, mono) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip(" .,…") + "…"


def wrap(text: str, width: float, size: float, *, weight: str = "normal") -> list[str]:
    """`text` in lines of at most `width` pixels; a word longer than a line is elided."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, weight) <= width:
            lines[-1] = longer
        else:
            lines.append(elide(word, width, size, weight=weight))
    return lines
