"""Pictures of what happened: messages in space and time, losses, tasks, workers, requests, waits.

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
from labkit.plots.depth import depth
from labkit.plots.losses import LossRow, losses
from labkit.plots.per_worker import tasks_per_worker
from labkit.plots.requests import requests
from labkit.plots.show import LabFigure, show
from labkit.plots.space_time import space_time
from labkit.plots.task_life import task_life
from labkit.plots.waits import retry_waits

__all__ = [
    "LabFigure",
    "LossRow",
    "depth",
    "losses",
    "message_anatomy",
    "requests",
    "retry_waits",
    "show",
    "space_time",
    "task_life",
    "tasks_per_worker",
]
