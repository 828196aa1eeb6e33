"""Trying again: how often, after what, how much later."""

from __future__ import annotations

import pytest

from labkit import Reject, Retry, RetryPolicy
from labkit.errors import ConfigurationError


def test_pauses_grow_to_a_cap_and_end_with_the_attempts() -> None:
    policy = RetryPolicy(attempts=6, first=0.1, factor=3, cap=1.0, jitter=False)

    pauses = [policy.pause(attempt) for attempt in range(1, 8)]

    assert pauses == [0.1, pytest.approx(0.3), pytest.approx(0.9), 1.0, 1.0, None, None]


def test_full_jitter_draws_between_nothing_and_the_bound() -> None:
    policy = RetryPolicy(attempts=1000, first=2.0, factor=1, cap=2.0, seed=1)

    drawn = [policy.pause(1) or 0.0 for _ in range(1000)]

    assert 0 <= min(drawn) < 0.1
    assert 1.9 < max(drawn) <= 2.0
    assert 0.9 < sum(drawn) / 1000 < 1.1


def test_a_seed_makes_the_draws_repeatable_and_each_worker_has_its_own() -> None:
    def draws(policy: RetryPolicy) -> list[float | None]:
        return [policy.pause(attempt) for attempt in (1, 2, 1)]

    assert draws(RetryPolicy(seed=7)) == draws(RetryPolicy(seed=7))
    assert draws(RetryPolicy(seed=7)) != draws(RetryPolicy(seed=8))
    assert draws(RetryPolicy(seed=7).for_worker(1)) == draws(RetryPolicy(seed=8))
    plain = RetryPolicy()
    assert plain.for_worker(3) is plain


def test_which_errors_another_attempt_may_cure() -> None:
    policy = RetryPolicy(retry_on=(OSError, ValueError), give_up_on=(FileNotFoundError,))

    assert policy.cures(ConnectionError())
    assert policy.cures(UnicodeError())
    assert not policy.cures(FileNotFoundError())
    assert not policy.cures(KeyError())
    assert RetryPolicy().cures(KeyError())


def test_one_exception_type_need_not_be_in_a_tuple() -> None:
    assert RetryPolicy(retry_on=OSError).retry_on == (OSError,)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"attempts": 0}, "1 attempt or more, got 0"),
        ({"attempts": 2.5}, "whole number, got 2.5"),
        ({"attempts": True}, "whole number, got True"),
        ({"first": 0}, "0 < first <= cap"),
        ({"first": 2, "cap": 1}, "cap=1"),
        ({"factor": 0.5}, "factor >= 1"),
        ({"retry_on": ("OSError",)}, r"retry_on holds exception types, such as \(OSError,\)"),
        ({"give_up_on": 3}, "give_up_on"),
    ],
)
def test_a_policy_that_cannot_work_says_why(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        RetryPolicy(**arguments)  # type: ignore[arg-type]


def test_results_of_handlers_explain_themselves() -> None:
    assert repr(Retry(after=3, reason="no seat yet")) == "Retry(after=3, reason='no seat yet')"
    assert Reject("no such flight").reason == "no such flight"
    with pytest.raises(ConfigurationError, match="seconds from now, got -1"):
        Retry(after=-1)
