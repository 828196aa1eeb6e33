"""What requesters and responders check before they begin."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence

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


def check_services(services: Sequence[str], first: int | None) -> list[str]:
    """The services of a `scatter_gather`, as a list.

    Raises:
        ConfigurationError: they cannot all be asked.
    """
    if isinstance(services, str):
        raise ConfigurationError(f"services is a list of names, got the name {services!r}.")
    names = list(services)
    if len(set(names)) < len(names):
        raise ConfigurationError(
            f"Each service is asked once, got {names!r}. Responders of one service share its "
            "requests; to ask them all, give each a service of its own."
        )
    if first is not None and not 1 <= first <= len(names):
        raise ConfigurationError(
            f"first is between 1 and the number of services ({len(names)}), got {first}."
        )
    return names


def check_responder(name: object, service: object, handler: object, concurrency: object) -> None:
    """Raise `ConfigurationError` for what no responder can be made of."""
    for what, given in (("name", name), ("service", service)):
        if not isinstance(given, str) or not given:
            raise ConfigurationError(f"A responder's {what} is a non-empty str, got {given!r}.")
    if not callable(handler) or inspect.iscoroutinefunction(handler):
        raise ConfigurationError(
            f"A handler is a function (def, not async def) of the request, got {handler!r}."
        )
    if not isinstance(concurrency, int) or concurrency < 1:
        raise ConfigurationError(f"concurrency is at least 1, got {concurrency!r}.")
