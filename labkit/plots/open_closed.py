"""Two loops through the same stall: what the closed one does not see (coordinated omission)."""

from __future__ import annotations

from labkit.plots._figures import percentile_name, times
from labkit.plots._frames import embedded_note, invalid_note
from labkit.plots._latencies import TOLD, Latencies, notes_of_latencies, read_latencies
from labkit.plots.percentiles import percentile_chart
from labkit.plots.show import LabFigure
from labkit.plots.style import Look, in_style

_CLOSED = Look("#E69F00", (6.0, 2.0, 1.4, 2.0), "^")
_OPEN_SERVICE = Look("#0072B2", (5.0, 2.0), "s")
_OPEN_RESPONSE = Look("#000000", None, "o")
_ALIKE = 1.05


@in_style
def open_and_closed(
    operations_closed: object,
    operations_open: object,
    *,
    trials: object = None,
    title: str | None = None,
) -> LabFigure:
    """Draw the percentiles of a closed and of an open loop over one another.

    A closed loop waits for the slow answer and sends nothing meanwhile, so a stall costs it one
    slow operation. An open loop has operations due during the stall: their response time, from
    the intended moment of sending, shows what callers would have waited (Gil Tene, "How NOT to
    measure latency").

    Args:
        operations_closed: as for `percentiles`: what was sent one by one.
        operations_open: what was sent on a schedule.
        trials: a DataFrame with a row for each trial, which tells which count; None takes those
            that were returned together with the operations.
        title: None states the finding.

    Raises:
        ConfigurationError: no operation to draw, or a column is missing.
    """
    who = "open_and_closed"
    closed, closed_frame = read_latencies(operations_closed, trials, who, "service")
    service, frame = read_latencies(operations_open, trials, who, "service")
    response, _ = read_latencies(operations_open, trials, who, "response")
    series = [
        _named(closed, "closed loop", _CLOSED),
        _named(service, "open loop, service", _OPEN_SERVICE),
        _named(response, "open loop, response", _OPEN_RESPONSE),
    ]
    return percentile_chart(
        series,
        title if title is not None else _finding(series[0], series[2]),
        [
            "Service time runs from the actual sending, response time from the intended one.",
            *notes_of_latencies(closed, closed_frame),
            *notes_of_latencies(response, frame),
            *invalid_note(closed_frame),
            *invalid_note(frame),
            *embedded_note(closed_frame, frame),
        ],
        "response or service",
    )


def _named(series: list[Latencies], name: str, look: Look) -> Latencies:
    """All series of one loop as one."""
    valid = [s for s in series if s.valid]
    used = valid or series
    values = sorted(v for s in used for v in s.values)
    came = sorted(v for s in used for v in s.came)
    floor = min(s.floor for s in used)
    told = name if valid else f"{name}, invalid"
    never = sum(s.never for s in used)
    return Latencies(told, look, values, came, never, floor, bool(valid))


def _finding(closed: Latencies, opened: Latencies) -> str:
    if not (closed.valid and opened.valid):
        return "A loop without a valid trial: nothing can be concluded from these latencies"
    common = [q for q in TOLD if closed.supports(q) and opened.supports(q)]
    if not common:
        return "Too few operations to compare the loops by their percentiles"
    # The percentile up to p99.9 that tells most.
    q = max(
        (q for q in common if q <= 0.999),
        key=lambda q: opened.at(q) / closed.at(q) if closed.at(q) > 0 else 0.0,
    )
    low, high = closed.at(q), opened.at(q)
    name = percentile_name(q)
    if low <= 0 or high / low < _ALIKE:
        return f"Both loops agree up to {percentile_name(common[-1])}: nothing stalled"
    return (
        f"The closed loop says {name} {closed.words(q)}; "
        f"from the intended moments it is {opened.words(q)}, {times(high / low)} as long"
    )
