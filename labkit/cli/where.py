"""Which broker a command talks to, when its user does not say."""

from __future__ import annotations

import os

import labkit
from labkit import servers
from labkit.broker import PubSubBroker
from labkit.connection import BROKER_URL_VARIABLE, DEFAULT_REDIS_URL
from labkit.errors import BrokerUnavailable, LabkitError

AUTO = "auto"

ANNOUNCED_WITHIN_S = 5.0
"""How long the broker of a living 'labkit up' may take to answer: it is there, but may be busy."""


def open_shared(url: str | None) -> PubSubBroker:
    """The broker at `url`, else one that other terminals can reach too.

    Not `labkit.connect("auto")`: that would start a private one where there is none, and two
    terminals would wait for each other for ever.

    Raises:
        BrokerUnavailable: there is none; says how to get one.
    """
    given = url or os.environ.get(BROKER_URL_VARIABLE)
    if given and given != AUTO:
        return labkit.connect(given, trace=False)
    announced = servers.announced_url()
    if announced is not None:
        return labkit.connect(announced, connect_timeout=ANNOUNCED_WITHIN_S, trace=False)
    try:
        return labkit.connect(DEFAULT_REDIS_URL, trace=False)
    except LabkitError as error:
        reason = "" if "No broker answers" in str(error) else f" ({error})"
        raise BrokerUnavailable(
            f"No broker found{reason}. Run 'labkit up' in another terminal and try again, or name "
            f"one with --url or {BROKER_URL_VARIABLE}."
        ) from None


def place(lab: PubSubBroker) -> str:
    """What and where it is, for people."""
    return f"{lab.name} at {lab.url}" + (f", namespace {lab.namespace}" if lab.namespace else "")
