"""Errors can be sent between processes, and say the same there."""

from __future__ import annotations

import pickle

import pytest

from labkit import errors


@pytest.mark.parametrize(
    "error",
    [
        errors.ValidationError("content", "a str", "int 1"),
        errors.MessageTooLarge(5, 3),
        errors.DecodeError("malformed", b"abc", "news"),
        errors.BatchError("It broke.", sent=[0], unknown=[1], unsent=[2, 3]),
        errors.BrokerUnavailable("gone", sent=True),
        errors.BrokerRefused("no"),
        errors.BufferFull("full"),
    ],
)
def test_an_error_survives_the_way_between_processes(error: errors.LabkitError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_an_error_that_cannot_say_what_it_is_can_be_described() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert errors.describe(Mute()).startswith("Mute")
    assert errors.describe(KeyError("delay")) == "KeyError: 'delay'"
    assert errors.describe(ValueError()) == "ValueError"
