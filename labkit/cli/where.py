"""Which broker a command talks to, when its user does not say."""

from __future__ import annotations

import os

import labkit
from labkit import servers
from labkit.broker import PubSubBroker
from labkit.connection import BROKER_URL_VARIABLE, DEFAULT_REDIS_URL
from labkit.errors import BrokerUnavailable, LabkitError

AUTO = "auto"


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
    failed: LabkitError | None = None
    for candidate in (servers.announced_url(), DEFAULT_REDIS_URL):
        if candidate is None:
            continue
        try:
            return labkit.connect(candidate, trace=False)
        except LabkitError as error:
            failed = error
    reason = "" if failed is None or "No broker answers" in str(failed) else f" ({failed})"
    raise BrokerUnavailable(
        f"No broker found{reason}. Run 'labkit up' in another terminal and try again, or name one "
        f"with --url or {BROKER_URL_VARIABLE}."
    )


def place(lab: PubSubBroker) -> str:
    """What and where it is, for people."""
    return f"{lab.name} at {lab.url}" + (f", namespace {lab.namespace}" if lab.namespace else "")
