"""What requesters and responders check before they begin."""

from __future__ import annotations

import math

from labkit.broker import ReplyBroker
from labkit.errors import ConfigurationError, NotSupported


def require_replies(lab: object) -> ReplyBroker:
    """The broker, if it keeps the contract.

    Raises:
        NotSupported: a broker without request/reply.
        ConfigurationError: no broker at all.
    """
    if isinstance(lab, ReplyBroker):
        return lab
    if hasattr(lab, "capabilities"):
        raise NotSupported(f"{getattr(lab, 'name', 'This broker')} has no request/reply.")
    raise ConfigurationError(f"An open broker is needed, from labkit.connect(); got {lab!r}.")


def seconds(name: str, value: float) -> float:
    """A duration that can work.

    Raises:
        ConfigurationError: it cannot.
    """
    if isinstance(value, int | float) and value > 0 and math.isfinite(value):
        return value
    raise ConfigurationError(f"{name} is in seconds and above 0, got {value!r}.")
