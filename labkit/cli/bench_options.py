"""What can be written after `labkit bench` and `labkit plot`, and the help that teaches it."""

from __future__ import annotations

from argparse import ArgumentParser

from labkit.cli.units import count, duration, rate, several, size, some_time

PATTERNS = ("pubsub", "queue", "rpc")
KINDS = (
    "percentiles",
    "ecdf",
    "load",
    "size",
    "batch",
    "fan-out",
    "workers",
    "time",
    "brokers",
)

BENCH = """\
Measures a broker: how much goes through, and how long each operation takes. Every combination of
the settings is measured several times, in an order that chance chooses; Ctrl+C keeps what is done.

The load is closed or open. Closed (the default): each client waits for its last operation before it
sends the next. That finds out how much can go through, but the load slows down together with the
broker: while the broker stands still nothing is sent, and so almost nobody is seen to wait. Open
(--rate): operations begin when the schedule says so, as they do when people and machines outside
arrive, and the response time counts from the moment at which each was meant to begin. For
questions about waiting the open load is the more honest one.
"""
BENCH_EXAMPLES = """\
examples:
  labkit bench pubsub                                 one closed client, 100 bytes
  labkit bench pubsub --size 64,1k,10k --out sizes    three sizes, kept in the folder sizes
  labkit bench queue --batch 1,10,100                 what batches bring
  labkit bench queue --processes --workers 1,2,4 --work 2ms --rate 300
  labkit bench rpc --rate 500,1k,2k --arrivals poisson --out load
  labkit bench pubsub --broker auto --broker embedded:// --size 64,1k,10k
  labkit plot load                                    the picture that fits: load-load.png

how to read the table:
  done/s     completed a second: the median of the repeats; spread: largest less smallest of them
  p50, p99   half of the operations, and 99 of 100, had a response time up to this, counted from
             the moment at which each was meant to begin. Repeats are put together, not averaged
  service    counted from when it was really sent: for open loads it stands beside the response
  lag p99    how late the generator itself sent; a trial whose generator could not keep its
             schedule is not valid, and the reason stands beneath
  lost       never arrived; these count as at least --timeout

exit status: 0, also after Ctrl+C with something measured; 1: no valid trial, or no broker;
2: wrong options; 130: Ctrl+C before anything was measured
"""
PLOT = """\
Draws what 'labkit bench --out' kept, or what Measurements.save() wrote, as a PNG. Prints the path
and the alt text: what the picture shows, in words, for those who do not see it.
"""
PLOT_EXAMPLES = """\
examples:
  labkit plot load                            the picture that fits what was varied
  labkit plot load --kind percentiles         latency by percentile, the tail stretched
  labkit plot sizes.csv --out picture.png     from the table of trials alone

kinds:
  percentiles  latency by percentile             batch    throughput and latency against batch
  ecdf         share that came back in time      fan-out  deliveries against subscribers
  load         latency against load              workers  throughput against workers
  size         messages/s and MB/s against size  time     completed each second, over time
  brokers      brokers side by side
"""


def add_bench(parser: ArgumentParser) -> None:
    """The options of `labkit bench`."""
    parser.add_argument(
        "pattern",
        choices=PATTERNS,
        help="what one operation is. pubsub: a message has reached every subscriber; queue: a "
        "worker has taken a task and acknowledged it; rpc: the reply is back",
    )
    _add_where(parser)
    _add_load(parser)
    _add_settings(parser)
    _add_method(parser)
    _add_results(parser)


def _add_where(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--broker",
        "--url",
        action="append",
        metavar="URL",
        help="where to measure, such as redis://127.0.0.1:6379, or embedded:// for the broker "
        "written in Python; several times: compare them. Default: auto, which is "
        "LABKIT_BROKER_URL, else a running server, else one that is started for this, "
        "else the embedded one; the table says which it was. Put a URL with a password into "
        "LABKIT_BROKER_URL: others can see your "
        "command line",
    )


def _add_load(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("load (lists with commas are measured one by one)")
    group.add_argument(
        "--clients",
        type=several(count),
        metavar="N,…",
        help="closed load: how many clients, each with one operation (or batch) under way. "
        "Default: 1. Together with --rate closed and open loads are both measured",
    )
    group.add_argument(
        "--rate",
        type=several(rate),
        metavar="R,…",
        help="open load: operations a second, whatever the broker does: 500,1k",
    )
    group.add_argument(
        "--arrivals",
        choices=("constant", "poisson"),
        help="of an open load. constant (default): evenly spaced, like a sensor. poisson: at "
        "random, like people, with crowds and gaps; the queues are longer at the same rate",
    )


def _add_settings(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("settings (lists, too)")
    group.add_argument(
        "--size",
        type=several(size),
        default=[100],
        metavar="B,…",
        help="bytes of a message: 64,1k,1mb (k: 1,000; kib: 1,024). Default: 100",
    )
    group.add_argument(
        "--batch",
        type=several(count),
        default=[1],
        metavar="N,…",
        help="operations in one call: more goes through, but the first of an open load waits for "
        "the last. Default: 1",
    )
    group.add_argument(
        "--subscribers",
        type=several(count),
        metavar="N,…",
        help="pubsub: how many get each message. Default: 1",
    )
    group.add_argument(
        "--workers",
        type=several(count),
        metavar="N,…",
        help="queue, rpc: how many workers or responders share the work. Default: 1",
    )
    group.add_argument(
        "--work",
        type=duration,
        default=0.0,
        metavar="T",
        help="time that each message costs who gets it, such as 2ms; needs --processes. Default: 0",
    )
    group.add_argument(
        "--processes",
        action="store_true",
        help="publishers, subscribers and workers as processes of their own, whose clocks are "
        "compared first; not on the embedded broker. Without it both ends take turns in one "
        "thread, which costs no waking up but has one interpreter do everything. With it a closed "
        "client of pubsub or queue sends again when the broker, not the worker, has the last one: "
        "slow workers then fall behind without end, so give a --rate",
    )


def _add_method(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("method")
    group.add_argument(
        "--duration",
        type=some_time,
        default=5.0,
        metavar="T",
        help="length of one trial. p99.9 is told from 10,000 operations on. Default: 5s",
    )
    group.add_argument(
        "--warmup",
        type=duration,
        default=1.0,
        metavar="T",
        help="before it, not counted: connections, caches and allocators settle. Default: 1s",
    )
    group.add_argument(
        "--repeats",
        type=count,
        default=3,
        metavar="N",
        help="how often each combination: one trial does not tell chance from effect. Default: 3",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="draws the order of the trials and the arrivals, the same each time. Default: 0",
    )
    group.add_argument(
        "--budget",
        type=some_time,
        metavar="T",
        help="no trial begins that would end later than this: 60, 5min. Default: no limit",
    )
    group.add_argument(
        "--timeout",
        type=some_time,
        default=5.0,
        metavar="T",
        help="what is not done after this is given up, and counts for at least so long. Default: "
        "5s",
    )


def _add_results(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    group.add_argument(
        "--out",
        metavar="PATH",
        help="keep them. A folder gets everything (trials, single operations, time series, where "
        "it was measured); a name that ends in .csv or .parquet is one file with the trials",
    )
    group.add_argument(
        "--format",
        choices=("parquet", "csv"),
        help="of the tables in the folder. Default: parquet where pyarrow is installed, else csv",
    )
    group.add_argument(
        "--json",
        action="store_true",
        help="the trials as JSON on standard output, instead of the table",
    )


def add_plot(parser: ArgumentParser) -> None:
    """The options of `labkit plot`."""
    parser.add_argument("file", metavar="FILE", help="the folder, or the .csv or .parquet file")
    parser.add_argument(
        "--kind", choices=KINDS, help="which picture. Default: the one that fits what was varied"
    )
    parser.add_argument(
        "--out",
        metavar="PICTURE.png",
        help="where to write it. Default: beside the file, named after it and the kind",
    )
