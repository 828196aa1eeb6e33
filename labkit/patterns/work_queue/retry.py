"""Trying again: how often, after what, and how much later."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from labkit.backoff import Backoff
from labkit.errors import ConfigurationError


@dataclass(frozen=True)
class RetryPolicy:
    """What a worker does when its handler raises.

    Args:
        attempts: deliveries in all, the first one included; then the task is a dead letter. One
            that killed its worker counts, too.
        first: upper bound of the first pause, in seconds.
        cap: upper bound of every pause.
        factor: growth of the bound from one pause to the next.
        jitter: draw each pause between 0 and its bound, so that what failed together does not
            come back together; False waits the bound itself.
        seed: makes the draws repeatable.
        retry_on: exceptions that another attempt may cure. `SystemExit` is among them unless you
            name others: a program that ends itself may do better the next time.
        give_up_on: exceptions, out of those, that it cannot: a wrong argument stays wrong.
    """

    attempts: int = 3
    first: float = 0.1
    cap: float = 30.0
    factor: float = 2.0
    jitter: bool = True
    seed: int | None = None
    retry_on: tuple[type[BaseException], ...] = (Exception, SystemExit)
    give_up_on: tuple[type[BaseException], ...] = ()
    _backoff: Backoff = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            raise ConfigurationError(f"attempts is a whole number, got {self.attempts!r}.")
        if self.attempts < 1:
            raise ConfigurationError(f"A task needs 1 attempt or more, got {self.attempts}.")
        for name in ("retry_on", "give_up_on"):
            object.__setattr__(self, name, _exceptions(name, getattr(self, name)))
        backoff = Backoff(self.first, self.cap, self.factor, self.jitter, self.seed)
        object.__setattr__(self, "_backoff", backoff)

    def pause(self, attempt: int) -> float | None:
        """Seconds from the end of attempt number `attempt` (from 1) to the next; None: no next."""
        return self._backoff.wait(attempt - 1) if attempt < self.attempts else None

    def cures(self, error: BaseException) -> bool:
        """Whether another attempt may end better."""
        return isinstance(error, self.retry_on) and not isinstance(error, self.give_up_on)

    def for_worker(self, index: int) -> RetryPolicy:
        """The same with draws of its own, for one of several workers."""
        return self if self.seed is None else replace(self, seed=self.seed + index)


def _exceptions(name: str, given: object) -> tuple[type[BaseException], ...]:
    kinds = given if isinstance(given, tuple) else (given,)
    if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        return kinds
    raise ConfigurationError(f"{name} holds exception types, such as (OSError,), got {given!r}.")
