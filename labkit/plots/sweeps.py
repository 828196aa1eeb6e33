"""Throughput and latency along one setting: message size, batch, subscribers, workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from labkit.plots._chart import Plot, chart
from labkit.plots._curves import Curve
from labkit.plots._figures import milliseconds, number, per_second, size, times
from labkit.plots._scales import Axis, Words, measured_ticks
from labkit.plots._sweep import Level, Series, no_valid, notes_of, read_trials, series_along, told
from labkit.plots._words import plural
from labkit.plots.show import LabFigure
from labkit.plots.style import GREY, Look, in_style, legible

Frame = object
By = str | Sequence[str] | None


@in_style
def throughput_against_size(trials: Frame, *, by: By = None, title: str | None = None) -> LabFigure:
    """Draw messages/s and MB/s against the size of a message, in two panels.

    Args:
        trials: what `sweep` returned, or a DataFrame with a row for each trial:
            size_bytes, throughput, mb_per_s.
        by: the column or columns that tell series apart; None finds them.
        title: None states the finding.

    Raises:
        ConfigurationError: no trial to draw, or a column is missing.
    """
    who, x = "throughput_against_size", "size_bytes"
    frame = read_trials(trials, x, ["throughput", "mb_per_s"], who)
    counts = series_along(frame, x, "throughput", by, who)
    volumes = series_along(frame, x, "mb_per_s", by, who)
    headline = title or _lead(counts, lambda s: _size_finding(s, volumes)) or no_valid(frame)
    plots = [
        Plot(Axis("throughput (messages/s)"), _curves(counts, per_second, size), height=230),
        Plot(Axis("volume (MB/s)"), _curves(volumes, _megabytes, size), height=230),
    ]
    alt = (
        f"{told(counts, 'size in bytes', 'Messages per second')} "
        f"{told(volumes, 'size in bytes', 'MB per second')}"
    )
    axis = _axis("message size", frame[x], size)
    return chart(legible(headline), legible(alt), axis, plots, notes_of(frame, trials))


def _size_finding(counts: Series, volumes: Sequence[Series]) -> str:
    first, last = counts.counted[0], counts.counted[-1]
    volume = next((v for v in volumes if v.name == counts.name and v.counted), None)
    if first is last:
        return f"{per_second(first.middle)} at {size(first.x)}, the only size measured"
    more = ""
    if volume is not None:
        best = volume.best
        more = f"; at most {number(best.middle)} MB/s, at {size(best.x)}"
    verb = _verb(first, last)
    if verb is None:
        return f"{size(first.x)} or {size(last.x)}: no difference in messages/s that shows{more}"
    return (
        f"From {size(first.x)} to {size(last.x)}, messages/s {verb} from "
        f"{number(first.middle)} to {number(last.middle)}{more}"
    )


@in_style
def throughput_against_batch(
    trials: Frame, *, by: By = None, title: str | None = None
) -> LabFigure:
    """Draw throughput and latency against how many messages go together.

    Args:
        trials: what `sweep` returned, or a DataFrame with a row for each trial: batch,
            throughput, response_p99_ms.
        by: the column or columns that tell series apart; None finds them.
        title: None states the finding.

    Raises:
        ConfigurationError: no trial to draw, or a column is missing.
    """
    return _with_latency(
        trials,
        "batch",
        by,
        title,
        "throughput_against_batch",
        "batch (messages)",
        "throughput (messages/s)",
        _batch_finding,
    )


def _batch_finding(counts: Series, latency: Series | None) -> str:
    first, best, last = counts.counted[0], counts.best, counts.counted[-1]
    if first is last:
        return f"{per_second(first.middle)} in batches of {number(first.x)}, the only size measured"
    if best is first or _verb(first, best) is None:
        return f"Batches bring no gain that shows: {per_second(first.middle)} at {number(first.x)}"
    text = (
        (
            f"Batches of {number(best.x)} complete {times(best.middle / first.middle)} "
            f"as many as batches of {number(first.x)}"
        )
        if first.middle
        else (f"Batches of {number(best.x)} complete {per_second(best.middle)}")
    )
    return text + _latency_words(latency, first.x, best.x)


@in_style
def fan_out(trials: Frame, *, by: By = None, title: str | None = None) -> LabFigure:
    """Draw deliveries/s and latency against the number of subscribers.

    Args:
        trials: what `sweep` returned, or a DataFrame with a row for each trial:
            subscribers, throughput (messages per second that all of them got: each is as many
            deliveries), response_p99_ms.
        by: the column or columns that tell series apart; None finds them.
        title: None states the finding.

    Raises:
        ConfigurationError: no trial to draw, or a column is missing.
    """
    return _with_latency(
        trials,
        "subscribers",
        by,
        title,
        "fan_out",
        "subscribers",
        "deliveries/s, all together",
        _fan_finding,
    )


def _fan_finding(counts: Series, latency: Series | None) -> str:
    first, last = counts.counted[0], counts.counted[-1]
    if first is last:
        return f"{per_second(first.middle)} deliveries to {plural(int(first.x), 'subscriber')}"
    verb = _verb(first, last)
    head = f"From {number(first.x)} to {plural(int(last.x), 'subscriber')}"
    ends = f"from {number(first.middle)} to {number(last.middle)}"
    if verb is None:
        return f"{head}, deliveries/s stay as they are" + _latency_words(latency, first.x, last.x)
    return f"{head}, deliveries/s {verb} {ends}" + _latency_words(latency, first.x, last.x)


@in_style
def throughput_against_workers(
    trials: Frame, *, by: By = None, title: str | None = None
) -> LabFigure:
    """Draw throughput against the number of workers, beside what would be in proportion.

    Args:
        trials: what `sweep` returned, or a DataFrame with a row for each trial: workers,
            throughput.
        by: the column or columns that tell series apart; None finds them.
        title: None states the finding.

    Raises:
        ConfigurationError: no trial to draw, or a column is missing.
    """
    who = "throughput_against_workers"
    frame = read_trials(trials, "workers", ["throughput"], who)
    counts = series_along(frame, "workers", "throughput", by, who)
    headline = title or _lead(counts, _worker_finding) or no_valid(frame)
    curves = _curves(counts, per_second, number)
    axis = _axis("workers", frame["workers"], number, wide=32)
    counted = [s for s in counts if len(s.counted) > 1]
    if len(counted) == 1 and counted[0].counted[0].x > 0:
        curves.append(_in_proportion(counted[0]))
    alt = told(counts, "workers", "Completed per second")
    plot = Plot(Axis("throughput (completed/s)"), curves)
    return chart(legible(headline), legible(alt), axis, [plot], notes_of(frame, trials))


def _in_proportion(series: Series) -> Curve:
    first, ceiling = series.counted[0], 1.15 * series.best.middle
    each = first.middle / first.x
    # No higher than the picture needs: what was measured must stay legible.
    last = min(series.counted[-1].x, max(ceiling / each if each else 0.0, first.x))
    points = [(first.x + (last - first.x) * i / 20, 0.0) for i in range(21)]
    line = [(x, x * each) for x, _ in points]
    tags = [(*line[-1], "in proportion")]
    return Curve("", Look(GREY, None, "o"), line=line, tags=tags, thin=True)


def _worker_finding(counts: Series) -> str:
    first, best, last = counts.counted[0], counts.best, counts.counted[-1]
    one = plural(int(first.x), "worker")
    if first is last:
        return f"{one}: {per_second(first.middle)}, nothing to compare with"
    if best is first or _verb(first, best) is None:
        if _verb(first, last) == "fall":
            ends = f"{per_second(first.middle)} with {number(first.x)}, {number(last.middle)} with"
            return f"More workers are slower: {ends} {number(last.x)}"
        return f"More workers than {number(first.x)} bring no gain that shows"
    if not first.middle:
        return f"{number(best.x)} workers complete {per_second(best.middle)}"
    do = "does" if first.x == 1 else "do"
    gain = f"complete {times(best.middle / first.middle)} what {number(first.x)} {do}"
    more = (
        "" if best is last or _verb(best, last) != "fall" else f"; {number(last.x)} complete less"
    )
    return f"{plural(int(best.x), 'worker')} {gain}{more}"


def _with_latency(
    trials: Frame,
    x: str,
    by: By,
    title: str | None,
    who: str,
    x_name: str,
    y_name: str,
    finding: Callable[[Series, Series | None], str],
) -> LabFigure:
    latency = "response_p99_ms"
    frame = read_trials(trials, x, ["throughput", latency], who)
    each = frame["subscribers"] if x == "subscribers" else 1
    frame = frame.assign(done=frame["throughput"] * each)
    counts = series_along(frame, x, "done", by, who)
    waits = series_along(frame, x, latency, by, who)
    of = {s.name: s for s in waits if s.counted}
    headline = title or _lead(counts, lambda s: finding(s, of.get(s.name))) or no_valid(frame)
    plots = [Plot(Axis(y_name), _curves(counts, per_second, number), height=230)]
    alt = told(counts, x_name, y_name.capitalize())
    notes = notes_of(frame, trials)
    if waits:
        curves = _curves(waits, milliseconds, number)
        plots.append(Plot(Axis("response time, p99 (ms)"), curves, height=200))
        alt += " " + told(waits, x_name, "Response time p99 in ms")
    else:
        notes = ["No p99 to draw: the trials are too short for one.", *notes]
    return chart(legible(headline), legible(alt), _axis(x_name, frame[x], number), plots, notes)


def _lead(series: Sequence[Series], finding: Callable[[Series], str]) -> str:
    """The finding of the one series, or of the one that gets farthest, by name."""
    counted = [s for s in series if s.counted]
    if not counted:
        return ""
    best = max(counted, key=lambda s: s.best.middle)
    text = finding(best)
    return f"{best.name}: {text[0].lower()}{text[1:]}" if best.name and len(series) > 1 else text


def _axis(name: str, values: Iterable[float], words: Words, wide: float = 8) -> Axis:
    known = [float(v) for v in values]
    log = min(known) > 0 and max(known) / min(known) > wide
    ticks = measured_ticks(known, words)
    return Axis(name, log=log, ticks=ticks, zero=False, words=words)


def _verb(first: Level, last: Level) -> str | None:
    """Whether figures rise or fall; None where their intervals do not show it."""
    if first.middle == last.middle or first.estimate.apart_from(last.estimate) is False:
        return None
    return "rise" if last.middle > first.middle else "fall"


def _latency_words(latency: Series | None, first: float, last: float) -> str:
    if latency is None:
        return ""
    at = {level.x: level for level in latency.counted}
    if first not in at or last not in at:
        return ""
    before, after = at[first], at[last]
    if _verb(before, after) is None:
        return f"; p99 about the same, {milliseconds(after.middle)}"
    return f"; p99 from {milliseconds(before.middle)} to {milliseconds(after.middle)}"


def _curves(series: Sequence[Series], y_words: Words, x_words: Words) -> list[Curve]:
    """The curves, with their last figure at the right end."""
    return [one.curve(end=_end(one, y_words, x_words)) for one in series]


def _end(series: Series, y_words: Words, x_words: Words) -> str:
    if not series.counted:
        return "no valid trial"
    last = series.counted[-1]
    return f"{y_words(last.middle)} at {x_words(last.x)}"


def _megabytes(value: float) -> str:
    return f"{number(value)} MB/s"
