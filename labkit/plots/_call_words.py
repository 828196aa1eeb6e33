"""What became of requests, in words: the title that states the finding, and the alt text."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.plots._calls import Call, Calls
from labkit.plots._timeline import seconds
from labkit.plots._words import forgotten_note, listing, plural


def calls_finding(calls: Sequence[Call]) -> str:
    """The title: how many were answered, and what became of the others."""
    answered = [call for call in calls if call.answered is not None]
    slowest = max(((c.answered or 0.0) - c.sent for c in answered), default=0.0)
    if len(answered) == len(calls) and not any(call.failed for call in calls):
        who = {call.responder for call in calls}
        by = f" by {len(who)} responders" if len(who) > 1 else ""
        if len(calls) == 1:
            return f"1 request, answered after {seconds(slowest)}"
        return f"{len(calls):,} requests, all answered{by}, the slowest after {seconds(slowest)}"
    return f"{plural(len(calls), 'request')}: {listing(_outcomes(calls))}"


def _outcomes(calls: Sequence[Call]) -> list[str]:
    late = sum(call.late is not None for call in calls)
    errors = sum(bool(call.failed) and call.answered is not None for call in calls)
    told = f" ({plural(errors, 'error')})" if errors else ""
    counts = [
        (sum(c.answered is not None for c in calls), "{} answered" + told),
        (sum(c.timed_out is not None for c in calls), "{} timed out"),
        (late, "{} replies came too late" if late > 1 else "{} reply came too late"),
        (sum(c.expired is not None for c in calls), "{} expired before the work began"),
        (sum(c.crashed is not None for c in calls), "{} died with the responder"),
        (sum(c.refused is not None for c in calls), "{} could not be sent"),
        (sum(_open(c) for c in calls), "{} still open"),
    ]
    return [words.format(f"{count:,}") for count, words in counts if count]


def _open(call: Call) -> bool:
    ends = (call.answered, call.timed_out, call.refused, call.late, call.expired, call.crashed)
    return all(end is None for end in ends)


def calls_alt(shown: Sequence[Call], caption: str) -> str:
    """The picture in words."""
    told = [f"{i}, {call.label}: {call_story(call)}" for i, call in enumerate(shown, 1)]
    head = (
        f"{plural(len(shown), 'request')} and their replies as pairs of arrows between requesters "
        "and responders, time to the right. "
    )
    return head + "; ".join(told) + "." + (f" {caption}" if caption else "")


def call_story(call: Call) -> str:
    """What became of one request."""
    parts = [f"{call.requester} asked {call.service}"]
    if call.refused is not None:
        parts.append("could not be sent")
    if call.answered is not None:
        how = f" with an error ({call.failed})" if call.failed else ""
        parts.append(f"{call.responder} answered{how} after {seconds(call.answered - call.sent)}")
    if call.timed_out is not None:
        parts.append(f"timed out after {seconds(call.timed_out - call.sent)}")
    if call.late is not None:
        parts.append(f"the reply of {call.responder} came too late and was thrown away")
    if call.expired is not None:
        parts.append(f"expired, and {call.responder} dropped it")
    if call.crashed is not None:
        parts.append(f"{call.responder} crashed with it")
    if _open(call):
        parts.append("still open")
    return ", ".join(parts)


def calls_caption(found: Calls, shown: int) -> str:
    """What the picture leaves out."""
    parts = []
    if out := len(found.calls) - shown:
        parts.append(f"{shown} of {len(found.calls):,} requests shown, {out:,} left out.")
    return " ".join(parts + forgotten_note(found.forgotten))
