"""`labkit bench`: trials on a broker, and a table that says how far to trust them."""

from __future__ import annotations

import argparse
import io
import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from typing import TYPE_CHECKING, Any

import labkit
from labkit._words import plural
from labkit.broker import Lab
from labkit.cli.extras import notebooks_extra
from labkit.cli.where import AUTO, place
from labkit.consoles.screen import rich_console, safe, say
from labkit.consoles.signals import as_interrupt
from labkit.errors import ConfigurationError

if TYPE_CHECKING:
    from labkit.measure import Measurements

NOTHING_MEASURED = 130
"""What a shell expects after Ctrl+C."""


def run(options: argparse.Namespace) -> int:
    """Measure, tell and keep; the help lists the exit statuses."""
    check(options)
    with notebooks_extra("bench"), ExitStack() as stack:
        from labkit.cli import kept

        if options.out is not None:
            kept.check_place(options.out, options.format)
        labs = [
            stack.enter_context(labkit.connect(url, trace=False))
            for url in options.broker or [AUTO]
        ]
        _check_labs(labs, options)
        places = [place(lab) for lab in labs]
        _announce(places, options)
        measured = _measure(labs, options)
        if options.json:
            print(as_json(measured))
        else:
            _tell(measured, places, options)
        if options.out is not None and len(measured.trials):
            kept.keep(measured, options.out, options.format)
            if not options.json:
                where = safe(options.out)
                say(rich_console(), f"Kept in {where}: labkit plot {shlex.quote(where)}")
    return _status(measured)


def check(options: argparse.Namespace) -> None:
    """Refuse what does not go together, before anything is opened.

    Raises:
        ConfigurationError: says what to do instead.
    """
    if options.arrivals and not options.rate:
        raise ConfigurationError(
            "--arrivals needs --rate: a closed load has no arrivals, its clients wait for answers."
        )
    if options.subscribers and options.pattern != "pubsub":
        raise ConfigurationError(f"--subscribers is for pubsub; {options.pattern} has --workers.")
    if options.workers and options.pattern == "pubsub":
        raise ConfigurationError("--workers is for queue and rpc; pubsub has --subscribers.")
    if options.work and not options.processes:
        raise ConfigurationError(
            "--work needs --processes: without it both ends share one thread, and would wait for "
            "each other."
        )
    if options.format and not options.out:
        raise ConfigurationError("--format says how --out is written: give --out, too.")


def as_json(measured: Measurements) -> str:
    """The trials, and where and how they were measured; what is not known is null."""
    trials = json.loads(measured.trials.to_json(orient="records", double_precision=9))
    return json.dumps(
        {
            "environment": measured.environment,
            "notes": list(measured.notes),
            "trials": trials,
        },
        indent=1,
        default=str,
    )


def _check_labs(labs: Sequence[Lab], options: argparse.Namespace) -> None:
    if options.processes and any(lab.embedded for lab in labs):
        raise ConfigurationError(
            "--processes needs a broker that other processes can reach: start one with "
            "'labkit up', or name one with --broker."
        )
    from labkit.measure.environment import short_name

    names = [short_name(lab) for lab in labs]
    if len(set(names)) < len(names):
        raise ConfigurationError(
            f"Two of the brokers are called {max(names, key=names.count)!r}, and the table could "
            "not tell them apart: measure one after the other, each with an --out of its own."
        )


def _loads(options: argparse.Namespace) -> tuple[list[float | None], list[int]]:
    """Rates and clients, as `sweep` takes them: a rate of None is a closed load."""
    rates: list[float | None] = list(options.rate or [])
    if options.clients or not rates:
        rates.insert(0, None)
    return rates, options.clients or [1]


def _announce(places: Sequence[str], options: argparse.Namespace) -> None:
    """In a terminal: where, how many trials, and how long it will take at least."""
    error = rich_console(sys.stderr)
    if not error.is_terminal:
        return
    rates, clients = _loads(options)
    loads = len(clients) * (None in rates) + len([r for r in rates if r is not None])
    ends = options.subscribers or options.workers or [1]
    count = loads * len(options.size) * len(options.batch) * len(ends)
    count *= options.repeats * len(places)
    seconds = count * (options.duration + options.warmup)
    length = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    say(
        error,
        f"{plural(count, 'trial')} on {safe(', '.join(places))}, {length} at least. "
        "Ctrl+C keeps what is done.",
    )


def _measure(labs: Sequence[Lab], options: argparse.Namespace) -> Measurements:
    from labkit.measure import sweep

    rates, clients = _loads(options)
    where: dict[str, Any] = {"lab": labs[0]} if len(labs) == 1 else {"brokers": labs}
    # What sweep says to a notebook is among its notes, and told beneath the table.
    with as_interrupt(), redirect_stdout(io.StringIO()):
        return sweep(
            **where,
            pattern=options.pattern,
            sizes=options.size,
            rates=rates,
            clients=clients,
            batches=options.batch,
            subscribers=options.subscribers or [1],
            workers=options.workers or [1],
            repeats=options.repeats,
            seconds=options.duration,
            arrivals=options.arrivals or "constant",
            seed=options.seed,
            budget_s=options.budget,
            timeout=options.timeout,
            warmup=options.warmup,
            processes=options.processes,
            work=options.work,
        )


def _tell(measured: Measurements, places: Sequence[str], options: argparse.Namespace) -> None:
    out = rich_console()
    say(out, f"Measured on {safe(', '.join(places))}; {_machine(measured)}.")
    if measured.trials.empty:
        for note in measured.notes:
            say(out, note)
        return
    from labkit.cli import bench_table

    ends = "ends in processes of their own" if options.processes else "both ends in one process"
    after = f"after {options.warmup:g} s of" if options.warmup else "without"
    say(
        out,
        f"{bench_table.common(measured)}, {ends}; {options.duration:g} s each, {after} warm-up.",
    )
    table, left_out = bench_table.table(measured, out.width)
    out.print()
    out.print(table, crop=False, no_wrap=True, width=max(out.width, table.width or 0))
    out.print()
    if left_out:
        say(
            out,
            f"No room here for {', '.join(left_out)}: widen the terminal, or use --out or --json.",
        )
    for sentence in bench_table.remarks(measured):
        say(out, sentence)


def _machine(measured: Measurements) -> str:
    """The computer and the software, without which a figure means nothing."""
    found = measured.environment
    if not found:
        return "nothing was measured"
    load = found.get("load_average")
    busy = "" if load is None else f", load average {load:g} at the start"
    cores = plural(int(found["cores_usable"] or 0), "core")
    return safe(f"{found['cpu']}, {cores}{busy}; Python {found['python']}")


def _status(measured: Measurements) -> int:
    if measured.trials["valid"].any():
        return 0
    interrupted = any(note.startswith("Interrupted") for note in measured.notes)
    return NOTHING_MEASURED if interrupted else 1
