"""Pictures of what happened: space-time pictures, the anatomy of a message, losses.

Each function returns a `LabFigure`: 1,000 pixels wide, its finding as the title, with alt text
written from the data. Matplotlib's global settings are neither used nor changed.
"""

try:
    import matplotlib as _matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError(
        "labkit.plots draws with matplotlib, which is not installed: "
        "pip install 'messaging-lab[notebooks]'."
    ) from error

from labkit.plots.anatomy import message_anatomy
from labkit.plots.losses import LossRow, losses
from labkit.plots.show import LabFigure, show
from labkit.plots.space_time import space_time

__all__ = ["LabFigure", "LossRow", "losses", "message_anatomy", "show", "space_time"]
