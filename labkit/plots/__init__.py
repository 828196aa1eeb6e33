"""Pictures of what happened, and of what was measured.

What happened: messages in space and time, losses, tasks, workers, requests, waits, depth, a log and
who has read how far, lag. What was measured (from DataFrames): latency by percentile and against
load, throughput against size, batch, subscribers and workers, trials over time, brokers side by
side, quoted figures.

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
from labkit.plots.comparison import side_by_side
from labkit.plots.depth import depth
from labkit.plots.ecdf import ecdf
from labkit.plots.jobs import jobs
from labkit.plots.lag import lag
from labkit.plots.load import latency_against_load
from labkit.plots.losses import LossRow, losses
from labkit.plots.open_closed import open_and_closed
from labkit.plots.over_time import over_time
from labkit.plots.partitions import partitions
from labkit.plots.per_worker import tasks_per_worker
from labkit.plots.percentiles import percentiles
from labkit.plots.positions import positions
from labkit.plots.quoted import quoted
from labkit.plots.rebalance import rebalance
from labkit.plots.requests import requests
from labkit.plots.routing import Published, routing
from labkit.plots.show import LabFigure, show
from labkit.plots.space_time import space_time
from labkit.plots.sweeps import (
    fan_out,
    throughput_against_batch,
    throughput_against_size,
    throughput_against_workers,
)
from labkit.plots.task_life import task_life
from labkit.plots.timeline import timeline
from labkit.plots.waits import retry_waits

__all__ = [
    "LabFigure",
    "LossRow",
    "Published",
    "depth",
    "ecdf",
    "fan_out",
    "jobs",
    "lag",
    "latency_against_load",
    "losses",
    "message_anatomy",
    "open_and_closed",
    "over_time",
    "partitions",
    "percentiles",
    "positions",
    "quoted",
    "rebalance",
    "requests",
    "retry_waits",
    "routing",
    "show",
    "side_by_side",
    "space_time",
    "task_life",
    "tasks_per_worker",
    "throughput_against_batch",
    "throughput_against_size",
    "throughput_against_workers",
    "timeline",
]
