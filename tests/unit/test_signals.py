"""What a signal sets off does not wait for what the main thread holds."""

from __future__ import annotations

import signal
import threading

import pytest

from labkit.patterns.signals import beside


@pytest.mark.timeout(30)
def test_a_handler_sets_an_event_whose_lock_is_held_as_the_signal_comes() -> None:
    ended = threading.Event()
    with ended._cond:  # type: ignore[attr-defined]  # as in the middle of `ended.wait()`
        beside(ended.set)(signal.SIGTERM, None)
        assert not ended._flag  # type: ignore[attr-defined]
    assert ended.wait(10)
