"""Putting many tasks in few round trips, and saying of each whether it is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from labkit.broker import QueueItem, QueueOptions
from labkit.brokers.redis.client import REFUSALS, ExchangeBroken
from labkit.brokers.redis.scripts import Argument
from labkit.errors import BatchError, BrokerRefused, BrokerUnavailable, LabkitError, QueueFull

BATCH_SIZE = 500
BATCH_BYTES = 4 * 1024 * 1024
"""Most that goes in one round trip: one task, or less than both of these."""

FULL = "full"

Outcome = bool | str | Exception
"""Of one task: True (in), False (not unique), `FULL`, or Redis' own refusal."""


def put_in_batches(
    items: Sequence[QueueItem],
    put: Callable[[Sequence[QueueItem]], list[Outcome]],
    options: QueueOptions,
) -> list[bool]:
    """Put all; `put` does one batch, and may end early at one that is refused.

    Raises:
        BrokerUnavailable, BrokerRefused: for a single task.
        BatchError: says which are in, which are not, and which may be.
    """
    accepted: list[bool] = []
    while len(accepted) < len(items):
        start = len(accepted)
        batch = _batch(items, start)
        try:
            outcomes = put(batch)
        except ExchangeBroken as broken:
            if len(items) == 1:
                raise broken.cause from None
            known = start + len(broken.replies)
            reached = start + len(batch)
            refused = [i for i, r in enumerate(broken.replies, start) if isinstance(r, REFUSALS)]
            raise BatchError(
                str(broken.cause),
                sent=[i for i in range(known) if i not in refused and (i >= start or accepted[i])],
                unknown=range(known, reached),
                unsent=[*refused, *range(reached, len(items))],
                duplicates=_duplicates(accepted),
            ) from None
        except BrokerUnavailable as error:
            if len(items) == 1:
                raise
            raise BatchError(
                str(error),
                sent=[i for i in range(start) if accepted[i]],
                unsent=range(start, len(items)),
                duplicates=_duplicates(accepted),
            ) from None
        known_ones = [outcome for outcome in outcomes if isinstance(outcome, bool)]
        if len(known_ones) < len(batch):
            raise _refused([*accepted, *outcomes], len(items), options)
        accepted += known_ones
    return accepted


def put_arguments(batch: Sequence[QueueItem], most: int | None, now: float) -> list[Argument]:
    """What the script must know: the bound; of each place, id, body, unique, due (0: now)."""
    arguments: list[Argument] = ["" if most is None else most]
    for item in batch:
        due = now + item.delay if item.delay else 0
        arguments += [item.priority + 1, item.id, item.body, int(item.unique), due]
    return arguments


def _batch(items: Sequence[QueueItem], start: int) -> Sequence[QueueItem]:
    """As many as go in one round trip."""
    batch = items[start : start + BATCH_SIZE]
    size = 0
    for index, item in enumerate(batch):
        size += len(item.body)
        if size > BATCH_BYTES and index:
            return batch[:index]
    return batch


def _duplicates(outcomes: Sequence[Outcome]) -> list[int]:
    return [index for index, outcome in enumerate(outcomes) if outcome is False]


def _refused(outcomes: Sequence[Outcome], total: int, options: QueueOptions) -> LabkitError:
    """Some of the last batch were not taken; what comes after it was not sent."""
    wrong = [i for i, outcome in enumerate(outcomes) if not isinstance(outcome, bool)]
    first = outcomes[wrong[0]]
    if isinstance(first, REFUSALS) and total == 1:
        return BrokerRefused(f"Redis refused the task: {first}.")
    kind, reason = BatchError, f"Redis refused: {first}."
    if first == FULL:
        kind = QueueFull
        reason = (
            f"The queue holds {options.max_length:,} tasks and no more. Wait until workers have "
            "done some, or give it a larger max_length."
        )
    return kind(
        reason,
        sent=[i for i, outcome in enumerate(outcomes) if outcome is True],
        unsent=[*wrong, *range(len(outcomes), total)],
        duplicates=_duplicates(outcomes),
    )
