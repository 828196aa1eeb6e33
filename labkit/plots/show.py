"""Figures that carry their own alt text, and how a notebook shows them."""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from labkit.errors import ConfigurationError
from labkit.plots.style import DPI, PAPER, WIDTH, in_style


class LabFigure(Figure):
    """A matplotlib figure, 1,000 pixels wide, that knows its finding and its alt text.

    As the last line of a cell it shows itself, once, as PNG with alt text, whatever matplotlib
    backend the notebook uses: pyplot never hears of it.

    Attributes:
        headline: the title, which states the finding.
        alt_text: what the picture shows, in words, for those who do not see it.
    """

    def __init__(self, height: float, *, headline: str, alt_text: str) -> None:
        """A blank white figure, `height` pixels high."""
        super().__init__(
            figsize=(WIDTH / DPI, round(height) / DPI), dpi=DPI, facecolor=PAPER, edgecolor=PAPER
        )
        FigureCanvasAgg(self)
        self.headline = headline
        self.alt_text = alt_text

    def to_png(self) -> bytes:
        """The picture as PNG: the same bytes each time, whatever matplotlib's settings are."""
        return _png(self)

    def __repr__(self) -> str:
        return f"<LabFigure: {self.headline}>"

    __str__ = __repr__

    def _ipython_display_(self) -> None:
        # Not `_repr_mimebundle_`: a formatter that %matplotlib inline registers would win over it.
        show(self)


def show(figure: Figure, alt: str | None = None) -> None:
    """Show a figure in a notebook as PNG with alt text.

    Args:
        figure: a `LabFigure`, or any matplotlib figure together with `alt`.
        alt: the alt text; None takes the figure's own.

    Raises:
        ConfigurationError: there is no alt text, or no IPython to show a picture.
    """
    alt = getattr(figure, "alt_text", "") if alt is None else alt
    if not alt.strip():
        raise ConfigurationError(
            "A picture without alt text says nothing to those who do not see it: "
            'show(figure, alt="what it shows, in a sentence").'
        )
    try:
        from IPython.display import display
    except ImportError:
        raise ConfigurationError(
            "IPython is not installed, so there is nothing to show a picture in. "
            'Save it instead: figure.savefig("picture.png").'
        ) from None
    name = repr(figure) if isinstance(figure, LabFigure) else f"<Figure: {alt}>"
    display(  # type: ignore[no-untyped-call, unused-ignore]
        {"image/png": _png(figure), "text/plain": name},
        raw=True,
        metadata={"image/png": {"alt": alt}},
    )


@in_style
def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
