"""The settings that labkit gives to librdkafka, each with the reason, as a table to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit._html import table

if TYPE_CHECKING:
    import pandas

Value = str | int | bool

BUFFER_MESSAGES = 100_000
"""Records that may wait in the producer; then appending waits, and at last says that it is full."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: as librdkafka calls it.
        value: what labkit sets.
        default: what it would be without.
        why: what labkit's value is good for.
    """

    name: str
    value: Value
    default: Value
    why: str


PRODUCER = (
    Setting("acks", "all", "all", "A record counts as appended once all in-sync replicas have it."),
    Setting(
        "enable.idempotence",
        True,
        False,
        "A real Kafka knows a batch that was sent again: no duplicates, no change of order.",
    ),
    Setting("linger.ms", 0, 5, "Waiting for company makes larger batches, and every append later."),
    Setting(
        "queue.buffering.max.messages",
        BUFFER_MESSAGES,
        100_000,
        "The buffer is bounded; when it is full, labkit waits, and then says so.",
    ),
    Setting(
        "topic.metadata.propagation.max.ms",
        2_000,
        30_000,
        "A topic that is not there is an error after 2 s, not after 30.",
    ),
)

CONSUMER = (
    Setting(
        "enable.auto.commit",
        False,
        True,
        "Committed is what was worked on, and when the program says so, not every 5 s.",
    ),
    Setting(
        "enable.auto.offset.store",
        False,
        True,
        "A record that was only handed over does not count as done.",
    ),
    Setting(
        "enable.partition.eof",
        True,
        False,
        "The consumer says when it has read to the end: nothing there is known, not guessed.",
    ),
    Setting(
        "fetch.wait.max.ms",
        10,
        500,
        "How long an empty fetch may rest at the broker; the mock cluster looks only afterwards.",
    ),
    Setting("fetch.error.backoff.ms", 50, 500, "A partition without a leader is asked again soon."),
)

MOCK_SESSION_MS = 1_300
MOCK_HEARTBEAT_MS = 50
SESSION_MS = 6_000
HEARTBEAT_MS = 200


def session_s(*, mock: bool) -> float:
    """How long a member that died counts as one."""
    return (MOCK_SESSION_MS if mock else SESSION_MS) / 1000


def group(*, mock: bool) -> tuple[Setting, ...]:
    """What the members of a group get."""
    if not mock:
        why = "A member that died is missed after 6 s; shorter ones need the broker's consent."
        return (*_group(HEARTBEAT_MS), Setting("session.timeout.ms", SESSION_MS, 45_000, why))
    why = "The mock cluster waits so long, less 1 s, for members when it shares anew."
    return (
        *_group(MOCK_HEARTBEAT_MS),
        Setting("session.timeout.ms", MOCK_SESSION_MS, 45_000, why),
    )


def _group(heartbeat_ms: int) -> tuple[Setting, ...]:
    return (
        Setting(
            "auto.offset.reset",
            "earliest",
            "largest",
            "A group that has committed nothing begins at the first record: none is skipped.",
        ),
        Setting(
            "heartbeat.interval.ms",
            heartbeat_ms,
            3_000,
            "A rebalance is noticed with the next heartbeat.",
        ),
        Setting(
            "statistics.interval.ms",
            heartbeat_ms,
            0,
            "Without it librdkafka looks only every 500 ms whether a heartbeat is due.",
        ),
        Setting(
            "topic.metadata.refresh.interval.ms",
            2_000,
            300_000,
            "A member whose broker died at the moment of its joining waits for the next refresh.",
        ),
    )


def as_config(*settings: Setting) -> dict[str, Value]:
    """As librdkafka takes them."""
    return {setting.name: setting.value for setting in settings}


class Settings:
    """What labkit sets, beside librdkafka's default, and why; a table in a notebook."""

    def __init__(self, mock: bool) -> None:
        self._rows = [
            *(("producer", setting) for setting in PRODUCER),
            *(("consumer", setting) for setting in CONSUMER),
            *(("group", setting) for setting in group(mock=mock)),
        ]

    def __iter__(self) -> Iterator[Setting]:
        return iter([setting for _, setting in self._rows])

    def __getitem__(self, name: str) -> Setting:
        return next(setting for setting in self if setting.name == name)

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Of whom, name, value, default, why."""
        return [(who, s.name, _shown(s.value), _shown(s.default), s.why) for who, s in self._rows]

    def to_frame(self) -> pandas.DataFrame:
        """One row a setting."""
        import pandas

        return pandas.DataFrame(self.rows(), columns=["of", "setting", "labkit", "default", "why"])

    def __repr__(self) -> str:
        return "\n".join(
            f"{name} = {value} (default {default}). {why}"
            for _, name, value, default, why in self.rows()
        )

    def _repr_html_(self) -> str:
        headers = ("of", "setting", "labkit", "default", "why")
        return table(headers, self.rows(), "What labkit sets in librdkafka")


def _shown(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
